"""How long the workflow takes: the default target, nothing to do, the smoke scale, the start of a job.

    python benchmarks/workflow_speed.py

Run it on a machine that does nothing else: these are seconds on the clock. Everything runs in a copy of the checkout
with the cache of outputs off. MLflow's share is that of the smoke scale with and without its logger, taking turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from winnow.pipeline.benchmarks import machine
from winnow.pipeline.verify import copy_checkout

ROOT = Path(__file__).resolve().parents[1]
PROFILE = "profiles/default/config.yaml"
STARTS = {
    "start of a job without torch": "from winnow.pipeline.stage import prepare; prepare(0, 1)",
    "start of a job with torch": "from winnow.pipeline.stage import prepare_torch; prepare_torch(0, 1)",
}
MEASURED = (
    "Seconds on the clock, median of the repeats, with the lowest and the highest. The default target and the smoke "
    "scale start from nothing but installed packages and fetched data, every job computed. A job starts with the "
    "imports that Snakemake's scripts and the stage decorator make."
)
Row = dict[str, Any]
COLUMNS = [("what", "what"), ("seconds", "seconds"), ("lowest", "lowest"), ("highest", "highest"), ("runs", "runs")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/workflow_speed.json")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    table = [
        row(what, [seconds([sys.executable, "-c", f"import snakemake.script; {code}"], ROOT) for _ in range(5)])
        for what, code in STARTS.items()
    ]
    smoke: dict[str, list[float]] = {"smoke scale": [], "smoke scale without MLflow": []}
    for _ in range(arguments.repeats):
        for what, found in smoke.items():
            with checkout(mlflow="without" not in what) as folder:
                found.append(snakemake(folder, "--config", "scale=smoke"))
    table += [row(what, found) for what, found in smoke.items()]
    with checkout(mlflow=True) as folder:
        table.append(row("default target", [snakemake(folder)]))
        table.append(row("nothing to do", [snakemake(folder) for _ in range(arguments.repeats)]))
    report = {
        "title": "Workflow: seconds on the clock",
        "measured": MEASURED,
        "columns": COLUMNS,
        "command": "make bench",
        "machine": machine(),
        "problem": {"cores": os.cpu_count()},
        "table": table,
        "metrics": [metric for entry in table for metric in metric_rows(entry)],
    }
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


@contextmanager
def checkout(mlflow: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="winnow-speed-") as folder:
        copy = copy_checkout(ROOT, Path(folder) / "winnow")
        if not mlflow:
            profile = copy / PROFILE
            profile.write_text(profile.read_text().replace("logger: [mlflow]\n", ""))
        yield copy


def snakemake(folder: Path, *arguments: str) -> float:
    took = seconds([sys.executable, "-m", "snakemake", *arguments], folder)
    # MLflow's worker writes its last records after Snakemake has ended; the next run is not to wait for it.
    while any(str(folder) in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])):
        time.sleep(0.2)
    return took


def seconds(command: list[str], folder: Path) -> float:
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "WINNOW_CACHE": "off"}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return time.monotonic() - start


def row(what: str, runs: list[float]) -> Row:
    print(f"{what:32} {statistics.median(runs):8.2f} s", flush=True)
    spread = {"lowest": min(runs), "highest": max(runs)}
    return {"what": what, "seconds": statistics.median(runs), **spread, "runs": len(runs), "repeats": runs}


def metric_rows(entry: Row) -> list[Row]:
    """One row of the table as rows of the project's metrics schema, a repeat a seed."""
    names = {"system": "winnow", "workload": "workflow", "variant": entry["what"], "split": "test", "step": None}
    return [
        {**names, "seed": seed, "metric": "seconds", "value": value, "unit": "s"}
        for seed, value in enumerate(entry["repeats"])
    ]


if __name__ == "__main__":
    main()
