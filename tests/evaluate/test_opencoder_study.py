"""Forks are planted as told, arms have equal budgets, copies are scored against the truth."""

import ast
from dataclasses import replace

import numpy as np
import pytest

from tests.curate.test_texts import many, program, raw
from winnow.curate.byte_pairs import train_byte_pairs
from winnow.curate.code_signals import THRESHOLDS
from winnow.curate.opencoder import Dropped, File, heuristic_filter, transform
from winnow.errors import InputError
from winnow.evaluate import opencoder_study as study

IMPORTS = b"import one\nfrom three_b.parts import y\nimport two\n"
TABLE = raw(
    {
        "one": many("one", 0, 12),
        "two": many("two", 100, 8) | {"two/uses.py": IMPORTS + program(400), "two/kin.py": program(201, change=12)},
        "three-b": many("three", 300, 4),
        "apart": many("apart", 200, 5),
        "latin": {"latin/a.py": "é = 1".encode("latin-1")},
    }
)
FILES, APART, FUNNEL = study.pool_of(TABLE, ["apart"])
POOL, SOURCE = study.with_forks(FILES, 2.0, 0.7, 0)
FOUND = study.arms(POOL, {}, 0.8, 0.5, 0)


def test_the_pool_has_no_file_near_to_those_held_out_and_knows_who_imports_whom():
    assert len(APART) == 5 and len(FILES) == 12 + 8 + 1 + 4
    assert {file.repository: file.popularity for file in FILES} == {"one": 1, "two": 0, "three-b": 1}
    with pytest.raises(InputError, match="0 held out"):
        study.pool_of(TABLE, ["nobody"])


def test_the_funnel_starts_with_all_rows_also_those_that_cannot_be_read():
    sizes = [sum(len(text) for text in TABLE["text"].to_pylist() if text), None, sum(len(file.text) for file in FILES)]
    sizes[1] = sizes[0] - sum(map(len, APART))
    expected = [
        {"step": "unreadable", "files_in": 32, "files_out": 31, "characters": sizes[0]},
        {"step": "held_out", "files_in": 31, "files_out": 26, "characters": sizes[1]},
        {"step": "related_to_held_out", "files_in": 26, "files_out": 25, "characters": sizes[2]},
    ]
    assert expected == FUNNEL


def test_arms_differ_by_what_is_dropped_and_by_no_text():
    texts = {file.number: file.text for file in FOUND["raw"][0]}
    assert any(texts[file.number] != file.text for file in POOL)  # of forks with a header
    for arm, (files, _, funnel) in FOUND.items():
        if arm != "chunk":
            assert all(file.text == texts[file.number] for file in files)
        assert [row["step"] for row in funnel].count("transform") == 1
    steps = [row["step"] for row in FOUND["file"][2]]
    assert steps == ["exact", "near", "transform"]


def test_forks_are_copies_or_have_a_header_and_a_new_line_and_are_found():
    texts = {file.number: file.text for file in POOL}
    assert sorted(texts) == list(range(len(POOL))) and len(SOURCE) == len(POOL) - len(FILES)
    same = [texts[fork] == texts[original] for fork, original in SOURCE.items()]
    assert np.mean(same) == pytest.approx(0.7, abs=0.15) and len(SOURCE) == pytest.approx(2 * len(FILES), rel=0.4)
    for fork, original in SOURCE.items():
        extra = set(texts[fork].splitlines()) - set(texts[original].splitlines())
        assert texts[fork] == texts[original] or 2 <= len(extra) <= 6
    files, gone, _ = FOUND["file"]
    assert study.fork_scores(POOL, gone, SOURCE) == {"recall": 1.0, "precision": 1.0}
    assert len(files) == len(FILES)


def test_scores_count_surplus_copies():
    gone = [Dropped(drop.number, "", drop.reason) for drop in FOUND["file"][1]]
    of = SOURCE.get(gone[0].number, gone[0].number)
    kept = next(f.number for f in FOUND["file"][0] if SOURCE.get(f.number, f.number) != of)
    found = study.fork_scores(POOL, [*gone[1:], Dropped(kept, "", "near_copy")], SOURCE)
    assert found["recall"] == pytest.approx((len(gone) - 1) / len(gone)) == found["precision"]
    assert study.fork_scores(POOL, [], SOURCE)["recall"] == 0


