"""Training of prototype networks: three steps, shallow-deep feature alignment and score aggregation.

The three steps (train, push, last layer), the cluster and separation losses and pruning: Chen, Li, Tao, Barnett, Su
and Rudin, "This Looks Like That: Deep Learning for Interpretable Image Recognition", NeurIPS 2019. Shallow-deep
feature alignment, score aggregation and their training recipe: Huang, Xue, Huang, Zhang, Song, Jing and Song,
"Evaluation and Improvement of Interpretability for Self-Explainable Part-Prototype Networks", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from winnow.errors import InputError
from winnow.models.fitting import History, fit
from winnow.models.protopnet import FROZEN, Output, ProtoPNet
from winnow.randomness import numpy_generator

TRUNK_RATE, ADD_ON_RATE, PROTOTYPE_RATE, AGGREGATION_RATE, WEIGHT_DECAY = 1e-4, 3e-3, 3e-3, 1e-6, 1e-3
DECAY = 0.2
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class LossWeights:
    """What each part of the loss counts; alignment joins after the warm-up."""

    cluster: float = 0.8
    separation: float = 0.08
    orthogonality: float = 1e-4
    alignment: float = 0.5
    threshold: float = 0.1
    """Differences of self-similarity up to here count as none."""


class Fronts(NamedTuple):
    """A split as the layers that stay as they are put it out, computed once."""

    shallow: Tensor
    """float32[n, s * s * c, h, w]: the stem's map, each position of the deep grid with the block that it covers."""
    middle: Tensor
    """float32[n, c, h', w']"""
    labels: Tensor
    """int64[n]"""


def cluster(distances: Tensor, labels: Tensor, class_of: Tensor) -> Tensor:
    """Mean over images of the least distance to a prototype of the own class; distances float[n, J]."""
    return distances.masked_fill(class_of[None] != labels[:, None], torch.inf).amin(1).mean()


def separation(distances: Tensor, labels: Tensor, class_of: Tensor) -> Tensor:
    """Mean over images of the least distance to a prototype of another class; distances float[n, J]."""
    return distances.masked_fill(class_of[None] == labels[:, None], torch.inf).amin(1).mean()


def orthogonality(prototypes: Tensor, classes: int) -> Tensor:
    """Sum over classes of the absolute entries of P P^T - I, P the class's prototypes; prototypes float[J, D]."""
    of_class = prototypes.view(classes, -1, prototypes.shape[1])
    return (of_class @ of_class.mT - torch.eye(of_class.shape[1])).abs().sum()


def align_shallow(shallow: Tensor, grid: tuple[int, int]) -> Tensor:
    """The blocks of a fine map that each position of a coarse grid covers, stacked as channels.

    shallow: float[n, c, h s, w s]. Returns float[n, c s s, h, w]. Raises ValueError where the grid does not divide it.
    """
    height, width = shallow.shape[2:]
    scale = height // grid[0]
    if scale < 1 or (height, width) != (grid[0] * scale, grid[1] * scale):
        raise InputError(f"shallow map of {height} x {width}: the grid of {grid[0]} x {grid[1]} does not divide it")
    return functional.pixel_unshuffle(shallow, scale)


def sdfa(
    maps: Tensor, shallow: Tensor, deep: Tensor, labels: Tensor, class_of: Tensor, threshold: float = 0.1
) -> Tensor:
    """Shallow-deep feature alignment: how much the deep map's self-similarity strays from the shallow map's.

    maps: float[n, J, h, w]; shallow, deep: float[n, c, h, w] on the same grid, shallow as `align_shallow` gives it.
    Self-similarity is the cosine between positions, taken at the peaks of the own class's prototypes only; shallow
    gets no gradient. Mean of relu(|difference| - threshold) over images, own prototypes and positions.
    """
    per_class = int((class_of == class_of[0]).sum())
    own = (class_of[None] == labels[:, None]).nonzero()[:, 1].view(len(labels), per_class)
    peaks = maps.flatten(2).argmax(2).gather(1, own)

    def similarity(features: Tensor) -> Tensor:
        unit = functional.normalize(features.flatten(2), dim=1)
        at_peaks = unit.gather(2, peaks[:, None].expand(-1, unit.shape[1], -1))
        return at_peaks.mT @ unit

    return (similarity(deep) - similarity(shallow.detach())).abs().sub(threshold).relu().mean()


