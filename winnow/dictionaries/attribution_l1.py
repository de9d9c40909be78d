"""A sparse autoencoder whose penalty on a latent's activation is weighted by what it does to the model's answer.

Adam Jermyn et al., "Attribution Dictionary Learning", Transformer Circuits Thread, April 2024, as A. Makelov, G. Lange
and N. Nanda, "Towards Principled Evaluations of Sparse Autoencoders for Interpretability and Control", 2024, fit it: of
a row x with the answer's gradient g, the penalty is sparsity * sum_j f_j |g . W_dec,j|. What the reconstruction leaves
of the answer, |g . (x - x')|, the attribution that is unexplained, may be penalised too.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from winnow.dictionaries.architectures import Gradients, Parameters, Settings, Step
from winnow.dictionaries.codes import Dense, above
from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.side_by_side import SideBySide
from winnow.dictionaries.store import batches, statistics
from winnow.errors import InputError


def attribution_l1(
    parameters: Parameters, rows: Tensor, settings: Settings, *, slopes: Tensor, unexplained: float = 0.0
) -> Step:
    """Squared error and the penalties above: rows and the answer's gradients at them, float[b, d] each.

    unexplained: weight of the attribution that is. All tensors may have one more dimension in front, of several
    autoencoders, whose losses are added.
    """
    encoder, decoder, b = parameters["encoder"], parameters["decoder"], rows.shape[-2]
    centred = rows - parameters["b_dec"][..., None, :]
    pre = centred @ encoder.mT + parameters["b_enc"][..., None, :]
    active = above(pre, 0.0)
    values = pre * active
    residual = centred - values @ decoder
    effect = slopes @ decoder.mT
    missed = (slopes * residual).sum(-1)
    # What a reconstruction does to the loss; a latent adds to this its own penalty.
    grad = residual * (-2 / b) - (unexplained / b) * missed.sign()[..., None] * slopes
    share = settings.sparsity / b
    weighted = share * effect.abs()
    inner = (grad @ decoder.mT + weighted).mul_(active)
    sums = inner.sum(-2)
    gradients: Gradients = {
        "encoder": inner.mT @ centred,
        "b_enc": sums,
        "decoder": values.mT @ grad + share * (values * effect.sign()).mT @ slopes,
        "b_dec": grad.sum(-2) - (encoder.mT @ sums[..., None])[..., 0],
    }
    error = float(residual.square().sum()) / b
    loss = error + float((values * weighted).sum()) + unexplained / b * float(missed.abs().sum())
    return Step(loss, error, gradients, Dense(values, active), residual)


def fit_attribution_l1(rows: Tensor, slopes: Tensor, config: SaeConfig, unexplained: float = 0.0) -> list[Dictionary]:
    """A dictionary of each of s nodes: of rows float32[n, s, d], at which the answer has gradients float32[n, s, d].

    config: of relu_l1, whose `l1` is the weight of the penalty; dead latents are not woken. unexplained: weight of the
    attribution that is. Gradients are scaled to the mean norm sqrt(d), so that at directions drawn by chance the
    penalty is about that of relu_l1. Raises InputError for gradients of another shape or all zero in a node, and a loss
    that diverges.
    """
    if rows.shape != slopes.shape or not bool(slopes.flatten(2).any(2).any(0).all()):
        shapes = f"{tuple(slopes.shape)} of rows {tuple(rows.shape)}"
        raise InputError(f"gradients: {shapes}; give one each, not all zero")
    nodes = [part.contiguous() for part in rows.unbind(1)]
    scaled = [part * statistics(part).scale for part in (of.contiguous() for of in slopes.unbind(1))]
    trainers = SideBySide(config, [statistics(part) for part in nodes])
    reading = batches(torch.cat([*nodes, *scaled], 1), config.batch, config.seed)

    def step(batch: Tensor) -> None:
        own, effects = batch.view(len(batch), 2, len(nodes), -1).permute(1, 2, 0, 3).contiguous()
        trainers.step(own, lambda *told: attribution_l1(*told, slopes=effects, unexplained=unexplained))

    for batch in islice(reading, config.steps):
        step(batch)
    return trainers.dictionaries()
