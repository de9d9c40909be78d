"""Compression: smaller models, each method under its name.

Methods of pruning share one recipe, `compress`: score the weights, keep the best, fine-tune. They differ in
the score alone, so arms of a comparison have equal budgets by construction.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn

from winnow.compress._baselines import (
    erk_scores,
    lamp_scores,
    random_scores,
    snip_scores,
    uniform_scores,
)
from winnow.compress._masking import Masks, estimate_statistics, finetune, prunable_weights
from winnow.compress.global_magnitude import GradualSchedule, masks_from_scores, require_finite
from winnow.errors import InputError
from winnow.models.fitting import History, Trainable
from winnow.randomness import torch_generator

SNIP_EXAMPLES = 512

Scorer = Callable[[nn.Module, Trainable, int], dict[str, Tensor]]


def _magnitude(model: nn.Module, workload: Trainable, seed: int) -> dict[str, Tensor]:
    return {name: weight.detach().abs() for name, weight in prunable_weights(model).items()}


def _random(model: nn.Module, workload: Trainable, seed: int) -> dict[str, Tensor]:
    return random_scores(prunable_weights(model), torch_generator(seed, "compress", "random"))


def _snip(model: nn.Module, workload: Trainable, seed: int) -> dict[str, Tensor]:
    training = model.training
    # In eval mode, so that scoring leaves the statistics of batch norm alone.
    loss = workload.loss(model.eval(), next(iter(workload.batches("train", SNIP_EXAMPLES, seed))))
    weights = prunable_weights(model)
    gradients = torch.autograd.grad(loss, list(weights.values()))
    model.train(training)
    return snip_scores(weights, dict(zip(weights, gradients, strict=True)))


METHODS: dict[str, Scorer] = {
    "global_magnitude": _magnitude,
    "uniform": lambda model, workload, seed: uniform_scores(prunable_weights(model)),
    "erk": lambda model, workload, seed: erk_scores(prunable_weights(model)),
    "lamp": lambda model, workload, seed: lamp_scores(prunable_weights(model)),
    "snip": _snip,
    "random": _random,
}


def masks_for(
    method: str,
    model: nn.Module,
    workload: Trainable,
    sparsity: float,
    seed: int,
    min_keep_share: float = 0.0,
    within: Masks | None = None,
) -> Masks:
    """Masks of a method on a trained model: parameter name -> bool, True where kept.

    sparsity: share of the prunable weights that is dropped, in [0, 1). min_keep_share: every layer keeps at
    least this share of *all* prunable weights. within: earlier masks that the new ones lie inside of.
    Raises InputError for an unknown method and for what `masks_from_scores` refuses.
    """
    if method not in METHODS:
        near = get_close_matches(method, METHODS, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(METHODS)}"
        raise InputError(f"method: unknown name {method!r}; {remedy}")
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity: is {sparsity}; give at least 0 and below 1")
    if not 0 <= min_keep_share < 1:
        raise InputError(f"min_keep_share: is {min_keep_share}; give at least 0 and below 1")
    weights = prunable_weights(model)
    require_finite(weights)  # a score of ranks or noise would hide it
    total = sum(weight.numel() for weight in weights.values())
    scores = METHODS[method](model, workload, seed)
    return masks_from_scores(scores, 1 - sparsity, round(min_keep_share * total), within)


def compress(
    method: str,
    model: nn.Module,
    workload: Trainable,
    *,
    sparsity: float,
    seed: int,
    epochs: int,
    lr: float,
    gradual_steps: int = 0,
    min_keep_share: float = 0.0,
    batch_size: int = 128,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[nn.Module, Masks, History]:
    """Prune a copy of a trained model and fine-tune it under its masks.

    gradual_steps: 0 prunes at once, else the sparsity rises in so many equal steps over the first half of
    fine-tuning, scores taken anew from the current weights each time. epochs: 0 does not fine-tune, but
    estimates the statistics of batch norm anew. checkpoint: a scratch file, from which an interrupted call
    goes on to the same bits, as `fit` does. Returns the pruned model in eval mode, its masks and the history
    of `finetune`.
    """
    pruned = copy.deepcopy(model)
    gradual = GradualSchedule(sparsity, gradual_steps) if gradual_steps else None
    at_first = 0.0 if gradual else sparsity
    masks, history = finetune(
        pruned,
        masks_for(method, pruned, workload, at_first, seed, min_keep_share),
        workload,
        epochs=epochs,
        lr=lr,
        seed=seed,
        batch_size=batch_size,
        gradual=gradual,
        tighten=lambda masks, now: masks_for(method, pruned, workload, now, seed, min_keep_share, within=masks),
        recipe=f"{method} {min_keep_share}",
        checkpoint=checkpoint,
        progress=progress,
    )
    if epochs == 0:
        estimate_statistics(pruned, workload, batch_size, seed)
    return pruned, masks, history
