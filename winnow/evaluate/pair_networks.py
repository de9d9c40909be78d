"""Networks that answer two questions about a pair of images, and other networks that compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from winnow.dictionaries.interaction_basis import Part
from winnow.errors import InputError
from winnow.randomness import stream_seed, torch_generator

LOOK_EVERY = 25
PROBED = 2000
"""Training pairs whose loss is watched."""


def pair_network(inputs: int, hidden: Sequence[int], classes: int) -> nn.Sequential:
    """Linear layers and ReLUs in turn: float[n, inputs] -> logits [n, 2 classes], one answer's after the other's."""
    widths = [inputs, *hidden, 2 * classes]
    layers = [m for a, b in zip(widths, widths[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def network_of(tensors: Mapping[str, Tensor], name: str) -> nn.Sequential:
    """The network whose weights are told as `<name>.<layer>.weight` and `.bias`."""
    state = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
    if not state:
        raise InputError(f"networks: none is named {name!r}; run the stage that trains them again")
    layers = sorted({int(key.partition(".")[0]) for key in state})
    shapes = [state[f"{layer}.weight"].shape for layer in layers]
    model = pair_network(shapes[0][1], [shape[0] for shape in shapes[:-1]], shapes[-1][0] // 2)
    model.load_state_dict(state)
    return model.requires_grad_(False)


def pair_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Cross-entropy in nats of both answers together, mean over pairs."""
    classes = logits.shape[1] // 2
    return cross_entropy(logits[:, :classes], answers[:, 0]) + cross_entropy(logits[:, classes:], answers[:, 1])


def pair_accuracy(logits: Tensor, answers: Tensor) -> float:
    """Share of right answers among both."""
    return float((logits.unflatten(1, (2, -1)).argmax(2) == answers).double().mean())


def train_pairs(
    x: Tensor,
    answers: Tensor,
    hidden: Sequence[int],
    classes: int,
    *,
    steps: int,
    target: float | None = None,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    name: str,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[nn.Sequential, list[tuple[str, float, int]]]:
    """A network trained by AdamW at a constant rate, and rows (loss, value, step).

    x: float32[n, d]. answers: int64[n, 2]. target: training ends where the loss of the first 2,000 pairs, looked at
    every 25 steps, is no larger; `steps` at most. Raises InputError for a loss that is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "pair network", "start"))
        model = pair_network(x.shape[1], hidden, classes)
    updater = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    generator = torch_generator(seed, "pair network", "batches", name)
    history: list[tuple[str, float, int]] = []
    for step in range(1, steps + 1):
        chosen = torch.randint(len(x), (batch_size,), generator=generator)
        loss = pair_loss(model(x[chosen]), answers[chosen])
        updater.zero_grad()
        loss.backward()
        updater.step()
        progress(step, steps)
        if step % LOOK_EVERY == 0 or step == steps:
            with torch.no_grad():
                history.append(("loss", float(pair_loss(model(x[:PROBED]), answers[:PROBED])), step))
            if not history[-1][1] < float("inf"):
                raise InputError(f"train: the loss is {history[-1][1]} at step {step}; lower the learning rate")
            if target is not None and history[-1][1] <= target:
                break
    return model.requires_grad_(False), history


def parts_of(model: nn.Sequential) -> list[Part]:
    """The network in float64 from one layer to the next: a linear layer with its ReLU, and the last one alone."""
    copy = _doubled(model)
    return [copy[i : i + 2] for i in range(0, len(copy), 2)]


def _doubled(model: nn.Sequential) -> nn.Sequential:
    layers = []
    for layer in model:
        if isinstance(layer, nn.Linear):
            made = nn.Linear(layer.in_features, layer.out_features).double().requires_grad_(False)
            made.weight.copy_(layer.weight)
            made.bias.copy_(layer.bias)
            layer = made
        layers.append(layer)
    return nn.Sequential(*layers)


def disguised(model: nn.Sequential, condition: float, junk: int, seed: int) -> list[Part]:
    """Parts that compute the same, of which no layer between looks the same.

    What a layer's units make is mixed by a random matrix of the condition number given, of which to scale units and to
    change their places are special cases; `junk` random directions of the layer before stand beside it, which the next
    part ignores.
    """
    generator = torch_generator(seed, "disguise")

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def mixing(width: int) -> Tensor:
        left, right = (torch.linalg.qr(normal(width, width)).Q for _ in range(2))
        spread = 10 ** torch.linspace(0, float(np.log10(condition)), width, dtype=torch.float64)
        return left * spread @ right

    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    mixed = [mixing(layer.out_features) for layer in layers[:-1]]
    seen = [layers[0].in_features] + [len(matrix) + junk for matrix in mixed]
    beside = [normal(width, junk) for width in seen[:-1]]

    def part(number: int, run: Part) -> Part:
        def disguise(rows: Tensor) -> Tensor:
            read = rows
            if number:
                before = mixed[number - 1]
                read = torch.linalg.solve(before, rows[..., : len(before)], left=False)
            if number == len(mixed):
                return run(read)
            return torch.cat([run(read) @ mixed[number], rows @ beside[number]], dim=-1)

        return disguise

    return [part(number, run) for number, run in enumerate(parts_of(model))]
