"""Explanations by concepts, against closed forms, peers' libraries and planted truths."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation
from captum.concept import TCAV, Classifier, Concept
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.evaluate.probe_sets import probe_set
from winnow.errors import InputError
from winnow.evaluate.concept_agreement import top_concepts
from winnow.evaluate.concept_probes import (
    GRID,
    Direction,
    Explanation,
    Probe,
    area_under_curve,
    baseline_explanation,
    bottleneck_probe,
    cosine,
    direction,
    logistic,
    normalised_ap,
    random_directions,
    tcav,
    usable_concepts,
)
from winnow.randomness import numpy_generator


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40),
    st.floats(0.5, 50),
)
def test_normalised_ap_is_its_definition_one_threshold_at_a_time(rows, positives):
    present = np.array([p for p, _ in rows])
    score = np.array([s for _, s in rows], float)
    if present.all() or not present.any():
        assert np.isnan(normalised_ap(present, score, positives))
        return
    total, before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        recall = sum(p and s >= threshold for p, s in zip(present, score, strict=True)) / present.sum()
        false = sum(not p and s >= threshold for p, s in zip(present, score, strict=True))
        if recall:
            total += (recall - before) * recall * positives / (recall * positives + false)
        before = recall
    assert normalised_ap(present, score, positives) == pytest.approx(total, abs=1e-12)
    assert normalised_ap(present, score, present.sum()) == pytest.approx(average_precision_score(present, score))
    assert area_under_curve(present, score) == pytest.approx(roc_auc_score(present, score))


def test_negatives_twice_count_as_half_the_positives():
    generator = np.random.default_rng(0)
    present, score = generator.random(200) < 0.3, generator.random(200)
    doubled = np.concatenate([np.flatnonzero(present), np.repeat(np.flatnonzero(~present), 2)])
    assert normalised_ap(present[doubled], score[doubled], 20) == pytest.approx(normalised_ap(present, score, 10))


def test_a_planted_direction_is_found_and_its_aucs_are_those_of_sklearn():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=10)
    found = {}
    for split, n in (("train", 5000), ("valid", 500), ("test", 500)):
        x = generator.normal(3, 2, (n, 10)) * [1, 5, 1, 1, 0.1, 1, 1, 1, 1, 1]
        logits = (x - x.mean(axis=0)) @ truth
        found[split] = Probe(x, (generator.random(n) < 1 / (1 + np.exp(-logits)))[:, None], np.zeros(n, int))
    fitted = direction(found, 0)
    scale = found["train"].features.std(axis=0)
    assert cosine(fitted.vector * scale, truth * scale) > 0.99
    test = found["test"]
    score = test.features @ fitted.vector + fitted.intercept
    assert fitted.auc_test == pytest.approx(roc_auc_score(test.concepts[:, 0], score))
    assert ((score > 0) == test.concepts[:, 0]).mean() > 0.85  # the labels themselves are noisy
    valid = [direction(found, 0, [C]).auc_valid for C in (0.001, 0.1, 5.0)]
    assert direction(found, 0, (0.001, 0.1, 5.0)).auc_valid == max(valid)


def test_a_constant_concept_is_refused_and_rare_ones_are_named_with_why():
    probe, _ = probe_set()
    train = probe["train"].concepts.copy()
    train[:, 2] = True
    train[:, 3] = False
    train[:4, 3] = True
    test = probe["test"].concepts.copy()
    test[:, 4] = True
    changed = {
        **probe,
        "train": probe["train"]._replace(concepts=train),
        "test": probe["test"]._replace(concepts=test),
    }
    faults = usable_concepts(changed, base_rate=0.02, least=20)
    assert (
        set(faults) == {2, 3, 4} and "less than 2% of train" in faults[3] and "0 rows of one side in test" in faults[4]
    )
    with pytest.raises(InputError, match="concept 2 is constant in train"):
        direction(changed, 2)


def test_tcav_is_one_for_an_aligned_and_zero_for_an_opposed_head_and_chance_is_not_significant():
    generator = np.random.default_rng(0)
    gradients = np.tile(generator.normal(size=8), (50, 1)) + generator.normal(0, 0.01, (50, 8))
    mean = gradients.mean(axis=0)
    chance = generator.normal(size=(39, 8)) @ np.diag([1, 1, 1, 1, 1, 1, 1, 1.0])
    noisy = gradients + generator.normal(0, 3, gradients.shape)
    score, p = tcav(noisy, np.stack([mean, -mean]), chance)
    assert score[0] > 0.6 and score[1] == 1 - score[0]
    exact, _ = tcav(gradients, np.stack([mean, -mean]), chance)
    assert exact.tolist() == [1.0, 0.0]
    _, random_p = tcav(noisy, generator.normal(size=(400, 8)), generator.normal(size=(39, 8)))
    assert (random_p > 0.05).mean() >= 0.9 and random_p.min() >= 1 / 40
    assert p[0] == p[1]


class _Fixed(Classifier):
    """A classifier of captum that is given its vectors, the first concept's first."""

    def __init__(self, vectors):
        self.vectors = vectors

    def train_and_eval(self, dataloader, **kwargs):
        return {}

    def weights(self):
        return torch.as_tensor(np.stack([self.vectors[0], -self.vectors[0]]), dtype=torch.float32)

    def classes(self):
        return [0, 1]


