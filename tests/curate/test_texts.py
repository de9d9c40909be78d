"""Counts add up, near copies stay together or go, held-out packages stay apart, and order does not matter.

Components come from the join in memory here; that of shards on disk is held against it in its own test.
"""

import hashlib
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.curate.code_signals import THRESHOLDS, signals
from winnow.curate.texts import (
    JUDGED,
    REASONS,
    SPLITS,
    decide_fates,
    documents_of,
    dropped_of,
    judge_files,
    parses,
    report_of,
)
from winnow.errors import InputError
from winnow.workloads.minhash import near_duplicates, shingles, words
from winnow.workloads.text_tables import LARGEST_FILE, concat_text_tables, raw_text_table


def program(seed, lines=40, change=0):
    """Python of so many lines, of which the last `change` differ from those of another change."""
    generator = np.random.default_rng(seed)
    told = [
        f"value_{generator.integers(1000)} = {generator.integers(1000)} + {generator.integers(1000)}"
        for _ in range(lines)
    ]
    for i in range(change):
        told[-1 - i] = f"changed_{change}_{i} = {i}"
    return ("\n".join(told) + "\n").encode()


def raw(packages, licence="MIT"):
    return concat_text_tables([raw_text_table(files, name, name, licence) for name, files in packages.items()])


def many(name, first, count):
    return {f"{name}/{i}.py": program(first + i) for i in range(count)}


CORPUS = {
    "one": many("one", 0, 30)
    | {
        "one/copy.py": program(3),
        "one/near.py": program(4, change=1),
        "one/kin.py": program(5, change=12),
        "one/blank.py": b" \n",
        "one/broken.py": b"def f(:\n",
        "one/latin.py": "é = 1".encode("latin-1"),
        "one/bom.py": b"\xef\xbb\xbf" + program(90),
        "one/data.txt": b"not code",
    },
    "two": many("two", 100, 20)
    | {"two/of_apart.py": program(201, change=12), "two/near_apart.py": program(202, change=1)},
    "apart": many("apart", 200, 5),
}


def in_memory(texts):
    """The join of the files that are looked at, the others alone."""

    def join(thresholds, among):
        chosen = np.flatnonzero(among)
        found = shingles([words(texts[i]) for i in chosen])
        groups = np.tile(np.arange(len(texts)), (len(thresholds), 1))
        for group, threshold in zip(groups, thresholds, strict=True):
            group[chosen] = chosen[near_duplicates(found, threshold)]
        return groups

    return join


def curate_texts(raw, licences=None, measured=False, clean=False, **settings):
    classed = settings.get("downsample", 1) < 1
    judged = judge_files(raw, licences=licences, clean=clean, measured=measured, classed=classed)
    fates = decide_fates(judged, in_memory(raw["text"].to_pylist()), **settings)
    texts = raw["text"].combine_chunks()
    tables = {split: documents_of(fates, split) for split in SPLITS}
    tables = {split: table.append_column("text", texts.take(table["at"])) for split, table in tables.items()}
    tables = {split: table.drop_columns(["at"]) for split, table in tables.items()}
    return SimpleNamespace(tables=tables, dropped=dropped_of(fates), report=report_of(fates), fates=fates)


@pytest.fixture(scope="module")
def curated():
    return curate_texts(raw(CORPUS), workload="w", held_out=["apart"])


def paths(table):
    return set(table["path"].to_pylist())


