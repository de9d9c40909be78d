"""Pages are documentation, a seed is part of one package, and recall and precision are told on pages never labelled."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, drawn, spans, titles
from winnow.curate.byte_pairs import encode, train_byte_pairs
from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.code_recall_study import SHORTEST, _laid_out, pages_of, recall_chart, study
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
    assert told[0]["seed"] == 4 and told[-1]["recall"] > 0.5 and told[-1]["precision"] > 0.9
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


class Says:
    """A classifier that recalls the pages whose tokens it is given."""

    def __init__(self, pages):
        self.pages = {tuple(page) for page in pages}

    def score(self, pages):
        return np.array([tuple(page.tolist()) in self.pages for page in pages]) * 1.0


WHOLE = [ids[:-1] for ids in encode(TOKENIZER, [page["text"] for page in PAGES]).to_pylist()]
"""All tokens of a page but the end."""


def told_of(monkeypatch, says, **options):
    """(what the study tells, what it asked the rounds for) where each round has a classifier that says as told."""
    asked = {}

    def rounds(tokens, domains, prefixes, start, about, **more):
        asked.update(tokens=tokens, domains=domains, prefixes=prefixes, start=start, about=about, **more)
        asked["pool"] = [WHOLE.index(row.tolist()) for row in tokens]
        return [{"round": i + 1, "seed": 3, "domains": ["http"] * i, "classifier": s} for i, s in enumerate(says)]

    monkeypatch.setattr("winnow.evaluate.code_recall_study.recall_rounds", rounds)
    settings = {"share": 0.3, "rounds": 4, "domain_share": 0.25, "seed": 5} | options
    return study(PAGES, ["http", "net"], TOKENIZER, **settings), asked


def test_a_seed_is_a_share_of_the_pool_s_pages_of_one_wanted_package(monkeypatch):
    firsts = set()
    for seed in range(8):
        _, asked = told_of(monkeypatch, [], seed=seed)
        packages = [PAGES[i]["package"] for i in asked["pool"]]
        (first,) = {packages[at] for at in asked["start"]}
        assert len(asked["start"]) == len(set(asked["start"])) == max(2, round(0.3 * packages.count(first)))
        firsts |= {first}
    assert firsts == {"http", "net"}
    assert len(told_of(monkeypatch, [], share=0.01)[1]["start"]) == 2  # two pages at least


def test_rounds_get_two_thirds_of_the_files_in_mixed_domains(monkeypatch):
    _, asked = told_of(monkeypatch, [])
    assert (asked["rounds"], asked["domain_share"], asked["seed"]) == (4, 0.25, 5)
    packages = [PAGES[i]["package"] for i in asked["pool"]]
    assert len(packages) == len(set(asked["pool"])) == 26 and packages.count("sort") == 13
    assert asked["prefixes"] == [f"{d}/{p}" for d, p in zip(asked["domains"], packages, strict=True)]
    strangers = [d != p for d, p in zip(asked["domains"], packages, strict=True)]
    assert 0 < sum(strangers) < 13 and set(asked["domains"]) == {"http", "net", "sort"}
    assert [asked["about"](f"sort/{name}") for name in ("http", "net", "sort")] == [True, True, False]
    assert asked["tokens"][0].dtype == np.int64


def laid_out(pages, seed=0):
    truth = np.array([page["package"] in ("http", "net") for page in pages])
    return _laid_out(pages, truth, np.random.default_rng(seed))


def test_three_tenths_of_the_files_lie_in_the_domain_of_another_package():
    """With two packages, one that was drawn from all would be the file's own every other time."""
    pages = [{"package": name, "path": f"{name}/{i}.py", "text": ""} for name in ("http", "sort") for i in range(4000)]
    _, domains = laid_out(pages)
    strange = np.mean([domain != page["package"] for domain, page in zip(domains, pages, strict=True)])
    assert strange == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 8000) ** 0.5)


def test_files_of_one_path_in_several_packages_are_several_files():
    pages = [
        {"package": name, "path": f"setup/{i}.py", "text": str(page)}
        for name in ("http", "net", "sort")
        for i in range(60)
        for page in range(2)
    ]
    aside, domains = laid_out(pages)
    packages = np.array([page["package"] for page in pages])
    for subject in (packages == "sort", packages != "sort"):
        assert aside[subject].mean() == pytest.approx(1 / 3)  # of exactly so many files
    # All pages of a file go together, and files of one path do not.
    assert (aside[::2] == aside[1::2]).all() and domains[::2] == domains[1::2]
    assert (aside[packages == "http"] != aside[packages == "net"]).any()
    assert np.mean([d == p for d, p in zip(domains, packages, strict=True)]) > 0.6


def test_recall_and_precision_are_of_the_classifier_on_pages_that_no_round_sees(monkeypatch):
    _, asked = told_of(monkeypatch, [])
    apart = sorted(set(range(40)) - set(asked["pool"]))
    about, beside = [i for i in apart if i < 20], [i for i in apart if i >= 20]
    assert (len(about), len(beside)) == (7, 7)
    pool = [WHOLE[i] for i in asked["pool"]]  # of no account
    says = [Says(pool), Says(pool + [WHOLE[i] for i in apart]), Says([WHOLE[i] for i in about[:4] + beside[:1]])]
    told, _ = told_of(monkeypatch, says)
    assert told == [
        {"round": 1, "seed": 3, "domains": 0, "recall": 0, "precision": 0},
        {"round": 2, "seed": 3, "domains": 1, "recall": 1, "precision": pytest.approx(7 / 14)},
        {"round": 3, "seed": 3, "domains": 2, "recall": pytest.approx(4 / 7), "precision": pytest.approx(4 / 5)},
    ]


def test_later_rounds_may_do_worse(monkeypatch):
    everything, nothing = Says(WHOLE), Says([])
    first, last = told_of(monkeypatch, [everything, nothing])[0]
    assert last["recall"] < first["recall"]


def test_a_subject_of_one_file_is_refused():
    pages = [page | {"path": "http/0.py"} if page["package"] == "http" else page for page in PAGES]
    with pytest.raises(InputError, match="wanted: http have one file with pages; name packages with more"):
        study(pages, ["http"], TOKENIZER, share=0.5, rounds=1, domain_share=0.1, seed=0)


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
