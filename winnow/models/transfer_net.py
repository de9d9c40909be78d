"""A classifier on top of a network that was trained on other images: pooled features, a dense layer, classes.

The network is EfficientNet-Lite0 (Tan and Le, ICML 2019). The recipe of frozen base, new head and tuning of the top
blocks: Yosinski, Clune, Bengio and Lipson, "How Transferable Are Features in Deep Neural Networks?", NeurIPS 2014.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.efficientnet_lite0 import HEAD, EfficientNetLite0

COLOURS = 3


class TransferNet(nn.Module):
    """Images [n, 1 or 3, h, w] -> logits [n, classes]; a grey image counts as one of three equal channels.

    tuned: blocks at the top that may be trained; those below stay as they are. hidden, dropout: of the dense layer.
    Raises ValueError for another number of channels, or no block that stays.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(
        self,
        in_channels: int,
        height: int,
        width: int,
        classes: int,
        tuned: int = 2,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        network = EfficientNetLite0(COLOURS, height, width, classes)
        if in_channels not in (1, COLOURS) or not 1 <= tuned < len(network.blocks):
            raise ValueError(f"in_channels is {in_channels}, tuned {tuned}; give 1 or 3, and 1 to 15 blocks")
        below = len(network.blocks) - tuned
        self.base = nn.Sequential(network.stem, *list(network.blocks)[:below])
        self.top = nn.Sequential(*list(network.blocks)[below:], network.head)
        self.dense = nn.Sequential(nn.Linear(HEAD, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))
        self.register_buffer("input_scale", torch.ones(in_channels, 1, 1))
        self.register_buffer("input_shift", torch.zeros(in_channels, 1, 1))

    def train(self, mode: bool = True) -> TransferNet:
        """As usual, but batch norm keeps the statistics that it came with."""
        super().train(mode)
        self.base.eval(), self.top.eval()
        return self

    def below(self, x: Tensor) -> Tensor:
        """What the blocks that stay put out: float32[n, c, h', w']."""
        seen: Tensor = self.base((x * self.input_scale + self.input_shift).expand(-1, COLOURS, -1, -1))
        return seen

    def pooled(self, below: Tensor) -> Tensor:
        """Features [n, 1280] of what `below` returns."""
        features: Tensor = self.top(below).mean((2, 3))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        logits: Tensor = self.dense(self.pooled(self.below(x)))
        return logits

    def hook_points(self) -> list[str]:
        """The last maps, and the dense layer after its ReLU."""
        return ["top", "dense.1"]


def take_network(model: TransferNet, published: Mapping[str, Tensor], mean: Tensor, deviation: Tensor) -> TransferNet:
    """Put the published weights of EfficientNet-Lite0 below the dense layer, in place.

    published: what `published_state` returns. mean, deviation: by which the workload standardised each channel of
    pixels scaled to [0, 1]; undone at the input, since the weights expect (v - 127) / 128. Raises InputError for
    weights that do not fit.
    """
    below = len(model.base) - 1
    renamed = {}
    for name, tensor in published.items():
        place, _, rest = name.partition(".")
        if place == "blocks":
            number, _, rest = rest.partition(".")
            inside = int(number) < below
            renamed[f"base.{int(number) + 1}.{rest}" if inside else f"top.{int(number) - below}.{rest}"] = tensor
        elif place in ("stem", "head"):
            renamed[f"base.0.{rest}" if place == "stem" else f"top.{len(model.top) - 1}.{rest}"] = tensor
    wanted = {name: t for name, t in model.state_dict().items() if name.startswith(("base.", "top."))}
    wrong = [name for name, t in wanted.items() if name not in renamed or renamed[name].shape != t.shape]
    if wrong or renamed.keys() - wanted.keys():
        raise InputError("weights: do not fit EfficientNet-Lite0; use its published file")
    model.load_state_dict(renamed, strict=False)
    model.input_scale.copy_((deviation * 255 / 128).view(-1, 1, 1))
    model.input_shift.copy_(((mean * 255 - 127) / 128).view(-1, 1, 1))
    return model
