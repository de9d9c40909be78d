"""Classification by components whose detections a network learns: present or absent anywhere in the image.

S. Saralajew, A. Rana, T. Villmann, A. Shaker, "A Robust Prototype-Based Network with Interpretable RBF Classifier
Foundations", AAAI 2025. The warm-up and the head of PIPNet: Nauta, Schlötterer, van Keulen and Seifert, "PIP-Net:
Patch-Based Intuitive Prototypes for Interpretable Image Classification", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from winnow.models.fitting import History, fit
from winnow.randomness import torch_generator
from winnow.train.component_reasoning import Reasoning
from winnow.train.rbf_components import margin_loss

Head = Literal["cbc", "rbf", "pipnet"]
Views = tuple[Tensor, Tensor, Tensor]
EPSILON = 1e-8


@dataclass(frozen=True)
class DeepRecipe:
    """The authors' training: a warm-up on two views, the whole network, then the head alone; all with AdamW."""

    warm_epochs: int = 12
    epochs: int = 84
    head_epochs: int = 48
    batch: int = 64
    learning_rate: float = 3.75e-4
    head_learning_rate: float = 5e-3
    margin: float = 0.025
    shift: int = 2  # pixels by which a view may be moved either way
    noise: float = 0.1  # standard deviation added to a view, in units of the pixels


class PipnetHead(nn.Module):
    """PIPNet's scores: components weighed by what is positive of a matrix; an exponent q of at least 1 spreads them."""

    def __init__(self, components: int, classes: int, seed: int = 0) -> None:
        super().__init__()
        drawn = torch.randn(components, classes, generator=torch_generator(seed, "pipnet"))
        self.weight = nn.Parameter(1.0 + 0.1 * drawn)
        self.exponent = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, detections: Tensor) -> Tensor:
        """Scores o [n, classes], at least 0."""
        return detections @ self.weight.relu()

    def logits(self, scores: Tensor) -> Tensor:
        """log(1 + o^q), on which the softmax of the loss acts; the small number keeps its gradient finite at 0."""
        return torch.log1p((scores + EPSILON) ** self.exponent.clamp(min=1))


class DeepCBC(nn.Module):
    """Images -> scores [n, classes]: maps, a softmax over components at each place, the largest of each, a head.

    backbone: images -> maps [n, channels, h, w]. The head "cbc" argues by presence and absence, "rbf" by presence
    alone (both give probabilities), "pipnet" by unbounded positive weights.
    """

    def __init__(
        self, backbone: nn.Module, channels: int, components: int, classes: int, head: Head = "cbc", seed: int = 0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.detector = nn.Conv2d(channels, components, kernel_size=1)
        self.head: Reasoning | PipnetHead = (
            PipnetHead(components, classes, seed)
            if head == "pipnet"
            else Reasoning(components, classes, negative=head == "cbc", seed=seed)
        )

    def maps(self, x: Tensor) -> Tensor:
        """Detection at every place [n, components, h, w], summing to one over the components."""
        detected: Tensor = self.detector(self.backbone(x)).softmax(dim=1)
        return detected

    def detections(self, x: Tensor) -> Tensor:
        """The largest of each component over all places, [n, components]."""
        return self.maps(x).flatten(2).amax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.detections(x))
        return scores

    def class_loss(self, detections: Tensor, y: Tensor, margin: float) -> Tensor:
        """The margin loss of a head that gives probabilities; PIPNet's cross-entropy."""
        scores = self.head(detections)
        if isinstance(self.head, PipnetHead):
            return F.cross_entropy(self.head.logits(scores), y)
        return margin_loss(scores, y, margin)


