"""Classifiers of few and unbalanced images: from scratch, or on a network that knows other images.

The study of Natarajan and Nambiar, "Underwater SONAR Image Classification and Analysis using LIME-based Explainable
Artificial Intelligence", arXiv 2408.12837, 2024: random or stratified draws of images, class weights, over- and
under-sampling; a frozen base under a new head, then the top blocks tuned. Every arm takes as many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.errors import InputError
from winnow.models.fitting import History, fit
from winnow.models.modes import evaluating
from winnow.models.transfer_net import TransferNet
from winnow.randomness import numpy_generator

Balance = Literal["none", "weights", "over", "under"]
BALANCES: tuple[Balance, ...] = get_args(Balance)
ROWS = 128  # images in one call of a network that is only looked at
TUNED_RATE = 0.1  # learning rate of the tuned blocks and their head, as a share of the head's own before


def training_rows(labels: np.ndarray, share: float, stratified: bool, seed: int) -> np.ndarray:
    """Rows drawn for training, int64 in increasing order: a share of all, or of each class, rounded half up.

    Of a class that is drawn from by itself at least one row is drawn and one left. Raises InputError where a class has
    fewer than two rows, and where a draw from all leaves a class out.
    """
    counts = np.bincount(labels)
    if counts.min() < 2:
        raise InputError(f"class {int(counts.argmin())} has {counts.min()} images; a split needs 2 of each")
    rng = numpy_generator(seed, "transfer rows", "stratified" if stratified else "random")
    order = rng.permutation(len(labels))
    if not stratified:
        rows = np.sort(order[: int(share * len(labels) + 0.5)])
        missing = np.setdiff1d(labels, labels[rows])
        if len(missing):
            raise InputError(f"a random draw has no image of class {missing[0]}; give more images, or stratify")
        return rows
    taken = []
    for label, count in enumerate(counts):
        own = order[labels[order] == label]
        taken.append(own[: min(max(int(share * count + 0.5), 1), count - 1)])
    return np.sort(np.concatenate(taken))


def balanced(labels: np.ndarray, balance: Balance, seed: int) -> np.ndarray:
    """Positions that an epoch draws from, int64: all of them, or as many of each class as the largest or smallest has.

    over: every row of a class, and then random ones again. under: random rows of a class, without repetition.
    """
    if balance in ("none", "weights"):
        return np.arange(len(labels))
    rng = numpy_generator(seed, "transfer balance", balance)
    counts = np.bincount(labels)
    chosen = []
    for label, count in enumerate(counts):
        own = rng.permutation(np.flatnonzero(labels == label))
        if balance == "under":
            chosen.append(own[: counts.min()])
        else:
            chosen.append(np.concatenate([own, rng.choice(own, counts.max() - count)]))
    return np.concatenate(chosen)


def class_weights(labels: np.ndarray, balance: Balance) -> Tensor:
    """float32[classes]: n / (classes * count) under class weights, otherwise ones."""
    counts = np.bincount(labels)
    if balance != "weights":
        return torch.ones(len(counts))
    return torch.from_numpy(len(labels) / (len(counts) * counts)).float()


@dataclass(frozen=True)
class Pool:
    """Images or features to train on, as `fit` asks for them; an epoch has as many as there are, however balanced."""

    x: Tensor
    y: Tensor
    rows: np.ndarray
    """Positions that an epoch draws from."""
    weight: Tensor
    """float32[classes], of the loss."""

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Any]:
        """Batches of len(y) draws: every drawn position once before any comes again."""
        rounds = -(-len(self.y) // len(self.rows))
        rng = numpy_generator(seed or 0, "transfer batches", str(epoch))
        order = np.concatenate([rng.permutation(self.rows) for _ in range(rounds)])[: len(self.y)]
        for rows in torch.from_numpy(order).split(size):
            yield self.x[rows], self.y[rows]

    def loss(self, model: nn.Module, batch: Any, label_smoothing: float = 0.0) -> Tensor:
        """Weighted cross-entropy in nats: divided by the number of images, so that a batch keeps its scale."""
        x, y = batch
        losses = functional.cross_entropy(model(x), y, reduction="none", label_smoothing=label_smoothing)
        return (losses * self.weight[y]).mean()

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """Nothing: an epoch ends without a look at held-out images, since none of them decides anything."""
        return {}


class _Top(nn.Module):
    """The part of a network above what stays, as a model of what that puts out."""

    def __init__(self, network: TransferNet) -> None:
        super().__init__()
        self.network = [network]  # a list, so that the base's parameters are not this module's
        self.top, self.dense = network.top, network.dense

    def train(self, mode: bool = True) -> _Top:
        super().train(mode)
        self.top.eval()
        return self

    def forward(self, below: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.network[0].pooled(below))
        return logits


def seen_below(model: TransferNet, x: Tensor) -> Tensor:
    """What the blocks that stay put out for images x; computed once, whatever is trained above."""
    with evaluating(model), torch.no_grad():
        return torch.cat([model.below(rows) for rows in x.split(ROWS)])


def fit_transfer(
    model: TransferNet,
    below: Tensor,
    y: Tensor,
    balance: Balance,
    *,
    head_epochs: int,
    tuned_epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> History:
    """Fit the new head on pooled features, then head and top blocks together at a tenth of the rate, in place.

    below: of the training images, `seen_below`. y: int64[n]. Returns rows (metric, value, step) of both in turn.
    """
    labels = y.numpy()
    rows, weight = balanced(labels, balance, seed), class_weights(labels, balance)
    with evaluating(model), torch.no_grad():
        features = torch.cat([model.pooled(some) for some in below.split(ROWS)])
    budget: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    history = fit(
        model.dense,
        Pool(features, y, rows, weight),
        epochs=head_epochs,
        optimizer=lambda p: torch.optim.Adam(p, lr=learning_rate),
        **budget,
    )
    if tuned_epochs:
        last = history[-1][2]
        tuned = fit(
            _Top(model),
            Pool(below, y, rows, weight),
            epochs=tuned_epochs,
            optimizer=lambda p: torch.optim.Adam(p, lr=TUNED_RATE * learning_rate),
            **budget,
        )
        history += [(metric, value, last + step) for metric, value, step in tuned]
    model.eval()
    return history


def fit_scratch(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    balance: Balance,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> History:
    """Fit a network from its start on the same images, in place, with Adam at a constant rate."""
    labels = y.numpy()
    return fit(
        model,
        Pool(x, y, balanced(labels, balance, seed), class_weights(labels, balance)),
        epochs=epochs,
        optimizer=lambda p: torch.optim.Adam(p, lr=learning_rate),
        batch_size=batch_size,
        seed=seed,
    )
