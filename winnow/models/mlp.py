"""A multilayer perceptron; with its defaults LeNet-300-100 (LeCun et al., Proc. IEEE 1998)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


class MLP(nn.Sequential):
    """Images [n, c, h, w] -> logits [n, classes] through ReLU layers of the widths `hidden`."""

    def __init__(
        self, in_channels: int, height: int, width: int, classes: int, hidden: Sequence[int] = (300, 100)
    ) -> None:
        modules: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        widths = [in_channels * height * width, *hidden]
        for index, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            modules[f"linear{index}"] = nn.Linear(fan_in, fan_out)
            modules[f"relu{index}"] = nn.ReLU()
        modules["output"] = nn.Linear(widths[-1], classes)
        super().__init__(modules)

    def hook_points(self) -> list[str]:
        """The hidden layers after their ReLU."""
        return [name for name, _ in self.named_children() if name.startswith("relu")]
