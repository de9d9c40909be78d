"""Rows per CPU second of fitting transcoders, beside EleutherAI's sparsify.

    python benchmarks/transcoder_throughput.py

As sae_throughput.py, whose processes, search and repeats these are, with rows of two spaces: the same planted features
are read with the atoms of one dictionary and are to be written with those of another. Of the libraries of
sae_throughput.py neither trains transcoders: SAELens only loads them, dictionary_learning's trainers know one space.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sae_throughput import (
    COLUMNS,
    ROOT,
    compare,
    environment,
    metric_rows,
    planted,
    processes,
    versions,
    write_report,
)

from winnow.pipeline.benchmarks import machine

TOOLS = ("winnow", "winnow-torch", "sparsify")
MEASURED = """\
Transcoders of the k largest latents fitted by each tool to the same pairs of rows, in the same order, on one thread:
planted features are read with one dictionary's atoms and are to be written with another's. Speed is rows trained per
CPU second of the whole fit: the median of the repeats, with the lowest and the highest. FVU (share of the variance of
what is to be written left unexplained), L0 (active features a row) and recovery (mean over planted features of the best
cosine with a decoder row) are medians on rows that were used for nothing else. Each tool has the learning rate, and
sparsify the optimizer (its own or Adam), that gave it the lowest validation loss; all else is the tool's own default.
SAELens loads transcoders but does not train them, and dictionary_learning does neither."""
HEADINGS = {"ratio": "times sparsify", "decoder_init_norm": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/transcoder_throughput.json")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--torch-index", default=os.environ.get("TORCH_INDEX"), help="package index to take torch from")
    arguments = parser.parse_args()
    environment(arguments.torch_index)
    problem = {"d": 128, "m": 1024, "k": 16, "batch": 4096, "atoms": 800, "active": 12}
    job = {**problem, "architecture": "transcoder", "steps": arguments.steps}
    with planted(problem, arguments.steps, arguments.repeats, spaces=2) as rows, processes(TOOLS) as workers:
        table = compare(job, workers, rows, peer="sparsify")
    shown = [(key, HEADINGS.get(key, heading)) for key, heading in COLUMNS]
    report = {
        "title": "Transcoders: rows per CPU second",
        "measured": MEASURED,
        "columns": [(key, heading) for key, heading in shown if heading] + [("optimizer", "optimizer")],
        "machine": f"{machine()}, {versions('eai-sparsify')}",
        "problem": problem,
        "repeats": arguments.repeats,
        "table": table,
        "metrics": [row for entry in table for row in metric_rows(entry)],
    }
    write_report(arguments.out, report)


if __name__ == "__main__":
    main()