def test_each_dropped_file_has_its_reason_and_counts_add_up(curated):
    reasons = dict(zip(curated.dropped["path"].to_pylist(), curated.dropped["reason"].to_pylist(), strict=True))
    copies = {"one/3.py", "one/copy.py"} & reasons.keys()
    near = {"one/4.py", "one/near.py"} & reasons.keys()
    assert len(copies) == len(near) == 1
    assert reasons == {
        "one/blank.py": "empty",
        "one/broken.py": "syntax",
        "one/latin.py": "encoding",
        copies.pop(): "exact_duplicate",
        near.pop(): "near_duplicate",
        "two/of_apart.py": "related_to_held_out",
        "two/near_apart.py": "near_duplicate",
    }
    report = curated.report
    kept = [path for table in curated.tables.values() for path in table["path"].to_pylist()]
    assert len(kept) == len(set(kept)) == report["kept"]
    assert report["rows_in"] == report["kept"] + sum(report["dropped"].values()) == len(raw(CORPUS))
    for counts in report["packages"].values():
        assert counts["rows_in"] == counts["kept"] + sum(counts["dropped"].values())
    assert set(report["dropped"]) == set(REASONS)
    sizes = {split: table["bytes"].to_pylist() for split, table in curated.tables.items()}
    assert report["splits"] == {split: {"kept": len(each), "bytes": sum(each)} for split, each in sizes.items()}


def test_what_stays_in_the_place_of_a_copy_is_named(curated):
    ids = {
        i: p
        for t in curated.tables.values()
        for i, p in zip(t["file_id"].to_pylist(), t["path"].to_pylist(), strict=True)
    }
    kept = dict(zip(curated.dropped["path"].to_pylist(), curated.dropped["kept"].to_pylist(), strict=True))
    assert ids[kept["two/near_apart.py"]] == "apart/2.py"
    assert kept["one/blank.py"] is None and kept["two/of_apart.py"] is None
    (copy,) = {"one/3.py", "one/copy.py"} & kept.keys()
    assert {ids[kept[copy]], copy} == {"one/3.py", "one/copy.py"}


def test_held_out_packages_are_a_split_of_their_own(curated):
    assert paths(curated.tables["held_out"]) == {f"apart/{i}.py" for i in range(5)}
    for split in SPLITS[:3]:
        assert not any(path.startswith("apart/") for path in paths(curated.tables[split]))


def test_related_files_share_a_cluster_and_a_split(curated):
    of = {
        path: (split, cluster)
        for split, table in curated.tables.items()
        for path, cluster in zip(table["path"].to_pylist(), table["cluster"].to_pylist(), strict=True)
    }
    assert of["one/5.py"] == of["one/kin.py"]
    assert len({cluster for _, cluster in of.values()}) == len(of) - 1


def test_a_byte_order_mark_is_no_part_of_the_text(curated):
    texts = {
        p: t
        for table in curated.tables.values()
        for p, t in zip(table["path"].to_pylist(), table["text"].to_pylist(), strict=True)
    }
    assert texts["one/bom.py"] == program(90).decode()


def test_shares_are_of_bytes():
    sizes = {f"p/{i}.py": program(i, lines=5 + i) for i in range(120)}
    found = curate_texts(raw({"p": sizes}), workload="w", fractions=(0.5, 0.25, 0.25))
    shares = [sum(found.tables[s]["bytes"].to_pylist()) for s in SPLITS[:3]]
    assert np.abs(np.array(shares) / sum(shares) - [0.5, 0.25, 0.25]).max() < 0.02


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_files_does_not_matter(random):
    table = raw(CORPUS)
    order = list(range(table.num_rows))
    random.shuffle(order)
    expected = curate_texts(table, workload="w", held_out=["apart"])
    found = curate_texts(table.take(pa.array(order)), workload="w", held_out=["apart"])
    for split in SPLITS:
        assert found.tables[split].equals(expected.tables[split])
    assert found.dropped.equals(expected.dropped)


def test_only_named_licences_are_taken():
    mixed = concat_text_tables([raw(CORPUS), raw_text_table(many("shut", 300, 9), "shut", "shut", "proprietary")])
    found = curate_texts(mixed, workload="w", licences=["MIT"])
    assert found.report["packages"]["shut"]["dropped"]["licence"] == 9
    assert found.report["dropped"]["licence"] == 9


@pytest.mark.parametrize("text", ["x = (", "def f(:", "\0", "print 1", "(" * 5000 + ")" * 5000])
def test_what_python_cannot_parse_is_told(text):
    assert not parses(text)


