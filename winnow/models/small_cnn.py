"""A small convolutional classifier in the manner of LeNet-5 (LeCun et al., Proc. IEEE 1998)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


class SmallCNN(nn.Sequential):
    """Images [n, c, h, w] of any size from 8 x 8 -> logits [n, classes].

    Two convolutions, one hidden layer. Both convolutions stride, which is what keeps a step cheap on a CPU.
    """

    def __init__(
        self, in_channels: int, height: int, width: int, classes: int, channels: int = 16, hidden: int = 64
    ) -> None:
        grid = 4
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, channels, kernel_size=3, stride=2, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(channels, 2 * channels, kernel_size=3, stride=2, padding=1),
                relu2=nn.ReLU(),
                pool=nn.AdaptiveAvgPool2d(grid),
                flatten=nn.Flatten(),
                linear1=nn.Linear(2 * channels * grid * grid, hidden),
                relu3=nn.ReLU(),
                output=nn.Linear(hidden, classes),
            )
        )

    def hook_points(self) -> list[str]:
        """Both feature maps and the hidden layer, each after its ReLU."""
        return ["relu1", "relu2", "relu3"]
