"""Losses of five sparse autoencoders and their gradients, written by hand.

x is a row scaled to E|x| = sqrt(d), f its code, e = x - b_dec - f W_dec the residual. The squared error is
always summed over d and averaged over the b rows of a batch. `encoder` is kept as float[m, d], the transpose
of the papers' W_enc, so that both weights are read and written by latent.

A transcoder (Dunefsky et al., 2024) has a target y in the place of the x that is reconstructed, of its own
dimension, and a parameter `b_in` in the place of the b_dec that is taken from x: e = y - b_dec - f W_dec.

relu_l1: Bricken et al., "Towards Monosemanticity", 2023; Jermyn and Templeton, "Ghost Grads", 2024.
topk: Gao et al., "Scaling and evaluating sparse autoencoders", 2024.
batchtopk: Bussmann et al., "BatchTopK Sparse Autoencoders", 2024.
jumprelu and gated: Rajamanoharan et al., "Jumping Ahead" and "Improving Dictionary Learning with Gated SAEs",
2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from winnow.dictionaries.codes import Backend, Code, Dense, TorchBackend, above

Parameters = dict[str, Tensor]
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """What a loss needs at one step besides the parameters and the rows."""

    backend: Backend = field(default_factory=TorchBackend)
    k: int = 0
    """Active latents per row (topk) or per row on average (batchtopk)."""
    sparsity: float = 0.0
    """Weight of the sparsity penalty."""
    target_l0: float | None = None
    """jumprelu: the L0 aimed at; None penalises L0 itself."""
    bandwidth: float = 0.0
    """jumprelu: width of the rectangle kernel."""
    dead: Tensor | None = None
    """bool[m]: latents silent for long, to be revived by this loss; None revives none."""
    aux_k: int = 0
    """Dead latents per row that AuxK uses."""
    aux_coefficient: float = 0.0


class Step(NamedTuple):
    """Result of one loss: floats, the gradient of every parameter, the code and the residual float[b, d]."""

    loss: float
    squared_error: float
    gradients: Gradients
    code: Code
    residual: Tensor


def top_k(parameters: Parameters, rows: Tensor, settings: Settings, target: Tensor | None = None) -> Step:
    """The k largest latents of each row, with AuxK for the dead."""
    centred, wanted, pre = _encode(parameters, rows, target)
    return _top_step(parameters, centred, wanted, pre, settings.backend.top_of_rows(pre, settings.k), settings)


def batch_top_k(parameters: Parameters, rows: Tensor, settings: Settings, target: Tensor | None = None) -> Step:
    """The k * b largest latents of the batch, with AuxK for the dead."""
    centred, wanted, pre = _encode(parameters, rows, target)
    code = settings.backend.top_of_batch(pre, settings.k * len(rows))
    return _top_step(parameters, centred, wanted, pre, code, settings)


def relu_l1(parameters: Parameters, rows: Tensor, settings: Settings, target: Tensor | None = None) -> Step:
    """relu with the penalty sparsity * sum_j f_j |W_dec,j|, with ghost gradients for the dead."""
    centred, wanted, pre = _encode(parameters, rows, target)
    code = settings.backend.between(pre, torch.zeros_like(pre[0]))
    residual = wanted - code.decode(parameters["decoder"])
    norms = torch.linalg.vector_norm(parameters["decoder"], dim=1)
    grad = residual * (-2 / len(rows))
    slope = settings.sparsity / len(rows)
    value_grad = code.dots(grad, parameters["decoder"]) + code.per_latent(slope * norms)
    gradients = _gradients(parameters, centred, code, grad, value_grad)
    usage = code.column_sums()
    gradients["decoder"] += (slope * usage / norms)[:, None] * parameters["decoder"]
    error = _squared_error(residual)
    loss = error + slope * float(usage @ norms)
    if settings.dead is not None and bool(settings.dead.any()):
        loss += _ghost(gradients, parameters, centred, pre, residual, settings.dead)
    return Step(loss, error, gradients, code, residual)


def jump_relu(parameters: Parameters, rows: Tensor, settings: Settings, target: Tensor | None = None) -> Step:
    """f = pre where pre > theta = exp(log_threshold); penalty on L0; straight-through gradients for theta.

    With H the step and K the rectangle of width epsilon, the pseudo-derivatives in theta are
    d f = -(theta / epsilon) K((pre - theta) / epsilon) and d H = -(1 / epsilon) K((pre - theta) / epsilon).
    Both look at pre on either side of theta: f is zero below it and would never lower a threshold again.
    """
    centred, wanted, pre = _encode(parameters, rows, target)
    theta = parameters["log_threshold"].exp()
    code = settings.backend.between(pre, theta)
    residual = wanted - code.decode(parameters["decoder"])
    grad = residual * (-2 / len(rows))
    gradients = _gradients(parameters, centred, code, grad, code.dots(grad, parameters["decoder"]))
    penalty, l0_grad = _l0_penalty(code.count() / len(rows), settings)
    half = settings.bandwidth / 2
    window = settings.backend.between(pre, theta - half, theta + half)
    through_f = window.with_values(window.dots(grad, parameters["decoder"])).column_sums() * theta
    through_l0 = window.with_values(window.per_latent(torch.ones_like(theta))).column_sums() * (l0_grad / len(rows))
    # The last theta is the derivative of exp: the parameter is log theta.
    gradients["log_threshold"] = -(through_f + through_l0) / settings.bandwidth * theta
    error = _squared_error(residual)
    return Step(error + penalty, error, gradients, code, residual)


def gated(parameters: Parameters, rows: Tensor, settings: Settings, target: Tensor | None = None) -> Step:
    """A gate decides which latents are active, a second reading of the same weights how strongly.

    The gate learns from sparsity * sum_j relu(gate_j) |W_dec,j| and from reconstructing x by relu(gate) with
    a frozen decoder, because the step function passes no gradient on. All tensors may have one more dimension in front,
    of several autoencoders, whose losses are added.
    """
    encoder, decoder = parameters["encoder"], parameters["decoder"]
    b, (centred, wanted) = rows.shape[-2], _centred(parameters, rows, target)
    inner, scale = centred @ encoder.mT, parameters["log_scale"].exp()[..., None, :]
    gate, magnitude = inner + parameters["b_gate"][..., None, :], scale * inner + parameters["b_enc"][..., None, :]
    opened, open_gate = above(gate, 0.0), gate.clamp(min=0)
    active = above(magnitude, 0.0).mul_(opened)
    code = Dense(magnitude * active, active)
    residual, aux_residual = wanted - code.decode(decoder), wanted - open_gate @ decoder
    grad, aux_grad = residual * (-2 / b), aux_residual * (-2 / b)
    norms, slope = torch.linalg.vector_norm(decoder, dim=-1), settings.sparsity / b
    magnitude_grad = code.dots(grad, decoder)
    gate_grad = (aux_grad @ decoder.mT + slope * norms[..., None, :]).mul_(opened)
    inner_grad = gate_grad + scale * magnitude_grad
    usage = open_gate.sum(-2)
    gradients = {
        "encoder": inner_grad.mT @ centred,
        "b_enc": magnitude_grad.sum(-2),
        "b_gate": gate_grad.sum(-2),
        "log_scale": (magnitude_grad * inner).sum(-2) * scale[..., 0, :],
        "decoder": code.outer(grad) + (slope * usage / norms)[..., None] * decoder,
        "b_dec": grad.sum(-2),
    }
    taken = (encoder.mT @ inner_grad.sum(-2)[..., None])[..., 0]
    gradients[_input_bias(parameters)] = gradients["b_dec"] - taken if target is None else -taken
    error = _squared_error(residual)
    loss = error + _squared_error(aux_residual) + slope * float(usage.flatten() @ norms.flatten())
    return Step(loss, error, gradients, code, residual)


ARCHITECTURES: dict[str, Callable[..., Step]] = {
    "topk": top_k,
    "batchtopk": batch_top_k,
    "relu_l1": relu_l1,
    "jumprelu": jump_relu,
    "gated": gated,
}


def _input_bias(parameters: Parameters) -> str:
    """What is taken from the rows that are read: what is reconstructed has the other name where there are two."""
    return "b_in" if "b_in" in parameters else "b_dec"


def _centred(parameters: Parameters, rows: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """What is read and what is to be decoded, each without its bias; the same tensor where they are the same."""
    centred = rows - parameters[_input_bias(parameters)][..., None, :]
    return centred, centred if target is None else target - parameters["b_dec"][..., None, :]


def _encode(parameters: Parameters, rows: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The two, and pre-activations float[b, m]: the one dense product of a step."""
    centred, wanted = _centred(parameters, rows, target)
    return centred, wanted, torch.addmm(parameters["b_enc"], centred, parameters["encoder"].T)