def test_prose_and_other_sources_stay_whatever_python_says_of_them():
    table = raw({"p": {f"p/{i}.py": b"x = (" + b"1" * i for i in range(3)}})
    for suffix, reason, language in ((".txt", None, "text"), (".MD", None, "markdown"), (".py", "syntax", "python")):
        paths = pa.array([f"p/{i}{suffix}" for i in range(3)])
        judged = judge_files(table.set_column(table.schema.get_field_index("path"), "path", paths), measured=True)
        assert judged["reason"].to_pylist() == [reason] * 3
        told = judged["signal_words"].to_pylist(), judged["signal_def_lines"].to_pylist()
        assert told == (([1, 2, 2], [None] * 3) if reason is None else ([None] * 3, [None] * 3))
        fates = pa.table(judged).append_column("split", pa.array(["train"] * 3)).append_column("file_id", [range(3)])
        fates = fates.append_column("cluster", [range(3)]).append_column("quality", [[1.0] * 3])
        assert documents_of(fates, "train")["language"].to_pylist() == [language] * 3


def test_a_file_that_is_too_large_is_not_told_to_be_wrongly_encoded():
    files = {"p/large.py": b"#" * (LARGEST_FILE + 1), "p/latin.py": "é".encode("latin-1")}
    assert judge_files(raw({"p": files}))["reason"].to_pylist() == ["too_large", "encoding"]


def test_warnings_of_the_parser_stay_silent(recwarn):
    assert parses('x = "\\d"\nassert (1, "always true")\n')
    assert not recwarn.list


UNUSABLE = {"a/0.py": b"def f(:\n", "a/1.py": b"\xff\xfe\x00", "a/2.py": b"", "a/3.py": b" \n", "a/4.py": b"'\x00'"}


@pytest.mark.parametrize(
    ("table", "changes", "words"),
    [
        (lambda: raw(CORPUS).drop_columns(["sha256"]), {}, "raw table: has columns"),
        (lambda: raw(CORPUS).slice(0, 0), {}, "no rows"),
        (lambda: raw(CORPUS), {"held_out": ["apat"]}, "held_out names 'apat', which is none of apart, one, two"),
        (lambda: raw(CORPUS), {"related_similarity": 0.9}, "give 0 < related <= near <= 1"),
        (lambda: raw(CORPUS), {"near_duplicate_similarity": 1.5}, "give 0 < related <= near <= 1"),
        (lambda: raw(CORPUS), {"licences": ["none"]}, "no file is left to train on"),
        (
            lambda: raw({"a": UNUSABLE}),
            {},
            "no file is left to train on; dropped are .*'encoding': 1, 'empty': 2, 'synt",
        ),
        (lambda: raw({"a": many("a", 0, 2)}), {}, "no file falls to"),
    ],
)
def test_impossible_input_is_one_clear_line(table, changes, words):
    with pytest.raises(InputError, match=words):
        curate_texts(table(), workload="w", **changes)


def test_a_file_is_numbered_by_the_first_63_bits_of_its_digest_and_a_cluster_by_its_least(curated):
    number = {
        path: int(hashlib.sha256(content).hexdigest(), 16) >> 193
        for files in CORPUS.values()
        for path, content in files.items()
    }
    for table in curated.tables.values():
        ids = table["file_id"].to_pylist()
        assert ids == sorted(ids) == [number[path] for path in table["path"].to_pylist()]
    clusters = {
        path: cluster
        for table in curated.tables.values()
        for path, cluster in zip(table["path"].to_pylist(), table["cluster"].to_pylist(), strict=True)
    }
    assert clusters["one/5.py"] == min(number["one/5.py"], number["one/kin.py"])


def test_each_split_that_stays_empty_is_named():
    for fractions, split in (((0.5, 0.5, 1e-9), "test"), ((0.5, 1e-9, 0.5), "valid"), ((1e-9, 0.5, 0.5), "train")):
        with pytest.raises(InputError, match=f"no file falls to {split}, of 2 that are kept; give more files"):
            curate_texts(raw({"a": many("a", 0, 2)}), workload="w", fractions=fractions)


