"""Hand-written gradients against automatic ones, on losses written anew from the papers' equations."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch

from winnow.dictionaries.architectures import ARCHITECTURES, Settings
from winnow.dictionaries.codes import CompiledBackend, TorchBackend

ROWS, D, M = 7, 5, 11
BACKENDS = [TorchBackend(), CompiledBackend(1), CompiledBackend(2)]
NAMES = ["torch", "numba", "two threads"]


def problem(seed, *extra):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"encoder": (M, D), "b_enc": (M,), "decoder": (M, D), "b_dec": (D,)} | dict.fromkeys(extra, (M,))
    parameters = {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}
    # Norms off one, so that a gradient that leaves them out is seen.
    return parameters, torch.randn(ROWS, D, generator=generator, dtype=torch.float64) * 2


def assert_same_gradients(name, loss, parameters, rows, settings):
    """`loss` takes parameters and rows; every gradient must equal that of autograd to 1e-9."""
    tracked = {key: value.clone().requires_grad_() for key, value in parameters.items()}
    expected = loss(tracked, rows)
    expected.backward()
    step = ARCHITECTURES[name](parameters, rows, settings)
    assert step.loss == pytest.approx(expected.item(), abs=1e-9)
    assert set(step.gradients) == set(parameters)
    for key, value in tracked.items():
        torch.testing.assert_close(step.gradients[key], value.grad, atol=1e-9, rtol=0, msg=key)
    return step


def squared_error(difference):
    return difference.pow(2).sum(1).mean()


def pre_activations(p, rows):
    return (rows - p["b_dec"]) @ p["encoder"].T + p["b_enc"]


def kept_of_rows(pre, k):
    best = torch.topk(pre, k, dim=1)
    return torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())


def auxiliary(p, rows, f, dead, k, coefficient):
    """AuxK as the paper states it."""
    residual = (rows - f @ p["decoder"] - p["b_dec"]).detach()
    chosen = kept_of_rows(pre_activations(p, rows)[:, dead], min(k, int(dead.sum())))
    missed = (chosen @ p["decoder"][dead] - residual).pow(2).sum() / (residual - residual.mean(0)).pow(2).sum()
    return coefficient * min(1, int(dead.sum()) / k) * missed


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_topk_gradients_are_those_of_its_squared_error(seed, backend):
    parameters, rows = problem(seed)

    def loss(p, x):
        return squared_error(x - kept_of_rows(pre_activations(p, x), 3) @ p["decoder"] - p["b_dec"])

    step = assert_same_gradients("topk", loss, parameters, rows, Settings(backend, k=3))
    assert step.squared_error == step.loss


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
@pytest.mark.parametrize("dead", [[0, 4], [1, 2, 3, 8], [5, 6, 7, 8, 9, 10]])
def test_auxk_adds_the_residual_that_dead_latents_reconstruct_without_bias(dead, backend):
    parameters, rows = problem(4)
    mask = torch.zeros(M, dtype=torch.bool)
    mask[dead] = True

    def loss(p, x):
        f = kept_of_rows(pre_activations(p, x), 2)
        return squared_error(x - f @ p["decoder"] - p["b_dec"]) + auxiliary(p, x, f, mask, 3, 0.7)

    settings = Settings(backend, k=2, dead=mask, aux_k=3, aux_coefficient=0.7)
    step = assert_same_gradients("topk", loss, parameters, rows, settings)
    assert step.loss > step.squared_error
    none = ARCHITECTURES["topk"](
        parameters, rows, Settings(backend, k=2, dead=mask & False, aux_k=3, aux_coefficient=1)
    )
    assert none.loss == none.squared_error == step.squared_error


def test_auxk_is_silent_where_nothing_is_left_to_explain():
    parameters, rows = problem(5)
    parameters["b_enc"] -= 100
    rows = parameters["b_dec"].expand(ROWS, D)
    settings = Settings(k=2, dead=torch.ones(M, dtype=torch.bool), aux_k=2, aux_coefficient=1.0)
    step = ARCHITECTURES["topk"](parameters, rows, settings)
    assert step.loss == 0 and all(torch.isfinite(g).all() for g in step.gradients.values())


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
@pytest.mark.parametrize("dead", [[], [2, 5, 9]])
def test_batchtopk_gradients_are_those_of_the_largest_of_the_batch(dead, backend):
    parameters, rows = problem(6)
    mask = torch.zeros(M, dtype=torch.bool)
    mask[dead] = True

    def loss(p, x):
        flat = pre_activations(p, x).flatten()
        best = torch.topk(flat, 2 * ROWS)
        f = torch.zeros_like(flat).scatter(0, best.indices, best.values.relu()).view(ROWS, M)
        total = squared_error(x - f @ p["decoder"] - p["b_dec"])
        return total + auxiliary(p, x, f, mask, 2, 0.3) if dead else total

    settings = Settings(backend, k=2, dead=mask, aux_k=2, aux_coefficient=0.3)
    step = assert_same_gradients("batchtopk", loss, parameters, rows, settings)
    assert step.code.count() == 2 * ROWS


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
@pytest.mark.parametrize("shift", [0.0, -4.0])
def test_relu_l1_gradients_weigh_the_penalty_by_decoder_norms(shift, backend):
    parameters, rows = problem(7)
    parameters["b_enc"] += shift  # at -4 few latents are active and the code is compact

    def loss(p, x):
        f = pre_activations(p, x).relu()
        penalty = (f * p["decoder"].norm(dim=1)).sum(1).mean()
        return squared_error(x - f @ p["decoder"] - p["b_dec"]) + 0.4 * penalty

    assert_same_gradients("relu_l1", loss, parameters, rows, Settings(backend, sparsity=0.4))


def test_a_batch_may_be_a_single_row():
    parameters, rows = problem(11)

    def loss(p, x):
        return squared_error(x - pre_activations(p, x).relu() @ p["decoder"] - p["b_dec"])

    assert_same_gradients("relu_l1", loss, parameters, rows[:1], Settings())


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
def test_what_is_not_asked_for_adds_nothing_to_the_error(backend):
    parameters, rows = problem(12)
    step = ARCHITECTURES["relu_l1"](parameters, rows, Settings(backend))
    assert step.loss == step.squared_error and step.code.count() > 0
    if not isinstance(backend, TorchBackend):  # torch.topk knows no k of 0
        none = ARCHITECTURES["topk"](parameters, rows, Settings(backend))
        assert none.code.count() == 0
        torch.testing.assert_close(none.residual, rows - parameters["b_dec"])
    dead = torch.ones(M, dtype=torch.bool)
    auxiliary_off = ARCHITECTURES["topk"](parameters, rows, Settings(backend, k=2, dead=dead, aux_k=2))
    assert auxiliary_off.loss == auxiliary_off.squared_error


def test_settings_of_a_step_are_not_changed_by_it():
    with pytest.raises(FrozenInstanceError):
        Settings(k=2).k = 3


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
def test_ghosts_stay_away_where_no_latent_is_dead(backend):
    parameters, rows = problem(8)
    without = ARCHITECTURES["relu_l1"](parameters, rows, Settings(backend, sparsity=0.2))
    step = ARCHITECTURES["relu_l1"](
        parameters, rows, Settings(backend, sparsity=0.2, dead=torch.zeros(M, dtype=torch.bool))
    )
    assert step.loss == without.loss
    for name, gradient in without.gradients.items():
        assert torch.equal(step.gradients[name], gradient)


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
def test_ghost_gradients_follow_their_definition(backend):
    parameters, rows = problem(8)
    dead = torch.zeros(M, dtype=torch.bool)
    dead[[1, 6, 7]] = True
    parameters["b_enc"][dead] = -20

    def loss(p, x):
        pre = pre_activations(p, x)
        residual = x - pre.relu() @ p["decoder"] - p["b_dec"]
        ghost, target = pre[:, dead].exp() @ p["decoder"][dead], residual.detach()
        scale = (target.norm(dim=1) / ghost.norm(dim=1) / 2).detach()
        ghost_error = squared_error(ghost * scale[:, None] - target)
        main = squared_error(residual)
        return main + ghost_error * (main / ghost_error).detach()

    # The weight that makes the ghost loss equal to the main one is a constant of the definition.
    assert_same_gradients("relu_l1", loss, parameters, rows, Settings(backend, dead=dead))


def test_ghosts_too_faint_to_point_anywhere_leave_the_gradients_alone():
    """exp(-2000) is 0: the ghost reconstructs nothing, so its error is the main one, and nothing can follow it."""
    parameters, rows = problem(8)
    dead = torch.zeros(M, dtype=torch.bool)
    dead[[1, 6, 7]] = True
    parameters["b_enc"][dead] = -2000
    step, without = (ARCHITECTURES["relu_l1"](parameters, rows, Settings(dead=d)) for d in (dead, None))
    assert step.loss == pytest.approx(2 * without.loss)
    for name, gradient in without.gradients.items():
        torch.testing.assert_close(step.gradients[name], gradient)


def test_ghosts_are_silent_where_nothing_is_left_to_explain():
    parameters, _ = problem(5)
    parameters["b_enc"] -= 100
    rows = parameters["b_dec"].expand(ROWS, D)
    step = ARCHITECTURES["relu_l1"](parameters, rows, Settings(dead=torch.ones(M, dtype=torch.bool)))
    assert step.loss == 0 and all((g == 0).all() for g in step.gradients.values())


class Straight(torch.autograd.Function):
    """JumpReLU and step of pre and theta with the paper's pseudo-derivatives."""

    @staticmethod
    def forward(ctx, pre, theta, width):
        ctx.save_for_backward(pre, theta)
        ctx.width = width
        active = (pre > theta).to(pre)
        return pre * active, active

    @staticmethod
    def backward(ctx, from_f, from_step):
        pre, theta = ctx.saved_tensors
        kernel = (((pre - theta) / ctx.width).abs() < 0.5).to(pre)
        of_theta = -(theta / ctx.width) * kernel * from_f - kernel * from_step / ctx.width
        return (pre > theta) * from_f, of_theta.sum(0), None


