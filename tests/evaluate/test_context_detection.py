"""Contexts that explain a unit beside scikit-learn's area, loops over bytes, and units that are easy to explain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from winnow.evaluate.context_detection import LENGTH, contexts_at, detection, readable, shared_endings

SYMBOLS = np.frombuffer(b"abcabdabcabeabcab", np.uint8)


def test_a_context_ends_with_the_byte_itself_and_begins_with_nothing():
    found = contexts_at(SYMBOLS, np.array([0, 2, 9]), 4)
    assert [bytes(row) for row in found] == [b"\0\0\0a", b"\0abc", b"abca"]
    assert contexts_at(SYMBOLS, np.array([3])).shape == (1, LENGTH) and LENGTH == 8


@given(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=5), st.binary(min_size=3, max_size=3))
def test_shared_endings_are_those_of_a_loop(contexts, one):
    rows = np.array([list(each) for each in contexts], np.uint8)
    expected = [
        next((i for i in range(3) if each[-1 - i] != one[-1 - i]), 3) for each in contexts
    ]  # how many bytes agree before the first that does not, from the end
    assert shared_endings(rows, np.array(list(one), np.uint8)).tolist() == expected


def by_hand(chosen, chosen_contexts, scored, scored_contexts, top=10):
    areas = []
    for unit in range(chosen.shape[1]):
        order = sorted(range(len(chosen)), key=lambda i: (-chosen[i, unit], i))[:top]
        known = [bytes(chosen_contexts[i]) for i in order if chosen[i, unit] > 0]
        alike = []
        for context in scored_contexts:
            text = bytes(context)
            best = 0
            for other in known:
                length = 0
                while length < len(text) and text[len(text) - 1 - length] == other[len(text) - 1 - length]:
                    length += 1
                best = max(best, length)
            alike.append(best)
        strong = scored[:, unit] > 0.5 * chosen[:, unit].max()
        areas.append(roc_auc_score(strong, alike) if known and 0 < strong.sum() < len(strong) else np.nan)
    return areas


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_scikit_learns_on_likeness_counted_by_loops(seed):
    generator = np.random.default_rng(seed)
    chosen, scored = (generator.normal(size=(40, 6)).clip(-0.5) for _ in range(2))
    chosen[:, 4] = -0.1  # never fires
    scored[:, 5] = 0.0  # is nowhere strong
    contexts = [generator.integers(97, 99, (40, 3)).astype(np.uint8) for _ in range(2)]
    found = detection(chosen, contexts[0], scored, contexts[1])
    assert np.allclose(found, by_hand(chosen, contexts[0], scored, contexts[1]), equal_nan=True, atol=1e-12)
    assert np.isnan(found[4:]).all() and np.isfinite(found[:4]).any()


def test_a_unit_of_one_letter_is_explained_and_one_of_chance_is_not():
    generator = np.random.default_rng(0)
    symbols = generator.integers(97, 101, 4000).astype(np.uint8)
    contexts = contexts_at(symbols, np.arange(4000))
    units = np.stack([symbols == 97, generator.random(4000) < 0.3], 1).astype(float)
    found = detection(units[:2000], contexts[:2000], units[2000:], contexts[2000:])
    assert found[0] > 0.999 and found[1] == pytest.approx(0.5, abs=0.06)


def test_contexts_are_shown_with_signs_for_what_cannot_be_seen():
    assert readable(b"\0\0a\n\0b") == "a↵␀b"
    assert readable(b"\x82x") == "�x"
