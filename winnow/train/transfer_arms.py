"""Every way to draw and balance training images, for a network from scratch and a transferred one, with its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from winnow.models.fitting import History
from winnow.models.transfer_net import TransferNet
from winnow.train.class_scores import class_scores, confusion, macro_f1, macro_f1_gain
from winnow.train.transfer import BALANCES, fit_scratch, fit_transfer, seen_below, training_rows

KEPT, PLAIN = "stratified-weights", "random-none"
"""The arm that the paper advises, and the one that it is compared with."""
DRAWS = ("random", "stratified")


class Arm(NamedTuple):
    """Both networks, trained on the same images."""

    name: str
    scratch: nn.Module
    transfer: TransferNet
    history: History
    """Of the transferred network."""


class Budget(NamedTuple):
    """What every arm may spend."""

    share: float
    head_epochs: int
    tuned_epochs: int
    scratch_epochs: int
    learning_rate: float
    batch_size: int
    seed: int


def trained_arms(
    scratch: Callable[[], nn.Module], transfer: Callable[[], TransferNet], x: Tensor, y: Tensor, budget: Budget
) -> Iterator[Arm]:
    """Train both networks in each arm; `scratch` and `transfer` make them anew; x and y may be drawn."""
    below = seen_below(transfer(), x)
    common: dict[str, Any] = {
        "learning_rate": budget.learning_rate,
        "batch_size": budget.batch_size,
        "seed": budget.seed,
    }
    epochs = {"head_epochs": budget.head_epochs, "tuned_epochs": budget.tuned_epochs}
    for draw in DRAWS:
        rows = training_rows(y.numpy(), budget.share, draw == "stratified", budget.seed)
        for balance in BALANCES:
            one, other = scratch(), transfer()
            fit_scratch(one, x[rows], y[rows], balance, epochs=budget.scratch_epochs, **common)
            history = fit_transfer(other, below[rows], y[rows], balance, **epochs, **common)
            yield Arm(f"{draw}-{balance}", one, other, history)


def arm_scores(
    truth: np.ndarray, predicted: np.ndarray, plain: np.ndarray, names: list[str], seed: int
) -> dict[str, float]:
    """accuracy, macro_f1, precision_, recall_ and f1_<class>, and gain, gain_low, gain_high over the plain arm.

    truth, predicted, plain: int64[n], of the same images. The gain is of macro-F1, with its bootstrap interval.
    """
    table = confusion(truth, predicted, len(names))
    values = {"accuracy": float((predicted == truth).mean()), "macro_f1": float(macro_f1(table))}
    for score, found in class_scores(table).items():
        values |= {f"{score}_{name}": float(value) for name, value in zip(names, found, strict=True)}
    gain = macro_f1_gain(truth, predicted, plain, len(names), seed)
    return values | dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True))
