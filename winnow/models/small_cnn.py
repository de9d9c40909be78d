"""A small convolutional classifier in the manner of LeNet-5 (LeCun et al., Proc. IEEE 1998)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


class SmallCNN(nn.Sequential):
    """Images [n, c, h, w] of any size from 8 x 8 -> logits [n, classes].

    Convolutions of `channels` maps, one after another, and one hidden layer; a single number c stands for c and 2 c.
    The first two convolutions stride, which is what keeps a step cheap on a CPU.
    """

    def __init__(
        self,
        in_channels: int,
        height: int,
        width: int,
        classes: int,
        channels: int | Sequence[int] = 16,
        hidden: int = 64,
    ) -> None:
        grid = 4
        maps = [channels, 2 * channels] if isinstance(channels, int) else list(channels)
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for index, (fan_in, fan_out) in enumerate(zip([in_channels, *maps], maps, strict=False), start=1):
            stride = 2 if index <= 2 else 1
            modules[f"conv{index}"] = nn.Conv2d(fan_in, fan_out, kernel_size=3, stride=stride, padding=1)
            modules[f"relu{index}"] = nn.ReLU()
        modules["pool"] = nn.AdaptiveAvgPool2d(grid)
        modules["flatten"] = nn.Flatten()
        modules["linear1"] = nn.Linear(maps[-1] * grid * grid, hidden)
        modules[f"relu{len(maps) + 1}"] = nn.ReLU()
        modules["output"] = nn.Linear(hidden, classes)
        super().__init__(modules)

    def hook_points(self) -> list[str]:
        """The feature maps and the hidden layer, each after its ReLU."""
        return [name for name, _ in self.named_children() if name.startswith("relu")]
