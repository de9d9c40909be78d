"""TesNet's head: basis concepts that span a subspace for each class, onto which patches are projected.

J. Wang, H. Liu, X. Wang, L. Jing, "Interpretable Image Recognition by Constructing Transparent Embedding Space",
ICCV 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.models.protopnet import OTHER_CLASS, add_on_layers
from winnow.train.protopnet import cluster, orthogonality, separation

CLUSTER, SEPARATION, ORTHOGONALITY, SUBSPACES = 0.8, 0.08, 1e-4, 1e-7


class Tesnet(nn.Module):
    """A trunk's maps [n, channels, h, w] -> logits [n, classes].

    per_class: basis concepts of each class. size: their length. A concept's map is the projection of each patch on it,
    its score the largest of these; the head weighs scores, 1 for the own class and -0.5 for others before it is fitted.
    """

    def __init__(self, channels: int, classes: int, per_class: int = 4, size: int = 32, seed: int = 0) -> None:
        super().__init__()
        self.classes, self.per_class = classes, per_class
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.add_on = add_on_layers(channels, size, "single")
            self.prototypes = nn.Parameter(functional.normalize(torch.rand(classes * per_class, size)))
        own = self.class_of()[None] == torch.arange(classes)[:, None]
        self.head = nn.Parameter(torch.where(own, 1.0, OTHER_CLASS))

    def class_of(self) -> Tensor:
        """int64[J]: the class of each concept."""
        return torch.arange(self.classes).repeat_interleave(self.per_class)

    def maps(self, features: Tensor) -> Tensor:
        """float32[n, J, h, w]: the projection of each patch on each concept."""
        return self._projected(self.add_on(features))

    def forward(self, features: Tensor) -> Tensor:
        return self.maps(features).amax((2, 3)) @ self.head.T

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The paper's: cross-entropy, compactness and separation by the cosine, orthonormal and distant subspaces."""
        patches, of = self.add_on(features), self.class_of()
        logits = self._projected(patches).amax((2, 3)) @ self.head.T
        distances = -self._projected(functional.normalize(patches)).amax((2, 3))
        loss = functional.cross_entropy(logits, labels)
        loss = loss + CLUSTER * cluster(distances, labels, of) - SEPARATION * separation(distances, labels, of)
        loss = loss + ORTHOGONALITY * orthogonality(self.prototypes, self.classes)
        return loss - SUBSPACES * subspace_distance(self.prototypes, self.classes)

    def _projected(self, patches: Tensor) -> Tensor:
        return torch.einsum("nchw,jc->njhw", patches, functional.normalize(self.prototypes))


def subspace_distance(prototypes: Tensor, classes: int) -> Tensor:
    """Sum over pairs of classes of ||P^T P - Q^T Q|| / sqrt(2), P and Q their concepts; prototypes float[J, D]."""
    of_class = prototypes.view(classes, -1, prototypes.shape[1])
    onto = of_class.mT @ of_class
    one, other = torch.triu_indices(classes, classes, offset=1)
    return torch.linalg.matrix_norm(onto[one] - onto[other]).sum() / 2**0.5
