"""ProtoPNet: an image is classified by how much its patches look like learned prototypes of parts.

Chen, Li, Tao, Barnett, Su and Rudin, "This Looks Like That: Deep Learning for Interpretable Image Recognition",
NeurIPS 2019. Projection similarity, unit prototypes and score aggregation: Huang, Xue, Huang, Zhang, Song, Jing and
Song, "Evaluation and Improvement of Interpretability for Self-Explainable Part-Prototype Networks", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.errors import InputError
from winnow.models.efficientnet_lite0 import EfficientNetLite0

SIMILARITIES = ("l2log", "projection")
HEADS = ("linear", "aggregate")
ADD_ONS = ("single", "bottleneck")
FROZEN, TRUNK, TRUNK_CHANNELS = 5, 11, 112  # blocks that stay as published, blocks in all, channels of the last
EPSILON = 1e-4
OTHER_CLASS = -0.5  # weight of a prototype of another class before the last layer is fitted


class Output(NamedTuple):
    """What a prototype network says of a batch, J prototypes, a grid of h x w positions."""

    logits: Tensor
    """float32[n, classes]"""
    maps: Tensor
    """float32[n, J, h, w]: similarity of each position to each prototype."""
    scores: Tensor
    """float32[n, J]: the largest similarity."""
    distances: Tensor
    """float32[n, J]: the least distance (l2log: squared Euclidean, projection: cosine similarity below 0)."""
    deep: Tensor
    """float32[n, c, h, w]: the trunk's last map, before the layers that feed the prototypes."""


