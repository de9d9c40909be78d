"""Predicates counted by hand, F1 against scikit-learn, and means over layers."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from tests.evaluate.transcoders import transcoder
from winnow.dictionaries.harvest import Corpus, corpus_of
from winnow.evaluate import transcoder_comparison as comparison
from winnow.pipeline.tables import write_parquet
from winnow.workloads.names_language import CENTURIES, NAMES, PAD, documents, vocabulary
from winnow.workloads.sequences import SequenceMeta, Sequences


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curated")
    for split, count in (("train", 4), ("test", 400)):
        meta = SequenceMeta(vocabulary(), 32, "x").encode()
        write_parquet(documents(split, count, 0), folder / f"{split}.parquet", meta)
    return Sequences(folder)


@pytest.fixture(scope="module")
def corpus(workload):
    return corpus_of(workload, "test")


@pytest.fixture(scope="module")
def known(workload, corpus):
    return comparison.predicates(workload, corpus)


def by_hand(corpus, holds):
    """A predicate of a document's words and a position, one row after another."""
    words = vocabulary()
    told = [[words[token] for token in row if token != PAD] for row in corpus.tokens.tolist()]
    return [
        holds(told[n], t) for n, row in enumerate(corpus.kept.tolist()) for t, kept in enumerate(row) if kept
    ]  # fmt: skip


def begun(words, t):
    """The first year of a span that is told up to a position, or -1."""
    years = [int(word[1:]) for word in words[: t + 1] if word.startswith("y") and word[1:].isdigit()]
    return years[0] if years else -1


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        (f"token {vocabulary().index('lasted')}", lambda words, t: words[t] == "lasted"),
        (f"before {vocabulary().index('the')}", lambda words, t: words[t - 1] == "the"),
        ("position 5", lambda words, t: t == 5),
        ("class names", lambda words, t: words[t] in NAMES),
        ("class before centuries", lambda words, t: words[t - 1] in CENTURIES),
        ("kind years", lambda words, t: "lasted" in words),
        ("kind requests", lambda words, t: "please" in words),
        ("kind names", lambda words, t: "lasted" not in words and "please" not in words),
        ("begins from 30", lambda words, t: begun(words, t) >= 30),
    ],
)  # fmt: skip
def test_predicates_hold_where_they_say(known, corpus, name, holds):
    assert known[name].tolist() == by_hand(corpus, holds)


def test_predicates_are_of_kept_rows_and_frequent(known, corpus):
    assert all(len(member) == int(corpus.kept.sum()) and int(member.sum()) >= 40 for member in known.values())
    assert {f"begins from {year}" for year in range(10, 90, 10)} <= set(known)
    assert "begins from 100" not in known and "token 0" not in known
    assert len({tuple(member.nonzero()[:, 0].tolist()) for member in known.values()}) > 60


def test_the_first_token_has_none_before_it(workload):
    tokens = torch.full((50, 12), 7)
    found = comparison.predicates(workload, Corpus(tokens, tokens, torch.ones(50, 12, dtype=torch.bool)))
    assert found["before -1"].tolist() == ([True] + [False] * 11) * 50
    assert found["before 7"].tolist() == ([False] + [True] * 11) * 50


def test_best_f1_is_that_of_the_predicate_that_a_latent_tells_best():
    generator = np.random.default_rng(0)
    active = generator.random((200, 6)) < 0.4
    member = {str(i): generator.random(200) < 0.3 for i in range(5)}
    member["2"] = active[:, 3] & (generator.random(200) < 0.9)
    active[:, 5] = False
    active[:9, 5] = True
    found = comparison.best_f1(torch.from_numpy(active), {k: torch.from_numpy(v) for k, v in member.items()})
    for latent in range(5):
        expected = max(f1_score(of, active[:, latent]) for of in member.values())
        assert float(found[latent]) == pytest.approx(expected)
    assert found[3] > 0.9 and bool(found[5].isnan())
    active[9, 5] = True
    again = comparison.best_f1(torch.from_numpy(active), {k: torch.from_numpy(v) for k, v in member.items()})
    assert not bool(again[5].isnan())


def test_what_a_dictionary_tells_is_told_of_the_latents_that_fire():
    of, rows = transcoder(0, m=12), torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    active = of.dense(rows) > 0
    order = active.sum(0).argsort(descending=True)
    known = {"one": active[:, order[0]], "two": torch.arange(300) % 2 == 0}
    found = comparison.told(of, rows, known)
    each = comparison.best_f1(active, known)
    live = each[~each.isnan()]
    assert found["live"] == len(live) and found["best_f1"] == pytest.approx(float(live.mean()))
    assert found["telling"] == pytest.approx(float((live >= 0.8).double().mean())) and found["telling"] >= 1 / 12
    nothing = comparison.told(of, rows[:5], {name: member[:5] for name, member in known.items()})
    assert nothing == {"best_f1": None, "telling": None, "live": 0.0}


def row(system, variant, **values):
    return [{"system": system, "variant": variant, "metric": name, "value": value} for name, value in values.items()]


def test_means_are_over_layers_and_of_recovered_loss_over_costly_ones():
    tail = {"best_f1": 0.5, "telling": 0.2, "fvu": 0.1, "l0": 4.0}
    rows = [
        *row("transcoder", "layer0-k4", ablation_cost=1.8, ce_recovered_mean=0.9, **tail),
        *row("transcoder", "layer1-k4", ablation_cost=0.2, ce_recovered_mean=0.7, **tail | {"best_f1": 0.7}),
        *row("transcoder", "layer2-k4", ablation_cost=0.19, ce_recovered_mean=-5.0, **tail | {"best_f1": None}),
        *row("transcoder_sae", "layer0-k4", ablation_cost=0.1, ce_recovered_mean=0.9, **tail),
        *row("transcoder", "layer0-k16", ablation_cost=1.8, ce_recovered_mean=0.95, **tail),
    ]
    found = comparison.summary(rows, 0.2)
    assert set(found) == {("transcoder", "k4"), ("transcoder", "k16"), ("transcoder_sae", "k4")}
    one = found["transcoder", "k4"]
    assert one["ce_recovered_costly"] == pytest.approx(0.8) and one["costly_layers"] == 2
    assert one["best_f1"] == pytest.approx(0.6) and one["l0"] == 4.0 and one["telling"] == pytest.approx(0.2)
    assert found["transcoder_sae", "k4"]["ce_recovered_costly"] is None
    assert found["transcoder_sae", "k4"]["costly_layers"] == 0
    assert comparison.SYSTEMS == {True: "transcoder", False: "transcoder_sae"}
