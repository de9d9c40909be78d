"""Scores of words beside scikit-learn, closed forms, all orders of words and single runs of the model."""

from itertools import permutations

import numpy as np
import pytest
import torch

from tests.evaluate.circuits import random_encoder
from winnow.evaluate import word_explanations as words
from winnow.evaluate.contextual_decomposition import Tokens, explain, explain_phrases
from winnow.workloads.refusal_prompts import UNKNOWN

ROW = torch.tensor([1, 7, 9, 8, 10])
WEIGHTS = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)


def value(model, shown):
    row = torch.tensor([1, *(int(token) if kept else UNKNOWN for token, kept in zip(ROW[1:], shown, strict=True))])
    with torch.no_grad():
        return float((model(row[None])[0] * WEIGHTS).sum())


def test_lime_is_the_ridge_of_its_package():
    from sklearn.linear_model import Ridge
    from sklearn.metrics import pairwise_distances

    generator = np.random.default_rng(0)
    masks = (generator.random((30, 6)) < 0.6).astype(float)
    masks[0], masks[1] = 1, 0
    values = generator.normal(size=30)
    with np.errstate(invalid="ignore"):
        distance = pairwise_distances(masks, masks[:1], metric="cosine")[:, 0] * 100
    kernel = np.sqrt(np.exp(-(distance**2) / 25**2))
    expected = Ridge(alpha=1).fit(masks, values, sample_weight=kernel).coef_
    found = words.lime_fit(torch.from_numpy(masks), torch.from_numpy(values))
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-10, rtol=0)


def test_lime_runs_the_model_on_the_text_and_on_draws_that_hide_words():
    model = random_encoder()
    seen = []
    hook = model.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    first = words.lime(model, ROW, WEIGHTS, 200, 0)
    hook.remove()
    rows = torch.cat(seen)
    assert rows.shape == (200, 5) and torch.equal(rows[0], ROW) and (rows[:, 0] == 1).all()
    hidden = (rows[1:, 1:] == UNKNOWN).sum(1)
    assert torch.bincount(hidden, minlength=5).tolist()[0] == 0 and (torch.bincount(hidden)[1:] > 30).all()
    assert ((rows == ROW) | (rows == UNKNOWN)).all()
    assert torch.equal(first, words.lime(model, ROW, WEIGHTS, 200, 0))
    assert not torch.equal(first, words.lime(model, ROW, WEIGHTS, 200, 1))


def test_shapley_values_of_many_runs_are_those_of_all_orders_and_of_few_their_closed_form():
    model, count = random_encoder(), 4
    expected = np.zeros(count)
    for order in permutations(range(count)):
        shown = [False] * count
        for word in order:
            before = value(model, shown)
            shown[word] = True
            expected[word] += (value(model, shown) - before) / 24
    many = words.many_shap(model, ROW, WEIGHTS, 0)
    np.testing.assert_allclose(many.numpy(), expected, atol=1e-9)
    none, whole = value(model, [False] * count), value(model, [True] * count)
    eye = np.eye(count, dtype=bool)
    alone = np.array([value(model, eye[i]) - none for i in range(count)])
    without = np.array([value(model, ~eye[i]) - none for i in range(count)])
    # Least squares for words alone and for all but one, whose sum is given.
    free = (alone + whole - none - without) / 2
    few = words.outer_shap(model, ROW, WEIGHTS)
    np.testing.assert_allclose(few.numpy(), free + (whole - none - free.sum()) / count, atol=1e-9)


def test_hiding_and_gradients_are_differences_of_runs_and_attention_is_that_of_the_last_block():
    model, shown = random_encoder(), [True] * 4
    for phrase in ([2], [1, 4]):
        left = [place not in phrase for place in range(1, 5)]
        lost = words.leave_one_out(model, ROW, WEIGHTS, [[3], phrase])[1]
        assert float(lost) == pytest.approx(value(model, shown) - value(model, left), abs=1e-10)
    found = words.gradients(model, ROW, WEIGHTS, 2000)
    whole = value(model, shown) - value(model, [False] * 4)
    assert float(found.sum()) == pytest.approx(whole, abs=1e-3) and found.shape == (4,)
    with torch.no_grad():
        pattern = model.run(ROW[None], save=["blocks.1.attn.hook_pattern"])[1]["blocks.1.attn.hook_pattern"]
    torch.testing.assert_close(words.attention(model, ROW), (pattern[0, 0, 0, 1:] + pattern[0, 1, 0, 1:]) / 2)


def test_every_method_scores_every_word_within_its_runs():
    model = random_encoder()
    assert words.runs(4) == 9
    counted = []

    def count(_, given):
        counted.append(len(given[0]) * (3 if given[0].is_floating_point() else 1))

    for name, method in words.METHODS.items():
        counted.clear()
        hook = model.register_forward_pre_hook(count)
        scores = method(model, ROW, WEIGHTS, 3)
        hook.remove()
        assert scores.shape == (4,) and bool(torch.isfinite(scores).all())
        if name not in ("cdt", "cdt_split", "attention", "random"):
            assert 0 < sum(counted) <= (40 if "many" in name else 10)
    for name, pattern in (("cdt", "fixed"), ("cdt_split", "split")):
        expected = explain(model, ROW[None], WEIGHTS[None], pattern)[0, 1:]
        torch.testing.assert_close(words.METHODS[name](model, ROW, WEIGHTS, 0), expected)
    alone = words.METHODS["leave_one_out"](model, ROW, WEIGHTS, 0)
    torch.testing.assert_close(alone, words.leave_one_out(model, ROW, WEIGHTS, [[1], [2], [3], [4]]))
    whole = words.phrase_scores(model, ROW, WEIGHTS, [2, 3])
    split = explain_phrases(model, ROW[None], [Tokens({2, 3})], WEIGHTS[None], "split")[0, 0]
    assert whole["cdt_split"] == pytest.approx(float(split)) and {*whole} == {"cdt", "cdt_split", "leave_one_out"}
    assert whole["leave_one_out"] == pytest.approx(float(words.leave_one_out(model, ROW, WEIGHTS, [[2, 3]])[0]))
