"""A sparse autoencoder whose penalty on a latent's activation is weighted by what it does to the model's answer.

Adam Jermyn et al., "Attribution Dictionary Learning", Transformer Circuits Thread, April 2024, as A. Makelov, G. Lange
and N. Nanda, "Towards Principled Evaluations of Sparse Autoencoders for Interpretability and Control", 2024, fit it: of
a row x with the answer's gradient g, the penalty is sparsity * sum_j f_j |g . W_dec,j|. What the reconstruction leaves
of the answer, |g . (x - x')|, the attribution that is unexplained, may be penalised too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from winnow.dictionaries.architectures import Gradients, Parameters, Settings, Step
from winnow.dictionaries.codes import Dense, above
from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.store import batches, statistics
from winnow.dictionaries.trainer import Trainer
from winnow.errors import InputError


def attribution_l1(
    parameters: Parameters, rows: Tensor, slopes: Tensor, settings: Settings, unexplained: float = 0.0
) -> Step:
    """Squared error and the penalties above: rows and the answer's gradients at them, float[b, d] each.

    unexplained: weight of the attribution that is.
    """
    encoder, decoder, b = parameters["encoder"], parameters["decoder"], len(rows)
    centred = rows - parameters["b_dec"]
    pre = centred @ encoder.T + parameters["b_enc"]
    active = above(pre, 0.0)
    values = pre * active
    residual = centred - values @ decoder
    effect = slopes @ decoder.T
    missed = (slopes * residual).sum(1)
    # What a reconstruction does to the loss; a latent adds to this its own penalty.
    grad = residual * (-2 / b) - (unexplained / b) * missed.sign()[:, None] * slopes
    share = settings.sparsity / b
    inner = (grad @ decoder.T + share * effect.abs()).mul_(active)
    gradients: Gradients = {
        "encoder": inner.T @ centred,
        "b_enc": inner.sum(0),
        "decoder": values.T @ grad + share * (values * effect.sign()).T @ slopes,
        "b_dec": grad.sum(0) - encoder.T @ inner.sum(0),
    }
    error = float(residual.square().sum()) / b
    loss = error + share * float((values * effect.abs()).sum()) + unexplained / b * float(missed.abs().sum())
    return Step(loss, error, gradients, Dense(values, active), residual)


class _AttributionTrainer(Trainer):
    """Batches have rows and gradients side by side."""

    unexplained = 0.0

    def step(self, rows: Tensor) -> None:
        own, slopes = rows[:, : self.d] * self.scale, rows[:, self.d :]
        result = attribution_l1(self.parameters, own, slopes, self._settings(), self.unexplained)
        if not math.isfinite(result.loss):
            raise InputError(f"lr: {self.config.peak_lr:g} diverges at step {self.done}; lower it")
        self._update(result)
        self.done += 1


def fit_attribution_l1(rows: Tensor, slopes: Tensor, config: SaeConfig, unexplained: float = 0.0) -> Dictionary:
    """A dictionary of rows float32[n, d], at which the answer has gradients float32[n, d].

    config: of relu_l1, whose `l1` is the weight of the penalty; dead latents are not woken. unexplained: weight of the
    attribution that is. Gradients are scaled to the mean norm sqrt(d), so that at directions drawn by chance the
    penalty is about that of relu_l1. Raises InputError for gradients of another shape or all zero, and a loss that
    diverges.
    """
    if rows.shape != slopes.shape or not bool(slopes.any()):
        raise InputError(f"gradients: {tuple(slopes.shape)} of rows {tuple(rows.shape)}; give one each, not all zero")
    scaled = slopes * statistics(slopes).scale
    trainer = _AttributionTrainer(config, rows.shape[1], statistics(rows))
    trainer.unexplained = unexplained
    reading = batches(torch.cat([rows, scaled], 1), config.batch, config.seed)
    for _ in range(config.steps):
        trainer.step(next(reading))
    return trainer.dictionary()