@pytest.mark.parametrize("backend", BACKENDS, ids=NAMES)
@pytest.mark.parametrize("target", [None, 3.0])
@pytest.mark.parametrize("shift", [0.0, -4.0])
def test_jumprelu_gradients_pass_straight_through_the_threshold(shift, target, backend):
    parameters, rows = problem(9, "log_threshold")
    parameters["b_enc"] += shift
    width = 1.5

    def loss(p, x):
        f, step = Straight.apply(pre_activations(p, x), p["log_threshold"].exp(), width)
        l0 = step.sum(1).mean()
        penalty = 0.6 * l0 if target is None else 0.6 * (l0 / target - 1) ** 2
        return squared_error(x - f @ p["decoder"] - p["b_dec"]) + penalty

    settings = Settings(backend, sparsity=0.6, target_l0=target, bandwidth=width)
    step = assert_same_gradients("jumprelu", loss, parameters, rows, settings)
    assert step.gradients["log_threshold"].abs().max() > 1e-3


def test_jumprelu_lowers_a_threshold_that_a_row_just_misses():
    parameters, rows = problem(10, "log_threshold")
    pre = pre_activations(parameters, rows)
    missed = float(pre[0, 0].abs()) + 0.01
    parameters["encoder"][0] *= torch.sign(pre[0, 0])
    parameters["b_enc"][0] *= torch.sign(pre[0, 0])
    parameters["log_threshold"][0] = math.log(missed)
    gradient = ARCHITECTURES["jumprelu"](parameters, rows[:1], Settings(sparsity=1.0, bandwidth=0.1)).gradients
    assert gradient["log_threshold"][0] != 0


