"""Masks on a model: which weights may be pruned, holding them at zero, training under them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from winnow.compress.global_magnitude import GradualSchedule
from winnow.errors import InputError
from winnow.models.fitting import History, Trainable, fit, steps_per_epoch

# Optimiser settings of Gupta et al. (2022), all but the learning rate, which depends on the model.
MOMENTUM = 0.875
WEIGHT_DECAY = 7e-6
LABEL_SMOOTHING = 0.1
GRADUAL_PART = 0.5
"""Share of fine-tuning over which gradual pruning reaches its target; the rest heals at the target."""

Masks = dict[str, Tensor]


def prunable_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights of linear and convolution layers and of banks of experts by parameter name, in the model's order.

    Never biases, normalisation or embeddings, nor an output layer that shares the weight of an embedding.
    Raises InputError for a model without any.
    """
    modules = list(model.named_modules())
    embedded = {id(module.weight) for _, module in modules if isinstance(module, nn.Embedding)}
    weights: dict[str, Tensor] = {}
    for name, module in modules:
        own = banks(module)
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and id(module.weight) not in embedded:
            own = {"weight": module.weight}
        weights |= {f"{name}.{part}".lstrip("."): weight for part, weight in own.items()}
    if not weights:
        raise InputError("model: has no weight that can be pruned; use one with linear or convolution layers")
    return weights


def banks(module: nn.Module) -> dict[str, Tensor]:
    """Parameters of a module itself that hold a matrix for each of several experts: float[experts, inputs, outputs]."""
    if isinstance(module, nn.Conv1d):
        return {}
    own = module.named_parameters(recurse=False)
    # A number for each of several heads may have three axes too.
    return {name: weight for name, weight in own if weight.ndim == 3 and weight[0].numel() > 1}


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Masks) -> nn.Module:
    """Set what the masks drop to zero, in place; returns the model.

    Raises InputError for a mask that fits no parameter.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise InputError(f"{name}: the mask fits no weight of the model; use masks made from this model")
        # Filled, not multiplied: that would keep NaN and write -0.0.
        parameters[name].masked_fill_(~mask, 0.0)
    return model


@torch.no_grad()
def estimate_statistics(model: nn.Module, workload: Trainable, batch_size: int, seed: int) -> nn.Module:
    """Replace the running statistics of batch norm by plain averages over the training split, in place.

    Needed before a pruned model is judged without fine-tuning: its old statistics are those of other weights.
    """
    model.train()
    # A norm that a model keeps in eval mode while it trains stays as it came.
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if not norms:
        return model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    for batch in workload.batches("train", batch_size, seed):
        workload.loss(model, batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def finetune(
    model: nn.Module,
    masks: Masks,
    workload: Trainable,
    *,
    epochs: int,
    lr: float,
    seed: int,
    batch_size: int = 128,
    gradual: GradualSchedule | None = None,
    tighten: Callable[[Masks, float], Masks] | None = None,
    recipe: str = "",
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Masks, History]:
    """Train `model` in place with its masked weights held at zero; returns the final masks and the history.

    SGD with momentum, cosine learning rate from `lr` to 0, label smoothing: the settings of Gupta et al.
    (2022).
    gradual: raises the sparsity over the first half of training; tighten(masks, sparsity) -> masks inside
    those is called for each of its steps. Without epochs the last of them is taken at once.
    checkpoint: as `fit` has it, with the masks of the moment; one of another `gradual` or `recipe` (what
    tighten depends on) is ignored.
    History: what `fit` records, and sparsity [share of prunable weights] at every pruning.
    """
    total = epochs * steps_per_epoch(workload, batch_size, seed)
    rows: History = [("sparsity", _dropped(masks), 0)]
    state = dict(masks)

    def prune(step: int, number: int) -> History:
        if gradual is None or tighten is None:
            return []
        state.update(tighten(state, gradual(number)))
        return [("sparsity", _dropped(state), step)]

    def after_step(step: int) -> History:
        # Momentum and weight decay move masked weights, too; the next forward must not see it.
        apply_masks(model, state)
        number = _prunings_due(step, total, gradual)
        if number == _prunings_due(step - 1, total, gradual):
            return []
        pruned = prune(step, number)
        apply_masks(model, state)
        return pruned

    def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    if epochs == 0 and gradual is not None:
        rows += prune(0, gradual.steps)
    apply_masks(model, state)
    history = fit(
        model,
        workload,
        epochs=epochs,
        optimizer=sgd,
        schedule=_cosine,
        batch_size=batch_size,
        seed=seed,
        label_smoothing=LABEL_SMOOTHING,
        after_step=after_step,
        kept=state,
        recipe=f"{gradual} {recipe}",
        checkpoint=checkpoint,
        progress=progress,
    )
    return state, rows + history


def _cosine(share_done: float) -> float:
    return (1 + math.cos(math.pi * share_done)) / 2


def _prunings_due(step: int, total: int, gradual: GradualSchedule | None) -> int:
    """How many of the gradual prunings are done after a training step; the last one at GRADUAL_PART."""
    if gradual is None:
        return 0
    last = max(1, int(GRADUAL_PART * total))
    return min(gradual.steps, step * gradual.steps // last)


def _dropped(masks: Masks) -> float:
    weights = [mask for mask in masks.values() if mask.ndim > 1]  # biases and norms are not counted
    return 1 - sum(int(m.sum()) for m in weights) / sum(m.numel() for m in weights)
