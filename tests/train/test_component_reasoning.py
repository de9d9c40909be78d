"""Reasoning over detections against sums written out."""

import pytest
import torch

from winnow.train.component_reasoning import OriginalReasoning, Reasoning


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_original_reasoning_is_its_definition_and_may_rest_on_a_vanishing_share():
    head = OriginalReasoning(4, 3, seed=1).double()
    with torch.no_grad():
        head.importance.copy_(draws(4))
        head.logits.mul_(5)
    d = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r, a = head.logits.softmax(0), head.importance.softmax(0)
    for i in range(6):
        for c in range(3):
            above = sum(a[k] * (r[0, k, c] * d[i, k] + r[1, k, c] * (1 - d[i, k])) for k in range(4))
            below = sum(a[k] * (1 - r[2, k, c]) for k in range(4))
            assert float(head(d)[i, c].detach()) == pytest.approx(float((above / below).detach()))
            assert float(head.definite()[c].detach()) == pytest.approx(float(below.detach()))
    with torch.no_grad():
        head.logits.zero_()
        head.logits[2] = 12.0  # nearly all is indefinite
        head.importance.zero_()
        head.logits[0, 0, 0] = 7.0
    seen = head(torch.tensor([[1.0, 0, 0, 0]]).double())
    assert float(seen[0, 0].detach()) > 0.9
    assert float(head.definite()[0].detach()) < 1e-2


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("negative", [True, False])
def test_p_is_the_best_sum_over_what_is_there_and_what_is_not(negative, vectors):
    head = Reasoning(5, 3, negative, vectors, seed=2).double()
    with torch.no_grad():
        head.logits.copy_(2 * draws(*head.logits.shape))
    plus, minus = (part.detach() for part in head.probabilities())
    torch.testing.assert_close((plus + minus).sum(0), torch.ones(3 * vectors).double())
    d = draws(6, 5, seed=1).sigmoid()
    each = torch.einsum("nk,kv->nv", d, plus) + torch.einsum("nk,kv->nv", 1 - d, minus)
    torch.testing.assert_close(head.columns(d).detach(), each)
    torch.testing.assert_close(head(d).detach(), each.view(6, 3, vectors).amax(2))
    assert head.class_of.tolist() == [c for c in range(3) for _ in range(vectors)]


def test_reasoning_starts_near_even_from_its_seed():
    for head in (Reasoning(200, 4, seed=1), OriginalReasoning(200, 4, seed=1)):
        assert float(head.logits.mean()) == pytest.approx(0.6, abs=0.02)
        assert float(head.logits.std()) == pytest.approx(0.2, rel=0.05)
        assert torch.equal(head.logits, type(head)(200, 4, seed=1).logits)
        assert not torch.equal(head.logits, type(head)(200, 4, seed=2).logits)


def test_by_default_there_is_absence_and_one_vector_a_class_and_components_count_alike():
    head = Reasoning(6, 3)
    assert head.logits.shape == (12, 3) and head.class_of.tolist() == [0, 1, 2]
    original = OriginalReasoning(4, 3)
    assert (original.components, original.classes) == (4, 3) and (original.importance == 0).all()
