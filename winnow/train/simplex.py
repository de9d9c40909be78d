"""Stationary representations: features drawn to the fixed vertices of a simplex, so that models can be replaced.

N. Biondi, F. Pernici, S. Ricci, A. Del Bimbo, "Stationary Representations: Optimally Approximating Compatibility and
Implications for Improved Model Replacements", CVPR 2024; the fixed classifier from Pernici, Bruni, Baecchi and Del
Bimbo, "Regular Polytope Networks", IEEE TNNLS 2021. Backward-compatible training (BCT): Shen, Xiong, Xia and Soatto,
"Towards Backward-Compatible Representation Learning", CVPR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from winnow.errors import InputError
from winnow.models.fitting import History, fit
from winnow.randomness import stream_seed, torch_generator
from winnow.train.simplex_networks import ExpandingNet, SimplexNet

Method = Literal["simplex_hoc", "simplex_ce", "er", "bct", "distill"]
Mask = Literal["exclude", "zero"]
Task = tuple[Tensor, Tensor]
"""Images [n, c, h, w] and their labels int64[n]."""


@dataclass(frozen=True)
class Recipe:
    """How each task is trained: the authors' numbers, with SGD of momentum .9 and a cosine.

    AdamW is for models that start from nothing: the authors fine-tune pre-trained ones.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    epochs: int = 70
    batch_size: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    weight_decay: float = 5e-4
    memory: int = 20  # images a class that are kept for rehearsal
    weight: float = 0.1  # lambda, of the cross-entropy beside a loss that looks at the previous model
    scale: float = 10.0  # m, an inverse temperature
    mask: Mask = "exclude"


class Fitted(NamedTuple):
    """The model after each task, in eval mode, how many classes it knows, and the history with steps counted on."""

    models: list[nn.Module]
    classes: list[int]
    history: History


def hoc_loss(new: Tensor, old: Tensor, labels: Tensor, scale: float = 10.0, mask: Mask = "exclude") -> Tensor:
    """Higher-order compatibility: each new feature near the old one of its image, far from those of other classes.

    new, old: float[n, d] of the same images, rows of unit length. labels: int64[n]. The mean over i of
    -m u_i.v_i + log sum_j exp(m u_i.v_j), j over images of other classes. A row that has none keeps the first
    term alone. mask "zero" counts images of the own class as exp(0) = 1 each, as the authors' code does.
    Raises InputError for labels or features that do not belong together.
    """
    if new.shape != old.shape or labels.shape != new.shape[:1]:
        raise InputError(
            f"features {tuple(new.shape)}, {tuple(old.shape)} and labels {tuple(labels.shape)} do not match"
        )
    similarity = scale * new @ old.T
    same = labels[:, None] == labels[None, :]
    if mask == "zero":
        away = torch.logsumexp(similarity.masked_fill(same, 0.0), dim=1)
    else:
        alone = same.all(dim=1)
        # A row of -inf alone would turn gradients to NaN, so a row without other classes is left as it is.
        hidden = similarity.masked_fill(same & ~alone[:, None], -math.inf)
        away = torch.logsumexp(hidden, dim=1).masked_fill(alone, 0.0)
    return (away - similarity.diagonal()).mean()


