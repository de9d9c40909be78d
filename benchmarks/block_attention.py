"""CPU milliseconds of attention over drawn blocks, over all blocks by the same code, and of torch's own attention.

    python benchmarks/block_attention.py

All take turns in one process on one thread; counted is time.process_time of one call on the same queries and keys.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from winnow.compress.probabilistic_attention import BlockSampler, folded_attention, solve_budget
from winnow.pipeline.benchmarks import machine

ROOT = Path(__file__).resolve().parents[1]
LENGTHS, BLOCK, HEADS, SIZE, FRACTION = (1024, 2048, 4096), 64, 4, 32, 0.35
MEASURED = f"""\
Causal attention of {HEADS} heads of {SIZE} dimensions, float32, on one thread. Time is CPU milliseconds a call, the
median of the repeats, with the lowest and the highest. Drawn blocks are those of the geometric family that keeps
{100 * FRACTION:g} % of the blocks of {BLOCK} tokens on average, drawing and folding included; all blocks go through the
same code. Of the ideal is the speed-up over all blocks, times the share of blocks kept."""
COLUMNS = [
    ("length", "tokens"),
    ("way", "attention"),
    ("kept", "share of blocks"),
    ("milliseconds", "CPU ms"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("of_ideal", "of the ideal"),
]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/block_attention.json")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table, metrics = [], []
    for length in LENGTHS:
        rows, shares = compared(length, arguments.repeats)
        table += rows
        names = {"system": "winnow", "workload": "block_attention", "variant": f"{length} tokens", "split": "test"}
        metrics += [
            {**names, "seed": seed, "metric": "speedup_of_ideal", "value": share, "unit": "share", "step": None}
            for seed, share in enumerate(shares)
        ]
    report = {
        "title": "Attention over drawn blocks: CPU milliseconds",
        "measured": " ".join(MEASURED.split()),
        "columns": COLUMNS,
        "command": "make bench",
        "machine": f"{machine()}, torch {torch.__version__}",
        "problem": {"heads": HEADS, "dimensions": SIZE, "block": BLOCK, "repeats": arguments.repeats},
        "table": table,
        "metrics": metrics,
    }
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


def compared(length: int, repeats: int) -> tuple[list[Row], list[float]]:
    """A row for each way, and each repeat's speed-up over all blocks, times the share of blocks kept."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, HEADS, length, SIZE, generator=generator) for _ in range(3))
    blocks = length // BLOCK
    sampler = BlockSampler("geometric", solve_budget("geometric", blocks, FRACTION, sink=True))
    every = torch.ones(HEADS, blocks, blocks, dtype=torch.bool).tril()

    def drawn(step: int) -> torch.Tensor:
        return torch.stack([sampler.sample(blocks, step, 0, head) for head in range(HEADS)])

    ways = {
        "all blocks": lambda step: folded_attention(query, key, value, every, BLOCK),
        "drawn blocks": lambda step: folded_attention(query, key, value, drawn(step), BLOCK),
        "torch": lambda step: scaled_dot_product_attention(query, key, value, is_causal=True),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(-1, repeats):  # the first warms up
        for name, way in ways.items():
            start = time.process_time()
            way(max(step, 0))
            if step >= 0:
                times[name].append(1000 * (time.process_time() - start))
    kept = [float(drawn(step).sum() / every.sum()) for step in range(repeats)]
    shares = [a / b * k for a, b, k in zip(times["all blocks"], times["drawn blocks"], kept, strict=True)]
    rows = [
        {
            "length": length,
            "way": name,
            "kept": statistics.mean(kept) if name == "drawn blocks" else 1.0,
            "milliseconds": statistics.median(found),
            "lowest": min(found),
            "highest": max(found),
            "of_ideal": statistics.median(shares) if name == "drawn blocks" else None,
        }
        for name, found in times.items()
    ]
    for row in rows:
        print(*row.values(), flush=True)
    return rows, shares


if __name__ == "__main__":
    main()