@pytest.mark.parametrize("target", [0, 3])
def test_tcav_is_that_of_captum(tmp_path, target):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)), torch.randn(60, 6)
    vector = np.random.default_rng(1).normal(size=8)
    concepts = [Concept(id=i, name=str(i), data_iter=DataLoader(TensorDataset(x[:4]), batch_size=2)) for i in (0, 1)]
    for concept in concepts:
        concept.data_iter = [batch for (batch,) in concept.data_iter]
    captum = TCAV(
        model,
        ["1"],
        layer_attr_method=LayerGradientXActivation(model, None, multiply_by_inputs=False),
        classifier=_Fixed([vector]),
        save_path=str(tmp_path),
    )
    scores = captum.interpret(x, [concepts], target=target)
    expected = float(scores["0-1"]["1"]["sign_count"][0])
    hidden = model[1](model[0](x)).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(model[2](hidden)[:, target].sum(), hidden)
    found, _ = tcav(gradients.numpy(), vector[None], np.random.default_rng(2).normal(size=(19, 8)))
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_random_directions_know_nothing_of_their_concept():
    probe, truth = probe_set()
    found = random_directions(probe, range(8), 16, C=0.1, seed=0)
    assert found.shape == (16, 12)
    assert np.array_equal(found, random_directions(probe, range(8), 16, C=0.1, seed=0))
    assert np.mean([abs(cosine(v, truth[i % 8])) for i, v in enumerate(found)]) < 0.45
    assert cosine(direction(probe, 0).vector, truth[0]) > 0.9


@pytest.mark.parametrize("multinomial", [False, True])
def test_the_baseline_explains_what_the_model_predicts_from_the_concepts_it_uses(multinomial):
    probe, _ = probe_set()
    found = baseline_explanation(probe, range(8), multinomial=multinomial)
    assert found.fidelity(probe["test"]) > 0.97
    assert found.classes.tolist() == [0, 1, 2] and found.coefficients.shape == (3, 8)
    assert top_concepts(found, 1)[0] == {0} and 1 in top_concepts(found)[1]
    less = baseline_explanation(probe, [1, 2, 3], multinomial=multinomial)
    assert (less.coefficients[:, [0, 4, 5, 6, 7]] == 0).all() and less.fidelity(probe["test"]) < 0.9


def test_the_strength_of_the_baseline_is_chosen_on_valid_alone():
    probe, _ = probe_set()
    grid = (0.001, 0.05, 5.0)
    chosen = baseline_explanation(probe, range(8), grid)
    on_valid = [baseline_explanation(probe, range(8), [C]).fidelity(probe["valid"]) for C in grid]
    assert grid[int(np.argmax(on_valid))] == chosen.C
    upset = {**probe, "test": probe["test"]._replace(predictions=probe["test"].predictions[::-1])}
    assert np.array_equal(baseline_explanation(upset, range(8), grid).coefficients, chosen.coefficients)


def test_two_classes_and_one():
    probe, _ = probe_set()
    two = {s: p._replace(predictions=np.minimum(p.predictions, 1)) for s, p in probe.items()}
    assert baseline_explanation(two, range(8), multinomial=True).fidelity(two["test"]) > 0.97
    one = {s: p._replace(predictions=np.zeros_like(p.predictions)) for s, p in probe.items()}
    with pytest.raises(InputError, match="predicts class 0 for all of train"):
        baseline_explanation(one, range(8))


def test_predicted_concepts_take_the_place_of_labels():
    probe, truth = probe_set()
    found = {k: Direction(truth[k], 0.0, 1.0, 1.0, 1.0) for k in (0, 1)}
    changed = bottleneck_probe(probe, found)
    test = probe["test"]
    assert np.array_equal(changed["test"].concepts[:, :2], test.features @ truth[:2].T > 0)
    assert not changed["test"].concepts[:, 2:].any() and changed["test"].features is test.features


