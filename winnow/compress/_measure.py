"""What pruning buys: multiplications, weights left, bytes on disk, milliseconds."""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.compress._masking import banks

LONG_ENOUGH, FEWEST = 2.0, 9
"""Seconds of timed passes after which no more are needed, and the passes that there must be."""


def flops(model: nn.Module, masks: dict[str, Tensor], example: Tensor) -> dict[str, float]:
    """Floating-point operations of one example: dense, sparse and their ratio.

    A linear or convolution layer costs 2 * kept weights * output positions, which are pixels of a map,
    tokens or steps of a sequence; of experts those count that a token takes. Layers without a mask count whole. Biases,
    normalisation and nonlinearities are left out.
    """
    dense = sparse = 0.0
    for name, (weight, positions) in _positions(model, example).items():
        mask = masks.get(name)
        dense += 2 * weight.numel() * positions
        sparse += 2 * (weight.numel() if mask is None else int(mask.sum())) * positions
    return {"dense": dense, "sparse": sparse, "ratio": sparse / dense}


@torch.no_grad()
def _positions(model: nn.Module, example: Tensor) -> dict[str, tuple[Tensor, float]]:
    """Weight and output positions per example of each layer that runs, summed over its runs."""
    found: dict[str, tuple[Tensor, float]] = {}

    def count(name: str, module: Any, output: Tensor) -> None:
        _, earlier = found.get(name, (module.weight, 0.0))
        positions = output.numel() / len(module.weight) / len(example)
        found[name] = (module.weight, earlier + positions)

    def count_experts(name: str, module: Any, output: Tensor) -> None:
        for part, bank in banks(module).items():
            tokens = output.numel() / output.shape[-1] / len(example)
            _, earlier = found.get(f"{name}.{part}", (bank, 0.0))
            # Which experts a token takes is not known here: each has as many tokens as it has in the mean.
            found[f"{name}.{part}"] = (bank, earlier + tokens * module.k / len(bank))

    handles = [
        module.register_forward_hook(lambda m, _, output, key=f"{name}.weight": count(key, m, output))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))
    ] + [
        module.register_forward_hook(lambda m, _, output, key=name: count_experts(key, m, output))
        for name, module in model.named_modules()
        if banks(module)
    ]
    training = model.training
    try:
        model.eval()(example)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found


def nonzero(masks: dict[str, Tensor]) -> dict[str, int]:
    """Kept weights per masked layer."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def summary(model: nn.Module, masks: dict[str, Tensor], example: Tensor) -> dict[str, float]:
    """flops [per example], flops_ratio, nonzero and min_layer_nonzero [weights], collapse [0 or 1]."""
    cost, kept = flops(model, masks, example), nonzero(masks)
    return {
        "flops": cost["sparse"],
        "flops_ratio": cost["ratio"],
        "nonzero": float(sum(kept.values())),
        "min_layer_nonzero": float(min(kept.values())),
        "collapse": float(min(kept.values()) == 0),
    }


class CsrLinear(nn.Module):
    """A linear layer with its weight in compressed sparse rows (CSR), of which zeros are no part."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch says once that CSR is in beta
            self.weight = layer.weight.detach().to_sparse_csr()
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        columns = x.flatten(0, -2).T
        plain = self.bias is None
        out = self.weight @ columns if plain else torch.addmm(self.bias[:, None], self.weight, columns)
        return out.T.unflatten(0, x.shape[:-1])


def with_csr(model: nn.Module) -> nn.Module:
    """A copy of a model for inference with every linear layer in CSR.

    All other layers, convolutions above all, stay dense: torch has no kernels for them.
    """
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, CsrLinear(child))
    return model


def file_bytes(path: str | Path) -> int:
    """Size on disk of the model at `path` with the card beside it [bytes]."""
    path = Path(path)
    return path.stat().st_size + path.with_suffix(".json").stat().st_size


@torch.inference_mode()
def latency(model: nn.Module, x: Tensor, repeats: int = 30) -> float:
    """Median time of a forward pass on the batch x [ms], after three that warm up.

    repeats: passes that are timed. Slow ones, which vary less, are timed until they took LONG_ENOUGH, FEWEST at least.
    """
    model.eval()
    times: list[float] = []
    while len(times) < 3 + min(repeats, FEWEST) or (len(times) < 3 + repeats and sum(times[3:]) < LONG_ENOUGH):
        start = time.perf_counter()
        model(x)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1e3
