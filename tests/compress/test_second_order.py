"""Pruning and rounding of a layer by second moments: closed forms, least squares, and plain rounding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.compress._second_order import gptq, output_error, second_moment, sparse_obs
from winnow.errors import InputError


def layer(outputs=6, inputs=8, rows=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(inputs, inputs, generator=generator)
    x = torch.randn(rows, inputs, generator=generator) @ mixing
    return torch.randn(outputs, inputs, generator=generator), x


def test_second_moment_is_the_hessian_of_the_squared_error():
    weight, x = layer(1)
    w = weight[0].double().requires_grad_()
    loss = ((x.double() @ w) ** 2).mean()
    gradient = torch.autograd.grad(loss, w, create_graph=True)[0]
    hessian = torch.stack([torch.autograd.grad(g, w, retain_graph=True)[0] for g in gradient])
    assert torch.allclose(second_moment(x).double(), hessian, rtol=1e-4)


def test_the_error_is_that_of_the_outputs():
    weight, x = layer()
    changed = weight + 0.1
    expected = ((x @ weight.T - x @ changed.T) ** 2).sum() / ((x @ weight.T) ** 2).sum()
    assert output_error(weight, changed, second_moment(x)) == pytest.approx(float(expected), rel=1e-3)
    assert output_error(weight * 0, weight * 0, second_moment(x)) == 0


def plain_rounding(weight, bits, group):
    """Round-to-nearest on the grid of each run of inputs, in loops."""
    found = torch.empty_like(weight)
    for row in range(len(weight)):
        for start in range(0, weight.shape[1], group):
            run = weight[row, start : start + group].double()
            low, high = min(0.0, float(run.min())), max(0.0, float(run.max()))
            scale = float(np.float16((high - low) / (2**bits - 1)))
            zero = min(max(np.round(-low / scale), 0), 2**bits - 1)
            codes = [min(max(np.round(float(v) / scale + zero), 0), 2**bits - 1) for v in run]
            found[row, start : start + group] = torch.tensor([scale * (code - zero) for code in codes])
    return found


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [4, 5, 128])
def test_with_independent_inputs_gptq_is_plain_rounding(bits, group):
    weight, _ = layer()
    hessian = torch.diag(torch.linspace(0.5, 3, 8))
    rounded = gptq(weight, hessian, bits, group)
    assert torch.allclose(rounded.dense(), plain_rounding(weight, bits, group), atol=1e-6)
    assert int(rounded.codes.max()) < 2**bits and rounded.scale.shape == (6, -(-8 // group))


def test_gptq_makes_up_for_what_rounding_loses():
    better = 0
    for seed in range(10):
        weight, x = layer(seed=seed)
        hessian = second_moment(x)
        better += output_error(weight, gptq(weight, hessian, 3, 8).dense(), hessian) < output_error(
            weight, plain_rounding(weight, 3, 8), hessian
        )
    assert better >= 9


def test_the_first_error_is_spread_as_the_optimal_brain_surgeon_spreads_it():
    """After the first column is settled, the others move by -H_FF^-1 H_Fq of its error, F being the others."""
    weight, x = layer(3, 2, seed=4)
    hessian = second_moment(x).double()
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(2)
    few = gptq(weight, second_moment(x), 2, 1)
    error = few.dense()[:, 0].double() - weight[:, 0].double()
    moved = weight[:, 1].double() - hessian[1, 0] / hessian[1, 1] * error
    low, high = moved.clamp(max=0), moved.clamp(min=0)
    # One weight a run lies on its grid, but for the half precision of the scale.
    assert torch.allclose(few.dense()[:, 1].double(), low + high, rtol=2e-3)


@given(st.integers(0, 48), st.integers(0, 5))
def test_exactly_so_many_weights_are_zero(count, seed):
    weight, x = layer(seed=seed)
    assert int((sparse_obs(weight, second_moment(x), count / 48) == 0).sum()) == count


def test_with_independent_inputs_the_smallest_products_go_and_the_rest_stay():
    weight, _ = layer()
    scale = torch.linspace(0.5, 3, 8)
    pruned = sparse_obs(weight, torch.diag(scale), 0.5, damping=0.0)
    saliency = (weight**2 * scale).flatten()
    gone = torch.zeros(48, dtype=torch.bool)
    gone[saliency.argsort()[:24]] = True
    assert torch.equal(pruned, weight.masked_fill(gone.view(6, 8), 0.0))


def test_the_last_kept_weights_are_the_least_squares_fit():
    """If the columns that go come first, what stays is the regression of the outputs on the inputs that stay."""
    weight, x = layer(5, 6, seed=2)
    weight[:, :2] *= 1e-6
    hessian = second_moment(x)
    pruned = sparse_obs(weight, hessian, 2 / 6, damping=1e-9)
    assert (pruned[:, :2] == 0).all()
    fit = torch.linalg.lstsq(x[:, 2:].double(), (x @ weight.T).double()).solution.T
    assert torch.allclose(pruned[:, 2:].double(), fit, rtol=1e-3, atol=1e-5)


def test_inputs_that_are_always_zero_have_no_weight():
    weight, x = layer()
    x[:, 3] = 0
    assert (sparse_obs(weight, second_moment(x), 0.0)[:, 3] == 0).all()
    assert (gptq(weight, second_moment(x), 4, 8).dense()[:, 3] == 0).all()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: second_moment(torch.zeros(0, 3)), "0 rows"),
        (lambda: second_moment(torch.full((2, 3), torch.nan)), "finite calibration data"),
        (lambda: sparse_obs(torch.ones(2, 3), torch.eye(3), 1.5), "sparsity: is 1.5"),
        (lambda: sparse_obs(torch.ones(2, 3), torch.eye(2), 0.5), r"hessian is \(2, 2\); the weight \(2, 3\)"),
        (lambda: gptq(torch.ones(2, 3), torch.eye(3), 9), "bits is 9"),
        (lambda: gptq(torch.ones(2, 3), torch.eye(3), 4, 0), "group 0"),
    ],
)
def test_impossible_requests_are_refused(call, told):
    with pytest.raises(InputError, match=told):
        call()
