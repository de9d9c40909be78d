"""A transformer of one block without LayerNorm that learns to add modulo a number.

N. Nanda, L. Chan, T. Lieberum, J. Smith, J. Steinhardt, "Progress Measures for Grokking via Mechanistic
Interpretability", ICLR 2023; the model of the Local Interaction Basis (Bushnaq et al., 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from winnow.errors import InputError
from winnow.models import build
from winnow.models.fitting import History, fit
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.modular_addition import ModularAddition


def train_modular_addition(
    data: ModularAddition,
    *,
    width: int,
    heads: int,
    hidden: int,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    least_accuracy: float,
    seed: int,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[HookedTransformer, History]:
    """The model and the history of its training by full batches with AdamW, betas .9 and .98, at a constant rate.

    Raises InputError for a model whose accuracy on held-out pairs is below `least_accuracy`.
    """
    model = build(
        "hooked_transformer",
        seed=seed,
        vocabulary=data.modulus + 1,
        context=3,
        width=width,
        layers=1,
        heads=heads,
        hidden=hidden,
        activation="relu",
        normalization="none",
    )
    assert isinstance(model, HookedTransformer)

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay)

    history = fit(
        model,
        data,
        epochs=epochs,
        optimizer=optimizer,
        batch_size=data.modulus**2,
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_every=200,
        progress=progress,
    )
    found = data.metrics(model, "test")["accuracy"]
    if found < least_accuracy:
        raise InputError(f"train: accuracy {found:.3f} < {least_accuracy:g} of held-out sums; raise epochs")
    return model, history
