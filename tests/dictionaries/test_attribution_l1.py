"""The penalty weighted by attribution: gradients beside autograd, and what it spares beside plain L1."""

from dataclasses import replace

import pytest
import torch

from tests.dictionaries.test_architectures import ROWS, D, M, pre_activations, problem, squared_error
from winnow.dictionaries.architectures import Settings, relu_l1
from winnow.dictionaries.attribution_l1 import attribution_l1, fit_attribution_l1
from winnow.dictionaries.sae import SaeConfig, fit
from winnow.errors import InputError


@pytest.mark.parametrize("unexplained", [0.0, 1.3])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_autograd(seed, unexplained):
    parameters, rows = problem(seed)
    slopes = torch.randn(ROWS, D, generator=torch.Generator().manual_seed(seed + 9), dtype=torch.float64)
    tracked = {key: value.clone().requires_grad_() for key, value in parameters.items()}
    values = pre_activations(tracked, rows).relu()
    residual = rows - tracked["b_dec"] - values @ tracked["decoder"]
    error = squared_error(residual)
    loss = error + 0.7 * (values * (slopes @ tracked["decoder"].T)).abs().sum(1).mean()
    loss = loss + unexplained * (slopes * residual).sum(1).abs().mean()
    loss.backward()
    step = attribution_l1(parameters, rows, Settings(sparsity=0.7), slopes=slopes, unexplained=unexplained)
    assert step.loss == pytest.approx(loss.item(), abs=1e-9)
    assert step.squared_error == pytest.approx(error.item(), abs=1e-9)
    for key, value in tracked.items():
        torch.testing.assert_close(step.gradients[key], value.grad, atol=1e-9, rtol=0, msg=key)
    torch.testing.assert_close(step.code.values, values.detach())


def test_gradients_are_finite_differences_of_the_loss():
    parameters, rows = problem(4)
    generator = torch.Generator().manual_seed(2)
    slopes = torch.randn(ROWS, D, generator=generator, dtype=torch.float64)

    def loss(moved):
        return attribution_l1(moved, rows, Settings(sparsity=0.4), slopes=slopes, unexplained=0.9).loss

    gradients = attribution_l1(parameters, rows, Settings(sparsity=0.4), slopes=slopes, unexplained=0.9).gradients
    for key, value in parameters.items():
        step = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        near = [loss(parameters | {key: value + size * step}) for size in (1e-6, -1e-6)]
        assert float((gradients[key] * step).sum()) == pytest.approx((near[0] - near[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_in_one_dimension_with_slopes_of_one_it_is_plain_l1():
    parameters, rows = problem(0)
    line = {name: value[..., :1] if name != "b_enc" else value for name, value in parameters.items()}
    ones = torch.ones(ROWS, 1, dtype=torch.float64)
    ours = attribution_l1(line, rows[:, :1], Settings(sparsity=0.3), slopes=ones)
    plain = relu_l1(line, rows[:, :1], Settings(sparsity=0.3))
    assert ours.loss == pytest.approx(plain.loss, abs=1e-12)
    for name, gradient in plain.gradients.items():
        torch.testing.assert_close(ours.gradients[name], gradient, atol=1e-12, rtol=0)


def planted():
    """Rows of two blocks of directions, of which the answer hangs on the first alone."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.zeros(2048, 8)
    for block in range(2):
        rows[torch.arange(2048), 4 * block + torch.randint(0, 4, (2048,), generator=generator)] = 1.0
    return rows, torch.cat([torch.ones(2048, 4), torch.zeros(2048, 4)], 1)


def fitted(rows, slopes, config, unexplained=0.0):
    """The dictionary of a single node."""
    return fit_attribution_l1(rows[:, None], slopes[:, None], config, unexplained)[0]


def test_several_nodes_are_what_they_are_alone():
    rows, slopes = planted()
    config = SaeConfig("relu_l1", m=16, l1=3.0, steps=30, batch=256, lr=3e-3, revive="none")
    nodes = [(rows, slopes), (2 * rows.flip(1), slopes), (rows, slopes.flip(1))]
    both = [torch.stack(parts, 1) for parts in zip(*nodes, strict=True)]
    for found, (own, effects) in zip(fit_attribution_l1(*both, config, 0.7), nodes, strict=True):
        alone = fitted(own, effects, config, 0.7)
        for name in ("W_enc", "b_enc", "W_dec", "b_dec_in"):
            torch.testing.assert_close(getattr(found, name), getattr(alone, name), atol=1e-4, rtol=1e-3, msg=name)


def test_what_the_answer_does_not_hang_on_is_not_penalised():
    rows, slopes = planted()
    config = SaeConfig("relu_l1", m=16, l1=3.0, steps=250, batch=256, lr=3e-3, revive="none")

    def missed(dictionary):
        residual = rows - dictionary.dense(rows) @ dictionary.W_dec - dictionary.b_dec_out
        return [float(residual[:, part].square().sum(1).mean()) for part in (slice(4), slice(4, 8))]

    own = missed(fitted(rows, slopes, config))
    plain = missed(fit(rows, config)[0])
    assert own[1] < 0.5 * plain[1] and own[1] < 0.5 * own[0]
    # The scale of gradients does not count.
    assert missed(fitted(rows, 100 * slopes, config)) == pytest.approx(own, abs=1e-3)


def test_what_is_left_unexplained_of_the_answer_is_less_where_that_is_penalised():
    rows, slopes = planted()
    config = SaeConfig("relu_l1", m=4, l1=0.5, steps=250, batch=256, lr=3e-3, revive="none")

    def unexplained(weight):
        dictionary = fitted(rows, slopes, config, weight)
        residual = rows - dictionary.dense(rows) @ dictionary.W_dec - dictionary.b_dec_out
        return float((slopes * residual).sum(1).abs().mean())

    assert unexplained(2.0) < 0.8 * unexplained(0.0)


def test_gradients_of_another_shape_and_without_any_slope_are_refused():
    rows, slopes = planted()
    config = SaeConfig("relu_l1", m=M, steps=2, batch=8, revive="none")
    for wrong in (slopes[:5], torch.zeros_like(slopes)):
        with pytest.raises(InputError, match="gradients:"):
            fit_attribution_l1(rows[:, None], wrong[:, None], config)
    with pytest.raises(InputError, match="diverges at step 1"):
        fitted(rows, slopes, replace(config, steps=9, lr=1e35, warmup=0.0))
