"""Tokens per CPU second of harvesting activations, beside the model's own forward pass over the same sequences.

    python benchmarks/harvest.py

The turns alternate in one process on one thread; counted is time.process_time, disk included as far as it costs the
processor.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sae_throughput import ROOT, write_report

from winnow.dictionaries.activations import SHARDS
from winnow.dictionaries.harvest import RANGE, Corpus, Harvest
from winnow.models.hooked_transformer import HookedTransformer
from winnow.pipeline.benchmarks import machine

VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS = 2048, 256, 96, 3, 6
SEQUENCES = 512
PLACES = {
    "residual stream, first layer": ("blocks.0.hook_resid_post",),
    "residual stream, middle layer": ("blocks.1.hook_resid_post",),
    "residual stream, last layer": ("blocks.2.hook_resid_post",),
    "feed-forward layer, what goes in and out": ("blocks.2.ln2.hook_normalized", "blocks.2.hook_mlp_out"),
}
MEASURED = f"""\
Activations of a transformer of {LAYERS} layers of {WIDTH} channels over {CONTEXT} tokens of {VOCABULARY:,}, the size of
the models of code whose dictionaries are fitted, from reading the sequences to the finished store: rows in their drawn
order in half precision, their statistics, and which token each is. Beside it the model reads the same sequences in
batches of {RANGE}, up to its logits, and nothing is kept. Tokens a CPU second on one thread are medians of the repeats,
with the lowest and the highest; the ratio pairs the turns of a repeat. Harvesting stops behind the layer that it
reads and asks for no logits, so it may be faster than the forward pass."""
COLUMNS = [
    ("what", "what"),
    ("tokens", "tokens a CPU second"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("ratio", "share of the forward pass"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/harvest.json")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = HookedTransformer(VOCABULARY, CONTEXT, width=WIDTH, layers=LAYERS, heads=HEADS).eval()
    tokens = torch.randint(1, VOCABULARY, (SEQUENCES, CONTEXT + 1))
    corpus = Corpus(tokens[:, :-1], tokens[:, 1:], torch.ones(SEQUENCES, CONTEXT, dtype=torch.bool))

    def forward() -> None:
        with torch.no_grad():
            for batch in corpus.tokens.split(RANGE):
                model(batch)

    turns: dict[str, Callable[[], None]] = {"forward pass": forward}
    for place, hooks in PLACES.items():
        turns[place] = lambda hooks=hooks: harvested(corpus, model, hooks)
    for turn in turns.values():
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(arguments.repeats):
        for name, turn in turns.items():
            start = time.process_time()
            turn()
            seconds[name].append(time.process_time() - start)
    report = {
        "title": "Harvesting: tokens per CPU second",
        "measured": MEASURED,
        "columns": COLUMNS,
        "machine": f"{machine()}, torch {torch.__version__}",
        "problem": {"width": WIDTH, "layers": LAYERS, "length": CONTEXT, "sequences": SEQUENCES},
        "repeats": arguments.repeats,
        "table": [row(name, taken, seconds["forward pass"]) for name, taken in seconds.items()],
    }
    write_report(arguments.out, report)


def harvested(corpus: Corpus, model: HookedTransformer, hooks: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        harvest = Harvest(
            corpus,
            hooks,
            rows=corpus.tokens.numel(),
            seed=0,
            split="train",
            model_sha256="",
            corpus_sha256="",
            work=place / "work",
        )
        harvest.scatter(model)
        shards = [place / f"shard{number}.safetensors" for number in range(SHARDS)]
        harvest.gather(shards, place / "rows.parquet", place / "meta.json")


def row(name: str, seconds: list[float], forward: list[float]) -> dict[str, str | float | None]:
    speeds = [SEQUENCES * CONTEXT / taken for taken in seconds]
    shares = [whole / taken for whole, taken in zip(forward, seconds, strict=True)]
    found = {
        "what": name,
        "tokens": statistics.median(speeds),
        "lowest": min(speeds),
        "highest": max(speeds),
        "ratio": statistics.median(shares) if seconds is not forward else None,
    }
    print(*(f"{key} {value:.4g}" if isinstance(value, float) else value for key, value in found.items()), flush=True)
    return found


if __name__ == "__main__":
    main()
