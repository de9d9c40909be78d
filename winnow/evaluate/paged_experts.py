"""A mixture of experts of which few are in memory: the rest lie in a file, and a cache decides which to keep.

The cache is that of `winnow.compress.pager`; its bits are learned as in `winnow.compress.paging_bits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from winnow.compress.pager import Pager, Policy
from winnow.compress.paging import PHASE
from winnow.compress.paging_bits import Kind, fit_bits
from winnow.evaluate.paging_study import on_layers, on_trace
from winnow.models.experts import ACTIVATIONS, MoEX, expected_share, moments, reading_on
from winnow.models.llama import Llama
from winnow.models.transformer import Transformer

POLICIES: tuple[Policy, ...] = ("lru", "flush_when_all_0", "mark_and_predict_lru")
Rows = list[tuple[str, str, dict[str, float]]]
"""(system, variant, values)"""
PARTS = ("encoder", "bias", "decoder")


class Expert(NamedTuple):
    """Weights float[width, hidden], biases float[hidden], and weights float[hidden, width] back."""

    encoder: Tensor
    bias: Tensor
    decoder: Tensor


class ExpertFile:
    """The experts of a model in a safetensors file, each read by itself; counts the bytes that were read.

    prefix: of the names of the model's tensors in the file.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self.file, self.prefix, self.read = safe_open(path, framework="pt"), prefix, 0

    def load(self, key: tuple[int, int]) -> Expert:
        """The expert (layer, number)."""
        layer, number = key
        found = [self.file.get_slice(f"{self.prefix}blocks.{layer}.mlp.{part}")[number] for part in PARTS]
        self.read += sum(part.numel() * part.element_size() for part in found)
        return Expert(*found)


class PagedExperts(nn.Module):
    """The layer of `MoEX` with its router in memory, and experts that are fetched when a token asks for them."""

    def __init__(self, layer: MoEX, number: int, fetch: Callable[[tuple[int, int]], Expert]) -> None:
        super().__init__()
        self.number, self.k, self.activation, self.router, self.fetch = (
            number, layer.k, layer.activation, layer.router, fetch,
        )  # fmt: skip
        # All that the scores of experts need of them, far less than they are.
        self.moments = moments(layer.encoder.detach(), layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, -2)
        scores = -expected_share(self.moments, flat) if self.router is None else self.router(flat)
        weights, chosen = scores.softmax(-1).topk(self.k, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        rows = []
        for row, shares, experts in zip(flat, weights, chosen.tolist(), strict=True):
            out = torch.zeros_like(row)
            for share, expert in zip(shares, experts, strict=True):
                encoder, bias, decoder = self.fetch((self.number, expert))
                out = out + share * (ACTIVATIONS[self.activation](row @ encoder + bias) @ decoder)
            rows.append(out)
        return torch.stack(rows).view_as(x)


def paged(model: Transformer, fetch: Callable[[tuple[int, int]], Expert]) -> Llama:
    """The model as one that reads on token by token, its experts fetched by (layer, number)."""
    layers: Any = [block.mlp for block in model.blocks]
    return reading_on(model, [PagedExperts(layer, number, fetch) for number, layer in enumerate(layers)]).eval()


@torch.no_grad()
def read_on(model: Llama, x: Tensor) -> float:
    """Cross-entropy [nats] of tokens int64[n, t] but the first of each row, read one by one, row after row."""
    losses = []
    for row in x:
        cache = None
        for now, following in zip(row[:-1], row[1:], strict=True):
            hidden, cache = model.read(now.view(1, 1), cache)
            losses.append(float(cross_entropy(model.logits(hidden[0]), following.view(1))))
    return float(np.mean(losses))


def with_few_in_memory(
    model: Transformer, path: Path, prefix: str, x: Tensor, k: int, seed: int, clock: Callable[[], float]
) -> tuple[Rows, Rows]:
    """Rows of what it takes to read the second half of texts int64[n, t] by each policy, and rows of the seconds.

    faults, bytes_read [bytes] and cross_entropy [nats], which no policy changes. k: experts of all layers that are
    held. What is asked on the first half, and what the true bits of it are, teaches the bits; `in_memory` has every
    expert, and reads none again.
    """
    asked: list[tuple[int, int]] = []
    file = ExpertFile(path, prefix)
    layers = [block.mlp for block in model.blocks]
    experts = len(layers[0].encoder)  # type: ignore[union-attr, arg-type]

    def held(key: tuple[int, int]) -> Expert:
        asked.append(key)
        layer = layers[key[0]]
        return Expert(*(getattr(layer, part).detach()[key[1]] for part in PARTS))

    read_on(paged(model, held), x[: len(x) // 2])
    first = len(asked)
    start = clock()
    loss = read_on(paged(model, held), x[len(x) // 2 :])
    seconds: Rows = [("paged_experts", "in_memory", {"seconds": clock() - start})]
    rows: Rows = [("paged_experts", "in_memory", {"faults": 0.0, "bytes_read": 0.0, "cross_entropy": loss})]
    trace = np.array([layer * experts + number for layer, number in asked])
    for policy in POLICIES:
        kind: Kind = "phase" if policy in PHASE else "discard"
        told = fit_bits(trace[:first], k, kind, seed).bits(trace[first:]).tolist() if policy != "lru" else None
        bits = iter(told or [0] * (len(trace) - first))
        file.read = 0
        pager: Pager[tuple[int, int], Expert] = Pager(k, policy, file.load)
        fetching = paged(model, lambda key, pager=pager, bits=bits: pager.get(key, next(bits)))  # type: ignore[misc]
        start = clock()
        loss = read_on(fetching, x[len(x) // 2 :])
        seconds.append(("paged_experts", policy, {"seconds": clock() - start}))
        values = {"faults": float(pager.faults), "bytes_read": float(file.read), "cross_entropy": loss}
        rows.append(("paged_experts", policy, values))
    return rows, seconds


def cached(traces: Mapping[str, np.ndarray], params: Any) -> Rows:
    """Rows `expert_cache` of what policies do on each trace: one cache for all layers, and one of its own for each."""
    return [
        ("expert_cache", f"{policy}-{name}{how}", values)
        for name, trace in traces.items()
        for how, found in (
            ("", on_trace(trace, params.cached, params.seed)),
            ("-by-layer", on_layers(trace, params.experts, params.cached, params.seed)),
        )
        for policy, values in found.items()
    ]
