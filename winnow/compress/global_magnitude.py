"""Global magnitude pruning: one threshold over all layers.

Gupta et al., "Is Complexity Required for Neural Network Pruning? A Case Study on Global Magnitude Pruning",
2022 (arXiv 2209.14624). The minimum threshold and the gradual form are from the same paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from winnow.errors import InputError

SHAPES = ("linear", "cubic")


@dataclass(frozen=True)
class GradualSchedule:
    """Sparsity after each of `steps` prunings: from 0 at step 0 to `target` at the last one, then constant.

    shape: "linear" rises in equal steps (Gupta et al.), "cubic" prunes most at first (Zhu & Gupta, 2018).
    Raises InputError for a target outside [0, 1), fewer than one step, or another shape.
    """

    target: float
    steps: int
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not 0 <= self.target < 1:
            raise InputError(f"sparsity: is {self.target}; give at least 0 and below 1")
        if self.steps < 1:
            raise InputError(f"gradual_steps: is {self.steps}; give at least 1")
        if self.shape not in SHAPES:
            raise InputError(f"gradual shape: is {self.shape!r}; use one of {', '.join(SHAPES)}")

    def __call__(self, step: int) -> float:
        """The sparsity after pruning number `step`."""
        share = min(max(step, 0), self.steps) / self.steps
        return self.target * (share if self.shape == "linear" else 1 - (1 - share) ** 3)


def global_masks(weights: dict[str, Tensor], keep: float, min_keep: int = 0) -> dict[str, Tensor]:
    """Masks that keep the largest weights by magnitude of all layers taken together.

    weights: layer name -> float weight of any shape. keep: share of entries to keep, in (0, 1].
    min_keep: no layer is left with fewer entries (a smaller layer is kept whole); 0 lets layers collapse.
    Returns layer name -> bool mask of the weight's shape, True where kept; exactly round(keep * n) entries
    are True, and among equal magnitudes those of the earlier layer and the smaller flat index.
    Raises InputError (a ValueError) for a keep outside (0, 1], a weight that is not finite, no weight at
    all, or minima that exceed the budget.
    """
    return masks_from_scores({name: w.detach().abs() for name, w in weights.items()}, keep, min_keep)


def masks_from_scores(
    scores: dict[str, Tensor], keep: float, min_keep: int = 0, within: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Like `global_masks`, for scores of any kind: the entries of highest score are kept.

    within: earlier masks, what they drop goes first; so masks of falling `keep` are nested.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep: is {keep}; give more than 0 and at most 1")
    if not scores:
        raise InputError("model: has no weight that can be pruned; use one with linear or convolution layers")
    require_finite(scores)
    if within is not None:
        lowest = torch.finfo(torch.float64).min
        scores = {name: torch.where(within[name], s.double(), lowest) for name, s in scores.items()}
    kept = _layer_budgets(scores, round(keep * sum(s.numel() for s in scores.values())), min_keep)
    return {name: _top(score, kept[name]) for name, score in scores.items()}


def require_finite(tensors: dict[str, Tensor]) -> None:
    """Raise InputError, naming the layer, if a weight or a score made from it is not finite."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name}: a weight or score is NaN or infinite; train the model again")


def _layer_budgets(scores: dict[str, Tensor], budget: int, min_keep: int) -> dict[str, int]:
    """Entries kept per layer under one threshold, by water-filling; the sum is exactly `budget`."""
    minima = {name: min(min_keep, score.numel()) for name, score in scores.items()}
    if sum(minima.values()) > budget:
        largest = max(minima, key=minima.__getitem__)
        raise InputError(
            f"min_keep: {min_keep} entries of each layer are {sum(minima.values())} in all "
            f"({minima[largest]} of them in {largest}), but only {budget} are kept; lower it or the sparsity"
        )
    pinned: dict[str, int] = {}
    while True:
        free = {name: score for name, score in scores.items() if name not in pinned}
        counts = _counts_above_threshold(free, budget - sum(pinned.values()))
        short = {name: minima[name] for name, count in counts.items() if count < minima[name]}
        if not short:
            return counts | pinned
        pinned |= short


def _counts_above_threshold(scores: dict[str, Tensor], budget: int) -> dict[str, int]:
    if not scores:
        return {}
    sizes = torch.tensor([score.numel() for score in scores.values()])
    flat = torch.cat([score.flatten() for score in scores.values()])
    # A stable sort, not topk or a threshold: ties would overshoot the budget or depend on the machine.
    kept = torch.sort(flat, descending=True, stable=True).indices[:budget]
    layer = torch.bucketize(kept, sizes.cumsum(0), right=True)
    return dict(zip(scores, torch.bincount(layer, minlength=len(sizes)).tolist(), strict=True))


def _top(score: Tensor, count: int) -> Tensor:
    mask = torch.zeros(score.numel(), dtype=torch.bool)
    mask[torch.sort(score.flatten(), descending=True, stable=True).indices[:count]] = True
    return mask.view(score.shape)