def by_hand(probe, concept, C, seed):
    """L2 logistic regression on features standardised by train, in their own units."""
    train = probe["train"]
    mean, deviation = train.features.mean(axis=0), train.features.std(axis=0)
    deviation[deviation == 0] = 1
    model = LogisticRegression(C=C, solver="liblinear", random_state=seed, max_iter=1000)
    model.fit((train.features - mean) / deviation, train.concepts[:, concept])
    vector = model.coef_[0] / deviation
    return vector, model.intercept_[0] - vector @ mean


def test_a_direction_is_that_of_scikit_learn_and_of_equal_strengths_the_first_is_taken():
    probe, _ = probe_set((80, 40, 40), features=5, concepts=3, offset=2.0)
    for part in probe.values():
        part.features[:, 4] = 7.0  # a feature that never varies
    found = direction(probe, 1, [0.05], seed=3)
    vector, intercept = by_hand(probe, 1, 0.05, 3)
    assert np.allclose(found.vector, vector, atol=1e-12) and found.intercept == pytest.approx(intercept, abs=1e-10)
    for split, auc in (("valid", found.auc_valid), ("test", found.auc_test)):
        part = probe[split]
        assert auc == pytest.approx(roc_auc_score(part.concepts[:, 1], part.features @ vector + intercept))
    easy = {s: part._replace(concepts=part.features[:, :1] > 2) for s, part in probe.items()}
    grid = (0.5, 1.0, 5.0)
    aucs = [direction(easy, 0, [C]).auc_valid for C in grid]
    assert grid[int(np.argmax(aucs))] == direction(easy, 0, grid).C
    assert direction(easy, 0, (5.0, 5.0)).C == 5.0
    assert np.array_equal(direction(probe, 1).vector, direction(probe, 1, GRID, 0).vector)
    assert GRID == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)  # the paper's


@pytest.mark.parametrize("all_present", [False, True])
def test_a_concept_constant_in_train_has_no_direction(all_present):
    probe, _ = probe_set((30, 20, 20), features=4, concepts=2)
    probe["train"].concepts[:, 1] = all_present
    with pytest.raises(InputError, match="concept 1 is constant in train; leave it out"):
        direction(probe, 1)
    assert direction(probe, 0).vector.shape == (4,)


def test_concepts_are_judged_by_the_smaller_side_of_each_split():
    counts = {"train": [5, 4, 195, 196, 50, 50, 50, 50], "valid": [9, 9, 9, 9, 1, 0, 9, 9], "test": [9] * 6 + [1, 0]}
    probe = {}
    for split, n in (("train", 200), ("valid", 20), ("test", 20)):
        concepts = np.arange(n)[:, None] < np.array(counts[split])
        probe[split] = Probe(np.zeros((n, 1)), concepts, np.zeros(n, int))
    assert usable_concepts(probe) == {
        1: "4 rows of one side in train; 5 are needed",
        3: "4 rows of one side in train; 5 are needed",
        5: "0 rows of one side in valid; 1 are needed",
        7: "0 rows of one side in test; 1 are needed",
    }
    assert usable_concepts(probe, 0.02, 5) == usable_concepts(probe)
    stricter = usable_concepts(probe, 0.025, 6)
    assert stricter[1] == stricter[3] == "on one side of the concept lie less than 2% of train"
    assert (
        stricter[0] == stricter[2] == "5 rows of one side in train; 6 are needed"
    )  # just as many as the rate asks for
    assert stricter[4] == "1 rows of one side in valid; 2 are needed" and stricter[6].startswith(
        "1 rows of one side in test"
    )
    assert set(usable_concepts(probe, 0.0, 1)) == {5, 7}


def test_a_curve_needs_both_sides():
    nothing, score = np.zeros(4, bool), np.arange(4.0)
    assert np.isnan(area_under_curve(nothing, score)) and np.isnan(area_under_curve(~nothing, score))
    assert area_under_curve(np.array([False, False, True, True]), score) == 1.0


def test_a_cosine_with_nothing_is_nothing():
    assert cosine(np.array([3.0, 4.0]), np.array([6.0, 8.0])) == pytest.approx(1)
    assert cosine(np.array([3.0, 4.0]), np.array([-4.0, 3.0])) == 0
    assert cosine(np.zeros(2), np.ones(2)) == 0 and cosine(np.ones(2), np.zeros(2)) == 0


