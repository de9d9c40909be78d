"""A small network with prototypes at stride 4, trained from nothing: for planted sets, drawn in any number.

The losses and the head of Chen, Li, Tao, Barnett, Su and Rudin ("This Looks Like That", NeurIPS 2019) with projection
similarity (Huang et al., ICCV 2023). The published trunk of `winnow.models.protopnet` mixes positions of the whole
image and cannot tell the one part that a planted set varies; five small convolutions can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.models.fitting import fit
from winnow.models.protopnet import OTHER_CLASS
from winnow.randomness import numpy_generator
from winnow.train.protopnet import LossWeights, cluster, orthogonality, separation

RATE, RISE = 3e-3, 0.3
WIDTHS, DILATIONS, STRIDES = (16, 32, 32, 32, 32), (1, 1, 1, 2, 2), (2, 2, 1, 1, 1)


class SmallPrototypes(nn.Module):
    """Images [n, 3, h, w] -> logits [n, classes]; maps are products of features in [0, 1] with unit prototypes.

    per_class: prototypes of each class (M). channels: their size (D).
    """

    def __init__(self, classes: int, per_class: int = 4, channels: int = 32) -> None:
        super().__init__()
        self.classes, self.per_class = classes, per_class
        layers: list[nn.Module] = []
        before = 3
        for width, dilation, stride in zip(WIDTHS, DILATIONS, STRIDES, strict=True):
            # Group norm: an image's maps do not depend on its batch.
            convolution = nn.Conv2d(before, width, 3, stride, dilation, dilation)
            layers += [convolution, nn.GroupNorm(8, width), nn.ReLU()]
            before = width
        self.trunk = nn.Sequential(*layers, nn.Conv2d(before, channels, 1), nn.Sigmoid())
        self.prototypes = nn.Parameter(functional.normalize(torch.rand(classes * per_class, channels)))
        own = self.class_of()[None] == torch.arange(classes)[:, None]
        self.head = nn.Parameter(torch.where(own, 1.0, OTHER_CLASS))

    def class_of(self) -> Tensor:
        """int64[J]: the class of each prototype."""
        return torch.arange(self.classes).repeat_interleave(self.per_class)

    def maps(self, x: Tensor) -> Tensor:
        """float32[n, J, h / 4, w / 4]: similarity of each position to each prototype."""
        return self.compared(self.trunk(x))

    def compared(self, features: Tensor) -> Tensor:
        """Products of features float32[n, D, h, w] with the unit prototypes: float32[n, J, h, w]."""
        return torch.einsum("nchw,jc->njhw", features, functional.normalize(self.prototypes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        return self.maps(x).amax((2, 3)) @ self.head.T


class _Images:
    """Images as a workload that `fit` trains on, with the losses of prototypes."""

    def __init__(self, x: Tensor, labels: Tensor, weights: LossWeights) -> None:
        self.x, self.labels, self.weights = x, labels, weights

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[tuple[Tensor, ...]]:
        order = numpy_generator(seed or 0, "planted prototypes", str(epoch)).permutation(len(self.labels))
        for rows in torch.from_numpy(order).split(size):
            yield self.x[rows], self.labels[rows]

    def loss(self, model: Any, batch: Any, label_smoothing: float = 0.0) -> Tensor:
        x, labels = batch
        features, weights, class_of = model.trunk(x), self.weights, model.class_of()
        scores = model.compared(features).amax((2, 3))
        # As in the large network, by the cosine: the product could be raised by larger features everywhere.
        distances = -model.compared(functional.normalize(features)).amax((2, 3))
        loss = functional.cross_entropy(scores @ model.head.T, labels, label_smoothing=label_smoothing)
        loss = loss + weights.cluster * cluster(distances, labels, class_of)
        loss = loss - weights.separation * separation(distances, labels, class_of)
        return loss + weights.orthogonality * orthogonality(model.prototypes, model.classes)

    def metrics(self, model: Any, split: str) -> dict[str, float]:
        return {}


def fit_small(
    x: Tensor,
    labels: Tensor,
    classes: int,
    *,
    per_class: int = 4,
    channels: int = 32,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SmallPrototypes:
    """A network trained on images float32[n, 3, h, w], standardised, with labels int64[n]; in eval mode.

    Adam, a learning rate that rises over the first 0.3 of the steps and falls to 0 after them. Cross-entropy, cluster,
    separation and orthogonality losses with the weights of `LossWeights`; prototypes keep unit length.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallPrototypes(classes, per_class, channels)

    @torch.no_grad()
    def unit_length(step: int) -> None:
        model.prototypes.copy_(functional.normalize(model.prototypes))

    fit(
        model,
        _Images(x, labels, LossWeights(alignment=0.0)),
        epochs=epochs,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=RATE),
        schedule=lambda share: min((share + 0.01) / RISE, (1 - share) / (1 - RISE)),
        batch_size=batch_size,
        seed=seed,
        after_step=unit_length,
        progress=progress,
    )
    return model.eval()
