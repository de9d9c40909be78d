"""Dictionaries under compression: effects by finite differences, and what must hold of a model beside itself."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import normalize

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.harvest import Corpus
from winnow.dictionaries.on_language import HeldOut
from winnow.evaluate.dictionary_effects import Fitted, compared, fidelity, leading, row_gradients
from winnow.models.hooked_transformer import HookedTransformer
from winnow.pipeline.settings.dictionary_effects import DictionaryEffects

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def held_out():
    torch.manual_seed(0)
    model = HookedTransformer(20, 9, width=8, layers=2, heads=2)
    tokens = torch.randint(1, 20, (80, 9), generator=torch.Generator().manual_seed(1))
    kept = torch.ones(80, 8, dtype=torch.bool)
    kept[:, 0] = False
    return HeldOut(model, Corpus(tokens[:, :-1], tokens[:, 1:], kept), HOOK)


def dictionary(seed=0, m=24):
    decoder = normalize(torch.randn(m, 8, generator=torch.Generator().manual_seed(seed)), dim=1)
    d, z = torch.zeros(8), torch.zeros(m)
    return Dictionary(decoder.T.clone(), z, decoder, d, d.clone(), z.clone(), "topk", "topk", 4)


def test_an_attribution_is_what_a_little_less_of_the_feature_does_to_the_loss(held_out):
    double = HeldOut(held_out.model.double(), held_out.corpus, HOOK)
    rows, gradient = row_gradients(double, 64)
    found, codes = dictionary(), dictionary().dense(rows.float()).double()
    decoder = found.W_dec.double()
    for row, feature in ((3, int(codes[3].argmax())), (50, int(codes[50].argmax()))):
        losses = []
        for step in (1e-5, -1e-5):
            moved = rows.clone()
            moved[row] += step * codes[row, feature] * decoder[feature]
            losses.append(float(double.summed_loss(64, lambda _, moved=moved: moved).detach()))
        slope = (losses[0] - losses[1]) / 2e-5
        assert float(codes[row, feature] * (gradient[row] @ decoder[feature])) == pytest.approx(slope, rel=1e-4)
    held_out.model.float()


def test_attributions_are_means_over_rows_of_their_size(held_out):
    found, total, count = dictionary(), torch.zeros(24), 0
    for first in (0, 64):
        rows, gradient = row_gradients(held_out, first)
        for x, g in zip(rows, gradient, strict=True):
            total += (found.dense(x[None])[0] * (found.W_dec @ g)).abs()
            count += 1
    assert count == len(held_out.rows) == 80 * 7
    np.testing.assert_allclose(Fitted(found, held_out).attributions, total / count, rtol=1e-4)


def test_a_model_beside_itself_loses_nothing(held_out):
    dense = Fitted(dictionary(), held_out)
    found = compared(dense, dense, strongest=5, chance_quantile=0.99, seed=0)
    own = fidelity(dense)
    assert found["circuit_overlap"] == 1 and found["chance_overlap"] == 5 / 24
    assert found["survival"] > 0.9 > found["chance_survival"]
    assert found["transferred_fvu"] == own["fvu"] and found["transferred_ce_recovered"] == own["ce_recovered"]
    assert own["cross_entropy"] == pytest.approx(held_out.loss(lambda x: x))


def test_features_in_another_order_are_the_same_features(held_out):
    one, order = dictionary(), torch.randperm(24, generator=torch.Generator().manual_seed(2))
    parts = (one.W_enc[:, order], one.b_enc, one.W_dec[order], one.b_dec_in, one.b_dec_out, one.threshold)
    other = Fitted(Dictionary(*parts, "topk", "topk", 4), held_out)
    found = compared(Fitted(one, held_out), other, strongest=6, chance_quantile=0.99, seed=0)
    assert found["circuit_overlap"] == 1


def test_strongest_features_are_counted_through_the_matching(held_out):
    dense, other = Fitted(dictionary(), held_out), Fitted(dictionary(7), held_out)
    found = compared(dense, other, strongest=4, chance_quantile=0.99, seed=0)
    live = [np.flatnonzero((fitted.codes > 0).any(0)) for fitted in (dense, other)]
    correlation = np.corrcoef(dense.codes[:, live[0]].T, other.codes[:, live[1]].T)[: len(live[0]), len(live[0]) :]
    pairs = dict(
        zip(*(side[i] for side, i in zip(live, linear_sum_assignment(-correlation), strict=True)), strict=True)
    )
    best = [sorted(range(24), key=lambda j, f=fitted: -f.attributions[j])[:4] for fitted in (dense, other)]
    assert found["circuit_overlap"] == sum(pairs.get(feature) in best[1] for feature in best[0]) / 4


def test_leading_features_go_by_size_and_ties_to_the_lower_number():
    assert leading(np.array([1.0, 3.0, 3.0, 0.5]), 3) == [1, 2, 0]


@pytest.mark.parametrize(
    "changed", [{"models": ["lm_names-*"]}, {"models": ["lm_names"]}, {"k": 512}, {"strongest": 600}]
)
def test_settings_that_compare_nothing_are_refused(changed):
    with pytest.raises(ValidationError, match=r"models begins|must fit into width"):
        DictionaryEffects(**changed)
