"""Bi-level pruning (BiP): masks above, weights below, one step of each in turn on two batches.

Zhang, Yao, Ram, Zhao, Chen, Hong, Wang, Liu, "Advancing Model Pruning via Bi-level Optimization", NeurIPS 2022. Mask
and weights meet in their product alone, so the gradient through the lower level needs first derivatives only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.compress._structure import Group
from winnow.compress._trained_masks import MOMENTUM, WEIGHT_DECAY, MaskedModel, PruneResult, WithValues
from winnow.errors import InputError
from winnow.models.fitting import History, Trainable, fit, steps_per_epoch


def mask_gradient(weight: Tensor, gradient: Tensor, inv_gamma: float) -> Tensor:
    """dl/dm of the upper level: (theta - (1 / gamma) dl/dz) * dl/dz, z = m * theta.

    weight: theta. gradient: dl/dz, which is not zero where m is. inv_gamma: 1 / gamma; 0 leaves out the implicit
    part, and gives the straight-through gradient. All of one shape.
    """
    return (weight - inv_gamma * gradient) * gradient


def bip(
    model: nn.Module,
    workload: Trainable,
    keep: float,
    *,
    epochs: int = 16,
    lr: float = 0.1,
    mask_lr: float = 0.1,
    inv_gamma: float = 1.0,
    group: Group = "weight",
    seed: int = 0,
    batch_size: int = 128,
    label_smoothing: float = 0.0,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PruneResult:
    """Prune a copy of a trained model to `keep` of its weights, or of the groups of each layer, while it trains.

    Of each two batches, one moves the weights under the mask of the moment (SGD with momentum .9, weight decay 1e-4
    on all weights, masked or not, a cosine from lr to 0), the other the scores of the mask (SGD with mask_lr, same
    momentum and decay; a tenth of it from half of the epochs, a hundredth from three quarters, as in the authors'
    code); then the masks are those of the highest scores. epochs: passes over the split, half of whose
    batches go to each level. inv_gamma: 1 in the paper, 1e-4 in its code.
    History: what `fit` records, upper_loss [nats] of each step on the second batch, and mask_overlap, the
    intersection over union of the masks of one epoch's end and the next's.
    checkpoint, progress: as `fit` has them. Raises InputError for a keep that leaves less than one weight or group,
    fewer than two batches, and as `structure_of` and `fit` do.
    """
    masked = MaskedModel(copy.deepcopy(model), keep, group).requires_grad_(True)
    masked.scores.requires_grad_(False)
    momenta = {f"momentum.{name}": torch.zeros_like(s) for name, s in zip(masked.names, masked.scores, strict=True)}
    masked.state |= momenta | {f"earlier.{name}": mask for name, mask in masked.masks().items()}
    pairs = Pairs(workload)
    per_epoch = steps_per_epoch(pairs, batch_size, seed)

    def upper(step: int) -> History:
        rate = mask_lr * _decay((step - 1) // per_epoch / epochs)
        loss = _upper_step(masked, pairs, rate, inv_gamma, label_smoothing)
        rows: History = [("upper_loss", loss, step)]
        if step % per_epoch == 0:
            rows.append(("mask_overlap", _overlap(masked), step))
        return rows

    def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(masked.model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    history = fit(
        masked,
        pairs,
        epochs=epochs,
        optimizer=sgd,
        schedule=lambda done: (1 + math.cos(math.pi * done)) / 2,
        batch_size=batch_size,
        seed=seed,
        label_smoothing=label_smoothing,
        after_step=upper,
        kept=masked.state,
        recipe=f"bip {keep} {mask_lr} {inv_gamma} {group}",
        checkpoint=checkpoint,
        progress=progress,
    )
    scores = {name: score.detach() for name, score in zip(masked.names, masked.scores, strict=True)}
    examples = sum(pairs.sizes(batch_size, seed, epoch) for epoch in range(epochs))
    return PruneResult(masked.masks(), scores, masked.finished(), history, examples)


class Pairs:
    """A workload whose training batches come two at a time, of different examples.

    loss takes the first of a pair; the second waits in `second`. Batches are tuples of tensors; one without a partner
    is left out.
    """

    def __init__(self, workload: Trainable) -> None:
        self.workload = workload
        self.second: Any = None

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[tuple[Tensor, ...]]:
        parts = iter(self.workload.batches(split, size, seed, epoch))
        for first in parts:
            second = next(parts, None)
            if second is not None:
                yield (*first, *second)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], label_smoothing: float = 0.0) -> Tensor:
        middle = len(batch) // 2
        self.second = batch[middle:]
        return self.workload.loss(model, batch[:middle], label_smoothing)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        return self.workload.metrics(model, split)

    def sizes(self, batch_size: int, seed: int, epoch: int) -> int:
        """Examples of an epoch."""
        return sum(len(pair[0]) + len(pair[len(pair) // 2]) for pair in self.batches("train", batch_size, seed, epoch))


def _decay(share_done: float) -> float:
    return 0.01 if share_done >= 0.75 else 0.1 if share_done >= 0.5 else 1.0


def _upper_step(masked: MaskedModel, pairs: Pairs, lr: float, inv_gamma: float, label_smoothing: float) -> float:
    """SGD on the scores, on the batch that the weights have not just seen; returns the loss before it."""
    # With respect to z, not to theta: there the gradient is 0 where the mask is, and no weight could return.
    values = {name: value.detach().requires_grad_(name in masked.names) for name, value in masked.masked().items()}
    loss = pairs.workload.loss(WithValues(masked, values), pairs.second, label_smoothing)
    if not torch.isfinite(loss):
        raise InputError(f"upper level: the loss is {loss.item()}; lower the learning rates")
    gradients = torch.autograd.grad(loss, [values[name] for name in masked.names])
    with torch.no_grad():
        for name, score, gradient in zip(masked.names, masked.scores, gradients, strict=True):
            momentum = masked.state[f"momentum.{name}"]
            slope = mask_gradient(masked.model.get_parameter(name), gradient, inv_gamma)
            momentum.mul_(MOMENTUM).add_(slope).add_(score, alpha=WEIGHT_DECAY)
            score.sub_(momentum, alpha=lr)
    masked.choose()
    return float(loss.detach())


def _overlap(masked: MaskedModel) -> float:
    """Intersection over union of the masks now and at the last call."""
    both = either = 0
    for name, mask in masked.masks().items():
        earlier = masked.state[f"earlier.{name}"]
        both += int((mask & earlier).sum())
        either += int((mask | earlier).sum())
        masked.state[f"earlier.{name}"] = mask
    return both / either