def test_near_and_related_may_be_one_similarity_and_it_may_be_that_of_copies():
    found = curate_texts(raw(CORPUS), workload="w", near_duplicate_similarity=1.0, related_similarity=1.0)
    assert found.report["dropped"]["near_duplicate"] == 0
    everything = {path for table in found.tables.values() for path in paths(table)}
    assert {"one/4.py", "one/near.py", "two/of_apart.py"} < everything


def test_the_file_in_the_first_row_may_be_what_stays():
    table = raw({"p": {"a.py": program(0), "b.py": program(0)} | many("p", 10, 6)})
    found = curate_texts(table, workload="w")
    digest = hashlib.sha256(program(0)).hexdigest()
    assert found.dropped.to_pylist() == [
        {"row": 1, "source": "p", "path": "b.py", "reason": "exact_duplicate", "kept": int(digest, 16) >> 193}
    ]


def test_every_file_has_one_fate(curated):
    table = raw(CORPUS)
    fates = curated.fates
    assert fates["row"].equals(table["row"]) and fates["path"].equals(table["path"])
    for row in fates.to_pylist():
        assert (row["reason"] is None) == (row["split"] is not None)
        assert (row["file_id"] is None) == (row["cluster"] is None) == (row["split"] is None)
        assert row["kept"] is None or row["reason"] in ("exact_duplicate", "near_duplicate")


def test_files_are_judged_alike_alone_and_together():
    table = raw(CORPUS)
    judged = judge_files(table)
    assert judged.schema == JUDGED
    parts = [judge_files(table.slice(i, 7)) for i in range(0, table.num_rows, 7)]
    assert pa.concat_tables(parts).equals(judged)


def test_signals_are_measured_where_a_file_can_be_used():
    table = raw(CORPUS)
    judged = judge_files(table, measured=True)
    assert judged.schema.names == [*JUDGED.names, *(f"signal_{name}" for name in THRESHOLDS)]
    for row, text in zip(judged.to_pylist(), table["text"].to_pylist(), strict=True):
        found = {name: row[f"signal_{name}"] for name in THRESHOLDS}
        assert found == (dict.fromkeys(THRESHOLDS) if row["reason"] else signals(text))


def test_quality_is_the_share_of_signals_within_the_filter_s_own_limits(curated):
    texts = {f"p/{i}.py": program(i, lines=3 + i) for i in range(30)} | {"p/a.txt": b"no program at all\n" * 3}
    table = raw({"p": texts | {"p/b.py": b"def f(:"}})
    found = curate_texts(table, measured=True, workload="w", thresholds=dict.fromkeys(THRESHOLDS, (None, None)))
    for part in found.tables.values():
        for row in part.to_pylist():
            told = signals(row["text"], row["language"])
            low, high = zip(*(THRESHOLDS[name] for name in told), strict=True)
            inside = [
                (a is None or value >= a) and (b is None or value <= b)
                for value, a, b in zip(told.values(), low, high, strict=True)
            ]
            assert row["quality"] == pytest.approx(np.mean(inside))
    assert {row["quality"] for row in found.fates.to_pylist() if row["reason"] == "syntax"} == {None}
    assert len({row["quality"] for part in found.tables.values() for row in part.to_pylist()}) > 1
    assert curated.fates["quality"].null_count == curated.fates.num_rows  # nothing was measured


def test_files_outside_the_limits_of_signals_go_first_and_are_counted():
    lines = {f"p/{i}.py": program(i, lines=5 + i) for i in range(40)} | {"p/copy.py": program(39, lines=44)}
    limits = {"characters": (200, None), "lines": (10, 40)}
    found = curate_texts(raw({"p": lines}), measured=True, workload="w", thresholds=limits)
    reasons = {row["path"]: row["reason"] for row in found.dropped.to_pylist()}
    short = {f"p/{i}.py" for i in range(40) if len(program(i, lines=5 + i)) < 200}
    few = {f"p/{i}.py" for i in range(5)} - short
    assert short and {p for p, why in reasons.items() if why == "characters"} == short
    assert {p for p, why in reasons.items() if why == "lines"} == few | {f"p/{i}.py" for i in range(36, 40)} | {
        "p/copy.py"
    }
    dropped = found.report["dropped"]
    assert dropped["characters"] == len(short) and dropped["lines"] == len(few) + 5
    assert found.report["rows_in"] == 41 == found.report["kept"] + sum(dropped.values())
    assert set(dropped) == {*REASONS, "characters", "lines"}