def new_model(method: Method, backbone: nn.Module, width: int, classes: int, seed: int) -> nn.Module:
    """An untrained model of a method around a copy of the backbone, with features of classes - 1 dimensions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "simplex", "projection"))
        if method.startswith("simplex"):
            return SimplexNet(deepcopy(backbone), width, classes)
        return ExpandingNet(deepcopy(backbone), width, classes - 1)


def fit_sequence(
    tasks: Sequence[Task],
    start: nn.Module,
    method: Method,
    recipe: Recipe,
    seed: int,
    replacements: Mapping[int, nn.Module] | None = None,
) -> Fitted:
    """Fine-tune one model over tasks of new classes, with a memory of earlier ones; returns the model after each.

    tasks: labels number the classes in the order in which they come. start: from `new_model`; it is copied.
    replacements: task -> model trained elsewhere, which takes the running model's place before that task is
    learnt; losses that look at a previous model then look at the one that was in service.
    Raises InputError for a label without a vertex, a replacement of another kind or size, no task.
    """
    replacements = replacements or {}
    _check(tasks, start, method, replacements)
    models: list[nn.Module] = []
    known: list[int] = []
    history: History = []
    kept: list[Task] = []
    for number, (x, y) in enumerate(tasks):
        previous = models[-1] if models else None
        model = deepcopy(replacements.get(number, previous or start))
        if isinstance(model, ExpandingNet):
            model.expand(int(y.max()) + 1, seed)
        images, labels = (torch.cat(parts) for parts in zip((x, y), *kept, strict=True))
        task = _Rehearsal(images, labels, previous, method, recipe)
        done = history[-1][2] if history else 0
        told = _fit_task(model, task, recipe, stream_seed(seed, "simplex", str(number)))
        history += [(metric, value, done + step) for metric, value, step in told]
        kept += _remember(x, y, recipe.memory, seed)
        models.append(model)
        known.append(int(labels.max()) + 1)
    return Fitted(models, known, history)


class _Rehearsal:
    """One task as the training loop sees it: class-balanced batches, and the loss of the method."""

    def __init__(self, x: Tensor, y: Tensor, previous: nn.Module | None, method: Method, recipe: Recipe) -> None:
        self.x, self.y, self.previous, self.method, self.recipe = x, y, previous, method, recipe
        self.chances = 1 / torch.bincount(y)[y].double()

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Task]:
        generator = torch_generator(seed or 0, "batches", str(epoch))
        drawn = torch.multinomial(self.chances, len(self.y), replacement=True, generator=generator)
        for rows in drawn.split(size):
            yield self.x[rows], self.y[rows]

    def loss(self, model: nn.Module, batch: Task, label_smoothing: float = 0.0) -> Tensor:
        x, y = batch
        z, logits = model(x)
        entropy = F.cross_entropy(logits, y, label_smoothing=label_smoothing)
        if self.previous is None or self.method in ("simplex_ce", "er"):
            return entropy
        with torch.no_grad():
            old, _ = self.previous(x)
        weight = self.recipe.weight
        if self.method == "bct":
            return entropy + _through_old_classifier(z, y, self.previous)
        new, old = F.normalize(z, dim=1), F.normalize(old, dim=1)
        if self.method == "distill":
            return weight * entropy + (1 - weight) * (new - old).square().sum(dim=1).mean()
        return weight * entropy + (1 - weight) * hoc_loss(new, old, y, self.recipe.scale, self.recipe.mask)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        return {}


def _through_old_classifier(z: Tensor, y: Tensor, previous: nn.Module) -> Tensor:
    """BCT's influence loss: new features through the old classifier, on images of the classes that it knows."""
    rows = previous.classifier.detach()  # type: ignore[operator]
    known = y < len(rows)
    if not known.any():
        return z.new_zeros(())
    return F.cross_entropy(z[known] @ rows.T, y[known])


def _fit_task(model: nn.Module, task: _Rehearsal, recipe: Recipe, seed: int) -> History:
    floor = recipe.final_learning_rate / recipe.learning_rate

    def optimizer(parameters: object) -> torch.optim.Optimizer:
        decayed = [p for p in model.parameters() if p.ndim >= 2]
        free = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        if recipe.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=recipe.learning_rate)
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9)

    return fit(
        model,
        task,
        epochs=recipe.epochs,
        optimizer=optimizer,
        schedule=lambda done: floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2,
        batch_size=recipe.batch_size,
        seed=seed,
    )


def _remember(x: Tensor, y: Tensor, count: int, seed: int) -> list[Task]:
    """A random choice of `count` images of each class."""
    kept = []
    for label in y.unique().tolist():
        rows = (y == label).nonzero().flatten()
        order = torch.randperm(len(rows), generator=torch_generator(seed, "simplex", "memory", str(label)))
        chosen = rows[order[:count]]
        kept.append((x[chosen], y[chosen]))
    return kept


def _check(tasks: Sequence[Task], start: nn.Module, method: Method, replacements: Mapping[int, nn.Module]) -> None:
    if not tasks:
        raise InputError("there is no task; give at least one")
    kind = SimplexNet if method.startswith("simplex") else ExpandingNet
    models = {"start": start} | {f"replacement at task {number}": model for number, model in replacements.items()}
    for name, model in models.items():
        if not isinstance(model, kind):
            raise InputError(f"{name}: is a {type(model).__name__}; {method} needs a {kind.__name__}")
    if isinstance(start, SimplexNet):
        classes, largest = len(start.vertices), max(int(y.max()) for _, y in tasks)
        if largest >= classes:
            raise InputError(f"label {largest} has no vertex: the simplex has {classes}; make it larger")
        for name, model in models.items():
            if (own := len(model.get_buffer("vertices"))) != classes:
                raise InputError(f"{name}: its simplex has {own} vertices, not {classes}; train it on the same one")