@pytest.mark.parametrize("seed", range(3))
def test_gated_gradients_freeze_the_decoder_for_the_gate(seed):
    parameters, rows = problem(seed, "b_gate", "log_scale")

    def loss(p, x):
        inner = (x - p["b_dec"]) @ p["encoder"].T
        gate = inner + p["b_gate"]
        f = (gate > 0) * (p["log_scale"].exp() * inner + p["b_enc"]).relu()
        main = squared_error(x - f @ p["decoder"] - p["b_dec"])
        by_gate = squared_error(x - gate.relu() @ p["decoder"].detach() - p["b_dec"].detach())
        return main + by_gate + 0.5 * (gate.relu() * p["decoder"].norm(dim=1)).sum(1).mean()

    assert_same_gradients("gated", loss, parameters, rows, Settings(sparsity=0.5))


def test_a_gate_or_a_magnitude_of_exactly_zero_is_closed():
    """The step function of the paper is 0 at 0; at the origin a bias of 0 puts a latent exactly there."""
    parameters, _ = problem(3, "b_gate", "log_scale")
    parameters["b_gate"], parameters["b_enc"] = torch.ones_like(parameters["b_gate"]), parameters["b_enc"].abs()
    parameters["b_gate"][2], parameters["b_enc"][5] = 0, 0
    step = ARCHITECTURES["gated"](parameters, parameters["b_dec"].expand(1, D), Settings())
    assert step.code.fired().tolist() == [j not in (2, 5) for j in range(M)]
    assert step.gradients["b_gate"][2] == 0 and (step.code.values[0, [2, 5]] == 0).all()