def test_a_join_is_asked_for_both_similarities_and_only_what_is_left():
    table, asked = raw(CORPUS), []
    join = in_memory(table["text"].to_pylist())

    def noted(thresholds, among):
        asked.append((thresholds, among))
        return join(thresholds, among)

    settings = {"near_duplicate_similarity": 0.9, "related_similarity": 0.6}
    decide_fates(judge_files(table), noted, workload="w", **settings)
    ((thresholds, among),) = asked
    assert thresholds == (0.9, 0.6)
    away = {p for p, kept in zip(table["path"].to_pylist(), among, strict=True) if not kept}
    assert away == {"one/blank.py", "one/broken.py", "one/latin.py", "one/copy.py"}


LICENCE = "# Copyright 1999 A. Person <person@example.org>\n# All rights reserved.\n"


def test_clean_files_are_judged_without_their_headers_and_what_is_private():
    files = {f"p/{i}.py": LICENCE.encode() + program(i, lines=9 + i) for i in range(20)} | {"p/a.py": LICENCE.encode()}
    table = raw({"p": files | {"p/note.txt": b"write to someone@example.org", "p/latin.py": "é = 1".encode("latin-1")}})
    plain, clean = (judge_files(table, clean=told, measured=True).to_pylist() for told in (False, True))
    for path, a, b in zip(table["path"].to_pylist(), plain, clean, strict=True):
        assert (a["row"], a["sha256"], a["path"]) == (b["row"], b["sha256"], b["path"])
        if path == "p/a.py":
            assert a["reason"] is None and b["reason"] == "empty" and b["bytes"] == 0
        elif path == "p/note.txt":
            assert b["bytes"] == len("write to <EMAIL>") and b["signal_characters"] == b["bytes"]
        elif path == "p/latin.py":
            assert a == b and a["reason"] == "encoding"
        else:
            assert a["bytes"] - b["bytes"] == len(LICENCE) and a["signal_lines"] - b["signal_lines"] == 2


def test_tests_and_tables_of_data_are_downsampled_by_their_content_outside_of_held_out_packages():
    def package(name, first):
        return {f"{name}/tests/{i}.py": program(first + i) for i in range(60)} | many(name, first + 500, 30)

    table = raw({"one": package("one", 0), "apart": package("apart", 2000)})
    settings = {"workload": "w", "held_out": ["apart"]}
    whole, half, none = (curate_texts(table, **settings, downsample=share) for share in (1.0, 0.5, 0.0))
    gone = {share: set(found.dropped["path"].to_pylist()) for share, found in ((1, whole), (0.5, half), (0, none))}
    assert gone[1] == set() and gone[0] == {f"one/tests/{i}.py" for i in range(60)}
    assert gone[0.5] < gone[0] and 15 <= len(gone[0.5]) <= 45  # of 60 at one half: beyond 3.8 standard deviations
    assert half.report["dropped"]["downsampled"] == len(gone[0.5])
    order = np.random.default_rng(0).permutation(table.num_rows)
    assert set(curate_texts(table.take(order), **settings, downsample=0.5).dropped["path"].to_pylist()) == gone[0.5]


def test_only_usable_python_has_a_class():
    data = "table = [\n" + "1,\n" * 30 + "]\n"
    told = {"p/a.py": data, "p/c.py": "x = 1\n", "p/tests/b.py": "x = 1\n", "p/tests/e.py": "def"}
    table = raw({"p": {path: text.encode() for path, text in told.items()}})
    judged = judge_files(table, classed=True)
    found = dict(zip(judged["path"].to_pylist(), judged["uninformative"].to_pylist(), strict=True))
    expected = {"p/a.py": "data", "p/c.py": None, "p/tests/b.py": "test", "p/tests/e.py": None}
    assert found == expected
