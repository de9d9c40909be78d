"""Time and memory of filters and of the near-duplicate join on disk, as a corpus grows.

    python benchmarks/curation_scale.py

The corpus is files of Python's own library, once, twice, four and eight times, each time with other edits. Shards of 60
files are read, filtered and hashed one after another, then joined; each size in a process of its own, whose peak of
resident memory and CPU seconds count.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import sysconfig
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from winnow.curate.code_signals import THRESHOLDS, decide, signals
from winnow.pipeline.benchmarks import machine
from winnow.workloads.shard_join import join_shards, write_shard

ROOT = Path(__file__).resolve().parents[1]
FACTORS = (1, 2, 4, 8)
SHARD, NEAR, SMALLEST, LARGEST = 60, 0.8, 2_000, 60_000
MEASURED = """\
Files of Python's own library, once, twice, four and eight times, each time with other edits (a new line in every
file), in shards of 60 files: signals and thresholds of each file, shingles and MinHash of those that stay, and the
join of all shards on disk at a Jaccard similarity of 0.8. Every size has a process of its own. Seconds are of the
CPU, one thread; memory is the peak of resident memory, interpreter and libraries included, and that before the
first shard beside it."""
COLUMNS = [
    ("factor", "times"),
    ("documents", "documents"),
    ("megabytes", "MB of text"),
    ("kept", "kept"),
    ("groups", "groups"),
    ("filter_seconds", "filter s"),
    ("hash_seconds", "hash s"),
    ("join_seconds", "join s"),
    ("milliseconds", "ms a document"),
    ("memory", "peak MB"),
    ("memory_before", "MB before"),
]


def library(count: int) -> list[Path]:
    """Files of the standard library, in the order of the digests of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    found = [path for path in root.rglob("*.py") if "site-packages" not in path.parts and "test" not in path.parts]
    sized = [path for path in found if SMALLEST <= path.stat().st_size <= LARGEST]
    return sorted(sized, key=lambda path: sha256(str(path.relative_to(root)).encode()).digest())[:count]


def edited(path: Path, number: int) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    lines.insert(number % (len(lines) + 1), f"# edit {number}\n")
    return "".join(lines)


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(files: int, factor: int) -> dict[str, Any]:
    paths = library(files)
    signals("x = 1\n")
    with TemporaryDirectory() as folder:  # compiles what is compiled
        write_shard(["a b c d e f"], Path(folder, "first"))
        join_shards([Path(folder, "first")], NEAR)
    row = {
        "factor": factor,
        "documents": len(paths) * factor,
        "kept": 0,
        "megabytes": 0.0,
        "memory_before": megabytes(),
    }
    row |= {"filter_seconds": 0.0, "hash_seconds": 0.0}
    with TemporaryDirectory() as folder:
        shards = []
        for number in range(factor):
            for first in range(0, len(paths), SHARD):
                texts = [edited(path, number) for path in paths[first : first + SHARD]]
                row["megabytes"] += sum(map(len, texts)) / 1e6
                start = time.process_time()
                texts = [text for text in texts if decide(signals(text), THRESHOLDS, text[:SMALLEST].encode()).keep]
                row["filter_seconds"] += time.process_time() - start
                start = time.process_time()
                shards.append(Path(folder, f"shard{len(shards)}"))
                write_shard(texts, shards[-1])
                row["hash_seconds"] += time.process_time() - start
                row["kept"] += len(texts)
        start = time.process_time()
        groups = len(np.unique(join_shards(shards, NEAR)))
        row["join_seconds"] = time.process_time() - start
    total = row["filter_seconds"] + row["hash_seconds"] + row["join_seconds"]
    return row | {"groups": groups, "milliseconds": 1000 * total / row["documents"], "memory": megabytes()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/curation_scale.json")
    parser.add_argument("--files", type=int, default=240)
    parser.add_argument("--factor", type=int, help="only measure this one, and print its row")
    arguments = parser.parse_args()
    if arguments.factor:
        print(json.dumps(run(arguments.files, arguments.factor)))
        return
    table = []
    for factor in FACTORS:
        command = [sys.executable, __file__, "--files", str(arguments.files), "--factor", str(factor)]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            raise SystemExit(f"the measurement failed:\n{found.stderr[-3000:]}")
        table.append(json.loads(found.stdout))
        print(*(table[-1][key] for key, _ in COLUMNS), file=sys.stderr)
    report = {
        "title": "Curation at scale: time and memory as a corpus grows",
        "measured": " ".join(MEASURED.split()),
        "columns": COLUMNS,
        "command": "make bench",
        "machine": machine(),
        "problem": {"files": arguments.files, "shard": SHARD, "bands": 32, "rows": 4, "partitions": 64},
        "table": table,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
