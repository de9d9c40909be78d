"""Pruning for a few of the classes: how accuracy holds while units go, by which criterion, from how many samples.

The experiment of Yeom et al., "Pruning by Explaining", Pattern Recognition 115, 2021, on subsets of classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save
from torch import Tensor, nn

from winnow.attribution.relevance import relevance
from winnow.compress._masking import Masks
from winnow.compress._slimming import slim
from winnow.compress.relevance import Criterion, prune_iteratively
from winnow.errors import InputError
from winnow.randomness import numpy_generator

Split = tuple[Tensor, Tensor]


class Task(NamedTuple):
    """Classes to prune for: reference samples of them, and all test samples of them."""

    reference: Split
    test: Split


class Curve(NamedTuple):
    """Accuracy at each share of units gone, units kept at the end, and the model at the share that was asked for."""

    pruned: list[float]
    accuracy: list[float]
    kept: Masks
    model: nn.Module

    @property
    def area(self) -> float:
        """Mean accuracy over all states, the dense one among them."""
        return float(np.mean(self.accuracy))

    def at(self, share: float) -> float:
        """Accuracy of the state nearest to a share."""
        return self.accuracy[int(np.argmin(np.abs(np.array(self.pruned) - share)))]

    def measured(self, share: float) -> list[tuple[str, float, int | None]]:
        """Rows (metric, value, units gone [%]): accuracy of each state, their area, and accuracy at a share."""
        rows: list[tuple[str, float, int | None]] = [
            ("accuracy", value, round(100 * gone)) for gone, value in zip(self.pruned, self.accuracy, strict=True)
        ]
        return [*rows, ("area", self.area, None), ("judged_accuracy", self.at(share), None)]


def tasks(train: Split, test: Split, classes: int, subsets: int, samples: list[int], seed: int) -> Iterator[Any]:
    """(number of the subset, samples a class, Task) of random subsets of classes; samples of more include fewer.

    Raises InputError where there are fewer classes, or samples of one, than asked for.
    """
    labels = train[1].numpy()
    known = np.unique(labels)
    if classes > len(known):
        raise InputError(f"classes: {classes} of {len(known)} are asked for; lower it")
    for subset in range(subsets):
        generator = numpy_generator(seed, "subset", str(subset))
        chosen = np.sort(generator.choice(known, classes, replace=False))
        order = {c: generator.permutation(np.flatnonzero(labels == c)) for c in chosen}
        rows = torch.from_numpy(np.flatnonzero(np.isin(test[1].numpy(), chosen)))
        for count in samples:
            fewest = min(len(found) for found in order.values())
            if count > fewest:
                raise InputError(f"samples: {count} of a class are asked for, one has {fewest}; lower it")
            drawn = torch.from_numpy(np.concatenate([found[:count] for found in order.values()]))
            yield subset, count, Task((train[0][drawn], train[1][drawn]), (test[0][rows], test[1][rows]))


def curve(
    model: nn.Module,
    task: Task,
    kind: Criterion,
    *,
    step: float,
    target: float,
    judged_at: float,
    seed: int,
    finetune: Callable[[nn.Module, Masks], None] | None = None,
) -> Curve:
    """Prune a copy of a model for a task, measuring after every step; arguments as `prune_iteratively` has them."""
    pruned, accuracies, kept, chosen = list[float](), list[float](), Masks(), model
    states = prune_iteratively(model, *task.reference, kind, step=step, target=target, finetune=finetune, seed=seed)
    for share, units, work in states:
        if not pruned or abs(share - judged_at) < abs(pruned[-1] - judged_at):
            chosen = copy.deepcopy(work)
        kept = units
        pruned.append(share)
        accuracies.append(accuracy(work, *task.test))
    return Curve(pruned, accuracies, kept, chosen)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of rows whose class, among all that the model knows, is right."""
    return float((model(x).argmax(1) == y).double().mean())


def kept_rows(found: Curve, **labels: Any) -> pa.Table:
    """layer, kept and size [units] of a curve's end, with labels."""
    rows = [labels | {"layer": n, "kept": int(m.sum()), "size": m.numel()} for n, m in found.kept.items()]
    return pa.Table.from_pylist(rows)


def maps(dense: nn.Module, pruned: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Images and the relevance of their pixels for the true class, in the dense and in the pruned model.

    Returns images, dense, pruned: float32[n, height, width], relevance summed over channels.
    """
    found = {"dense": relevance(dense, x, y).input, "pruned": relevance(pruned, x, y).input}
    return {"images": x.mean(1)} | {name: maps.sum(1) for name, maps in found.items()}


def slim_size(model: nn.Module, example: Tensor) -> tuple[nn.Module, dict[str, float]]:
    """A model without its dead units; parameters [weights] and bytes of it, and the bytes before."""
    small = slim(model, None, example)
    sizes = [len(save({n: t.contiguous() for n, t in m.state_dict().items()})) for m in (small, model)]
    count = sum(p.numel() for p in small.parameters())
    return small, {"slim_parameters": float(count), "slim_bytes": float(sizes[0]), "bytes": float(sizes[1])}
