"""CPU tokens a second of training the transformer beside a plain GPT, and of decoding with and without a cache.

    python benchmarks/transformer.py

All take turns in one process on one thread; counted is time.process_time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu

from winnow.curate.byte_pairs import SMALLEST, train_byte_pairs
from winnow.models import build
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import byte_level
from winnow.pipeline.benchmarks import machine
from winnow.train.byte_language import train_steps

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY, WIDTH, LAYERS, HEADS, LENGTH, BATCH, STEPS = SMALLEST, 64, 2, 4, 128, 16, 6
PROMPT, GENERATED = 16, 112
MEASURED = f"""\
Models of {LAYERS} blocks, width {WIDTH}, {HEADS} heads, on one thread. Training: {STEPS} steps of AdamW on {BATCH}
windows of {LENGTH} bytes, a turn, beside two models in a bare loop: a GPT-2 (LayerNorm, learned positions, GELU of four
times the width, as many weights in its feed-forward layers), and a Llama, which is the same function as winnow's, as
most write it. Decoding: {GENERATED} tokens after {PROMPT}, the
likeliest each. Tokens a CPU second are medians over the repeats, with the lowest and the highest; ratios pair the turns
of a repeat."""
COLUMNS = [
    ("what", "what"),
    ("tokens", "tokens a CPU second"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("ratio", "winnow beside it"),
]


class PlainBlock(nn.Module):
    """A block of GPT-2 as most write it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.mixed, self.output = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.mixed(self.norms[0](x)).split(WIDTH, -1)
        )
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(seen.transpose(1, 2).flatten(-2))
        return x + self.mlp(self.norms[1](x))


class PlainNorm(nn.Module):
    """RMSNorm written out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class PlainLlamaBlock(nn.Module):
    """A block of Llama as most write it, with cosines and sines that all blocks share."""

    def __init__(self) -> None:
        super().__init__()
        hidden = -(-8 * WIDTH // 3 // 8) * 8
        self.norms = nn.ModuleList(PlainNorm() for _ in range(2))
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(WIDTH, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, WIDTH, bias=False)
        rates = 1e4 ** (-torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
        angles = (torch.arange(LENGTH)[:, None] * rates).repeat(1, 2)
        self.cosine, self.sine = angles.cos(), angles.sin()

    def rotated(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cosine + torch.cat([-second, first], -1) * self.sine

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norms[0](x)
        query, key, value = (
            part(inner).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = scaled_dot_product_attention(self.rotated(query), self.rotated(key), value, is_causal=True)
        x = x + self.output(seen.transpose(1, 2).flatten(-2))
        inner = self.norms[1](x)
        return x + self.down(silu(self.gate(inner)) * self.up(inner))


class PlainLlama(nn.Module):
    """Tokens int64[n, t] -> logits, the output layer tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks, self.norm = nn.Sequential(*(PlainLlamaBlock() for _ in range(LAYERS))), PlainNorm()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.tokens(x))) @ self.tokens.weight.T


class PlainGPT(nn.Module):
    """Tokens int64[n, t] -> logits, the output layer tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks, self.norm = nn.Sequential(*(PlainBlock() for _ in range(LAYERS))), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        return self.norm(self.blocks(stream)) @ self.tokens.weight.T


def plain_training(model: nn.Module, symbols: np.ndarray) -> Callable[[], Any]:
    """A turn of the bare loop."""
    generator = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def turn() -> None:
        for _ in range(STEPS):
            starts = generator.integers(0, len(symbols) - LENGTH, BATCH)
            both = torch.stack([torch.from_numpy(symbols[i : i + LENGTH + 1].astype(np.int64)) for i in starts])
            loss = cross_entropy(model(both[:, :-1]).flatten(0, 1), both[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return turn


def from_a_cache(model: SmallLanguageModel, prompt: np.ndarray) -> list[int]:
    """The likeliest tokens, each read after what was read before."""
    state, tokens = model.start([prompt]), []
    for _ in range(GENERATED):
        tokens.append(int(model.next(state).argmax()))
        state = model.extend(state, np.array(tokens[-1:]))
    return tokens


def all_again(model: SmallLanguageModel, prompt: np.ndarray) -> list[int]:
    """The likeliest tokens, everything read anew for each."""
    tokens: list[int] = []
    for _ in range(GENERATED):
        tokens.append(int(model.next(model.start([np.concatenate([prompt, tokens]).astype(int)])).argmax()))
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/transformer.json")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    symbols = np.random.default_rng(0).integers(0, VOCABULARY, 100_000).astype(np.uint8)
    model: Any = build("transformer", vocabulary=VOCABULARY, width=WIDTH, layers=LAYERS, heads=HEADS)
    language_model = SmallLanguageModel(model, byte_level(train_byte_pairs([], SMALLEST)), LENGTH + 1)
    prompt = np.arange(1, PROMPT + 1)
    options = {"batch_size": BATCH, "length": LENGTH, "learning_rate": 1e-3, "seed": 0}
    ways: dict[str, tuple[int, Callable[[], Any]]] = {
        "training, GPT-2": (STEPS * BATCH * LENGTH, plain_training(PlainGPT(), symbols)),
        "training, Llama": (STEPS * BATCH * LENGTH, plain_training(PlainLlama(), symbols)),
        "training, winnow": (STEPS * BATCH * LENGTH, lambda: train_steps(model, symbols, steps=STEPS, **options)),
        "decoding, all again": (GENERATED, lambda: all_again(language_model, prompt)),
        "decoding, winnow": (GENERATED, lambda: from_a_cache(language_model, prompt)),
    }
    speeds = measured(ways, arguments.repeats)
    table, metrics = [], []
    for name, found in speeds.items():
        what, kind = name.split(", ")
        own = speeds[f"{what}, winnow"]
        ratios = [] if kind == "winnow" else [a / b for a, b in zip(own, found, strict=True)]
        table.append(
            {
                "what": name,
                "tokens": statistics.median(found),
                "lowest": min(found),
                "highest": max(found),
                "ratio": statistics.median(ratios) if ratios else None,
            }
        )
        print(*table[-1].values(), flush=True)
        names = {"system": "winnow", "workload": "transformer", "variant": name, "split": "test", "step": None}
        metrics += [
            {**names, "seed": seed, "metric": "speedup", "value": ratio, "unit": "times"}
            for seed, ratio in enumerate(ratios)
        ]
    report = {
        "title": "Transformers: tokens a CPU second",
        "measured": " ".join(MEASURED.split()),
        "columns": COLUMNS,
        "command": "make bench",
        "machine": f"{machine()}, torch {torch.__version__}",
        "problem": {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "length": LENGTH, "repeats": arguments.repeats},
        "table": table,
        "metrics": metrics,
    }
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


def measured(ways: dict[str, tuple[int, Callable[[], Any]]], repeats: int) -> dict[str, list[float]]:
    """Tokens a CPU second of each way in each repeat; the first turn of each warms up and is not counted."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(-1, repeats):
        for name, (tokens, way) in ways.items():
            start = time.process_time()
            way()
            if repeat >= 0:
                found[name].append(tokens / (time.process_time() - start))
    return found


if __name__ == "__main__":
    main()
