"""A depthwise-separable network (Howard et al., MobileNets, 2017) small enough for digits on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class SeparableBlock(nn.Module):
    """A 3x3 convolution per map, then a 1x1 convolution across maps, each with batch norm and ReLU."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(fan_in, fan_in, kernel_size=3, stride=stride, padding=1, groups=fan_in, bias=False)
        self.norm1 = nn.BatchNorm2d(fan_in)
        self.relu1 = nn.ReLU()
        self.pointwise = nn.Conv2d(fan_in, fan_out, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        filtered = self.relu1(self.norm1(self.depthwise(x)))
        out: Tensor = self.relu2(self.norm2(self.pointwise(filtered)))
        return out


class DepthwiseCNN(nn.Module):
    """Images [n, c, h, w] of any size from 8 x 8 -> logits [n, classes].

    A strided stem of `channels[0]` maps, then one separable block per further entry; blocks 0, 2, ...
    stride, too, which is what keeps a step cheap on a CPU.
    """

    def __init__(
        self,
        in_channels: int,
        height: int,
        width: int,
        classes: int,
        channels: Sequence[int] = (8, 16, 64, 128),
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels[0], kernel_size=3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        pairs = zip(channels, channels[1:], strict=False)
        self.blocks = nn.Sequential(*(SeparableBlock(a, b, stride=1 if i % 2 else 2) for i, (a, b) in enumerate(pairs)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.blocks(self.relu(self.norm(self.conv(x))))
        logits: Tensor = self.output(self.pool(maps).flatten(1))
        return logits

    def hook_points(self) -> list[str]:
        """The stem and every block, each after its last ReLU."""
        return ["relu", *(f"blocks.{i}" for i in range(len(self.blocks)))]
