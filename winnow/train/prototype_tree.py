"""A soft decision tree whose nodes ask whether a prototype is in the image.

M. Nauta, R. van Bree, C. Seifert, "Neural Prototype Trees for Interpretable Fine-grained Image Recognition", CVPR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.models.protopnet import add_on_layers

FLOOR = 1e-30  # of a path's probability, whose logarithm is taken


class PrototypeTree(nn.Module):
    """A trunk's maps [n, channels, h, w] -> log probabilities [n, classes].

    depth: questions on each way, so 2^depth - 1 prototypes of length `size`, node j before 2 j + 1 (absent) and 2 j + 2
    (present), and 2^depth leaves. A prototype is present with probability exp(-d), d the least squared distance of a
    patch. Leaves are distributions over classes, fitted without derivatives.
    """

    leaves: Tensor
    before: Tensor

    def __init__(self, channels: int, classes: int, depth: int = 5, size: int = 32, seed: int = 0) -> None:
        super().__init__()
        self.depth, self.batches = depth, 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.add_on = add_on_layers(channels, size, "single")
            self.prototypes = nn.Parameter(0.5 + 0.1 * torch.randn(2**depth - 1, size))
        self.register_buffer("leaves", torch.zeros(2**depth, classes))
        self.register_buffer("before", torch.zeros(2**depth, classes))

    def maps(self, features: Tensor) -> Tensor:
        """float32[n, J, h, w]: exp(-d) of each patch and prototype."""
        patches = self.add_on(features)
        squares = patches.square().sum(1, keepdim=True) + self.prototypes.square().sum(1)[:, None, None]
        products = torch.einsum("nchw,jc->njhw", patches, self.prototypes)
        return (-(squares - 2 * products).clamp_min(0)).exp()

    def reached(self, features: Tensor) -> Tensor:
        """float32[n, leaves]: the probability of each path, all left first."""
        present = self.maps(features).amax((2, 3))
        paths = present.new_ones(len(present), 1)
        for level in range(self.depth):
            p = present[:, 2**level - 1 : 2 ** (level + 1) - 1]
            paths = torch.stack([paths * (1 - p), paths * p], dim=2).flatten(1)
        return paths

    def forward(self, features: Tensor) -> Tensor:
        paths = self.reached(features).clamp_min(FLOOR).log()
        return (paths[:, :, None] + self.leaves.log_softmax(1)).logsumexp(1)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Negative log likelihood; the leaves move towards the examples of the batch that come to them."""
        paths = self.reached(features).clamp_min(FLOOR).log()
        joint = paths[:, :, None] + self.leaves.log_softmax(1)
        chosen = joint.gather(2, labels[:, None, None].expand(-1, joint.shape[1], 1))[..., 0]
        likelihood = chosen.logsumexp(1)
        with torch.no_grad():
            shares = (chosen - likelihood[:, None]).exp()  # of each example, by leaf
            kept = (self.leaves - self.before / self.batches).relu()
            self.leaves = kept.index_add(1, labels, shares.T)
        return -likelihood.mean()

    def begin_epoch(self, batches: int) -> None:
        """Of the leaves as they are now, each of so many batches will take its part away."""
        self.before, self.batches = self.leaves.clone(), batches

    @torch.no_grad()
    def class_of(self) -> Tensor:
        """int64[J]: the class for which the presence of each prototype speaks most, the first of equals."""
        found = []
        for level in range(self.depth):
            sides = self.leaves.softmax(1).view(2**level, 2, -1, self.leaves.shape[1]).mean(2)
            found.append((sides[:, 1] - sides[:, 0]).argmax(1))
        return torch.cat(found)
