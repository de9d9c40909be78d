"""Texts come back from disk in the order of their places, whatever the order in which they were written."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.workloads import ordered_texts
from winnow.workloads.ordered_texts import OrderedTexts

TEXTS = ["first", "", "zwölf Boxkämpfer", "x" * 1000, "\n", "日本"]


def laid_out(folder, texts, order, spare=0):
    found = OrderedTexts(folder / "texts", np.array([len(text.encode()) + spare for text in texts]))
    for place in order:
        found.write([place], [texts[place]])
    return found


@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize("order", [range(6), [5, 0, 3, 1, 4, 2]])
def test_any_run_is_read_back(tmp_path, order, spare):
    found = laid_out(tmp_path, TEXTS, order, spare)
    for first in range(7):
        for last in range(first, 7):
            assert found.read(first, last) == TEXTS[first:last]
    found.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        found.read(0, 1)


def test_a_text_that_was_not_written_is_empty_and_one_too_long_is_refused(tmp_path):
    found = OrderedTexts(tmp_path / "texts", np.array([3, 3]))
    found.write([1], ["abc"])
    assert found.read(0, 2) == ["", "abc"]
    with pytest.raises(ValueError, match="place 0: has no room for 4 bytes"):
        found.write([0], ["wörd"[:3]])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        found.write([0, 1], ["abc"])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 120), st.data())
def test_runs_cover_all_places_and_keep_to_their_limit(rooms, limit, data):
    first = data.draw(st.integers(0, len(rooms)))
    last = data.draw(st.integers(first, len(rooms)))
    found = OrderedTexts.__new__(OrderedTexts)
    found.starts = np.concatenate([[0], np.cumsum(rooms)])
    runs = list(found.runs(first, last, limit))
    assert [i for a, b in runs for i in range(a, b)] == list(range(first, last))
    for a, b in runs:
        assert b == a + 1 or sum(rooms[a:b]) <= limit
    for (a, b), (_, following) in zip(runs, runs[1:], strict=False):
        assert following > b and sum(rooms[a : b + 1]) > limit  # no run could have held one more


def test_a_run_has_no_more_texts_than_a_row_group(monkeypatch, tmp_path):
    monkeypatch.setattr(ordered_texts, "ROWS", 4)
    found = OrderedTexts(tmp_path / "texts", np.ones(10, int))
    assert list(found.runs(1, 10, 100)) == [(1, 5), (5, 9), (9, 10)]


def test_calls_that_read_and_write_less_than_asked_are_repeated(tmp_path, monkeypatch):
    read, write = os.pread, os.pwrite
    monkeypatch.setattr(ordered_texts.os, "pread", lambda file, size, at: read(file, min(size, 7), at))
    monkeypatch.setattr(ordered_texts.os, "pwrite", lambda file, content, at: write(file, content[:3], at))
    assert laid_out(tmp_path, TEXTS, range(6)).read(0, 6) == TEXTS
