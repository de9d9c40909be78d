"""Masks that are learned: scores beside the weights, the best of which are kept in every forward pass.

The weights behind a mask keep their values, so that what was pruned can return. Straight-through scores and their
start: Ramanujan et al., "What's Hidden in a Randomly Weighted Neural Network?", CVPR 2020; Sehwag et al., "HYDRA",
NeurIPS 2020.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from winnow.compress._masking import Masks, apply_masks, prunable_weights
from winnow.compress._structure import Group, group_masks, structure_of, with_units
from winnow.errors import InputError
from winnow.models.fitting import History

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
"""Of weights and of scores, in the code of Zhang et al. (2022)."""


class PruneResult(NamedTuple):
    """A pruned model in eval mode, masks and scores of its weights, its history, and what it cost.

    history: rows (metric, value, step). examples: forward and backward passes over single examples; those that made
    the dense model are not counted.
    """

    masks: Masks
    scores: dict[str, Tensor]
    model: nn.Module
    history: History
    examples: int


def initial_scores(weight: Tensor) -> Tensor:
    """|w|, so scaled that the largest is sqrt(6 / fan-in): what Sehwag et al. start from. A layer of zeros stays 0."""
    magnitude = weight.detach().abs()
    largest = magnitude.max().clamp(min=torch.finfo(weight.dtype).tiny)
    return magnitude / largest * math.sqrt(6 / weight[0].numel())


class MaskedModel(nn.Module):
    """A model that computes with masked weights; its masks are those of the highest scores.

    keep: share of weights, or of the groups of each layer, that stay. While scores require gradients, they get them
    straight through the choice: dl/ds = theta * dl/dz, z = mask * theta. state: tensors that change from step to step
    besides parameters: "mask.<parameter>".
    """

    def __init__(self, model: nn.Module, keep: float, group: Group) -> None:
        super().__init__()
        weights = prunable_weights(model)
        self.structure, self.keep = structure_of(model, group), keep
        groups = sum(self.structure.sizes.values())
        if not 0 < keep <= 1 or keep * groups < 1:
            raise InputError(f"keep: is {keep} of {groups}; give more than {1 / groups:.3g} and at most 1")
        self.names = list(weights)
        self.model = model
        self.scores = nn.ParameterList(initial_scores(weight) for weight in weights.values())
        self.state: dict[str, Tensor] = {}
        self.choose()

    def choose(self) -> Masks:
        """Make the masks anew from the scores; returns those of the weights."""
        scores = {name: score.detach() for name, score in zip(self.names, self.scores, strict=True)}
        masks = group_masks(scores, self.keep, self.structure)
        every = with_units(self.model, masks, self.structure)
        self.state.update({f"mask.{name}": mask for name, mask in every.items()})
        return masks

    def masks(self) -> Masks:
        """The masks in use, of weights alone."""
        return {name: self.state[f"mask.{name}"] for name in self.names}

    def masked(self) -> dict[str, Tensor]:
        """Parameter name -> what the forward pass uses of it."""
        values = {}
        for key, mask in self.state.items():
            kind, name = key.split(".", 1)
            if kind == "mask":
                values[name] = torch.where(mask, self.model.get_parameter(name), 0.0)
        for name, score in zip(self.names, self.scores, strict=True):
            if score.requires_grad:  # of value 0, and with the gradient of a factor
                values[name] = values[name] + self.model.get_parameter(name) * (score - score.detach())
        return values

    def forward(self, x: Tensor, values: dict[str, Tensor] | None = None) -> Tensor:
        out: Tensor = functional_call(self.model, values or self.masked(), (x,))
        return out

    def finished(self) -> nn.Module:
        """A copy of the model with what the masks drop at zero, in eval mode."""
        masks = {key.removeprefix("mask."): m for key, m in self.state.items() if key.startswith("mask.")}
        return apply_masks(copy.deepcopy(self.model), masks).eval()


class WithValues(nn.Module):
    """A masked model that computes with given values, as a model that a workload can call."""

    def __init__(self, masked: MaskedModel, values: dict[str, Tensor]) -> None:
        super().__init__()
        self.masked, self.values = masked, values

    def forward(self, x: Any) -> Tensor:
        out: Tensor = self.masked(x, self.values)
        return out
