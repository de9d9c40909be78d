"""Compression: smaller models, each method under its name.

Methods that score weights share one recipe, `compress`: score, keep the best, fine-tune. They differ in the score
alone. Methods that learn masks go through as many examples, but for the lottery ticket's rounds. So arms of a
comparison have equal budgets by construction.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.compress._baselines import (
    erk_scores,
    grasp_scores,
    lamp_scores,
    random_scores,
    snip_scores,
    synflow_scores,
    uniform_scores,
    weight_gradients,
)
from winnow.compress._masking import LABEL_SMOOTHING, Masks, estimate_statistics, finetune, prunable_weights
from winnow.compress._rivals import hydra, imp
from winnow.compress._structure import Group, Pool, group_masks, structure_of, with_units
from winnow.compress._trained_masks import PruneResult
from winnow.compress.bilevel import bip
from winnow.compress.global_magnitude import GradualSchedule, require_finite
from winnow.compress.relevance import criterion_scores
from winnow.errors import InputError
from winnow.models import build
from winnow.models.fitting import History, Trainable
from winnow.randomness import torch_generator

SCORING_EXAMPLES = 512
"""Of the training split, for every score that looks at data."""
EARLY_EPOCHS = 1
"""After which the lottery ticket's network is rewound to."""

Scorer = Callable[[nn.Module, Trainable, int, float], dict[str, Tensor]]


def _magnitude(model: nn.Module, workload: Trainable, seed: int, keep: float) -> dict[str, Tensor]:
    return {name: weight.detach().abs() for name, weight in prunable_weights(model).items()}


def _random(model: nn.Module, workload: Trainable, seed: int, keep: float) -> dict[str, Tensor]:
    return random_scores(prunable_weights(model), torch_generator(seed, "compress", "random"))


def _examples(workload: Trainable, seed: int) -> Any:
    return next(iter(workload.batches("train", SCORING_EXAMPLES, seed)))


def _snip(model: nn.Module, workload: Trainable, seed: int, keep: float) -> dict[str, Tensor]:
    training = model.training
    # In eval mode, so that scoring leaves the statistics of batch norm alone.
    loss = workload.loss(model.eval(), _examples(workload, seed))
    weights = prunable_weights(model)
    gradients = weight_gradients(loss, weights)
    model.train(training)
    return snip_scores(weights, gradients)


def _grasp(model: nn.Module, workload: Trainable, seed: int, keep: float) -> dict[str, Tensor]:
    batch = _examples(workload, seed)
    return grasp_scores(model, lambda cooled: workload.loss(cooled, batch))


def _synflow(model: nn.Module, workload: Trainable, seed: int, keep: float) -> dict[str, Tensor]:
    return synflow_scores(model, _examples(workload, seed)[0], keep)


def _relevance(model: nn.Module, workload: Trainable, seed: int, keep: float) -> dict[str, Tensor]:
    x, y = _examples(workload, seed)
    return criterion_scores(model, x, y, "relevance", "weight")


METHODS: dict[str, Scorer] = {
    "global_magnitude": _magnitude,
    "uniform": lambda model, workload, seed, keep: uniform_scores(prunable_weights(model)),
    "erk": lambda model, workload, seed, keep: erk_scores(prunable_weights(model)),
    "lamp": lambda model, workload, seed, keep: lamp_scores(prunable_weights(model)),
    "snip": _snip,
    "grasp": _grasp,
    "synflow": _synflow,
    "relevance": _relevance,
    "random": _random,
}
GROUPED: dict[str, Pool] = {
    "global_magnitude": "norm",
    "snip": "norm",
    "random": "norm",
    "grasp": "sum",
    "synflow": "sum",
    "relevance": "sum",
}
"""Scores that filters and channels can have, and how those of their weights are pooled; the others choose the share
of each layer, which is equal there."""


def _bilevel(model: nn.Module, workload: Trainable, epochs: int, settings: dict[str, Any]) -> PruneResult:
    return bip(model, workload, epochs=epochs, label_smoothing=LABEL_SMOOTHING, **settings)


