"""A small residual network with batch normalisation (He et al., Deep Residual Learning, CVPR 2016)."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(fan_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(fan_out, fan_out, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or fan_in != fan_out:
            # A pool of one pixel strides: on a CPU, torch 2.13 crashes in the backward pass of a strided 1x1
            # convolution with channels last, from 96 x 96 on.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(kernel_size=1, stride=stride),
                nn.Conv2d(fan_in, fan_out, kernel_size=1, bias=False),
                nn.BatchNorm2d(fan_out),
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.relu1(self.norm1(self.conv1(x)))
        branch = self.norm2(self.conv2(branch))
        out: Tensor = self.relu2(branch + self.shortcut(x))
        return out


class ResidualNet(nn.Module):
    """Images [n, c, h, w] of any size from 8 x 8 -> logits [n, classes].

    A strided stem of `channels` maps, then three blocks of 2, 2 and 4 times as many; the outer two blocks
    stride.
    """

    def __init__(self, in_channels: int, height: int, width: int, classes: int, channels: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.block1 = ResidualBlock(channels, 2 * channels, stride=2)
        self.block2 = ResidualBlock(2 * channels, 2 * channels, stride=1)
        self.block3 = ResidualBlock(2 * channels, 4 * channels, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.block3(self.block2(self.block1(self.relu(self.norm(self.conv(x))))))
        logits: Tensor = self.output(self.pool(maps).flatten(1))
        return logits

    def hook_points(self) -> list[str]:
        """The stem and every block, each after its last ReLU."""
        return ["relu", "block1", "block2", "block3"]
