"""The scenarios in which features are asked to stay compatible: sequences, replacements, and two independent models.

After Biondi et al., "Stationary Representations", CVPR 2024: fine-tuning over tasks of new classes; IAM-CL2R, in which
models trained elsewhere on more classes take over; and two models that share nothing but the fixed simplex.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.randomness import numpy_generator, stream_seed
from winnow.train.simplex import Fitted, Method, Recipe, Task, fit_sequence, new_model

KINDS: dict[Method, Method] = {"simplex_hoc": "simplex_ce", "simplex_ce": "simplex_ce", "er": "er"}
"""Arms that models trained elsewhere take over in, and how those are trained."""
PLANE = 3
"""Vertices of a simplex that can be drawn."""


def class_order(classes: int, seed: int) -> np.ndarray:
    """The classes in the order in which a seed's tasks bring them, int64[classes]; the last ones may never come."""
    return numpy_generator(seed, "simplex", "order").permutation(classes)


def in_order(y: Tensor, order: np.ndarray) -> Tensor:
    """Labels renumbered by when their class comes."""
    return torch.from_numpy(np.argsort(order))[y]


def headless(model: nn.Module) -> tuple[nn.Module, int]:
    """A model of the registry without its last layer `output`, and the width of what that layer reads."""
    children = dict(model.named_children())
    output = children.pop("output", None)
    if not isinstance(model, nn.Sequential) or not isinstance(output, nn.Linear):
        raise InputError(
            f"model {type(model).__name__}: is no chain that ends in a linear output; use mlp or small_cnn"
        )
    chain = nn.Sequential()
    for name, child in children.items():
        chain.add_module(name, child)
    return chain, output.in_features


def fit_scenarios(
    data: Task,
    backbone: Callable[[int], tuple[nn.Module, int]],
    recipe: Recipe,
    *,
    classes: int,
    tasks: Sequence[int],
    replacements: Mapping[int, int],
    old_classes: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Fitted]:
    """`<scenario>/<method>` -> its models. Scenarios: sequence, replaced, independent and plane.

    data: training images, labels in the order of `class_order`. backbone: seed -> an untrained backbone and its
    width. classes: vertices. tasks: new classes of each task. replacements: task, counted from 1 -> number of
    classes that the model taking over before it was trained on. old_classes: classes of the old one of two
    independent models; the new one has those of all tasks. plane: the same two on three vertices, old on two.
    """
    bounds = np.cumsum([0, *tasks]).tolist()
    made: dict[str, Fitted] = {}
    total = len(get_args(Method)) + len(KINDS) + 4

    def some_classes(low: int, high: int) -> Task:
        rows = (data[1] >= low) & (data[1] < high)
        return data[0][rows], data[1][rows]

    def sequence(method: Method, others: Mapping[int, nn.Module]) -> Fitted:
        start = new_model(method, *backbone(seed), classes, seed)
        return fit_sequence([some_classes(*b) for b in pairwise(bounds)], start, method, recipe, seed, others)

    def elsewhere(method: Method, count: int, vertices: int, name: str) -> Fitted:
        own = stream_seed(seed, "simplex", name, str(count))
        return fit_sequence(
            [some_classes(0, count)], new_model(method, *backbone(own), vertices, own), method, recipe, own
        )

    def keep(name: str, fitted: Fitted) -> None:
        made[name] = fitted
        if progress:
            progress(len(made), total)

    for method in get_args(Method):
        keep(f"sequence/{method}", sequence(method, {}))
    for kind in ("simplex_ce", "er"):
        trained = {n: elsewhere(kind, n, classes, "new") for n in {*replacements.values(), bounds[-1]}}
        old = elsewhere(kind, old_classes, classes, "old")
        keep(f"independent/{kind}", _chain(old, trained[bounds[-1]]))
        for method in (m for m, k in KINDS.items() if k == kind):
            others = {task - 1: trained[count].models[0] for task, count in replacements.items()}
            keep(f"replaced/{method}", sequence(method, others))
        pair = (elsewhere(kind, PLANE - 1, PLANE, "old"), elsewhere(kind, PLANE, PLANE, "new"))
        keep(f"plane/{kind}", _chain(*pair))
    return made


def _chain(old: Fitted, new: Fitted) -> Fitted:
    done = old.history[-1][2]
    told = [(m, v, done + step) for m, v, step in new.history]
    return Fitted(old.models + new.models, old.classes + new.classes, old.history + told)
