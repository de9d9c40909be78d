"""Classifiers by components and prototypes, side by side: each with as many settings tried and as many epochs.

After Saralajew, Rana, Villmann and Shaker, AAAI 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from winnow.models.fitting import History
from winnow.train.component_reasoning import OriginalReasoning, Reasoning
from winnow.train.deep_components import DeepCBC, DeepRecipe, Head, fit_deep, planted_absence
from winnow.train.glvq import Glvq
from winnow.train.rbf_components import CBC, fit_components

SHALLOW = ("cbc", "rbf", "original", "glvq")
CHANNELS = 16
Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Plan:
    """What every arm gets. margins and the factors of GLVQ's learning rate are as many, chosen on held-out images."""

    components: int
    classes: int
    epochs: int
    batch: int
    learning_rate: float
    margins: list[float]
    rate_factors: list[float]
    robust_margin: float
    radius: float
    seed: int


def shallow_model(kind: str, components: int, classes: int, features: int, seed: int) -> CBC | Glvq:
    """An untrained model: cbc, rbf (presence alone), original (the reasoning of 2019) or glvq."""
    if kind == "glvq":
        return Glvq(components, classes, features)
    if kind == "original":
        return CBC(OriginalReasoning(components, classes, seed), features)
    return CBC(Reasoning(components, classes, negative=kind == "cbc", seed=seed), features)


def fit_shallow(
    train: Labelled, valid: Labelled, plan: Plan, progress: Callable[[int, int], None] | None = None
) -> dict[str, tuple[nn.Module, History]]:
    """`<kind>/<variant>` -> model and history. x: rows float[n, D] in [0, 1].

    tuned: the best of the settings on `valid`. For cbc and rbf also margin and robust: a model of the margin loss,
    trained on for as many epochs with either loss.
    """
    made: dict[str, tuple[nn.Module, History]] = {}
    total = len(SHALLOW) * len(plan.margins) + 6

    def fresh(kind: str) -> CBC | Glvq:
        model = shallow_model(kind, plan.components, plan.classes, train[0].shape[1], plan.seed)
        model.start(*train, plan.seed)
        return model

    def fitted(model: CBC | Glvq, **changes: object) -> History:
        options = {"learning_rate": plan.learning_rate, "radius": plan.radius} | changes
        history = fit_components(model, *train, epochs=plan.epochs, batch=plan.batch, seed=plan.seed, **options)  # type: ignore[arg-type]
        fitted.count += 1  # type: ignore[attr-defined]
        if progress:
            progress(fitted.count, total)  # type: ignore[attr-defined]
        return history

    fitted.count = 0  # type: ignore[attr-defined]
    for kind in SHALLOW:
        tried = []
        for margin, factor in zip(plan.margins, plan.rate_factors, strict=True):
            model = fresh(kind)
            rate = {"learning_rate": factor * plan.learning_rate} if kind == "glvq" else {"margin": margin}
            history = fitted(model, **rate)
            tried.append((accuracy(model, *valid), model, history))
        made[f"{kind}/tuned"] = max(tried, key=lambda entry: entry[0])[1:]
    for kind in ("cbc", "rbf"):
        start = fresh(kind)
        before = fitted(start, margin=plan.robust_margin)
        for loss in ("margin", "robust"):
            model = deepcopy(start)
            after = fitted(model, margin=plan.robust_margin, loss=loss)
            made[f"{kind}/{loss}"] = model, before + [(m, v, before[-1][2] + step) for m, v, step in after]
    return made


def fit_deeply(
    images: Labelled, components: int, classes: int, recipe: DeepRecipe, seed: int
) -> dict[str, tuple[nn.Module, History]]:
    """`<head>` -> a network and its history, one for each head, from the same backbone. images: float[n, c, h, w]."""
    made: dict[str, tuple[nn.Module, History]] = {}
    for head in get_args(Head):
        model = deep_model(head, images[0].shape[1], components, classes, seed)
        made[head] = model, fit_deep(model, *images, recipe, seed)
    return made


def deep_model(head: Head, channels: int, components: int, classes: int, seed: int) -> DeepCBC:
    """An untrained network of two convolutions, of which the second strides, and a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = nn.Sequential(
            *[nn.Conv2d(channels, CHANNELS, 3, padding=1), nn.ReLU()],
            *[nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1), nn.ReLU()],
        )
    return DeepCBC(backbone, CHANNELS, components, classes, head, seed)


def fit_planted(count: int, recipe: DeepRecipe, seed: int) -> dict[str, float]:
    """Accuracy of each head where only an absence tells the class, on as many images again as it was trained on.

    Components are as many as there are parts to tell apart: the two shapes.
    """
    made = fit_deeply(planted_absence(count, seed), 2, 2, recipe, seed)
    x, y = planted_absence(count, seed + 1_000_000)
    return {head: accuracy(model, x, y) for head, (model, _) in made.items()}


def learnt_detectors(
    train: Labelled, test: Labelled, classes: int, settings: Any
) -> list[tuple[str, str, float, History]]:
    """(head, variant, accuracy, history) of networks on images, "deep", and on the planted set, "absence".

    train and test: images float[n, c, h, w] with labels. settings: the deep ones of `RbfComponents`.
    """

    def recipe(parts: list[int]) -> DeepRecipe:
        warm, joint, head = parts
        return DeepRecipe(warm, joint, head, settings.batch_size, settings.deep_learning_rate)

    seed = settings.seed
    deep = fit_deeply(train, settings.deep_components, classes, recipe(settings.deep_epochs), seed)
    planted = fit_planted(settings.planted_images, recipe(settings.planted_epochs), seed)
    found = [(head, "deep", accuracy(model, *test), history) for head, (model, history) in deep.items()]
    return found + [(head, "absence", value, []) for head, value in planted.items()]


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of x whose largest score is that of y."""
    found = torch.cat([model(part).argmax(dim=1) for part in x.split(512)])
    return float((found == y).double().mean())