def _squared_error(residual: Tensor) -> float:
    return float(torch.linalg.vector_norm(residual)) ** 2 / residual.shape[-2]


def _gradients(parameters: Parameters, centred: Tensor, code: Code, grad: Tensor, value_grad: Tensor) -> Gradients:
    """The gradients of a code of all latents, given those of its reconstruction and of its values."""
    pre_code = code.with_values(value_grad)
    sums = pre_code.column_sums()
    gradients = {"encoder": pre_code.outer(centred), "b_enc": sums, "decoder": code.outer(grad), "b_dec": grad.sum(0)}
    taken, bias = parameters["encoder"].T @ sums, _input_bias(parameters)
    gradients[bias] = gradients[bias] - taken if bias in gradients else -taken
    return gradients


def _add_gradients(
    gradients: Gradients,
    parameters: Parameters,
    centred: Tensor,
    code: Code,
    grad: Tensor,
    value_grad: Tensor,
    latents: Tensor,
) -> None:
    """Add those of a code of some latents, int64[n], whose reconstruction has no bias."""
    pre_code = code.with_values(value_grad)
    sums = pre_code.column_sums()
    gradients["decoder"].index_add_(0, latents, code.outer(grad))
    gradients["encoder"].index_add_(0, latents, pre_code.outer(centred))
    gradients["b_enc"].index_add_(0, latents, sums)
    gradients[_input_bias(parameters)] -= parameters["encoder"].index_select(0, latents).T @ sums


