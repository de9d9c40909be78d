"""What bi-level pruning is compared with beyond scores: Hydra, which learns masks, and the lottery ticket's rounds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from winnow.compress._masking import LABEL_SMOOTHING, finetune, prunable_weights
from winnow.compress._structure import Group, group_masks, structure_of, with_units
from winnow.compress._trained_masks import MOMENTUM, WEIGHT_DECAY, MaskedModel, PruneResult
from winnow.errors import InputError
from winnow.models.fitting import History, Trainable, fit

SHARE_PER_ROUND = 0.2
"""Of what is left, dropped in each round (Frankle and Carbin)."""

Progress = Callable[[int, int], None]


def hydra(
    model: nn.Module,
    workload: Trainable,
    keep: float,
    *,
    epochs: int,
    finetune_epochs: int,
    lr: float,
    mask_lr: float = 0.1,
    group: Group = "weight",
    seed: int = 0,
    batch_size: int = 128,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """Learn which weights to keep while all stay as they are, then fine-tune what is kept.

    Sehwag, Wang, Mittal, Jana, "HYDRA: Pruning Adversarially Robust Neural Networks", NeurIPS 2020, with the plain
    loss. keep, group and what is raised: as for `bip`. Scores: SGD with momentum .9, weight decay 1e-4, a cosine from
    mask_lr to 0 over `epochs`; then `finetune` over `finetune_epochs` from lr.
    """
    masked = MaskedModel(copy.deepcopy(model), keep, group).requires_grad_(False)
    masked.scores.requires_grad_(True)

    def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(masked.scores.parameters(), lr=mask_lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def choose(step: int) -> History:
        masked.choose()
        return []

    shared: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "checkpoint": checkpoint, "progress": progress}
    history = fit(
        masked,
        workload,
        epochs=epochs,
        optimizer=sgd,
        schedule=lambda done: (1 + math.cos(math.pi * done)) / 2,
        label_smoothing=LABEL_SMOOTHING,
        after_step=choose,
        kept=masked.state,
        recipe=f"hydra {keep} {group}",
        **shared,
    )
    pruned, masks = masked.finished().requires_grad_(True), masked.masks()
    every = with_units(pruned, masks, masked.structure)
    _, tuned = finetune(pruned, every, workload, epochs=finetune_epochs, lr=lr, recipe="hydra", **shared)
    scores = {name: score.detach() for name, score in zip(masked.names, masked.scores, strict=True)}
    steps = sum(metric == "loss" for metric, _, _ in history)
    rows = history + [(metric, value, step + steps) for metric, value, step in tuned]
    return PruneResult(masks, scores, pruned, rows, (epochs + finetune_epochs) * _examples(workload, batch_size))


def imp(
    model: nn.Module,
    workload: Trainable,
    keep: float,
    *,
    early: nn.Module,
    epochs: int,
    lr: float,
    group: Group = "weight",
    seed: int = 0,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> PruneResult:
    """Iterative magnitude pruning: drop a fifth of what is left, rewind, train, until `keep` is left.

    Frankle and Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, with the rewinding of Frankle, Dziugaite, Roy and
    Carbin, "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020. model: the dense one, which the
    first round prunes. early: the same network early in its training, whose parameters each round starts from.
    epochs: of each round. keep and group: as for `bip`. Scores are the last magnitudes before pruning.
    """
    if {n: p.shape for n, p in early.named_parameters()} != {n: p.shape for n, p in model.named_parameters()}:
        raise InputError("early: is another network than the model; give the same one early in its training")
    structure = structure_of(model, group)
    rounds = rounds_to(keep)
    trained, masks, rows = model, None, History()
    for number in range(1, rounds + 1):
        left = max(keep, (1 - SHARE_PER_ROUND) ** number)
        scores = {name: weight.detach().abs() for name, weight in prunable_weights(trained).items()}
        masks = group_masks(scores, left, structure, within=masks)
        trained = copy.deepcopy(early)
        before = sum(metric == "loss" for metric, _, _ in rows)
        every = with_units(trained, masks, structure)
        _, tuned = finetune(
            trained, every, workload, epochs=epochs, lr=lr, seed=seed, batch_size=batch_size, progress=progress
        )
        rows += [(metric, value, step + before) for metric, value, step in tuned]
    assert masks is not None
    return PruneResult(masks, scores, trained, rows, rounds * epochs * _examples(workload, batch_size))


def rounds_to(keep: float) -> int:
    """How many rounds, each of which drops a fifth of what is left, leave at most `keep`."""
    if not 0 < keep < 1:
        raise InputError(f"keep: is {keep}; give more than 0 and less than 1")
    return max(1, math.ceil(round(math.log(keep) / math.log(1 - SHARE_PER_ROUND), 9)))


def _examples(workload: Trainable, batch_size: int) -> int:
    return sum(len(batch[0]) for batch in workload.batches("train", batch_size))
