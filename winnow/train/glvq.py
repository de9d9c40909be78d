"""Generalised learning vector quantisation, and what classifiers by prototypes have in common.

A. Sato, K. Yamada, "Generalized Learning Vector Quantization", NIPS 1995.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.randomness import stream_seed

TINY = 1e-12


class Glvq(nn.Module):
    """Generalised learning vector quantisation: prototypes with labels; the class of the nearest wins."""

    def __init__(self, prototypes: int, classes: int, features: int) -> None:
        super().__init__()
        self.classes = classes
        self.prototypes = nn.Parameter(torch.zeros(prototypes, features))

    def class_distances(self, x: Tensor) -> Tensor:
        """Squared distance to the nearest prototype of each class, [n, classes]."""
        found = squared_distances(x, self.prototypes)
        return found.view(len(x), self.classes, -1).amin(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """Minus those distances: the largest wins."""
        return -self.class_distances(x)

    def start(self, x: Tensor, y: Tensor, seed: int) -> None:
        """Prototypes by k-means in each class, as many for each, class by class."""
        count = per_class(len(self.prototypes), self.classes)
        with torch.no_grad():
            self.prototypes.copy_(class_means(x, y, count, seed))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean of (d+ - d-) / (d+ + d-), squared distances to the nearest own and the nearest foreign prototype."""
        found = self.class_distances(x)
        own, other = true_and_best_other(-found, y)
        return ((other - own) / (-own - other).clamp(min=TINY)).mean()


def squared_distances(x: Tensor, points: Tensor) -> Tensor:
    """|x - p|^2 of all pairs, [n, K]; one matrix product, cut off at 0 where rounding falls below."""
    found = x.square().sum(1, keepdim=True) - 2 * x @ points.T + points.square().sum(1)
    return found.clamp(min=0)


def true_and_best_other(scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The score of the true class and the best of the others, [n] each, from scores [n, classes]."""
    own = scores.gather(1, y[:, None])[:, 0]
    other = scores.scatter(1, y[:, None], -math.inf).amax(dim=1)
    return own, other


def class_means(x: Tensor, y: Tensor, count: int, seed: int) -> Tensor:
    """`count` k-means centres of each class's rows, class by class: [classes * count, D]."""
    from sklearn.cluster import KMeans

    found = []
    for label in y.unique().tolist():
        rows = x[y == label]
        if len(rows) < count:
            raise InputError(f"class {label} has {len(rows)} rows for {count} components; ask for fewer")
        state = stream_seed(seed, "components", str(label)) % 2**32
        found.append(torch.from_numpy(KMeans(count, n_init=1, random_state=state).fit(rows.numpy()).cluster_centers_))
    return torch.cat(found).to(x.dtype)


def per_class(components: int, classes: int) -> int:
    """Components of each class; InputError where they cannot be shared out equally."""
    if components < classes or components % classes:
        raise InputError(f"components is {components}; a start by class takes a multiple of the {classes} classes")
    return components // classes