def test_a_tcav_score_is_ranked_by_its_distance_from_a_half():
    gradients = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    vectors = np.array([[1.0, 1.0], [-1.0, -1.0], [0.0, 1.0], [0.0, 0.0]])
    chance = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])  # shares 3/5, 0 and 1/5
    score, p = tcav(gradients, vectors, chance)
    assert score.tolist() == [0.8, 0.2, 0.2, 0.0]
    assert p.tolist() == [3 / 4, 3 / 4, 3 / 4, 2 / 4]  # as far as 0.3: two of three; as far as 0.5: one


def test_random_directions_shuffle_the_labels_of_one_concept_after_another():
    probe, _ = probe_set((60, 20, 20), features=4, concepts=3)
    probe["train"].features[:, 3] = 1.5
    found = random_directions(probe, [2, 0], 3, C=0.3, seed=5)
    generator, train = numpy_generator(5, "random concepts"), probe["train"]
    for i, k in enumerate((2, 0, 2)):
        shuffled = train.concepts.copy()
        shuffled[:, k] = generator.permutation(train.concepts[:, k])
        vector, _ = by_hand({"train": train._replace(concepts=shuffled)}, k, 0.3, 5)
        assert np.allclose(found[i], vector, atol=1e-12)


def test_regressions_are_those_of_the_settings_named():
    one, softmax = logistic("l1", 0.3, 4), logistic("l2", 2.0, 1, "saga")
    assert (one.C, one.solver, one.random_state, one.l1_ratio, one.max_iter) == (0.3, "liblinear", 4, 1.0, 1000)
    assert (softmax.C, softmax.solver, softmax.random_state, softmax.l1_ratio) == (2.0, "saga", 1, 0.0)
    assert (softmax.max_iter, softmax.tol) == (500, 1e-3)


def test_the_baseline_is_one_regression_against_the_rest_for_each_class():
    probe, _ = probe_set((120, 60, 60), features=6, concepts=5)
    used, train = [0, 1, 4], probe["train"]
    found = baseline_explanation(probe, used, [0.2], seed=2)
    for i, label in enumerate(np.unique(train.predictions)):
        model = logistic("l1", 0.2, 2).fit(train.concepts[:, used].astype(float), train.predictions == label)
        assert np.allclose(found.coefficients[i, used], model.coef_[0]) and found.intercepts[i] == model.intercept_[0]
    assert found.C == 0.2 and (found.coefficients[:, [2, 3]] == 0).all()
    told = found.predict(probe["test"].concepts)
    assert found.fidelity(probe["test"]) == np.mean(told == probe["test"].predictions)
    both = baseline_explanation(probe, used, [0.2], multinomial=True, seed=2)
    model = logistic("l1", 0.2, 2, "saga").fit(train.concepts[:, used].astype(float), train.predictions)
    assert np.allclose(both.coefficients[:, used], model.coef_) and np.allclose(both.intercepts, model.intercept_)
    # Of strengths that are as faithful on valid the first is taken.
    assert baseline_explanation(probe, used, [5.0, 5.0, 4.9999]).C == 5.0
    default = baseline_explanation(probe, used)
    assert np.array_equal(
        default.coefficients, baseline_explanation(probe, used, GRID, multinomial=False, seed=0).coefficients
    )


def test_of_two_classes_a_softmax_says_what_one_against_the_rest_says():
    probe, _ = probe_set((120, 60, 60), features=6, concepts=5)
    two = {s: p._replace(predictions=np.minimum(p.predictions, 1)) for s, p in probe.items()}
    plain, softmax = (baseline_explanation(two, range(5), [0.2], multinomial=m) for m in (False, True))
    assert np.array_equal(plain.coefficients, softmax.coefficients) and plain.classes.tolist() == [0, 1]


def test_of_equal_expectations_the_first_class_is_taken_and_a_score_of_nothing_is_absent():
    told = Explanation(np.zeros((3, 2)), np.array([1.0, 2.0, 2.0]), np.array([4, 6, 9]), 1.0)
    assert told.predict(np.ones((2, 2), bool)).tolist() == [6, 6]
    probe = {"train": Probe(np.array([[1.0], [2.0], [3.0]]), np.ones((3, 1), bool), np.zeros(3, int))}
    found = bottleneck_probe(probe, {0: Direction(np.array([1.0]), -2.0, 1.0, 1.0, 1.0)})
    assert found["train"].concepts[:, 0].tolist() == [False, False, True]
