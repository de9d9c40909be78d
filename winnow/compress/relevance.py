"""Pruning by relevance: what least of the true class's score flows through goes first, from a handful of samples.

Yeom, Seegerer, Lapuschkin, Binder, Wiedemann, Mueller, Samek, "Pruning by Explaining: A Novel Criterion for Deep
Neural Network Pruning", Pattern Recognition 115, 2021. Its rivals: sums of magnitudes (Li et al., "Pruning Filters
for Efficient ConvNets", ICLR 2017), gradients (Sun et al., "meProp", ICML 2017), first-order Taylor terms (Molchanov
et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.attribution.relevance import Rule, relevance
from winnow.compress._masking import Masks, apply_masks, prunable_weights
from winnow.compress._structure import parameter_masks
from winnow.compress.global_magnitude import require_finite
from winnow.errors import InputError
from winnow.models.graphs import fold_batch_norm, following_norms, graph_of, layers_in_order
from winnow.randomness import torch_generator

Criterion = Literal["relevance", "taylor", "gradient", "weight", "random"]
Unit = Literal["filter", "weight"]


class PruneState(NamedTuple):
    """What is left after a step of pruning: the share that is gone, which units stay, the model with the others at 0.

    kept: layer -> bool[units] for filters, parameter -> bool of the weight's shape for weights. The model is the one
    that the next step goes on with: copy it to keep it.
    """

    pruned: float
    kept: Masks
    model: nn.Module


def criterion_scores(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    kind: Criterion,
    units: Unit = "filter",
    *,
    rule: Rule = "zplus",
    seed: int = 0,
) -> dict[str, Tensor]:
    """How much each unit matters for the classes y of the reference samples x: the lowest goes first.

    x: float[n, ...]; y: int64[n]. units: "filter" gives layer -> float[units], of convolution channels and hidden
    neurons, not of the last layer, nor of depthwise convolutions, which follow the layer before them; "weight" gives
    parameter -> float of the weight's shape. Units are taken after the batch norm that follows their layer.

    relevance: what of the true class's score arrives at the unit by LRP, summed over samples and positions; it is
    comparable across layers as it is. The others are divided by each layer's L2 norm: weight sum|w|, gradient
    |mean dL/da|, taylor |mean a dL/da| for filters; |w|, |dL/dw|, |w dL/dw| for weights, L the mean cross-entropy.
    random: uniform noise of the seed. rule: of LRP. Raises InputError as `relevance` does, and for an unknown kind or
    unit.
    """
    _check_choice("criterion", kind, get_args(Criterion))
    _check_choice("units", units, get_args(Unit))
    if kind == "relevance":
        found = relevance(model, x, y, rule=rule, weights=units == "weight")
        if units == "weight":
            return {f"{name}.weight": found.weights[name] for name in layers_in_order(model)}
        return {name: _over_positions(found.outputs[name]).sum(0) for name in unit_layers(model)}
    if kind == "random":
        noise = torch_generator(seed, "criterion", units)
        sizes = _weights(model, units)
        shapes = {name: w.shape if units == "weight" else w.shape[:1] for name, w in sizes.items()}
        return {name: torch.rand(shape, generator=noise, dtype=torch.float64) for name, shape in shapes.items()}
    if units == "weight":
        scores = _weight_scores(model, x, y, kind)
    elif kind == "weight":
        scores = {name: w.detach().flatten(1).abs().sum(1) for name, w in _weights(model, units).items()}
    else:
        scores = _filter_gradients(model, x, y, kind)
    # A layer without any signal stays 0, not NaN.
    return {name: score / score.norm().clamp(min=torch.finfo(score.dtype).tiny) for name, score in scores.items()}


def prune_iteratively(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    kind: Criterion,
    *,
    units: Unit = "filter",
    step: float = 0.05,
    target: float = 0.8,
    finetune: Callable[[nn.Module, Masks], None] | None = None,
    rule: Rule = "zplus",
    seed: int = 0,
) -> Iterator[PruneState]:
    """States of a copy of the model: as it is, then after each step, until `target` of its units are gone.

    A step scores the units anew and removes the lowest of all layers together, `step` of all units of the beginning;
    the last unit of a layer is never removed. Samples x, y, criterion and units are those of `criterion_scores`.
    finetune(model, masks) trains the copy in place, parameters at 0 where masks (parameter -> bool) are False. Without
    it, norms are folded into layers and nothing else is trained or estimated.
    Raises InputError for a step or target outside (0, 1), a target that would need a layer's last unit, and as
    `criterion_scores` does.
    """
    for name, value in (("step", step), ("target", target)):
        if not 0 < value < 1:
            raise InputError(f"{name}: is {value}; give more than 0 and less than 1")
    work = copy.deepcopy(model if finetune else fold_batch_norm(model)).eval()
    norms = following_norms(graph_of(work)) if finetune and units == "filter" else {}
    scores = criterion_scores(work, x, y, kind, units, rule=rule, seed=seed)
    kept = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    total = sum(mask.numel() for mask in kept.values())
    if round(target * total) > total - len(kept):
        raise InputError(f"target: {target} of {total} units leaves less than one for each of {len(kept)} layers")
    yield PruneState(0.0, kept, work)
    gone, number = 0, 0
    while gone < round(target * total):
        number += 1
        due = min(round(number * step * total), round(target * total))
        if gone:
            scores = criterion_scores(work, x, y, kind, units, rule=rule, seed=seed)
        kept, gone = _without_lowest(scores, kept, due - gone), due
        masks = kept if units == "weight" else parameter_masks(work, kept, norms)
        apply_masks(work, masks)
        if finetune:
            finetune(work, masks)
            work.eval()
        yield PruneState(gone / total, kept, work)


def unit_layers(model: nn.Module) -> list[str]:
    """Layers whose outputs are units: linear and ordinary convolution layers, all but the last."""
    names = layers_in_order(model)[:-1]
    units = [name for name in names if getattr(model.get_submodule(name), "groups", 1) == 1]
    if not units:
        raise InputError("model: has no hidden unit that can be pruned; use one with a hidden layer")
    return units


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}: is {value!r}; use one of {', '.join(choices)}")


def _weights(model: nn.Module, units: Unit) -> dict[str, Tensor]:
    if units == "weight":
        return prunable_weights(model)
    weights = {name: model.get_submodule(name).weight for name in unit_layers(model)}
    return {name: weight for name, weight in weights.items() if isinstance(weight, Tensor)}


def _over_positions(outputs: Tensor) -> Tensor:
    """[n, units, ...] -> sums [n, units]."""
    return outputs.flatten(2).sum(2) if outputs.ndim > 2 else outputs


def _filter_gradients(model: nn.Module, x: Tensor, y: Tensor, kind: Criterion) -> dict[str, Tensor]:
    graph, outputs = fold_batch_norm(model), dict[str, Tensor]()
    names = unit_layers(graph)

    def keep(name: str, out: Tensor) -> None:
        outputs[name] = out

    handles = [
        graph.get_submodule(name).register_forward_hook(lambda m, _, out, key=name: keep(key, out)) for name in names
    ]
    try:
        with torch.enable_grad():
            loss = functional.cross_entropy(graph(x.detach().requires_grad_()), y)
    finally:
        for handle in handles:
            handle.remove()
    gradients = dict(zip(names, torch.autograd.grad(loss, [outputs[name] for name in names]), strict=True))
    factors = {name: outputs[name].detach() if kind == "taylor" else 1.0 for name in names}
    # The mean before the absolute value, as both papers have it: what cancels over samples does not count.
    return {name: _over_positions(factors[name] * gradients[name]).mean(0).abs() for name in names}


def _weight_scores(model: nn.Module, x: Tensor, y: Tensor, kind: Criterion) -> dict[str, Tensor]:
    weights = prunable_weights(model)
    if kind == "weight":
        return {name: w.detach().abs() for name, w in weights.items()}
    training = model.training
    with torch.enable_grad():
        loss = functional.cross_entropy(model.eval()(x), y)
    gradients = torch.autograd.grad(loss, list(weights.values()))
    model.train(training)
    factors = [w.detach() if kind == "taylor" else 1.0 for w in weights.values()]
    return {name: (g * f).abs() for name, g, f in zip(weights, gradients, factors, strict=True)}


def _without_lowest(scores: dict[str, Tensor], kept: Masks, count: int) -> Masks:
    """The masks without the `count` lowest of what they keep; the highest of each layer stays."""
    require_finite(scores)
    flat = []
    for name, mask in kept.items():
        score = scores[name].double().masked_fill(~mask, torch.inf).flatten()
        best = scores[name].double().masked_fill(~mask, -torch.inf).flatten().argmax()
        score[best] = torch.inf
        flat.append(score)
    # Stable, so that among equal scores the earlier layer and unit goes.
    lowest = torch.sort(torch.cat(flat), stable=True).indices[:count]
    whole = torch.cat([mask.flatten() for mask in kept.values()])
    whole[lowest] = False
    parts = whole.split([mask.numel() for mask in kept.values()])
    return {name: part.view(mask.shape) for (name, mask), part in zip(kept.items(), parts, strict=True)}
