"""Copies go and one stays, counts add up, and order does not matter."""

import ast
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curate.source_files import BAD, GOOD
from winnow.curate.code_signals import THRESHOLDS
from winnow.curate.opencoder import (
    KNEE,
    LEAST_LINES,
    PART,
    PRIVATE,
    Dropped,
    File,
    chunks,
    downsample,
    exact_copies,
    heuristic_filter,
    mask_private,
    near_copies,
    popular,
    run_recipe,
    strip_header,
    transform,
    uninformative,
)
from winnow.errors import InputError
from winnow.workloads.minhash import collision_probability


def files_of(texts, **told):
    return [File(i, f"r{i}", f"r{i}/{i}.py", text, **told) for i, text in enumerate(texts)]


HEAD = "# Copyright (c) 2020 Someone\n# Licensed under MIT\n\n"


def test_headers_go_and_the_code_stays():
    assert strip_header(HEAD + GOOD) == GOOD
    assert strip_header("#!/usr/bin/python\n" + HEAD + GOOD) == "#!/usr/bin/python\n" + GOOD
    assert strip_header("# coding: utf-8\n# SPDX-License-Identifier: MIT\n" + GOOD) == "# coding: utf-8\n" + GOOD
    for text in (GOOD, "# About lists.\n" + GOOD, GOOD + HEAD, "", '"""Copyright 2020"""\nx = 1\n'):
        assert strip_header(text) == text
    assert ast.dump(ast.parse(strip_header(HEAD + GOOD))) == ast.dump(ast.parse(HEAD + GOOD))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("# ask someone@example.org.", "# ask <EMAIL>."),
        ("host = '8.8.4.4'", "host = '<IP>'"),
        ("host = '127.0.0.1'", "host = '127.0.0.1'"),
        ("version = '1.2.3'", "version = '1.2.3'"),
        ('password = "hunter2hunter2"', 'password = "<PASSWORD>"'),
        ("api_key='abcdefgh1'", "api_key='<PASSWORD>'"),
        ('password = "short"', 'password = "short"'),
        ("@decorator", "@decorator"),
        ("@app.route", "@app.route"),
        ("a.b+c@x-y.example.org:8.8.4.4", "<EMAIL>:<IP>"),
        ("SECRET  =  'abc-def-ghi' # token", "SECRET  =  '<PASSWORD>' # token"),
    ],
)
def test_private_data_is_masked(text, masked):
    assert mask_private(text) == masked


@given(st.text(alphabet="a1.@-=' \"token", max_size=60))
def test_what_is_looked_for_first_is_a_part_of_all_that_is_masked(text):
    for name, pattern in PRIVATE.items():
        assert not pattern.search(text) or PART[name].search(text)


def edited(text, number):
    lines = text.splitlines(keepends=True)
    lines.insert(3, f"# fork {number}\n")
    return "".join(lines)


LONG = "".join(f"def function_{i}(a, b):\n    return a * {i} + b ** {i * i} - value_{i}\n\n\n" for i in range(60))
OTHER = LONG.replace("function", "operation").replace("return a", "yield a")


def test_of_copies_the_most_popular_stays_then_the_first():
    files = [File(0, "a", "x", "t", 1), File(1, "b", "x", "t", 3), File(2, "c", "x", "t", 3), File(3, "d", "x", "u", 0)]
    kept, gone = exact_copies(files)
    assert [file.number for file in kept] == [1, 3]
    assert gone == [Dropped(0, "", "exact_copy", 1), Dropped(2, "", "exact_copy", 1)]


def test_near_files_go_and_other_files_stay():
    files = files_of([LONG, edited(LONG, 1), OTHER, GOOD])
    kept, gone = near_copies(files)
    assert [file.number for file in kept] == [0, 2, 3]
    assert gone == [Dropped(1, "", "near_copy", 0)]
    assert near_copies(kept) == (kept, [])
    with pytest.raises(InputError, match="similarity: is 0; give more than 0"):
        near_copies(files, similarity=0)


def test_repositories_go_as_a_whole_or_not_at_all():
    files = [File(i, "a", f"{i}", text, 1) for i, text in enumerate([LONG, GOOD])]
    fork = [File(2 + i, "b", f"{i}", text) for i, text in enumerate([edited(LONG, 1), GOOD])]
    part = [File(4, "c", "0", GOOD), File(5, "c", "1", OTHER)]
    kept, gone = near_copies([*files, *fork, *part], "repository")
    assert [file.number for file in kept] == [0, 1, 4, 5]
    assert gone == [Dropped(2, "", "near_copy", 0), Dropped(3, "", "near_copy", 0)]


def test_chunks_that_come_again_are_cut_out():
    lines = [f"line_{i} = {i}\n" for i in range(300)]
    parts = ["".join(part) for part in chunks("".join(lines))]
    long = [part for part in parts if part.count("\n") >= LEAST_LINES]
    assert "".join(parts) == "".join(lines) and 8 <= len(parts) <= 30 and len(long) >= 5
    files = files_of(["".join(lines), "extra = 1\n" * 7 + "".join(lines), "".join(parts[1:3]) + "y = 2\n", long[1]])
    kept, gone = near_copies(files, "chunk")
    # Lines before the copied ones move no chunk but the first; a chunk of few lines stays.
    short = [part for part in parts[1:] if part.count("\n") < LEAST_LINES]
    assert kept[0] == files[0]
    assert kept[1].text == "extra = 1\n" * 7 + parts[0] + "".join(short)
    assert kept[1].cut == len([part for part in parts[1:] if part in long])
    assert kept[2].cut == sum(part in long for part in parts[1:3]) and kept[2].text.endswith("y = 2\n")
    assert gone == [Dropped(3, "", "known_chunks")]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 299), st.integers(1, 30))
