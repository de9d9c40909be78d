"""How many directions of a layer, and how many edges between two, a network needs to do what it does.

Bushnaq, Heimersheim, Goldowsky-Dill, Braun, Mendel, Hänni, Griffin, Stöhler, Wache, Hobbhahn, "The Local Interaction
Basis: Identifying Computationally-Relevant and Sparsely Interacting Features in Neural Networks", 2024. A direction
that is ablated is set to its mean, and the constant is never ablated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from winnow.dictionaries.interaction_basis import Basis, Part

Loss = Callable[[Tensor], float]  # of the network's output


def continued(parts: Sequence[Part], values: Tensor) -> Tensor:
    """What the parts make of values, one after another."""
    for part in parts:
        values = part(values)
    return values


@torch.no_grad()
def with_directions(values: Tensor, basis: Basis, kept: Tensor) -> Tensor:
    """[n, ..., width]: values of which only the directions kept, bool[rank], differ from the mean."""
    return basis.values(basis.coordinates(values) * kept)


class Edges:
    """A part whose target directions are computed from some source directions alone; sources left out have their mean.

    values: what stands before the part, [n, ..., width]. Targets with the same sources share one forward pass,
    and what a target is by the sources that it had before is not computed again.
    """

    def __init__(self, part: Part, values: Tensor, source: Basis, target: Basis) -> None:
        self.part, self.source, self.target = part, source, target
        self.coordinates = source.coordinates(values)
        self._known: dict[tuple[int, bytes], Tensor] = {}

    @torch.no_grad()
    def __call__(self, kept: Tensor) -> Tensor:
        """[n, ..., width of the output]: by the edges kept, bool[rank of source, rank of target]."""
        keys = [(target, mask.numpy().tobytes()) for target, mask in enumerate(kept.T.contiguous())]
        wanted: dict[bytes, list[int]] = {}
        for target, mask in keys:
            if (target, mask) not in self._known:
                wanted.setdefault(mask, []).append(target)
        for mask, targets in wanted.items():
            made = self.part(self.source.values(self.coordinates * kept[:, targets[0]])) - self.target.mean
            columns = (made @ self.target.into[:, targets]).unbind(-1)
            self._known |= {(target, mask): column for target, column in zip(targets, columns, strict=True)}
        return self.target.values(torch.stack([self._known[key] for key in keys], -1))


def strongest(strengths: Tensor, count: int) -> Tensor:
    """bool of the shape of the strengths: the `count` largest, ties by position."""
    order = torch.sort(strengths.flatten(), descending=True, stable=True).indices
    kept = torch.zeros(strengths.numel(), dtype=torch.bool)
    kept[order[:count]] = True
    return kept.view_as(strengths)


def smallest(loss_at: Callable[[int], float], most: int, limit: float, least: int = 0) -> int:
    """The smallest count from `least` on, by bisection, at which the loss is at most the limit; else `most`.

    Bisection takes the loss to fall with the count. Where it does not, the loss at what is returned still is within the
    limit, unless that is `most`.
    """
    low, high = least, most
    while low < high:
        middle = (low + high) // 2
        if loss_at(middle) <= limit:
            high = middle
        else:
            low = middle + 1
    return high


def direction_losses(
    parts: Sequence[Part], values: Tensor, basis: Basis, loss: Loss, order: Tensor
) -> Callable[[int], float]:
    """Count -> loss where the first so many directions in an order, int64[rank], are kept; parts: all that follow."""

    def at(count: int) -> float:
        kept = torch.zeros(len(order), dtype=torch.bool)
        kept[order[:count]] = True
        return loss(continued(parts, with_directions(values, basis, kept)))

    return remembered(at)


def edge_losses(
    parts: Sequence[Part], values: Tensor, source: Basis, target: Basis, strengths: Tensor, loss: Loss
) -> Callable[[int], float]:
    """Count -> loss where so many of the strongest edges into what the first part makes are kept."""

    edges = Edges(parts[0], values, source, target)

    def at(count: int) -> float:
        return loss(continued(parts[1:], edges(strongest(strengths, count))))

    return remembered(at)


def remembered(function: Callable[[int], float]) -> Callable[[int], float]:
    """A function of counts that computes each value once."""
    known: dict[int, float] = {}

    @torch.no_grad()
    def at(count: int) -> float:
        if count not in known:
            known[count] = function(count)
        return known[count]

    return at


@torch.no_grad()
def greedy_order(parts: Sequence[Part], values: Tensor, basis: Basis, loss: Loss) -> Tensor:
    """int64[rank]: directions in the reverse of the order in which they are taken away greedily.

    parts: all that follow. In each round a quarter of those left goes, one at a time where fewer than eight are left:
    the ones without which, each alone, the loss is lowest, ties from the end of the basis.
    """
    left, order = torch.arange(len(basis.eigenvalues)), torch.empty(0, dtype=torch.int64)
    while len(left):
        without = []
        for direction in left:
            kept = torch.zeros(len(basis.eigenvalues), dtype=torch.bool)
            kept[left] = True
            kept[direction] = False
            without.append(loss(continued(parts, with_directions(values, basis, kept))))
        needed = torch.sort(torch.tensor(without), descending=True, stable=True).indices
        stay = len(left) - max(1, len(left) // 4)
        order = torch.cat([left[needed[stay:]], order])
        left = left[needed[:stay]].sort().values
    return order


def counts_to(most: int) -> list[int]:
    """0, 1, 2, 3, 4, 6, 8, 12, 16 and so on, up to and with `most`: where curves are drawn."""
    steps = {0, most, *(step << k for k in range(most.bit_length()) for step in (1, 3))}
    return sorted(count for count in steps if count <= most)