def add_on_layers(channels: int, size: int, kind: str) -> nn.Sequential:
    """Convolutions 1 x 1 from a trunk's channels to the prototypes' size, a sigmoid last.

    kind: single is one convolution, bottleneck pairs of them, each pair with half the channels of the one before until
    the prototypes' size is reached, and rectified between (Chen et al., 2019).
    """
    widths = [channels, size]
    if kind == "bottleneck":
        widths = [channels]
        while channels > size or len(widths) == 1:
            widths += [max(size, channels // 2)] * 2
            channels //= 2
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layer = nn.Conv2d(before, after, 1)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid())


class ProtoPNet(nn.Module):
    """Images [n, c, h, w] -> logits [n, classes], each a weighted sum of similarities to prototypes.

    per_class: prototypes of each class (M). channels: their size (D). similarity: l2log is
    log((d + 1) / (d + 1e-4)) of the squared distance d, projection the product with the unit prototype. head: linear
    weighs all prototypes (own class 1, others -0.5 before it is fitted), aggregate takes a class's own ones by
    M softmax(a). add_on: `add_on_layers`. The trunk is the front of EfficientNet-Lite0, of which the first layers stay
    as they are. Raises ValueError for an unknown similarity, head or add_on, or no prototype.
    """

    stem: nn.Sequential
    blocks: nn.Sequential
    head: nn.Parameter
    aggregation: nn.Parameter
    active: Tensor
    input_scale: Tensor
    input_shift: Tensor

    def __init__(
        self,
        in_channels: int,
        height: int,
        width: int,
        classes: int,
        per_class: int = 4,
        channels: int = 32,
        similarity: str = "projection",
        head: str = "aggregate",
        add_on: str = "single",
    ) -> None:
        super().__init__()
        if similarity not in SIMILARITIES or head not in HEADS:
            raise ValueError(f"similarity is {similarity!r} and head {head!r}; use {SIMILARITIES} and {HEADS}")
        if add_on not in ADD_ONS:
            raise ValueError(f"add_on is {add_on!r}; use {ADD_ONS}")
        if per_class < 1 or channels < 1:
            raise ValueError(f"per_class is {per_class} and channels {channels}; give at least 1")
        self.classes, self.per_class, self.similarity = classes, per_class, similarity
        network = EfficientNetLite0(in_channels, height, width, classes)
        self.stem, self.blocks = network.stem, nn.Sequential(*list(network.blocks)[:TRUNK])
        self.add_on = add_on_layers(TRUNK_CHANNELS, channels, add_on)
        vectors = torch.rand(classes * per_class, channels)
        self.prototypes = nn.Parameter(functional.normalize(vectors) if similarity == "projection" else vectors)
        own = self.class_of()[None] == torch.arange(classes)[:, None]
        if head == "linear":
            self.head = nn.Parameter(torch.where(own, 1.0, OTHER_CLASS))
        else:
            self.aggregation = nn.Parameter(torch.ones(classes, per_class))
        self.register_buffer("active", torch.ones(classes * per_class))
        self.register_buffer("input_scale", torch.ones(in_channels, 1, 1))
        self.register_buffer("input_shift", torch.zeros(in_channels, 1, 1))

    def class_of(self) -> Tensor:
        """int64[J]: the class of each prototype."""
        return torch.arange(self.classes).repeat_interleave(self.per_class)

    def train(self, mode: bool = True) -> ProtoPNet:
        """As usual, but the trunk's batch norm keeps the statistics it came with."""
        super().train(mode)
        self.stem.eval(), self.blocks.eval()
        return self

    def front(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the layers that stay as they are put out: the shallow map of the stem, and the last of their maps."""
        shallow = self.stem(x * self.input_scale + self.input_shift)
        return shallow, self.blocks[:FROZEN](shallow)

    def blocks_after(self, middle: Tensor) -> Tensor:
        """The trunk's last map, from the second of what `front` returns."""
        deep: Tensor = self.blocks[FROZEN:](middle)
        return deep

    def distances_to(self, patches: Tensor) -> Tensor:
        """Distance of patches float32[n, D] to each prototype: float32[n, J], squared or cosine below 0."""
        if self.similarity == "projection":
            return -functional.normalize(patches) @ functional.normalize(self.prototypes).T
        squares = patches.square().sum(1, keepdim=True) + self.prototypes.square().sum(1)
        return (squares - 2 * patches @ self.prototypes.T).clamp_min(0)

    def from_front(self, middle: Tensor) -> Output:
        """The rest of the network, on the second of what `front` returns."""
        deep = self.blocks_after(middle)
        features = self.add_on(deep)
        n, _, height, width = features.shape
        patches = features.movedim(1, 3).flatten(0, 2)
        distances = self.distances_to(patches).view(n, height, width, -1).movedim(3, 1)
        if self.similarity == "l2log":
            maps = torch.log((distances + 1) / (distances + EPSILON))
        else:
            maps = torch.einsum("nchw,jc->njhw", features, functional.normalize(self.prototypes))
        maps = maps * self.active[:, None, None]
        scores = maps.amax((2, 3))
        return Output(scores @ self.evidence_weights().T, maps, scores, distances.amin((2, 3)), deep)

    def evidence_weights(self) -> Tensor:
        """float32[classes, J]: what a prototype's score counts for each class; logits are scores times these."""
        if hasattr(self, "head"):
            return self.head
        own = functional.one_hot(self.class_of(), self.classes).T
        return own * (self.aggregation.softmax(1) * self.per_class).flatten()

    def outputs(self, x: Tensor) -> Output:
        """Logits, maps, scores, distances and deep features of a batch."""
        return self.from_front(self.front(x)[1])

    def maps(self, x: Tensor) -> Tensor:
        """float32[n, J, h, w]: similarity of each position to each prototype."""
        return self.outputs(x).maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        return self.outputs(x).logits

    def hook_points(self) -> list[str]:
        """In blocks without a shortcut, all that the rest sees; and what prototypes are compared with."""
        return ["blocks.5.depthwise", "blocks.8.depthwise", "add_on"]


def take_trunk(model: ProtoPNet, published: Mapping[str, Tensor], mean: Tensor, deviation: Tensor) -> ProtoPNet:
    """Put the published weights of EfficientNet-Lite0 into the trunk, in place.

    published: what `published_state` returns. mean, deviation: by which the workload standardised each channel of
    pixels scaled to [0, 1]; undone at the input, since the weights expect (v - 127) / 128. Raises InputError for
    weights that do not fit.
    """
    wanted = {name for name in model.state_dict() if name.startswith(("stem.", "blocks."))}
    missing = sorted(wanted - published.keys())
    if missing:
        raise InputError(f"weights: have no {missing[0]}; use the published file of EfficientNet-Lite0")
    try:
        model.load_state_dict({name: published[name] for name in wanted}, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"weights: do not fit ({str(error).splitlines()[1].strip()[:100]}); use images in colour"
        ) from error
    model.input_scale.copy_((deviation * 255 / 128).view(-1, 1, 1))
    model.input_shift.copy_(((mean * 255 - 127) / 128).view(-1, 1, 1))
    return model
