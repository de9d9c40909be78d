"""From scores of nodes to circuits: rounds towards the best ones, outliers, pruning, and how faithful a circuit is.

Rounds and outliers: A. Hsu et al., "Efficient Automated Circuit Discovery in Transformers using Contextual
Decomposition", ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.ablated_circuits import Ablated
from winnow.evaluate.circuit_discovery import Task, decomposition, no_scores, path_patching, shares
from winnow.evaluate.contextual_decomposition import Node
from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import numpy_generator

OUTLIER = 3.0
"""Standard deviations above the mean from which a score stands out."""


def in_rounds(model: HookedTransformer, task: Task, method: str, rounds: int, keep: int) -> tuple[Tensor, Tensor]:
    """(scores float, round int64) [layer, t, head]: the largest of several rounds, each to the best of the one before.

    method: `cdt` or `path`, whose receivers are patched together, or `path_single`, one receiver after another. In
    round 0 the measure itself is the target. A node's score in a later round of `cdt` is weighted by its target's.
    Raises InputError for no rounds and for no node to keep.
    """
    if rounds < 1 or keep < 1:
        raise InputError(f"rounds {rounds}, keep {keep}: at least 1 each")
    first = decomposition(model, task) if method == "cdt" else path_patching(model, task)
    scores, *later = _rounds(model, task, method, rounds, keep, first)
    found = torch.zeros(scores.shape, dtype=torch.long)
    for number, best in enumerate(later, 1):
        larger = best.abs() > scores.abs()
        scores, found = torch.where(larger, best, scores), torch.where(larger, number, found)
    return scores, found


def outliers_in_rounds(model: HookedTransformer, task: Task, rounds: int, first: Tensor) -> list[Node]:
    """All nodes that stand out by decomposition in a round, each round towards those of the one before.

    first: scores of round 0, float[layer, t, head], as `decomposition` gives them for the measure.
    """
    found = [outliers(scores) for scores in _rounds(model, task, "cdt", rounds, None, first)]
    return list(dict.fromkeys(node for nodes in found for node in nodes))


def _rounds(
    model: HookedTransformer, task: Task, method: str, rounds: int, keep: int | None, first: Tensor
) -> list[Tensor]:
    """Scores of each round, towards the best `keep` of the one before, or to its outliers where that is None."""
    found, largest, seen = [first], first, set[Node]()
    while len(found) < rounds:
        best = outliers(found[-1]) if keep is None else ranked(found[-1])
        # Nothing is read by the first layer's heads from other heads.
        targets = [node for node in best if node not in seen and node.layer > 0][:keep]
        seen.update(targets)
        if not targets:
            break
        if method == "cdt":
            found.append(decomposition(model, task, targets, [float(largest[node]) for node in targets]))
        elif method == "path":
            found.append(path_patching(model, task, targets))
        else:
            found.append(torch.stack([path_patching(model, task, [node]) for node in targets]).sum(0))
        largest = torch.where(found[-1].abs() > largest.abs(), found[-1], largest)
    return found


def ranked(scores: Tensor) -> list[Node]:
    """All nodes, highest score of float[layer, t, head] first, ties in their order."""
    order = np.argsort(-scores.double().flatten().numpy(), kind="stable")
    return [Node(*map(int, place)) for place in zip(*np.unravel_index(order, scores.shape), strict=True)]


def outliers(scores: Tensor) -> list[Node]:
    """Nodes with scores, float[layer, t, head], far above the mean of those that have one; highest first.

    A score of 0 is that of a node that is not before the targets.
    """
    scored = scores[scores != 0].double()
    if len(scored) < 2:
        return []
    least = float(scored.mean() + OUTLIER * scored.std())
    return [node for node in ranked(scores) if float(scores[node]) > least]


def edges(model: HookedTransformer, task: Task, nodes: Sequence[Node]) -> list[tuple[Node, Node, float]]:
    """(earlier node, later node, share of the later one's difference from its mean that the earlier one gives)."""
    targets = [node for node in nodes if node.layer]
    by_target = shares(model, task, targets) if targets else {}
    return [
        (node, target, float(given[node]))
        for target, given in by_target.items()
        for node in nodes
        if node.layer < target.layer
    ]


def random_order(model: HookedTransformer, task: Task, seed: int) -> list[Node]:
    """All nodes in a drawn order."""
    generator = numpy_generator(seed, "circuit discovery", "order")
    scores = no_scores(model, task)
    return ranked(torch.from_numpy(generator.permutation(scores.numel()).reshape(scores.shape)))


def pruned(model: HookedTransformer, task: Task, nodes: Sequence[Node]) -> list[Node]:
    """What is left of a circuit when every node has gone, the last of them first, whose loss does not hurt."""
    measured = Ablated(model, task).measure
    kept, value, changed = list(nodes), measured(nodes), True
    while changed:
        changed = False
        for node in kept[::-1]:
            rest = [other for other in kept if other != node]
            without = measured(rest)
            if without >= value:
                kept, value, changed = rest, without, True
    return kept


class Faithfulness:
    """Of circuits on one task: (m(nodes of the circuit) - m(none)) / (m(all) - m(none)), m the mean measure.

    Above 1 where left-out nodes work against the task. Raises InputError for a task that is not done at all.
    """

    def __init__(self, model: HookedTransformer, task: Task) -> None:
        self.model, self.task, self._measured = model, task, Ablated(model, task).measure
        self._none, self._whole = self._measured([]), self._measured(ranked(no_scores(model, task)))
        if self._whole == self._none:
            raise InputError("task: the measure is the same without any head; train the model longer")

    def __call__(self, order: Sequence[Node], sizes: Sequence[int]) -> list[float]:
        """Faithfulness of the first nodes of an order, for each size; InputError for sizes there are no nodes for."""
        if not sizes or min(sizes) < 0 or max(sizes) > len(order):
            raise InputError(f"sizes: {list(sizes)}; from 0 to the {len(order)} nodes, at least one")
        return [(self._measured(order[:size]) - self._none) / (self._whole - self._none) for size in sizes]
