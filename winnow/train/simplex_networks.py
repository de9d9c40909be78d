"""Networks whose features are drawn to the fixed vertices of a simplex, and those with a trained classifier.

F. Pernici, M. Bruni, C. Baecchi, A. Del Bimbo, "Regular Polytope Networks", IEEE TNNLS 2021, as Biondi, Pernici, Ricci
and Del Bimbo, "Stationary Representations", CVPR 2024, use it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from winnow.errors import InputError
from winnow.randomness import torch_generator


def dsimplex(classes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Vertices of the regular simplex centred at the origin: [classes, classes - 1], unit rows.

    Any two rows have the cosine -1 / (classes - 1). Raises InputError for fewer than 2 classes.
    """
    if classes < 2:
        raise InputError(f"classes is {classes}; a simplex needs 2 vertices or more")
    d = classes - 1
    last = torch.full((1, d), (1 - math.sqrt(d + 1)) / d, dtype=torch.float64)
    vertices = torch.cat([torch.eye(d, dtype=torch.float64), last])
    return F.normalize(vertices - vertices.mean(dim=0), dim=1).to(dtype)


class Embedding(nn.Module):
    """Images -> features z[n, dimensions]: a backbone, and a projection without bias where its width differs."""

    def __init__(self, backbone: nn.Module, width: int, dimensions: int) -> None:
        super().__init__()
        self.backbone, self.width = backbone, width
        self.project = nn.Identity() if width == dimensions else nn.Linear(width, dimensions, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """float[n, dimensions]; raises InputError where the backbone's width is not the one that was told."""
        hidden = self.backbone(x)
        if hidden.shape[1:] != (self.width,):
            raise InputError(f"the backbone gives features {tuple(hidden.shape[1:])}; tell its width, not {self.width}")
        z: Tensor = self.project(hidden)
        return z


class SimplexNet(Embedding):
    """Features and logits against `classes` fixed vertices, more than will ever be seen; label y takes vertex y.

    The vertices are a buffer: no gradient, no decay. A class that comes later takes a free vertex, so the
    targets of earlier classes never move.
    """

    vertices: Tensor

    def __init__(self, backbone: nn.Module, width: int, classes: int) -> None:
        super().__init__(backbone, width, classes - 1)
        self.register_buffer("vertices", dsimplex(classes, torch.float32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z[n, classes - 1] and logits[n, classes]."""
        z = self.features(x)
        return z, z @ self.vertices.T


class ExpandingNet(Embedding):
    """Features and logits of a trained classifier that has a row for each class seen so far."""

    def __init__(self, backbone: nn.Module, width: int, dimensions: int) -> None:
        super().__init__(backbone, width, dimensions)
        self.classifier = nn.Parameter(torch.empty(0, dimensions))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z[n, dimensions] and logits[n, rows]."""
        z = self.features(x)
        return z, z @ self.classifier.T

    def expand(self, classes: int, seed: int) -> None:
        """Append rows until there is one for each class, drawn as torch draws those of a linear layer."""
        rows, dimensions = self.classifier.shape
        if classes > rows:
            generator = torch_generator(seed, "simplex", "rows", str(rows))
            bound = 1 / math.sqrt(dimensions)
            fresh = (2 * torch.rand(classes - rows, dimensions, generator=generator) - 1) * bound
            self.classifier = nn.Parameter(torch.cat([self.classifier.detach(), fresh]))


def load_embedding(backbone: nn.Module, width: int, state: Mapping[str, Tensor]) -> Embedding:
    """What gives the features of a saved model, in eval mode, around a copy of the backbone; targets are left out."""
    kept = {name: tensor for name, tensor in state.items() if name.startswith(("backbone.", "project."))}
    dimensions = len(kept["project.weight"]) if "project.weight" in kept else width
    model = Embedding(deepcopy(backbone), width, dimensions)
    model.load_state_dict(kept)
    return model.eval()
