"""The loss of a few places at a time is torch's cross-entropy of all scores, and its gradients are the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from winnow.models.next_item_loss import PLACES, next_item_loss


def case(places, items, d=5, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(places + items)
    states = torch.randn(places, d, generator=generator).to(dtype) * scale
    weight = torch.randn(items + 1, d, generator=generator).to(dtype)
    targets = torch.randint(1, items + 1, (places,), generator=generator)
    return states.requires_grad_(), weight.requires_grad_(), targets


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([1, 7, PLACES - 1, PLACES, PLACES + 1, 3 * PLACES + 5]),
    st.integers(1, 40),
    st.floats(0.1, 30),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_is_torchs_cross_entropy_with_its_gradients(places, items, scale, smoothing):
    states, weight, targets = case(places, items, scale=scale)
    expected = cross_entropy(states @ weight[1:].T, targets - 1, label_smoothing=smoothing)
    by_torch = torch.autograd.grad(3 * expected, [states, weight])
    found = next_item_loss(states, weight, targets, smoothing)
    by_us = torch.autograd.grad(3 * found, [states, weight])
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    assert all(torch.allclose(ours, theirs, atol=1e-12) for ours, theirs in zip(by_us, by_torch, strict=True))
    assert not by_us[1][0].any()


def test_a_target_whose_share_is_0_in_float32_has_a_finite_loss():
    states, weight, targets = case(9, 12, scale=500.0, dtype=torch.float32)
    found = next_item_loss(states, weight, targets)
    expected = cross_entropy((states @ weight[1:].T).double(), targets - 1)
    assert found.item() > 200
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_needs_no_gradient_gets_none():
    states, weight, targets = case(PLACES + 3, 8)
    weight.requires_grad_(False)
    next_item_loss(states, weight, targets).backward()
    assert weight.grad is None
    assert states.grad is not None
    assert not next_item_loss(states.detach(), weight, targets).requires_grad