def _top_step(
    parameters: Parameters, centred: Tensor, wanted: Tensor, pre: Tensor, code: Code, settings: Settings
) -> Step:
    residual = wanted - code.decode(parameters["decoder"])
    grad = residual * (-2 / len(centred))
    gradients = _gradients(parameters, centred, code, grad, code.dots(grad, parameters["decoder"]))
    loss = error = _squared_error(residual)
    if settings.dead is not None and bool(settings.dead.any()):
        loss += _auxiliary(gradients, parameters, centred, pre, residual, settings)
    return Step(loss, error, gradients, code, residual)


def _auxiliary(
    gradients: Gradients,
    parameters: Parameters,
    centred: Tensor,
    pre: Tensor,
    residual: Tensor,
    settings: Settings,
) -> float:
    """AuxK (Gao et al., appendix A.2): the dead latents that come closest reconstruct the residual.

    Without b_dec, which the residual no longer holds; the residual itself receives no gradient.
    """
    assert settings.dead is not None
    dead = settings.dead.nonzero().flatten()
    spread = float((residual - residual.mean(0)).square().sum())
    if spread == 0:
        return 0.0
    code = settings.backend.top_of_rows(pre.index_select(1, dead), min(settings.aux_k, len(dead)))
    weight = parameters["decoder"].index_select(0, dead)
    difference = code.decode(weight) - residual
    factor = settings.aux_coefficient * min(1.0, len(dead) / settings.aux_k) / spread
    grad = difference * (2 * factor)
    _add_gradients(gradients, parameters, centred, code, grad, code.dots(grad, weight), dead)
    return factor * float(difference.square().sum())


def _ghost(
    gradients: Gradients,
    parameters: Parameters,
    centred: Tensor,
    pre: Tensor,
    residual: Tensor,
    dead_mask: Tensor,
) -> float:
    """Ghost gradients: exp(pre) of the dead latents, at half the residual's norm, reconstructs the residual.

    Both scales, of the ghost rows and of the loss (made equal to the main one), count as constants.
    """
    dead = dead_mask.nonzero().flatten()
    weight, values = parameters["decoder"][dead], pre[:, dead].exp()
    ghost = values @ weight
    scale = residual.norm(dim=1, keepdim=True) / (2 * ghost.norm(dim=1, keepdim=True)).clamp(min=1e-12)
    difference = ghost * scale - residual
    ghost_error, main_error = _squared_error(difference), _squared_error(residual)
    if ghost_error == 0:
        return 0.0
    grad = difference * scale * (2 * main_error / ghost_error / len(residual))
    code = Dense(values, torch.ones_like(values))
    _add_gradients(gradients, parameters, centred, code, grad, code.dots(grad, weight) * values, dead)
    return main_error


def _l0_penalty(l0: float, settings: Settings) -> tuple[float, float]:
    """The penalty on the mean L0 and its derivative."""
    if settings.target_l0 is None:
        return settings.sparsity * l0, settings.sparsity
    excess = l0 / settings.target_l0 - 1
    return settings.sparsity * excess**2, 2 * settings.sparsity * excess / settings.target_l0
