"""What is pruned together: single weights, output filters, or input channels.

Filters and channels follow Zhang et al., "Advancing Model Pruning via Bi-level Optimization", NeurIPS 2022: every
layer keeps the same share of its groups, and a group's score is the L2 norm of the scores of its weights.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from winnow.compress._masking import Masks, prunable_weights
from winnow.compress.global_magnitude import masks_from_scores, require_finite
from winnow.errors import InputError
from winnow.models.graphs import UnsupportedModule, following_norms, graph_of, layers_in_order, units_read

Group = Literal["weight", "filter", "channel"]
Pool = Literal["norm", "sum"]


class Structure(NamedTuple):
    """How a model's weights fall into groups.

    sizes: parameter -> how many groups it has; a weight that is not there is kept whole. norms: layer -> batch norm
    after it.
    """

    group: Group
    sizes: dict[str, int]
    norms: dict[str, str]


def structure_of(model: nn.Module, group: Group) -> Structure:
    """The groups of a model.

    "filter": the outputs of each layer but the last, whose outputs are the model's. "channel": what each layer but
    the first reads; a linear layer after a flattened map reads whole maps. Depthwise convolutions have no groups of
    their own. Raises InputError for another group or a model with one layer, UnsupportedModule for a group of a model
    that is no graph.
    """
    if group not in get_args(Group):
        raise InputError(f"group: is {group!r}; use one of {', '.join(get_args(Group))}")
    weights = prunable_weights(model)
    if group == "weight":
        return Structure(group, {name: weight.numel() for name, weight in weights.items()}, {})
    graph = graph_of(model)
    names = layers_in_order(graph)
    names = [name for name in (names[:-1] if group == "filter" else names[1:]) if _mixes(graph, name)]
    read = units_read(graph)
    sizes = {f"{n}.weight": len(weights[f"{n}.weight"]) if group == "filter" else read[n] for n in names}
    if not sizes:
        raise InputError(f"model: has no hidden {group} that can be pruned; use one with a hidden layer")
    return Structure(group, sizes, following_norms(graph))


def group_masks(
    scores: dict[str, Tensor],
    keep: float,
    structure: Structure,
    *,
    pool: Pool = "norm",
    min_keep: int = 0,
    within: Masks | None = None,
) -> Masks:
    """Masks of all weights: parameter name -> bool of its shape, True where kept.

    scores: parameter name -> score of each weight. Of single weights, those of highest score over all layers stay,
    as `masks_from_scores` has it with min_keep and within. Of groups, each layer keeps max(1, round(keep * groups)),
    those of largest L2 norm or sum (pool); among equal ones the first. within: earlier masks, what they drop goes
    first.
    """
    if structure.group == "weight":
        return masks_from_scores(scores, keep, min_keep, within)
    require_finite(scores)
    masks: Masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    for name, size in structure.sizes.items():
        rows = _by_group(scores[name].double(), size, structure.group)
        pooled = rows.norm(dim=1) if pool == "norm" else rows.sum(1)
        if within is not None:
            pooled = pooled.masked_fill(~_by_group(within[name], size, structure.group).any(1), -torch.inf)
        kept = torch.sort(pooled, descending=True, stable=True).indices[: max(1, round(keep * size))]
        chosen = torch.zeros(size, dtype=torch.bool)
        chosen[kept] = True
        masks[name] = _spread(chosen, scores[name].shape, structure.group)
    return masks


def with_units(model: nn.Module, masks: Masks, structure: Structure) -> Masks:
    """Masks of weights, and of the biases and norms of the filters that they drop: a unit at 0 has no bias left."""
    if structure.group != "filter":
        return masks
    kept = {n.removesuffix(".weight"): masks[n].flatten(1).any(1) for n in structure.sizes}
    return masks | parameter_masks(model, kept, structure.norms)


def parameter_masks(model: nn.Module, kept: Masks, norms: dict[str, str]) -> Masks:
    """Masks of all parameters that make a unit, the batch norm's among them: with them at 0, so is the unit.

    kept: layer -> bool[units]. norms: layer -> batch norm after it. Returns parameter name -> bool of its shape.
    """
    masks: Masks = {}
    for layer, mask in kept.items():
        names = [layer, norms[layer]] if layer in norms else [layer]
        if layer in norms and model.get_submodule(norms[layer]).weight is None:
            raise UnsupportedModule(f"{norms[layer]}: has no scale to set to 0; use batch norm with affine parameters")
        for name in names:
            for key, parameter in model.get_submodule(name).named_parameters(recurse=False):
                masks[f"{name}.{key}"] = _spread(mask, parameter.shape, "filter")
    return masks


def _mixes(model: nn.Module, name: str) -> bool:
    return getattr(model.get_submodule(name), "groups", 1) == 1


def _by_group(weight: Tensor, size: int, group: Group) -> Tensor:
    """[groups, weights of each]."""
    return (weight if group == "filter" else weight.transpose(0, 1)).reshape(size, -1)


def _spread(chosen: Tensor, shape: torch.Size, group: Group) -> Tensor:
    """A mask of groups as a mask of the weight."""
    if group == "filter":
        return chosen.view(-1, *[1] * (len(shape) - 1)).expand(shape).contiguous()
    columns = chosen.repeat_interleave(shape[1] // len(chosen))
    return columns.view(1, -1, *[1] * (len(shape) - 2)).expand(shape).contiguous()
