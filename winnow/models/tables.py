"""Models of tables: an encoder fitted on the training rows, then a linear map or a multilayer perceptron.

The scaler travels with the model as buffers, so a model's input is what stands in the table: numbers in their units, a
category as the index of its level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class TableEncoder(nn.Module):
    """Rows [n, columns] -> [n, encoded]: numbers standardised, the level of a category as one of its k indicators.

    levels: for each column 0 where it is a number, else how many levels it has. An index outside them makes all
    indicators 0. `mean` and `deviation` are buffers, 0 and 1 until `fit`; those of categories stay so.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        source = [column for column, count in enumerate(levels) for _ in range(max(count, 1))]
        level = [index for count in levels for index in (range(count) if count else [-1])]
        self.register_buffer("mean", torch.zeros(len(levels)))
        self.register_buffer("deviation", torch.ones(len(levels)))
        # Not stored: they follow from `levels`.
        self.register_buffer("source", torch.tensor(source), persistent=False)
        self.register_buffer("level", torch.tensor(level), persistent=False)
        self.mean: Tensor
        self.deviation: Tensor
        self.source: Tensor
        self.level: Tensor

    def fit(self, x: Tensor) -> None:
        """Take mean and deviation of each number over the rows x [n, columns]; a constant column keeps deviation 1."""
        wide = x.double()
        numbers = torch.zeros(len(self.mean), dtype=torch.bool)
        numbers[self.source[self.level < 0]] = True
        deviation = wide.std(dim=0, correction=0)
        self.mean.copy_(torch.where(numbers, wide.mean(dim=0), torch.zeros_like(deviation)))
        self.deviation.copy_(torch.where(numbers & (deviation > 0), deviation, torch.ones_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        scaled = ((x - self.mean) / self.deviation)[:, self.source]
        # Plus 0 times the input: what depends on an input can be found by feeding a NaN.
        indicators = (scaled == self.level).to(scaled.dtype) + 0 * scaled
        return torch.where(self.level < 0, scaled, indicators)


class TargetScale(nn.Module):
    """Outputs [n, outputs] in standard deviations of the training target -> in its unit; 0 and 1 until fitted."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.mean: Tensor
        self.deviation: Tensor

    def fit(self, y: Tensor) -> None:
        """Take mean and deviation of the targets y [n]."""
        self.mean.copy_(y.double().mean())
        deviation = y.double().std(correction=0)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, z: Tensor) -> Tensor:
        return z * self.deviation + self.mean


class TableMLP(nn.Sequential):
    """Rows [n, columns] -> logits [n, outputs], or the target [n, 1] where `regression`; layers of the widths `hidden`
    with ReLU or tanh."""

    def __init__(
        self,
        levels: Sequence[int],
        outputs: int,
        regression: bool = False,
        hidden: Sequence[int] = (64, 64),
        activation: Literal["relu", "tanh"] = "relu",
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; it can be {' or '.join(ACTIVATIONS)}")
        encoder = TableEncoder(levels)
        modules: OrderedDict[str, nn.Module] = OrderedDict(encoder=encoder)
        widths = [len(encoder.source), *hidden]
        for index, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            modules[f"linear{index}"] = nn.Linear(fan_in, fan_out)
            modules[f"{activation}{index}"] = ACTIVATIONS[activation]()
        modules["output"] = nn.Linear(widths[-1], outputs)
        if regression:
            modules["scale"] = TargetScale()
        super().__init__(modules)

    def fit_scaler(self, x: Tensor, y: Tensor) -> None:
        """Fit what is not trained by gradients on the training rows: inputs [n, columns], targets [n]."""
        for module in self.children():
            if isinstance(module, TableEncoder):
                module.fit(x)
            elif isinstance(module, TargetScale):
                module.fit(y)

    def hook_points(self) -> list[str]:
        """The hidden layers after their activation; a linear model has its encoded input alone."""
        hidden = [name for name, _ in self.named_children() if name.startswith(tuple(ACTIVATIONS))]
        return hidden or ["encoder"]


class TableLinear(TableMLP):
    """Multinomial logistic regression, or linear regression where `regression`, on the encoded columns."""

    def __init__(self, levels: Sequence[int], outputs: int, regression: bool = False) -> None:
        super().__init__(levels, outputs, regression, hidden=())