def test_counts_of_every_arm_add_up():
    for files, gone, funnel in FOUND.values():
        assert len(files) + len(gone) == len(POOL)
        assert not funnel or funnel[-1]["files_out"] == len(files)
        assert len({d.number for d in gone} | {f.number for f in files}) == len(POOL)


def test_arms_learn_from_as_many_tokens_and_too_few_are_refused():
    tokenizer = train_byte_pairs([file.text for file in FILES], 300)
    told = study.learned(FOUND["file"][0], {"held_out": study.held(APART, tokenizer)}, tokenizer, 5000, 2, 0)
    assert told == study.learned(
        FOUND["file"][0][::-1], {"held_out": study.held(APART, tokenizer)}, tokenizer, 5000, 2, 0
    )
    assert 0 < told["train"]["bits_per_token"] < told["held_out"]["bits_per_token"]
    tokens = len(study.tokens_of(APART, tokenizer))
    ratio = told["held_out"]["bits_per_byte"] / told["held_out"]["bits_per_token"]
    assert ratio == pytest.approx(tokens / sum(map(len, APART)))
    for files in (FOUND["file"][0], []):
        with pytest.raises(InputError, match="budget: is 10000000 tokens"):
            study.learned(files, {}, tokenizer, 10_000_000, 2, 0)


def test_imports_are_found_wherever_statements_stand():
    text = """
import a.b
try:
    from c import d
except ImportError:
    import e
else:
    import f
finally:
    import g
with x:
    for i in y:
        import h
    else:
        import j
match x:
    case 1:
        import k
def m():
    class N:
        async def o(self):
            while (lambda: 0)():
                import p
from . import q
"""
    expected = {node.names[0].name.split(".")[0] for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)}
    assert study._imports(text) == expected | {"c"} == set("abcefghjkp") - {"b"}


def test_files_are_judged_as_the_filter_judges_them_without_their_headers():
    files = [replace(file, text=study.LICENCE.format(year=1, name="x") + file.text) for file in FILES[:3]]
    files += [File(3, "r", "short.py", "x = 1\n"), File(4, "r", "tests/prints.py", "print(1)\n" * 40)]
    limits = {"lines": (3, None)}
    table = study.judged(files, limits).to_pylist()
    kept, gone = heuristic_filter({**THRESHOLDS, **limits})(transform(files)[0])
    reasons = {drop.number: drop.reason for drop in gone} | dict.fromkeys((file.number for file in kept), None)
    assert [row["dropped_by"] for row in table] == [reasons[file.number] for file in files]
    assert reasons[3] and reasons[4] and table[0]["lines"] == len(FILES[0].text.splitlines())
    assert [(row["repository"], row["path"]) for row in table] == [(file.repository, file.path) for file in files]


def test_up_to_twenty_files_are_shown_for_each_reason_of_each_step():
    gone = FOUND["downsample"][1]
    table = study.shown(POOL, gone, 0)
    assert table.schema == study.SHOWN and table.equals(study.shown(POOL, gone, 0))
    groups = {}
    for drop in gone:
        groups.setdefault((drop.step, drop.reason), []).append(drop)
    texts = {(file.repository, file.path): file.text for file in POOL}
    for key, drops in groups.items():
        rows = [row for row in table.to_pylist() if (row["step"], row["reason"]) == key]
        assert len(rows) == min(20, len(drops)) and {row["files"] for row in rows} == {len(drops)}
        assert len({(row["repository"], row["path"]) for row in rows}) == len(rows)
        for row in rows:
            text = texts[row["repository"], row["path"]]
            assert text.startswith(row["text"]) and row["cut"] == (len(row["text"]) < len(text))
            assert (row["keeper"] is not None) == (key[1] in ("exact_copy", "near_copy"))
    assert max(len(drops) for drops in groups.values()) > 20
    long = File(0, "r", "a.py", "line\n" * 50)
    (row,) = study.shown([long, File(1, "s", "b.py", "")], [Dropped(0, "filter", "lines", 1)], 0).to_pylist()
    assert row["text"] == "line\n" * 40 and row["cut"] and row["value"] == 50 and row["keeper"] == "s/b.py"
