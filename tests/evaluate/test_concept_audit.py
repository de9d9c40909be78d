"""The audit's numbers, on probe sets whose answers are known."""

import numpy as np
import pytest

from winnow.evaluate.concept_audit import (
    _permutation_p,
    capability,
    dataset_choice,
    learnability,
    shared_concepts,
    split_probe,
)

SIZES = (160, 60, 120)


def probe(seed=0, turned=False, flipped=False):
    """Six concepts, directions of ten features; the class is told by the first two. turned: other directions."""
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(5).normal(size=(6, 10))
    x = generator.normal(size=(sum(SIZES), 10))
    concepts = x @ truth.T > 0
    predictions = np.where(concepts[:, 0], 0, np.where(concepts[:, 1], 1, 2))
    if flipped:
        predictions = np.where(concepts[:, 2], 0, np.where(concepts[:, 3], 1, 2))
    return split_probe(x[:, ::-1] if turned else x, concepts, predictions, SIZES)


def test_rows_are_split_in_order():
    found = probe()
    assert [len(found[s].predictions) for s in ("train", "valid", "test")] == list(SIZES)
    numbers = np.arange(340)
    parts = split_probe(numbers[:, None], numbers[:, None] > 0, numbers, SIZES)
    assert np.concatenate([parts[s].predictions for s in ("train", "valid", "test")]).tolist() == list(range(340))


def test_concepts_that_one_of_the_sets_lacks_are_left_out():
    a, b = probe(), probe(1)
    b["train"].concepts[:, 4] = True
    assert shared_concepts(a, b, 0.02) == [0, 1, 2, 3, 5]


def test_equal_sets_explain_alike_and_sets_of_other_reasons_do_not():
    a = probe()
    same, rows, _ = dataset_choice(a, probe(1), range(6), draws=3, seed=0)
    other, _, _ = dataset_choice(a, probe(1, turned=True, flipped=True), range(6), draws=3, seed=0)
    assert same["fidelity_aa"] > 0.95 and abs(same["fidelity_gap_a"]) < 0.05
    assert other["fidelity_gap_a"] > 0.2 and other["fidelity_gap_b"] > 0.2
    assert same["cosine_ratio"] == pytest.approx(1, abs=0.05) and other["cosine_ratio"] < 0.8
    assert same["cosine_ratio"] == pytest.approx(same["cosine_across"] / same["cosine_within"])
    assert other["overlap_across"] < other["overlap_within"] and other["correlation_full"] < same["correlation_full"]
    assert same["fidelity_gap_b"] == same["fidelity_bb"] - same["fidelity_ba"]
    assert same["majority_a"] == np.bincount(a["test"].predictions).max() / 120
    assert len(rows) == 12 and {row["kind"] for row in rows} == {"within", "across"}
    within = np.mean([row["cosine"] for row in rows if row["kind"] == "within"])
    assert within == pytest.approx(same["cosine_within"])


def test_concepts_harder_than_the_classes_are_counted():
    a = probe()
    for part in a.values():  # one concept that the features do not tell
        part.concepts[:, 5] = np.random.default_rng(1).random(len(part.concepts)) < 0.3
    _, _, (told, _) = dataset_choice(a, probe(1), range(6), draws=1, seed=0)
    labels = np.tile([0, 1, 2], 40)
    scores = np.eye(3)[labels]
    values, rows = learnability(a, range(6), told, scores, labels, seed=0)
    nap = {(row["kind"], row["number"]): row["nap"] for row in rows}
    assert all(nap["class", c] == 1 for c in range(3)) and nap["concept", 5] < 0.6 < nap["concept", 0]
    assert values["nap_classes"] == 1 and values["nap_concepts"] == np.median([nap["concept", k] for k in range(6)])
    assert values["easy_concepts"] == sum(nap["concept", k] >= 1 for k in range(6))
    used = [k for k in range(6) if told.coefficients[:, k].any()]
    assert values["used_below_class"] == np.mean([nap["concept", k] < 1 for k in used])
    assert values["fidelity_bottleneck"] > 0.9
    easy, _ = learnability(a, range(6), told, np.random.default_rng(0).random((120, 3)), labels, seed=0)
    assert easy["easy_concepts"] >= 5 and easy["fidelity_easy"] > 0.95
    assert easy["fidelity_all"] == told.fidelity(a["test"])
    assert easy["fidelity_lost"] == easy["fidelity_all"] - easy["fidelity_easy"]


def test_an_explanation_without_easy_concepts_expects_the_most_frequent_class():
    a = probe()
    for split, part in a.items():  # features that tell nothing
        part.features[:] = np.random.default_rng(len(split)).normal(size=part.features.shape)
    _, _, (told, _) = dataset_choice(a, probe(1), range(6), draws=1, seed=0)
    labels = np.tile([0, 1, 2], 40)
    values, _ = learnability(a, range(6), told, np.eye(3)[labels], labels, seed=0)
    assert values["easy_concepts"] == 0
    most = np.bincount(a["train"].predictions).argmax()
    assert values["fidelity_easy"] == np.mean(a["test"].predictions == most) < values["fidelity_all"]


def test_the_permutation_test_is_small_for_a_gap_and_uniform_without():
    generator = np.random.default_rng(0)
    assert _permutation_p(generator.random(30), 1 + generator.random(8), 0) == 1 / 10000
    assert _permutation_p(1 + generator.random(30), generator.random(8), 0) > 0.99
    p = [_permutation_p(*np.split(generator.random(30), [20]), 0, draws=199) for _ in range(200)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)
    gappy, high = np.array([0.1, np.nan, 0.2]), np.array([5.0, 6, 7])
    assert _permutation_p(gappy, high, 0) == _permutation_p(gappy[[0, 2]], high, 0)


def test_explanations_are_cut_to_sizes_below_all_and_to_all():
    a = probe()
    _, _, (told, _) = dataset_choice(a, probe(1), range(6), draws=1, seed=0)
    found = capability(a, range(6), told, [1, 4, 16])
    assert list(found) == ["1", "4", "all"]
    assert found["1"] < found["all"] == pytest.approx(told.fidelity(a["test"]))
