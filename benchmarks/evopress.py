"""Fitness evaluations per CPU second of EvoPress: weights swapped by reference, copied models, and levels in files.

    python benchmarks/evopress.py

All judge the same candidates on the same windows, in one process on one thread, taking turns, and must agree on each
error. Counted is time.process_time.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import kl_div

from winnow.compress.evopress import State, mutated
from winnow.compress.evopress_database import Database, layer_databases
from winnow.compress.evopress_fitness import Divergence
from winnow.models import build
from winnow.models.transformer import Transformer
from winnow.pipeline.benchmarks import machine

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY, LAYERS, LENGTH, CANDIDATES, SEQUENCES = 2048, 10, 64, 16, (4, 24)
SPARSITY = 0.7
MEASURED = f"""\
Candidates of a generation of EvoPress, the sparsity of {7 * LAYERS} linear layers of a transformer of {LAYERS} blocks,
judged by the divergence of their next tokens from the dense model's, on windows of {LENGTH} tokens, on one thread.
winnow puts the weights of a level, which are in memory, in the model's place for a call. In the authors' way one model
is changed in place, and the levels that differ from the candidate before are read from files. A plain search copies the
model for each candidate and writes the weights of all levels into the copy. All find the same errors. Evaluations per
CPU second are medians over the repeats, with the lowest and the highest; ratios pair the turns of a repeat."""
COLUMNS = [
    ("sequences", "windows"),
    ("way", "way"),
    ("evaluations", "evaluations per CPU s"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("ratio", "winnow beside it"),
]
Judge = Callable[[State, np.ndarray], float]


def divergence_of(model: nn.Module, fitness: Divergence, drawn: np.ndarray) -> float:
    """What `Divergence` tells, of a model that is compressed already."""
    at = torch.from_numpy(drawn)
    with torch.no_grad():
        logits = model(fitness.windows[at])
        each = kl_div(logits.log_softmax(-1), fitness.dense[at], log_target=True, reduction="none").sum(-1)
    return float(each.double().mean())


def by_copies(model: Transformer, database: Database, fitness: Divergence) -> Judge:
    """A copy of the whole model for each candidate."""

    def judge(state: State, drawn: np.ndarray) -> float:
        candidate = copy.deepcopy(model)
        with torch.no_grad():
            for levels, level in zip(database.weights, state, strict=True):
                for name, weight in levels[level].items():
                    candidate.get_parameter(name).copy_(weight)
        return divergence_of(candidate, fitness, drawn)

    return judge


def by_files(model: Transformer, database: Database, fitness: Divergence, folder: Path) -> Judge:
    """One model, into which each layer's level is read from a file where it is another than before."""
    for unit, levels in enumerate(database.weights):
        for level, weights in levels.items():
            torch.save(next(iter(weights.values())), folder / f"{unit}_{level}.pth")
    current = copy.deepcopy(model)
    held: list[int | None] = [None] * len(database.names)

    def judge(state: State, drawn: np.ndarray) -> float:
        for unit, (name, level) in enumerate(zip(database.names, state, strict=True)):
            if held[unit] != level:
                current.get_parameter(name).data = torch.load(folder / f"{unit}_{level}.pth", weights_only=True)
                held[unit] = level
        return divergence_of(current, fitness, drawn)

    return judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/evopress.json")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build("transformer", vocabulary=VOCABULARY, layers=LAYERS).eval()
    assert isinstance(model, Transformer)
    windows = torch.randint(VOCABULARY, (max(SEQUENCES), LENGTH))
    database, _ = layer_databases(model, windows, SPARSITY)
    fitness = Divergence(model, database, windows)
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Judge] = {
            "winnow": fitness,
            "authors' way": by_files(model, database, fitness, Path(folder)),
            "copies": by_copies(model, database, fitness),
        }
        speeds = {sequences: measured(ways, database, sequences, arguments.repeats) for sequences in SEQUENCES}
    table, metrics = [], []
    for sequences, found in speeds.items():
        for way, each in found.items():
            ratios = [] if way == "winnow" else [a / b for a, b in zip(found["winnow"], each, strict=True)]
            row = {"sequences": sequences, "way": way, "evaluations": statistics.median(each)}
            row |= {"lowest": min(each), "highest": max(each)}
            table.append(row | {"ratio": statistics.median(ratios) if ratios else None})
            print(*table[-1].values(), flush=True)
            variant = f"{way}, {sequences} windows"
            names = {"system": "winnow", "workload": "evopress", "variant": variant, "split": "test", "step": None}
            metrics += [
                {**names, "seed": seed, "metric": "speedup", "value": ratio, "unit": "times"}
                for seed, ratio in enumerate(ratios)
            ]
    report = {
        "title": "EvoPress: evaluations per CPU second",
        "measured": " ".join(MEASURED.split()),
        "columns": COLUMNS,
        "command": "make bench",
        "machine": f"{machine()}, torch {torch.__version__}",
        "problem": {
            "blocks": LAYERS, "vocabulary": VOCABULARY, "length": LENGTH, "candidates": CANDIDATES,
            "repeats": arguments.repeats,
        },
        "table": table,
        "metrics": metrics,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


def measured(ways: dict[str, Judge], database: Database, sequences: int, repeats: int) -> dict[str, list[float]]:
    """Evaluations a CPU second of each way in each repeat, of children of a uniform state; the first turn warms up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    uniform: Any = (0,) * len(database.names)
    drawn = np.arange(sequences)
    for repeat in range(-1, repeats):
        generator = np.random.default_rng(repeat + 1)
        children = [mutated(database.space, uniform, generator) for _ in range(CANDIDATES)]
        errors = {}
        for name, way in ways.items():
            start = time.process_time()
            errors[name] = [way(child, drawn) for child in children]
            if repeat >= 0:
                found[name].append(len(children) / (time.process_time() - start))
        assert all(np.allclose(those, errors["winnow"], rtol=1e-4) for those in errors.values())
    return found


if __name__ == "__main__":
    main()