class _Features:
    """The fronts of the splits as a workload that `fit` trains on."""

    def __init__(self, fronts: dict[str, Fronts], weights: LossWeights, phase: str) -> None:
        self.fronts, self.weights, self.phase = fronts, weights, phase

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[tuple[Tensor, ...]]:
        front = self.fronts[split]
        order = torch.arange(len(front.labels))
        if seed is not None:
            order = torch.from_numpy(
                numpy_generator(seed, "protopnet", self.phase, split, str(epoch)).permutation(len(order))
            )
        for rows in order.split(size):
            yield front.shallow[rows], front.middle[rows], front.labels[rows]

    def loss(self, model: Any, batch: Any, label_smoothing: float = 0.0) -> Tensor:
        shallow, middle, labels = batch
        out, weights, class_of = model.from_front(middle), self.weights, model.class_of()
        loss = functional.cross_entropy(out.logits, labels, label_smoothing=label_smoothing)
        loss = loss + weights.cluster * cluster(out.distances, labels, class_of)
        loss = loss - weights.separation * separation(out.distances, labels, class_of)
        if model.similarity == "projection":
            loss = loss + weights.orthogonality * orthogonality(model.prototypes, model.classes)
        if self.phase == "joint" and weights.alignment:
            aligned = sdfa(out.maps, shallow, out.deep, labels, class_of, weights.threshold)
            loss = loss + weights.alignment * aligned
        return loss

    def metrics(self, model: Any, split: str) -> dict[str, float]:
        """Accuracy, and each part of the loss before it is weighed."""
        front, class_of = self.fronts[split], model.class_of()
        out = outputs_of(model, front)
        aligned = sdfa(out.maps, front.shallow, out.deep, front.labels, class_of, self.weights.threshold)
        return {
            "accuracy": float((out.logits.argmax(1) == front.labels).double().mean()),
            "cross_entropy": float(functional.cross_entropy(out.logits, front.labels)),
            "cluster": float(cluster(out.distances, front.labels, class_of)),
            "separation": float(separation(out.distances, front.labels, class_of)),
            "alignment": float(aligned),
            "orthogonality": float(orthogonality(model.prototypes, model.classes)),
        }


@torch.no_grad()
def compute_fronts(model: ProtoPNet, x: Tensor, labels: Tensor) -> Fronts:
    """What the layers that stay as they are put out on images float32[n, c, h, w], for `fit_protopnet`."""
    parts = [model.front(batch) for batch in x.split(EVALUATION_BATCH)]
    grid = model.blocks(parts[0][0][:1]).shape[2:]
    shallow = torch.cat([align_shallow(shallow, grid) for shallow, _ in parts])
    return Fronts(shallow, torch.cat([middle for _, middle in parts]), labels)


@torch.no_grad()
def outputs_of(model: Any, front: Fronts) -> Output:
    """What a network says of a whole split, from its fronts."""
    parts = [model.from_front(middle) for middle in front.middle.split(EVALUATION_BATCH)]
    return Output(*(torch.cat(field) for field in zip(*parts, strict=True)))


def fit_protopnet(
    model: ProtoPNet,
    fronts: dict[str, Fronts],
    *,
    weights: LossWeights | None = None,
    epochs: int = 12,
    warm_epochs: int = 5,
    decay_epochs: int = 3,
    batch_size: int = 80,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Train in place, first with the trunk held, then all that is not frozen; returns the history.

    fronts: of train and valid. Adam with the paper's learning rates (trunk 1e-4, layers and prototypes 3e-3,
    aggregation 1e-6), times 0.2 every `decay_epochs` after the warm-up; weight decay 1e-3, not on prototypes.
    Prototypes of projection similarity are brought to unit length after every step.
    Raises InputError where epochs do not exceed the warm-up.
    """
    if not 0 <= warm_epochs < epochs:
        raise InputError(f"warm_epochs: is {warm_epochs}; it must be below epochs, {epochs}")
    weights = weights or LossWeights()

    def adam(trunk: bool) -> Callable[[Any], torch.optim.Optimizer]:
        groups: list[dict[str, Any]] = [
            {"params": list(model.add_on.parameters()), "lr": ADD_ON_RATE, "weight_decay": WEIGHT_DECAY},
            {"params": [model.prototypes], "lr": PROTOTYPE_RATE},
        ]
        if hasattr(model, "aggregation"):
            groups.append({"params": [model.aggregation], "lr": AGGREGATION_RATE})
        if trunk:
            trained = [p for p in model.blocks.parameters() if p.requires_grad]
            groups.append({"params": trained, "lr": TRUNK_RATE, "weight_decay": WEIGHT_DECAY})
        return lambda _: torch.optim.Adam(groups)

    @torch.no_grad()
    def unit_length(step: int) -> None:
        if model.similarity == "projection":
            model.prototypes.copy_(functional.normalize(model.prototypes))

    def phase(name: str, count: int, trunk: bool, done: int) -> History:
        for index, block in enumerate(model.blocks):
            block.requires_grad_(trunk and index >= FROZEN)
        steps = -(-len(fronts["train"].labels) // batch_size)
        decay = (lambda share: DECAY ** int(share * count / decay_epochs + 1e-9)) if trunk else None
        rows = fit(
            model,
            _Features(fronts, weights, name),
            epochs=count,
            optimizer=adam(trunk),
            schedule=decay,
            batch_size=batch_size,
            seed=seed,
            after_step=unit_length,
            recipe=f"protopnet {name} {weights}",
            checkpoint=checkpoint and checkpoint.with_name(f"{name}-{checkpoint.name}"),
            progress=progress and (lambda at, _: progress(done * steps + at, epochs * steps)),
        )
        return [(metric, value, step + done * steps) for metric, value, step in rows]

    model.stem.requires_grad_(False)
    history = phase("warm", warm_epochs, False, 0) if warm_epochs else []
    return history + phase("joint", epochs - warm_epochs, True, warm_epochs)
