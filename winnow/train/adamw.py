"""The training baseline: AdamW with a linear warm-up and a cosine to zero.

Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; the cosine from the same authors' "SGDR",
ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.fitting import History, Trainable, fit


def warmup_cosine(warmup: float) -> Callable[[float], float]:
    """The multiplier of the learning rate after a share of the steps: a rise over `warmup`, then half a cosine.

    Raises InputError for a warmup outside [0, 1).
    """
    if not 0 <= warmup < 1:
        raise InputError(f"warmup is {warmup}; it must be at least 0 and below 1")

    def multiplier(done: float) -> float:
        if done < warmup:
            return done / warmup
        return (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2

    return multiplier


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a matrix of weights, or several: no bias, none of a norm, and no number a head.

    Biases of a bank of experts have two axes, and numbers that heads learn may have three, so axes alone do not tell.
    """
    own = name.rsplit(".", 1)[-1]
    if parameter.ndim < 2 or "bias" in own:
        return False
    return own == "weight" or parameter[0].numel() > 1


def fit_adamw(
    model: nn.Module,
    workload: Trainable,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    warmup: float,
    label_smoothing: float,
    seed: int,
    checkpoint: Path | None = None,
    validated: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Train a model in place; returns its history, rows of (metric, value, step).

    learning_rate: the peak, reached after the share `warmup` of all steps. What is decayed is told by `is_decayed`.
    validated: whether the history has metrics of each epoch.
    Errors are those of `winnow.models.fitting.fit`.
    """

    def optimizer(parameters: object) -> torch.optim.Optimizer:
        decayed = [p for name, p in model.named_parameters() if is_decayed(name, p)]
        free = [p for name, p in model.named_parameters() if not is_decayed(name, p)]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)

    return fit(
        model,
        workload,
        epochs=epochs,
        optimizer=optimizer,
        schedule=warmup_cosine(warmup),
        batch_size=batch_size,
        seed=seed,
        label_smoothing=label_smoothing,
        checkpoint=checkpoint,
        validated=validated,
        progress=progress,
    )
