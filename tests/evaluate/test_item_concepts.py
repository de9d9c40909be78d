"""Concepts are what they say of a sequence, and a planted latent is told from one that fires by chance."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from winnow.errors import InputError
from winnow.evaluate.item_concepts import (
    attributes,
    average_precision,
    concept_features,
    confidence,
    interpret,
    ranking_of,
    sparse_acts,
    thresholded,
)

KINDS = ["genre", "era", "popularity", "property", "item"]
GENRES = [["Horror"], ["Comedy"], ["Horror", "Comedy"], [], ["Drama"], ["Drama"]]
YEARS = [1994, 1989, None, 1990, 1999, 2001]
EVENTS = [50, 30, 10, 5, 5, 0]


def items(count=6):
    return pa.table(
        {
            "item": list(range(1, count + 1)),
            "title": [f"film {i}" for i in range(1, count + 1)],
            "year": pa.array(YEARS[:count], pa.int32()),
            "genres": GENRES[:count],
            "properties": [["director: a"], ["director: a"], ["director: b"], [], [], []][:count],
            "events": EVENTS[:count],
        }
    )


def told(known, item):
    row = known.table[[item]].toarray().ravel()
    return {(kind, name) for kind, name, value in zip(known.kinds, known.names, row, strict=True) if value}


def test_attributes_are_what_the_table_says_of_each_item():
    known = attributes(items(), KINDS, least=2)
    buckets = [1, 4, 5, 5, 5, 5]  # half of an item's own events count as passed
    for item, (genres, year, bucket) in enumerate(zip(GENRES, YEARS, buckets, strict=True), 1):
        expected = {("genre", genre) for genre in genres} | {("popularity", f"popularity {bucket + 0} of 5")}
        expected |= {("era", f"{year // 10 * 10}s")} if year else set()
        expected |= {("property", "director: a")} if item in (1, 2) else set()
        found = told(known, item)
        assert {x for x in found if x[0] != "popularity"} == {x for x in expected if x[0] != "popularity"}
    assert told(known, 0) == set()
    assert set(attributes(items(), ["genre"]).kinds) == {"genre"}


def test_entities_without_a_name_are_called_by_the_items_most_taken():
    said = [["director: m.04ctbw8", "rated: R"], ["rated: R"], ["director: m.04ctbw8"], ["director: m.04ctbw8"]]
    table = items(4).set_column(4, "properties", pa.array(said))
    table = table.set_column(5, "events", pa.array([5, 9, 7, 30]))
    known = attributes(table, ["property"], least=2)
    assert known.names == ("director of film 4, film 3", "rated: R")
    assert told(known, 1) == {("property", "director of film 4, film 3"), ("property", "rated: R")}
    other = table.set_column(4, "properties", pa.array([["company: g.1z0spgt8p"], ["company: m. Night"], [], []]))
    assert attributes(other, ["property"], least=1).names == ("company of film 1", "company: m. Night")


def test_buckets_of_popularity_hold_a_fifth_of_all_events_each():
    table = items().set_column(5, "events", pa.array([20, 20, 20, 20, 20, 0]))
    known = attributes(table, ["popularity"])
    assert [told(known, item) for item in range(1, 6)] == [
        {("popularity", f"popularity {place} of 5")} for place in range(1, 6)
    ]


def test_features_are_the_last_item_the_shares_of_five_and_how_fresh_an_item_is():
    known = attributes(items(), ["genre"])
    recent = np.array([[0, 0, 1, 2, 3], [5, 5, 1, 1, 2]])
    features = concept_features(recent, known, [1, 2], [""] + [f"film {i}" for i in range(1, 7)])
    dense = dict(zip(zip(features.kinds, features.texts, strict=True), features.values.toarray().T, strict=True))
    assert dense["genre", "last item: Horror"].tolist() == [1, 0]
    assert dense["genre", "last item: Comedy"].tolist() == [1, 1]
    assert dense["genre", "recent items mostly Horror"] == pytest.approx([(0.8 + 1.2) / 3.0, (0.8 + 1.0) / 4.0])
    assert dense["genre", "recent items mostly Drama"] == pytest.approx([0, (0.4 + 0.6) / 4.0])
    assert dense["item", "recently film 1"].tolist() == [0.5, 0.7]
    assert dense["item", "recently film 2"].tolist() == [0.7, 1.0]
    assert features.about == (*range(3), *range(3), 1, 2)
    assert [features.texts[i].rpartition(" ")[2] for i in range(3)] == list(known.names)


def planted(rows=600, seed=0, noise=0.0):
    """Sequences over six items, and a latent for each of: last item is horror, chance, nothing."""
    generator = np.random.default_rng(seed)
    recent = generator.integers(1, 7, (rows, 5))
    known = attributes(items(), ["genre", "era"])
    features = concept_features(recent, known, [], [""] * 7)
    horror = np.isin(recent[:, -1], [1, 3]) ^ (generator.random(rows) < noise)
    chance = generator.random(rows) < 0.2
    acts = np.stack([horror * (1 + generator.random(rows)), chance * (1 + generator.random(rows)), np.zeros(rows)], 1)
    return sp.csr_array(acts), features


def test_a_planted_latent_is_found_and_told_without_error():
    rules = interpret(*planted())
    first = rules.to_pylist()[0]
    assert first["latent"] == 0 and first["text"].startswith("last item: Horror") and first["kind"] == "genre"
    assert 0 < first["threshold"] < 1 and first["lift"] == pytest.approx(3, rel=0.15)
    judged = confidence(rules, *planted(seed=1), seed=0).to_pylist()[0]
    assert [judged[name] for name in ("precision", "recall", "f1", "average_precision")] == [1, 1, 1, 1]
    assert judged["judged"] == 25


def test_a_latent_that_fires_by_chance_is_told_no_better_than_by_chance():
    hits, silent = [], []
    for seed in range(40):
        acts, features = planted(seed=2 * seed)
        row = interpret(acts, features).filter(pa.compute.equal(interpret(acts, features)["latent"], 1))
        other, new = planted(seed=2 * seed + 1)
        judged = confidence(row, other, new, seed=seed).to_pylist()[0]
        found = judged["recall"] * judged["judged"]
        hits.append(found)
        silent.append(found / judged["precision"] - found if judged["precision"] else 0)
    # As many active as inactive rows fulfil the rule: 1,000 of each, so that shares differ by .07 at three deviations.
    assert abs(np.sum(hits) - np.sum(silent)) / 1000 < 0.07


def test_silent_latents_have_no_concept_and_rare_ones_are_not_judged():
    acts, features = planted()
    assert 2 not in interpret(acts, features)["latent"].to_pylist()
    assert interpret(acts[:20], concept_rows(features, 20), least=21).num_rows == 0
    few = sp.csr_array(np.pad(acts[:3].toarray(), ((0, 597), (0, 0))))
    assert confidence(interpret(acts, features), few, features, seed=0, least=4).num_rows == 0
    with pytest.raises(InputError, match="of 3 rows, features of 600; give the same"):
        confidence(interpret(acts, features), acts[:3], features, seed=0)


def concept_rows(features, count):
    return type(features)(features.values[:count], features.kinds, features.texts, features.about)


def test_rules_come_from_the_rows_given_alone_whatever_their_order():
    acts, features = planted(noise=0.1)
    order = np.random.default_rng(0).permutation(acts.shape[0])
    mixed = type(features)(features.values[order], features.kinds, features.texts, features.about)
    here, there = interpret(acts, features).to_pylist(), interpret(acts[order], mixed).to_pylist()
    for one, other in zip(here, there, strict=True):
        assert one["text"] == other["text"] and one["threshold"] == pytest.approx(other["threshold"])


def test_the_score_is_the_ratio_of_the_sheet():
    acts, features = planted(noise=0.2)
    dense, values = acts.toarray(), features.values.toarray()
    for row in interpret(acts, features, top=30).to_pylist():
        top = np.argsort(-dense[:, row["latent"]], kind="stable")[:30]
        near, mean, spread = values[top].mean(0), values.mean(0), values.std(0)
        score = np.divide(near - mean, spread, out=np.zeros_like(mean), where=spread > 0) * np.sqrt(near)
        best = int(np.argmax(score))
        assert row["feature"] == best and row["threshold"] == pytest.approx((near[best] + mean[best]) / 2)
        assert row["lift"] == pytest.approx(near[best] / mean[best])
        assert row["n_active"] == int((dense[:, row["latent"]] > 0).sum())


def test_confidence_is_scikit_learns_on_the_rows_that_are_judged():
    acts, features = planted(noise=0.15)
    rules = interpret(acts, features)
    new, told_new = planted(seed=3, noise=0.15)
    # With at least as many asked for as there are, active ones are all judged.
    count = int(new.toarray()[:, 0].astype(bool).sum())
    found = confidence(rules, new, told_new, seed=0, each=count).to_pylist()[0]
    values = told_new.values.toarray()[:, rules.to_pylist()[0]["feature"]]
    active = new.toarray()[:, 0] > 0
    fires = values > rules.to_pylist()[0]["threshold"]
    assert found["recall"] == pytest.approx((fires & active).sum() / active.sum())
    share = fires[~active].mean()
    assert found["precision"] == pytest.approx(
        (fires & active).sum() / ((fires & active).sum() + share * count), abs=0.05
    )
    labels = np.repeat([1, 0], [count, count])
    hits, wrong = round(found["recall"] * count), None
    wrong = round(hits / found["precision"] - hits)
    guesses = np.concatenate([np.arange(count) < hits, np.arange(count) < wrong])
    expected = precision_recall_fscore_support(labels, guesses, average="binary")[2]
    assert found["f1"] == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_scikit_learns(pairs):
    values, labels = np.array([v for v, _ in pairs]), np.array([label for _, label in pairs])
    if labels.any():
        expected = average_precision_score(labels, values)
        assert average_precision(ranking_of(values), np.flatnonzero(labels)) == pytest.approx(expected, abs=1e-12)


def test_codes_and_projections_become_rows_of_what_is_active():
    values, indices = np.array([[1.0, 0.0], [2.0, 3.0]]), np.array([[3, 0], [1, 2]])
    assert sparse_acts(values, indices, 4).toarray().tolist() == [[0, 0, 0, 1], [0, 2, 3, 0]]
    assert sparse_acts(values, indices, 4).nnz == 3
    assert thresholded(np.array([[1.0, 2.0]]), np.array([1.0, 0.5])).toarray().tolist() == [[0, 1.5]]


def test_a_user_counts_once_in_a_rule_and_in_its_confidence():
    acts, features = planted(rows=600)
    twice = np.repeat(np.arange(600), 3)  # each place three times over, as neighbouring places of one user are
    again = type(features)(features.values[twice], features.kinds, features.texts, features.about)
    alone, repeated = interpret(acts, features, least=1), interpret(acts[twice], again, twice, least=1)
    for name in ("latent", "feature", "text", "also"):
        assert repeated[name].equals(alone[name])
    for name in ("lift", "threshold"):
        assert repeated[name].to_pylist() == pytest.approx(alone[name].to_pylist(), rel=1e-9)
    assert not interpret(acts[twice], again, least=1)["threshold"].equals(alone["threshold"])
    few, new = planted(rows=30, seed=1)
    places = np.repeat(np.arange(30), 3)
    more = type(new)(new.values[places], new.kinds, new.texts, new.about)
    judged = confidence(alone, few[places], more, 0, places, each=100, least=1).to_pylist()
    active = np.diff(sp.csc_array(few).indptr)
    assert [row["judged"] for row in judged] == [active[row["latent"]] for row in judged]
    least = int(active[alone["latent"].to_pylist()].max()) + 1
    assert confidence(alone, few[places], more, 0, places, least=least).num_rows == 0
    assert confidence(alone, few[places], more, 0, least=least).num_rows > 0


def test_a_text_is_of_the_rule_alone():
    rule = interpret(*planted()).to_pylist()[0]
    assert rule["text"] == "last item: Horror" and "last item: Horror" not in rule["also"].split("; ")