def test_lines_that_are_put_in_change_the_chunk_they_are_in_and_hardly_any_other(at, count):
    lines = [f"line_{i} = {i}\n" for i in range(300)]
    whole = ["".join(part) for part in chunks("".join(lines))]
    again = ["".join(part) for part in chunks("".join([*lines[:at], *["new\n"] * count, *lines[at:]]))]
    assert len([part for part in whole if part not in again]) <= 3


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(6)))
def test_deduplication_does_not_depend_on_the_order_of_rows(order):
    files = files_of([LONG, edited(LONG, 1), OTHER, GOOD, GOOD, LONG])
    shuffled = [files[i] for i in order]
    for step in (exact_copies, near_copies, lambda f: near_copies(f, "chunk")):
        kept, gone = step(files)
        again, away = step(shuffled)
        assert {f.number for f in again} == {f.number for f in kept}
        assert sorted(away, key=lambda d: d.number) == gone


def test_the_knee_is_that_of_the_papers_bands():
    # Where s^rows is 1 / bands.
    assert collision_probability(KNEE, 16, 128) == pytest.approx(1 - (1 - 1 / 16) ** 16)


def test_tests_and_data_are_told_and_thinned():
    data = "VALUES = [\n" + "".join(f"    {i},\n" for i in range(50)) + "]\n"
    told = {"a/test_x.py": GOOD, "a/tests/x.py": GOOD, "a/x.py": data, "a/y.py": GOOD, "a/z.py": "def ("}
    found = [uninformative(path, text) for path, text in told.items()]
    assert found == ["test", "test", "data", None, None]
    files = [File(i, "a", "a/test_x.py" if i % 2 else "a/x.py", f"{GOOD}\nx = {i}\n") for i in range(400)]
    kept, gone = downsample(0.25)(files)
    assert all(file.number % 2 for file in files if file.number in {d.number for d in gone})
    assert len(gone) == pytest.approx(150, abs=20) and {d.reason for d in gone} == {"test"}
    assert downsample(1)(files) == (files, [])


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("a.py", "x = [1]\ny = 2\n", None),  # half of the lines are not most
        ("a.py", "x = [1]\ny = (2,)\nz = 3\n", "data"),
        ("a.py", "x = {\n    1: 2,\n}\ny = 2\nz = 3\n", "data"),
        ("a.py", "x = {\n    1: 2,\n}\ny = 2\nz = 3\nw = 4\n", None),
        ("a.py", "", None),
        ("a_test.py", "", "test"),
        ("tests/a.py", "", "test"),
        ("latests/a.py", "", None),
        ("test_a/b.py", "", None),
        ("a.py", "x = '\0'", None),
    ],
)
def test_what_little_is_learned_from_is_told_by_path_and_by_most_lines(path, text, kind):
    assert uninformative(path, text) == kind


def test_a_text_of_comments_alone_may_be_a_header():
    assert strip_header(HEAD) == "" and strip_header("#!/usr/bin/python\n") == "#!/usr/bin/python\n"
    assert strip_header("# coding: utf-8\n" + HEAD) == "# coding: utf-8\n"
    assert strip_header("# About.\n# All rights reserved\n\n\nx = 1") == "x = 1"


def test_near_copies_are_of_files_at_the_knee_by_the_first_seed_unless_told():
    files = files_of([LONG, edited(LONG, 1), OTHER, LONG.replace("value", "number")])
    assert near_copies(files) == near_copies(files, "file", KNEE, 0)
    assert [file.number for file in near_copies(files)[0]] == [0, 2, 3]
    assert [file.number for file in near_copies(files, similarity=0.3)[0]] == [0, 2]
    assert File(0, "a", "b", "c").popularity == 0.0 and Dropped(0, "a", "b").keeper is None


def test_popular_repositories_stay():
    files = [File(0, "a", "x", "t", 1), File(1, "b", "x", "t", 2)]
    assert popular(2)(files) == ([files[1]], [Dropped(0, "", "unpopular")])


def test_counts_of_a_recipe_add_up_and_reasons_name_their_step():
    texts = [LONG, LONG, edited(LONG, 1), HEAD + GOOD, BAD["words"], BAD["unparsed"]]
    steps = {"exact": exact_copies, "near": near_copies, "transform": transform, "filter": heuristic_filter(THRESHOLDS)}
    files = files_of(texts)
    random.Random(0).shuffle(files)
    kept, gone, funnel = run_recipe(files, steps)
    assert len(kept) + len(gone) == len(files)
    told = {d.number: (d.step, d.reason) for d in gone}
    assert told[1] == ("exact", "exact_copy") or told[0] == ("exact", "exact_copy")
    assert told[4] == ("filter", "words") and told[5] == ("filter", "unparsed")
    assert [row["files_in"] for row in funnel][1:] == [row["files_out"] for row in funnel][:-1]
    assert funnel[-1]["characters"] == sum(len(file.text) for file in kept)
    with pytest.raises(ValueError, match="bad: 6 files went in, 0 stay and 0 went"):
        run_recipe(files, {"bad": lambda files: ([], [])})
