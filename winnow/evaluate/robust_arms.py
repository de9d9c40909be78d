"""Models of one recipe, plainly trained and adversarially trained, for audits of what gradients show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.evaluate.diffroar import predicted
from winnow.models import build
from winnow.models.adversarial import Norm, fit_robust, robust_accuracy
from winnow.workloads.block_images import block_images

Attack = tuple[Norm, float]
PLAIN: Attack = ("l2", 0.0)


def arms(settings: Any) -> dict[str, Attack]:
    """Name -> (norm, radius) of every model: standard first, then the attacks of the settings."""
    norms: list[tuple[Norm, list[float]]] = [("l2", settings.eps_l2), ("linf", settings.eps_linf)]
    named = {f"{norm}_{eps:g}": (norm, eps) for norm, radii in norms for eps in radii}
    return {"standard": PLAIN} | named


@dataclass(frozen=True)
class Recipe:
    """How every model of an audit is made: a multilayer perceptron on pixels in [0, 1], SGD with momentum .9."""

    classes: int
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    attack_steps: int
    images: int

    @classmethod
    def of(cls, settings: Any, classes: int) -> Recipe:
        """The recipe that a section of settings describes."""
        numbers = {name: getattr(settings, name) for name in ("epochs", "batch_size", "learning_rate", "attack_steps")}
        return cls(classes=classes, hidden=tuple(settings.hidden), images=settings.images, **numbers)

    def first_images(self, workload: Any, split: str) -> tuple[Tensor, Tensor]:
        """The first images of a split, in the order of their keys: float32[n, c, h, w] in [0, 1], int64[n]."""
        pixels = workload.pixels(split)[: self.images]
        x = torch.from_numpy(np.moveaxis(pixels, -1, 1).astype(np.float32) / 255)
        return x, workload.arrays(split)[1][: self.images]

    def fit(self, x: Tensor, y: Tensor, seed: int, attack: Attack = PLAIN) -> nn.Module:
        """A new model trained on x, against an attack where one is given; the seed decides start and order."""
        _, channels, height, width = x.shape
        shape = {"in_channels": channels, "height": height, "width": width, "classes": self.classes}
        model = build("mlp", seed=seed, hidden=list(self.hidden), **shape)
        norm, eps = attack
        fit_robust(
            model,
            x,
            y,
            eps,
            norm=norm,
            steps=self.attack_steps,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=lambda p: torch.optim.SGD(p, lr=self.learning_rate, momentum=0.9),
            seed=seed,
        )
        return model


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of images that the model in eval mode classifies rightly."""
    return float((predicted(model, x) == y).double().mean())


def attacked_accuracy(model: nn.Module, x: Tensor, y: Tensor, settings: Any) -> float:
    """The same after the last attack of the settings, which all arms meet alike."""
    norm, eps = list(arms(settings).values())[-1]
    return robust_accuracy(model, x, y, eps, norm=norm, steps=settings.attack_steps)


class BlockSplit(NamedTuple):
    """Images of blocks as models take them."""

    x: Tensor
    """float32[n, 1, height, width], in [0, 1]"""
    y: Tensor
    """int64[n]"""
    inside: np.ndarray
    """bool[n, height, width], True in the signal block"""


def block_split(recipe: Recipe, workload: Any, split: str, variant: str, classes: list[int], seed: int) -> BlockSplit:
    """The first images of a split that belong to the classes, each beside null blocks; channels are averaged.

    variant: random (two blocks in random order), top (the signal always on top), three_blocks, or ten_classes, which
    takes all classes. Labels count the classes from the smallest. Raises InputError where a class has no image.
    """
    pixels, labels = workload.pixels(split), workload.arrays(split)[1].numpy()
    chosen = list(range(len(workload.classes))) if variant == "ten_classes" else classes
    rows = np.flatnonzero(np.isin(labels, chosen))[: recipe.images]
    missing = set(chosen) - set(labels[rows].tolist())
    if missing:
        raise InputError(f"{split}: class {min(missing)} has no image; name other classes or raise the limit")
    grey = (pixels[rows].mean(axis=3) / 255).astype(np.float32)
    y = np.searchsorted(np.sort(chosen), labels[rows])
    made = block_images(
        grey, y, seed, position="top" if variant == "top" else "random", blocks=3 if variant == "three_blocks" else 2
    )
    return BlockSplit(torch.from_numpy(made.x)[:, None], torch.from_numpy(made.y), made.inside())
