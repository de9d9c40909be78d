"""How classes are argued for: by components that are present and by components that are absent.

S. Saralajew, A. Rana, T. Villmann, A. Shaker, "A Robust Prototype-Based Network with Interpretable RBF Classifier
Foundations", AAAI 2025; the original: Saralajew, Holdijk, Rees, Asan and Villmann, "Classification-by-Components:
Probabilistic Modeling of Reasoning over a Set of Components", NeurIPS 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.randomness import torch_generator


class Reasoning(nn.Module):
    """The extension: for each class one distribution over (component, present or absent), so that p is a probability.

    p_c(d) = sum_k plus_kc d_k + minus_kc (1 - d_k), all plus and minus of a class summing to one. negative False
    leaves absence out: an RBF classifier. vectors: distributions a class; the best of them counts.
    """

    class_of: Tensor

    def __init__(self, components: int, classes: int, negative: bool = True, vectors: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.components, self.classes, self.negative = components, classes, negative
        entries, columns = components * (1 + negative), classes * vectors
        noise = torch.randn(entries, columns, generator=torch_generator(seed, "reasoning"), dtype=torch.float64)
        self.logits = nn.Parameter((0.6 - 0.2 * noise).to(torch.get_default_dtype()))
        self.register_buffer("class_of", torch.arange(classes).repeat_interleave(vectors))

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """plus[K, columns] and minus[K, columns], summing to one over both for each column."""
        both = self.logits.softmax(dim=0)
        if not self.negative:
            return both, torch.zeros_like(both)
        plus, minus = both.chunk(2)
        return plus, minus

    def columns(self, detections: Tensor) -> Tensor:
        """p of each reasoning vector [n, columns] from detections [n, K] in [0, 1]."""
        plus, minus = self.probabilities()
        return detections @ (plus - minus) + minus.sum(dim=0)

    def forward(self, detections: Tensor) -> Tensor:
        """p[n, classes], in [0, 1]."""
        p = self.columns(detections)
        return p.view(len(p), self.classes, -1).amax(dim=2)


class OriginalReasoning(nn.Module):
    """The reasoning of 2019: present, absent or indefinite for each component, the indefinite mass divided out."""

    def __init__(self, components: int, classes: int, seed: int = 0) -> None:
        super().__init__()
        self.components, self.classes = components, classes
        generator = torch_generator(seed, "original reasoning")
        noise = torch.randn(3, components, classes, generator=generator, dtype=torch.float64)
        self.logits = nn.Parameter((0.6 - 0.2 * noise).to(torch.get_default_dtype()))
        self.importance = nn.Parameter(torch.zeros(components))

    def definite(self) -> Tensor:
        """Share of a class's reasoning that is definite, [classes], in (0, 1)."""
        plus, minus, _ = self.logits.softmax(dim=0)
        # Not 1 - r0, which rounding takes away where nearly all is indefinite: p would exceed 1.
        return self.importance.softmax(dim=0) @ (plus + minus)

    def forward(self, detections: Tensor) -> Tensor:
        """p[n, classes], in [0, 1]."""
        plus, minus, _ = self.logits.softmax(dim=0)
        weight = self.importance.softmax(dim=0)[:, None]
        agreement = detections @ (weight * plus) + (1 - detections) @ (weight * minus)
        return agreement / self.definite()
