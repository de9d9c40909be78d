"""Why input gradients leak: on data with one signal block, a wide net marks every block alike.

Shah, Jain and Netrapalli, "Do Input Gradients Highlight Discriminative Features?", NeurIPS 2021, section 5: a ReLU net
of one hidden layer without biases that is trained from a small start goes to the solution of largest margin, and the
gradient of that one has the same norm in every block of every point, wherever the point's signal is.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.attribution.gradients import logit_gradient
from winnow.errors import InputError
from winnow.models.adversarial import pgd
from winnow.randomness import torch_generator


class SignalBlocks(NamedTuple):
    """Points of `blocks` blocks, one of which tells the class."""

    x: Tensor
    """float32[n, blocks * size], in [-1, 1]"""
    y: Tensor
    """float32[n], -1 or 1"""
    block: Tensor
    """int64[n], which block is the signal"""
    blocks: int


def signal_blocks(blocks: int, size: int, repeats: int, noise: float, seed: int) -> SignalBlocks:
    """Points whose signal block is y u, u of unit length, and whose other blocks are noise of the length `noise`.

    Every block is the signal of each class `repeats` times. Without noise and of size 1 they are y times a unit vector.
    Raises InputError for fewer than 2 blocks, a size or number below 1, or noise outside [0, 1).
    """
    if blocks < 2 or min(size, repeats) < 1 or not 0 <= noise < 1:
        raise InputError(f"blocks is {blocks}, size {size}, repeats {repeats}, noise {noise}; noise is in [0, 1)")
    block = torch.arange(blocks).repeat(2 * repeats)
    y = torch.tensor([1.0, -1.0]).repeat_interleave(blocks * repeats)
    directions = torch.randn(len(y), blocks, size, generator=torch_generator(seed, "signal blocks"))
    x = noise * directions / directions.norm(dim=2, keepdim=True)
    x[torch.arange(len(y)), block] = y[:, None] / size**0.5
    return SignalBlocks(x.flatten(1), y, block, blocks)


class WideNet(nn.Module):
    """Points [n, d] -> [n, 1] through one ReLU layer; every weight starts as normal noise of the deviation `start`."""

    def __init__(self, d: int, width: int, bias: bool, start: float, seed: int) -> None:
        super().__init__()
        generator = torch_generator(seed, "wide net")
        self.hidden = nn.Linear(d, width, bias=bias)
        self.output = nn.Linear(width, 1, bias=False)
        for weight in (self.hidden.weight, self.output.weight):
            nn.init.normal_(weight, std=start, generator=generator)
        if bias:
            nn.init.zeros_(self.hidden.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output(self.hidden(x).relu())
        return out


def logistic(out: Tensor, y: Tensor) -> Tensor:
    """log(1 + exp(-y f)) of every point: [n], in nats."""
    return functional.softplus(-y * out[:, 0])


def fit_wide(
    net: WideNet, data: SignalBlocks, eps: float = 0.0, *, learning_rate: float, steps: int, until: float = 1e-3
) -> tuple[float, int]:
    """Train on all points at once, by plain gradient descent, until the loss is `until` or the steps are done.

    eps: radius of the linf attack on every point, 0 for none. It grows over the first third of the steps: from a small
    start, the whole attack only drives the weights to 0. Returns the last loss and the steps taken.
    """
    loss, step = torch.inf, 0
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    for step in range(1, steps + 1):
        now = eps * min(1.0, 3 * (step - 1) / steps)
        x = data.x
        if now > 0:
            x = x + pgd(net, x, data.y, now, norm="linf", box=(-1.0, 1.0), loss=logistic)
        mean = logistic(net(x), data.y).mean()
        loss = float(mean.detach())
        if loss <= until and now == eps:
            break
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    return loss, step


def block_norms(net: nn.Module, data: SignalBlocks) -> Tensor:
    """Norm of the output's gradient in every block of every point: float[n, blocks]."""
    gradient = logit_gradient(net, data.x, torch.zeros(len(data.x), dtype=torch.int64))
    return gradient.view(len(data.x), data.blocks, -1).norm(dim=2)


def marking(net: nn.Module, data: SignalBlocks) -> dict[str, float]:
    """How far gradients tell the signal block from the others, means over points.

    spread: the largest block norm over the smallest, 1 where all are alike; signal_marked: how often the signal has the
    largest norm less how often it has the smallest; alignment: |cosine| of point and gradient.
    """
    norms = block_norms(net, data)
    gradient = logit_gradient(net, data.x, torch.zeros(len(data.x), dtype=torch.int64))
    # A gradient that is 0 in a block to the last bit is a spread without bound; the smallest float keeps it a number.
    spread = norms.amax(1) / norms.amin(1).clamp(min=1e-6 * float(norms.max()))
    first, last = (norms.argmax(1) == data.block).double(), (norms.argmin(1) == data.block).double()
    return {
        "spread": float(spread.double().mean()),
        "signal_marked": float((first - last).mean()),
        "alignment": float(functional.cosine_similarity(data.x, gradient).abs().double().mean()),
    }


class Toy(NamedTuple):
    """What nets trained on signal blocks mark."""

    scores: dict[tuple[str, str], dict[str, float]]
    """(arm, data) -> `marking`, with the loss and the steps of the training"""
    norms: pa.Table
    """columns system, variant, point, block, is_signal, norm, relative to the mean of the point's blocks"""


def toy(width: int, steps: int, eps: float, seed: int) -> Toy:
    """Train the theory's nets and measure what their gradients mark.

    Data: coordinates (x = y e_j in 10 dimensions) and blocks (10 blocks of 5, noise of length .1). Arms: standard (the
    theorem's net, no biases); and on coordinates biased and robust, which have biases, since without them no net of
    one layer resists the attack, and differ in the linf attack of the radius `eps` alone.
    """
    coordinates, blocks = signal_blocks(10, 1, 1, 0.0, seed), signal_blocks(10, 5, 10, 0.1, seed)
    runs = [
        ("standard", "toy_coordinates", coordinates, False, 0.0),
        ("standard", "toy_blocks", blocks, False, 0.0),
        ("biased", "toy_coordinates", coordinates, True, 0.0),
        ("robust", "toy_coordinates", coordinates, True, eps),
    ]
    scores, tables = {}, []
    for arm, variant, data, bias, radius in runs:
        net = WideNet(data.x.shape[1], width, bias, 0.01, seed)
        loss, taken = fit_wide(net, data, radius, learning_rate=1.0, steps=steps)
        scores[arm, variant] = marking(net, data) | {"loss": loss, "steps": float(taken)}
        norms = block_norms(net, data)
        relative = (norms / norms.mean(dim=1, keepdim=True)).double().flatten()
        n = len(data.x)
        tables.append(
            pa.table(
                {
                    "system": [arm] * len(relative),
                    "variant": [variant] * len(relative),
                    "point": torch.arange(n).repeat_interleave(data.blocks).int().numpy(),
                    "block": torch.arange(data.blocks).repeat(n).int().numpy(),
                    "is_signal": functional.one_hot(data.block, data.blocks).bool().flatten().numpy(),
                    "norm": relative.numpy(),
                }
            )
        )
    return Toy(scores, pa.concat_tables(tables))