def _hydra(model: nn.Module, workload: Trainable, epochs: int, settings: dict[str, Any]) -> PruneResult:
    return hydra(model, workload, epochs=epochs // 2, finetune_epochs=epochs - epochs // 2, **settings)


def _imp(model: nn.Module, workload: Trainable, epochs: int, settings: dict[str, Any]) -> PruneResult:
    settings = {name: value for name, value in settings.items() if name != "checkpoint"}
    early = early_network(model, workload, settings["lr"], settings["seed"], settings["batch_size"])
    return imp(model, workload, early=early, epochs=epochs, **settings)


LEARNED: dict[str, Callable[[nn.Module, Trainable, int, dict[str, Any]], PruneResult]] = {
    "bilevel": _bilevel,
    "hydra": _hydra,
    "imp": _imp,
}
"""Methods that train while they choose. bilevel and hydra spend the epochs half on weights, half on masks; imp takes
them in each of its rounds."""


def early_network(model: nn.Module, workload: Trainable, lr: float, seed: int, batch_size: int = 128) -> nn.Module:
    """The network of a model of the registry after one epoch of `finetune` from the start that the seed gives."""
    name, arguments = getattr(model, "registry_name", None), getattr(model, "arguments", {})
    if name is None:
        raise InputError("model: is not of the registry, so it has no beginning to rewind to; use one made by build")
    early = build(name, seed=seed, **arguments)
    whole = {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable_weights(early).items()}
    finetune(early, whole, workload, epochs=EARLY_EPOCHS, lr=lr, seed=seed, batch_size=batch_size)
    return early


def masks_for(
    method: str,
    model: nn.Module,
    workload: Trainable,
    sparsity: float,
    seed: int,
    min_keep_share: float = 0.0,
    within: Masks | None = None,
    group: Group = "weight",
) -> Masks:
    """Masks of a method that scores, on a trained model: parameter name -> bool, True where kept.

    sparsity: share of the prunable weights, or of the groups of each layer, that is dropped, in [0, 1).
    min_keep_share: every layer keeps at least this share of *all* prunable weights. within: earlier masks that the new
    ones lie inside of. group: what is dropped together, as `structure_of` has it.
    Raises InputError for an unknown method, one that has no score of groups, a minimum with groups, and for what
    `masks_from_scores` and `structure_of` refuse.
    """
    _check_method(method, METHODS)
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity: is {sparsity}; give at least 0 and below 1")
    if not 0 <= min_keep_share < 1:
        raise InputError(f"min_keep_share: is {min_keep_share}; give at least 0 and below 1")
    if group != "weight" and (method not in GROUPED or min_keep_share):
        reason = "sets a minimum of weights" if method in GROUPED else "chooses the share of each layer"
        raise InputError(f"group: {method} {reason}, and with group {group!r} layers keep equal shares; use weight")
    weights = prunable_weights(model)
    require_finite(weights)  # a score of ranks or noise would hide it
    total = sum(weight.numel() for weight in weights.values())
    scores = METHODS[method](model, workload, seed, 1 - sparsity)
    return group_masks(
        scores,
        1 - sparsity,
        structure_of(model, group),
        pool=GROUPED.get(method, "norm"),
        min_keep=round(min_keep_share * total),
        within=within,
    )


def _check_method(method: str, known: dict[str, Any]) -> None:
    if method not in known:
        near = get_close_matches(method, known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
        raise InputError(f"method: unknown name {method!r}; {remedy}")


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
    group: Group = "weight",
    batch_size: int = 128,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[nn.Module, Masks, History]:
    """Prune a copy of a trained model and fine-tune it under its masks.

    group: what is dropped together; with "weight" sparsity is of all weights, else of the groups of each layer.
    gradual_steps: 0 prunes at once, else the sparsity rises in so many equal steps over the first half of
    fine-tuning, scores taken anew from the current weights each time. epochs: passes over the training split, 0 does
    not fine-tune, but estimates the statistics of batch norm anew; for methods that learn masks see LEARNED.
    checkpoint: a scratch file, from which an interrupted call goes on to the same bits, as `fit` does. Returns the
    pruned model in eval mode, the masks of its weights and its history.
    """
    _check_method(method, METHODS | LEARNED)
    if method in LEARNED:
        if gradual_steps or min_keep_share:
            raise InputError(f"{method}: takes no gradual_steps and no min_keep_share; leave both at 0")
        settings = {"keep": 1 - sparsity, "seed": seed, "lr": lr, "group": group, "batch_size": batch_size}
        found = LEARNED[method](model, workload, epochs, settings | {"checkpoint": checkpoint, "progress": progress})
        return found.model, found.masks, found.history
    pruned = copy.deepcopy(model)
    gradual = GradualSchedule(sparsity, gradual_steps) if gradual_steps else None
    structure = structure_of(pruned, group)

    def choose(sparsity: float, within: Masks | None = None) -> Masks:
        masks = masks_for(method, pruned, workload, sparsity, seed, min_keep_share, within, group)
        return with_units(pruned, masks, structure)

    masks, history = finetune(
        pruned,
        choose(0.0 if gradual else sparsity),
        workload,
        epochs=epochs,
        lr=lr,
        seed=seed,
        batch_size=batch_size,
        gradual=gradual,
        tighten=lambda masks, now: choose(now, within=masks),
        recipe=f"{method} {min_keep_share} {group}",
        checkpoint=checkpoint,
        progress=progress,
    )
    if epochs == 0:
        estimate_statistics(pruned, workload, batch_size, seed)
    return pruned, {name: masks[name] for name in prunable_weights(pruned)}, history