def view(x: Tensor, shift: int, noise: float, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `shift` pixels, filled up with its edge, and with noise: float[n, c, h, w]."""
    n, _, height, width = x.shape
    moved = torch.randint(0, 2 * shift + 1, (2, n), generator=generator)
    padded = F.pad(x, (shift,) * 4, mode="replicate") if shift else x
    rows = moved[0][:, None] + torch.arange(height)
    columns = moved[1][:, None] + torch.arange(width)
    cut = padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2) + noise * torch.randn(x.shape, generator=generator)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """-log of the agreement of two views' detections at each place, each drawn to the other held still; maps."""

    def to(a: Tensor, b: Tensor) -> Tensor:
        return -((a * b.detach()).sum(dim=1) + EPSILON).log().mean()

    return (to(first, second) + to(second, first)) / 2


def usage(first: Tensor, second: Tensor) -> Tensor:
    """-mean over components of log tanh of how much of each a batch detects: none may go unused; maps of two views."""

    def of(maps: Tensor) -> Tensor:
        return -(maps.flatten(2).amax(dim=2).sum(dim=0).tanh() + EPSILON).log().mean()

    return (of(first) + of(second)) / 2


def fit_deep(
    model: DeepCBC,
    x: Tensor,
    y: Tensor,
    recipe: DeepRecipe,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Train in place in three parts; rows (metric, value, step), steps counted on. PIPNet keeps alignment and usage.

    x: float[n, c, h, w]. Weights: alignment rises to 1 and usage 5 in the warm-up; then the class loss 1 alone, or
    2 with alignment 5 and usage 2 for PIPNet.
    """
    history: History = []
    network = {"params": [*model.backbone.parameters(), *model.detector.parameters()], "lr": recipe.learning_rate}
    head = {"params": list(model.head.parameters()), "lr": recipe.head_learning_rate}
    parts: tuple[tuple[str, int, list[Any]], ...] = (
        ("warm", recipe.warm_epochs, [network]),
        ("joint", recipe.epochs, [network, head]),
        ("head", recipe.head_epochs, [head]),
    )
    for name, epochs, groups in parts:
        told = fit(
            model,
            _Views(model, x, y, recipe, name),
            epochs=epochs,
            optimizer=lambda _, groups=groups: torch.optim.AdamW(groups),  # type: ignore[misc]
            batch_size=recipe.batch,
            seed=seed,
            progress=progress,
        )
        done = history[-1][2] if history else 0
        history += [(f"{name}_{metric}", value, done + step) for metric, value, step in told if metric == "loss"]
    return history


class _Views:
    def __init__(self, model: DeepCBC, x: Tensor, y: Tensor, recipe: DeepRecipe, part: str) -> None:
        self.model, self.x, self.y, self.recipe, self.part = model, x, y, recipe, part
        self.epoch = 0

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Views]:
        generator = torch_generator(seed or 0, "views", self.part, str(epoch))
        self.epoch = epoch
        for rows in torch.randperm(len(self.y), generator=generator).split(size):
            x, (shift, noise) = self.x[rows], (self.recipe.shift, self.recipe.noise)
            yield view(x, shift, noise, generator), view(x, shift, noise, generator), self.y[rows]

    def loss(self, model: nn.Module, batch: Views, label_smoothing: float = 0.0) -> Tensor:
        x, y = torch.cat(batch[:2]), torch.cat([batch[2]] * 2)
        net = self.model
        if self.part == "head":
            with torch.no_grad():
                detections = net.detections(x)
            return net.class_loss(detections, y, self.recipe.margin)
        maps = net.maps(x)
        halves = maps.chunk(2)
        if self.part == "warm":
            rising = (self.epoch + 1) / self.recipe.warm_epochs
            return rising * alignment(*halves) + 5 * usage(*halves)
        loss = net.class_loss(maps.flatten(2).amax(dim=2), y, self.recipe.margin)
        if isinstance(net.head, PipnetHead):
            return 2 * loss + 5 * alignment(*halves) + 2 * usage(*halves)
        return loss

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        return {}


def planted_absence(n: int, seed: int, side: int = 16) -> tuple[Tensor, Tensor]:
    """Images in which only the absence of a part tells the class: float32[n, 1, side, side], int64[n].

    A cross is in every image of class 0 and in none of class 1; a ring, which means nothing, is in half of all.
    Nothing that is present speaks for class 1.
    """
    cross = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    ring = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]])
    generator = torch_generator(seed, "planted absence")
    y = torch.arange(n) % 2
    has_ring = torch.rand(n, generator=generator) < 0.5
    # Each half of the image has room for one of them, so that they never overlap.
    places = torch.randint(0, side // 2 - 3, (4, n), generator=generator)
    x = 0.1 * torch.randn(n, 1, side, side, generator=generator)
    for i in range(n):
        for shape, there, (top, left) in (
            (cross, y[i] == 0, (places[0, i], places[1, i])),
            (ring, has_ring[i], (places[2, i] + side // 2, places[3, i])),
        ):
            if there:
                x[i, 0, top : top + 3, left : left + 3] += shape
    return x, y
