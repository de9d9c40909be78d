"""Pages are documentation, a seed is part of one package, and recall and precision are told on the pages beside it."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, drawn, spans, titles
from winnow.curate.byte_pairs import encode, train_byte_pairs
from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.code_recall_study import SHORTEST, pages_of, recall_chart, study
from winnow.pipeline.tables import metric_rows

WEB, OTHER = (
    "Send a request to the server and read its response. ",
    "Sort the rows of a table by the values in a column. ",
)


def test_documentation_is_pages_of_which_recall_and_precision_are_told(tmp_path):
    documents = [
        {
            "package": name,
            "path": f"{name}/{i}.py",
            "text": f'"""{text * 2}{i}"""\n\n\ndef f():\n    """{text * 2}"""\n',
        }
        for name, text in (("http", WEB), ("net", WEB), ("sort", OTHER))
        for i in range(6)
    ]
    documents.append({"package": "sort", "path": "sort/x.py", "text": f'"""{"x" * (SHORTEST - 1)}"""\n'})
    pages = pages_of(documents)
    assert len(pages) == 36 and pages[0] == {"package": "http", "path": "http/0.py", "text": f"{WEB * 2}0"}
    tokenizer = train_byte_pairs([page["text"] for page in pages], 290)
    options = {"rounds": 2, "domain_share": 0.1, "seed": 0}
    told = study(pages, ["http", "net"], tokenizer, share=0.5, **options)
    assert told == study(pages, ["http", "net"], tokenizer, share=0.5, **options)
    assert told[0]["seed"] == 6 and told[-1]["recall"] >= told[0]["recall"] > 0.5 and told[-1]["precision"] > 0.9
    with pytest.raises(InputError, match="wanted: nothing have 0 of 36 pages"):
        study(pages, ["nothing"], tokenizer, share=0.5, **options)
    labels = {"system": "code_recall", "workload": "w", "split": "train", "variant": "rounds", "seed": 0}
    rows = [(name, row[name], row["round"]) for row in told for name in ("recall", "precision", "seed")]
    chart = recall_chart(metric_rows(rows, **labels))
    found = {(r["metric"], r["step"], r["mean"]) for r in drawn(chart) if "step" in r}
    assert found == {(name, step, value) for name, value, step in rows if name != "seed"}
    save_chart(chart, tmp_path / "recall.svg")


def test_pages_are_documentation_of_80_letters_of_modules_classes_and_functions():
    long, other = "a " * 40 + "b", "c" * SHORTEST
    text = f'''"""{long}"""


class A:
    """{other}"""

    def short(self):
        """{"d" * (SHORTEST - 1)}"""

    async def waits(self):
        """{other}e"""

        def inner():
            pass


x = """{other}f"""
'''
    found = pages_of(
        [{"package": "p", "path": "p/a.py", "text": text}, {"package": "q", "path": "q/b.py", "text": "1"}]
    )
    assert [page["text"] for page in found] == [long, other, f"{other}e"]
    assert all((page["package"], page["path"]) == ("p", "p/a.py") for page in found)


PAGES = [
    {"package": name, "path": f"{name}/{i}.py", "text": f"{name} page {i}"}
    for name, count in (("http", 10), ("net", 10), ("sort", 20))
    for i in range(count)
]
TOKENIZER = train_byte_pairs([page["text"] for page in PAGES], 280)


def told_of(monkeypatch, recalled, **options):
    """(what the study tells, what it asked the rounds for) where the rounds recall as told."""
    asked = {}

    def rounds(tokens, domains, prefixes, start, about, **more):
        asked.update(tokens=tokens, domains=domains, prefixes=prefixes, start=start, about=about, **more)
        return [{"round": i + 1, "seed": 3, "domains": ["http"] * i, "recalled": r} for i, r in enumerate(recalled)]

    monkeypatch.setattr("winnow.evaluate.code_recall_study.recall_rounds", rounds)
    settings = {"share": 0.3, "rounds": 4, "domain_share": 0.25, "seed": 5} | options
    return study(PAGES, ["http", "net"], TOKENIZER, **settings), asked


def test_a_seed_is_a_share_of_the_pages_of_one_wanted_package(monkeypatch):
    packages = np.array([page["package"] for page in PAGES])
    firsts = set()
    for seed in range(8):
        _, asked = told_of(monkeypatch, [], seed=seed)
        first = set(packages[asked["start"]])
        assert len(asked["start"]) == len(set(asked["start"])) == 3 and len(first) == 1 and first < {"http", "net"}
        firsts |= first
    assert firsts == {"http", "net"}
    assert len(told_of(monkeypatch, [], share=0.01)[1]["start"]) == 2  # two pages at least
    assert len(told_of(monkeypatch, [], share=0.26)[1]["start"]) == 3


def test_rounds_get_tokens_domains_and_what_is_known_of_a_path(monkeypatch):
    _, asked = told_of(monkeypatch, [])
    assert (asked["rounds"], asked["domain_share"], asked["seed"]) == (4, 0.25, 5)
    assert asked["domains"] == [page["package"] for page in PAGES]
    assert asked["prefixes"] == [page["path"] for page in PAGES]
    assert [asked["about"](path) for path in ("http/0.py", "net/9.py", "sort/3.py")] == [True, True, False]
    whole = encode(TOKENIZER, [page["text"] for page in PAGES]).to_pylist()
    # All tokens of a page but the end.
    assert [row.tolist() for row in asked["tokens"]] == [ids[:-1] for ids in whole]
    assert asked["tokens"][0].dtype == np.int64


def test_recall_and_precision_leave_the_seed_out(monkeypatch):
    _, asked = told_of(monkeypatch, [])
    start = np.array(asked["start"])
    none, everything, some = np.zeros(40, bool), np.ones(40, bool), np.zeros(40, bool)
    some[start] = True  # of no account
    beside = np.setdiff1d(np.arange(20), start)
    some[beside[:4]] = True
    some[20] = True
    told, _ = told_of(monkeypatch, [none, everything, some])
    assert told == [
        {"round": 1, "seed": 3, "domains": 0, "recall": 0, "precision": 0},
        {"round": 2, "seed": 3, "domains": 1, "recall": 1, "precision": pytest.approx(17 / 37)},
        {"round": 3, "seed": 3, "domains": 2, "recall": pytest.approx(4 / 17), "precision": pytest.approx(4 / 5)},
    ]


@pytest.mark.parametrize(("wanted", "count"), [(["other"], 0), (["http", "net", "sort"], 40)])
def test_a_subject_of_no_page_or_of_all_is_refused(wanted, count):
    with pytest.raises(InputError, match=f"wanted: {', '.join(wanted)} have {count} of 40 pages; name other packages"):
        study(PAGES, wanted, TOKENIZER, share=0.5, rounds=1, domain_share=0.1, seed=0)


def test_the_chart_has_means_over_seeds_within_what_a_share_can_be(tmp_path):
    labels = {"system": "code_recall", "workload": "w", "split": "train", "variant": "rounds"}
    told = [[("recall", r, 1), ("precision", 0.5, 2), ("seed", 9.0, 1), ("recall", 0.7, None)] for r in (0.2, 1.0)]
    rows = [metric_rows(values, seed=seed, **labels) for seed, values in enumerate(told)]
    chart = recall_chart(pa.concat_tables(rows))
    found = {(r["metric"], r["step"]): (r["low"], r["mean"], r["high"]) for r in drawn(chart)}
    assert found == {("recall", 1): (0, 0.6, 1), ("precision", 2): (0.5, 0.5, 0.5)}
    assert titles(chart) == {"round", "share of pages"} and spans(chart) == {("low", "high")}
    check_look(lambda: recall_chart(pa.concat_tables(rows)), tmp_path)
    with pytest.raises(InputError, match="no rounds"):
        recall_chart(rows[0].slice(3))
