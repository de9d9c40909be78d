"""Rows per CPU second of sparse-autoencoder training against SAELens and dictionary_learning.

    python benchmarks/sae_throughput.py

All tools fit the same planted rows in the same order with equal d, m, k, batch, steps and float32, on one
thread, each in a process of its own (_sae_tools.py) in the virtual environment .cache/benchmarks/sae, made on
first use from sae_peers.txt. Each tool gets the lr of lowest validation loss on the first planted dictionary:
from 3e-3, where all start, the search goes up, or else down, by a factor of about three for as long as the
loss falls, so that no tool is held at an edge. SAELens chooses its decoder_init_norm too, with a search for
each, because the start that winnow takes was itself chosen on planted rows. Then come the repeats, each on
another dictionary, tools taking turns.

Counted is time.process_time of the whole fit. Figures other than time are of test rows, at the chosen
settings. Before all that, equal weights must give equal reconstructions in all tools (test_peers.py).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from winnow.pipeline.benchmarks import machine

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "benchmarks"
PEERS = ROOT / "benchmarks" / "sae_peers.txt"
PYTHON = CACHE / "sae" / "bin" / "python"
TOOLS = ("winnow", "winnow-torch", "saelens", "dictionary_learning")
STEPS = {"topk": 100, "batchtopk": 100, "relu_l1": 50, "jumprelu": 50}
"""The claims are about topk and batchtopk, which get 409,600 rows; the others get half."""
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
FIRST_RATE = 2
CHOICES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "saelens": ("decoder_init_norm", (0.1, 0.3)),
    "sparsify": ("optimizer", ("signum", "adam")),
}
"""What a tool chooses besides its lr: its default, and what winnow has (for SAELens, where winnow's encoder starts)."""
HELD_OUT = 20_480
MEASURED = """\
Sparse autoencoders fitted by each tool to the same planted rows, in the same order, on one thread. Speed is rows
trained per CPU second of the whole fit: the median of the repeats, with the lowest and the highest. FVU (share of the
variance left unexplained), L0 (active features a row) and recovery (mean over planted features of the best cosine with
a decoder row) are medians on rows that were used for nothing else. Each tool has the learning rate, and SAELens the
initial norm of its decoder, that gave it the lowest validation loss. The shape of the learning rate's schedule and the
weight of penalties are equal; all else is the tool's own default. relu_l1 and jumprelu end at different L0, so their
FVU alone does not rank them."""
COLUMNS = [
    ("architecture", "architecture"),
    ("tool", "tool"),
    ("rows_per_cpu_second", "rows per CPU s"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("ratio", "times SAELens"),
    ("fvu", "FVU"),
    ("l0", "L0"),
    ("recovery", "recovery"),
    ("rows", "rows"),
    ("lr", "learning rate"),
    ("decoder_init_norm", "initial norm"),
]
METRICS = {"rows_per_cpu_second": "rows per CPU second", "fvu": "share", "l0": "features", "recovery": "cosine"}

Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/sae_throughput.json")
    parser.add_argument("--architectures", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--steps", type=int, help="instead of 100 (topk, batchtopk) and 50")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--torch-index", default=os.environ.get("TORCH_INDEX"), help="package index to take torch from")
    arguments = parser.parse_args()
    environment(arguments.torch_index)
    problem = {"d": 128, "m": 1024, "k": 16, "batch": 4096, "atoms": 800, "active": 12}
    steps = {name: arguments.steps or STEPS[name] for name in arguments.architectures}
    table: list[Result] = []
    with (
        planted(problem, max(steps.values()), arguments.repeats) as rows,
        processes(arguments.tools) as workers,
    ):
        for architecture, count in steps.items():
            jobs = {**problem, "architecture": architecture, "steps": count}
            table += compare(jobs, workers, rows)
    report = {
        "title": "Sparse autoencoders: rows per CPU second",
        "measured": MEASURED,
        "columns": COLUMNS,
        "machine": f"{machine()}, {versions('sae-lens', 'dictionary-learning')}",
        "problem": problem,
        "repeats": arguments.repeats,
        "table": table,
        "metrics": [row for entry in table for row in metric_rows(entry)],
    }
    write_report(arguments.out, report)


def write_report(path: Path, report: Result) -> None:
    report = {**report, "measured": " ".join(report["measured"].split()), "command": "make bench"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


def environment(torch_index: str | None) -> None:
    """Make the virtual environment once, and check there that the tools compute the same function."""
    done, wanted = CACHE / "sae" / "installed", PEERS.read_text()
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {PEERS.relative_to(ROOT)} into {PYTHON.parents[1].relative_to(ROOT)}", flush=True)
        pip = [PYTHON, "-m", "pip"]
        subprocess.run([sys.executable, "-m", "venv", "--clear", CACHE / "sae"], check=True)
        if torch_index:
            torch = next(line for line in wanted.splitlines() if line.startswith("torch=="))
            subprocess.run([*pip, "install", "-q", "--index-url", torch_index, torch], check=True)
        subprocess.run([*pip, "install", "-q", "-r", PEERS], check=True)
        # nnsight, which dictionary_learning needs, brings a torchvision that imports only beside torch's CUDA
        # build; nothing here uses it.
        subprocess.run([*pip, "uninstall", "-q", "-y", "torchvision"], check=True)
        done.write_text(wanted)
    parity = [PYTHON, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-W", "ignore"]
    lens = "tests/models/test_hooked_transformer.py::test_logits_and_tensors_are_those_of_transformer_lens"
    command = [*parity, ROOT / "tests/dictionaries/test_peers.py", ROOT / lens]
    found = subprocess.run(command, env=surroundings(), cwd=ROOT, capture_output=True, text=True)
    if found.returncode or "skipped" in found.stdout:
        raise SystemExit(f"the tools do not compute the same function:\n{found.stdout[-3000:]}{found.stderr[-1000:]}")


def surroundings() -> dict[str, str]:
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **one_thread, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}


@contextmanager
def planted(problem: Result, steps: int, repeats: int, spaces: int = 1) -> Iterator[list[Path]]:
    """One file for each repeat: rows of a planted dictionary of its own, scaled to a mean norm of sqrt(d).

    spaces: in how many the same features are written, side by side in a row, each with atoms of its own. The atoms
    that are to be recovered are those of the last.
    """
    import numpy as np

    from winnow.dictionaries.planted import planted_dictionary

    splits = {"train": steps * problem["batch"], "valid": HELD_OUT, "test": HELD_OUT}
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        files = []
        for seed in range(repeats):
            rows: dict[str, list[Any]] = {name: [] for name in splits}
            for space in range(spaces):
                truth = planted_dictionary(
                    problem["atoms"], problem["d"], problem["active"], seed=seed + space * repeats
                )
                drawn = {name: truth.sample(count, i).numpy() for i, (name, count) in enumerate(splits.items())}
                scale = problem["d"] ** 0.5 / np.linalg.norm(drawn["train"], axis=1).mean()
                for name in splits:
                    rows[name].append(drawn[name] * scale)
            files.append(Path(folder) / f"{seed}.npz")
            np.savez(files[-1], **{name: np.hstack(parts) for name, parts in rows.items()}, atoms=truth.atoms.numpy())
        yield files


@dataclass(frozen=True)
class Tool:
    """A tool's process, which waits, at no cost, while it has no job, and the log that it writes."""

    name: str
    process: subprocess.Popen[str]
    log: IO[str]

    def run(self, job: Result) -> Result:
        """The job with what came of it; SystemExit with the end of the tool's log where it failed."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps(job), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            raise SystemExit(f"{self.name} failed on {job['architecture']}:\n{self.log.read()[-3000:]}")
        result = {**job, **json.loads(answer)}
        print(self.name, json.dumps({k: v for k, v in result.items() if k != "rows"}), file=sys.stderr, flush=True)
        return result


@contextmanager
def processes(names: Iterable[str]) -> Iterator[list[Tool]]:
    """The tools' processes, which end when no more jobs can come."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": surroundings()}
    with ExitStack() as stack:
        tools = []
        for name in names:
            log = stack.enter_context(tempfile.TemporaryFile("w+"))
            command = [PYTHON, ROOT / "benchmarks/_sae_tools.py", name]
            tools.append(Tool(name, stack.enter_context(subprocess.Popen(command, stderr=log, **pipes)), log))
        yield tools


def compare(problem: Result, tools: list[Tool], rows: list[Path], peer: str = "saelens") -> list[Result]:
    """Best settings of each tool, then repeats in turn; prints and returns one row of the table per tool."""
    searches: dict[str, list[Result]] = {}
    for tool in tools:
        if tool.name == "winnow-torch" and "winnow" in searches:  # the same function
            searches[tool.name] = searches["winnow"]
        else:
            searches[tool.name] = search(tool, {**problem, "seed": 0, "rows": str(rows[0])})
    chosen = {name: settings(min(tried, key=validation)) for name, tried in searches.items()}
    runs: dict[str, list[Result]] = {tool.name: [] for tool in tools}
    for seed, file in enumerate(rows):
        for tool in reversed(tools) if seed % 2 else tools:
            runs[tool.name].append(tool.run({**problem, **chosen[tool.name], "seed": seed, "rows": str(file)}))
    table = [summary(name, of_tool, searches[name]) for name, of_tool in runs.items()]
    speed = {row["tool"]: row["rows_per_cpu_second"] for row in table}
    for row in table:
        row["ratio"] = row["rows_per_cpu_second"] / speed[peer] if peer in speed else None
        print(
            f"{row['architecture']:10} {row['tool']:20} {row['rows_per_cpu_second']:9.0f} rows/CPU s  "
            f"{row['ratio'] or 0:5.2f}x  lr {row['lr']:g}  FVU {row['fvu']:.4f}  L0 {row['l0']:.1f}  "
            f"recovery {row['recovery']:.3f}",
            flush=True,
        )
    return table


def search(tool: Tool, job: Result) -> list[Result]:
    """Runs at rising lr, or else at falling lr, until the validation loss no longer falls; so for each other choice."""
    key, values = CHOICES.get(tool.name, ("", (None,)))
    return [run for value in values for run in _rates(tool, {**job, key: value} if key else job)]


def _rates(tool: Tool, job: Result) -> list[Result]:
    tried = [tool.run({**job, "lr": RATES[FIRST_RATE]})]
    for rates in (RATES[FIRST_RATE + 1 :], RATES[:FIRST_RATE][::-1]):
        if min(tried, key=validation) is tried[0]:
            for lr in rates:
                best = min(map(validation, tried))
                tried.append(tool.run({**job, "lr": lr}))
                if validation(tried[-1]) >= best:
                    break
    return tried


def validation(run: Result) -> float:
    """The validation loss; infinite where the fit diverged."""
    found = finite(run["valid_loss"])
    return math.inf if found is None else found


def finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def settings(run: Result) -> Result:
    """What a run was given beyond the problem."""
    return {key: run[key] for key in ("lr", *(key for key, _ in CHOICES.values())) if key in run}


def summary(tool: str, runs: list[Result], tried: list[Result]) -> Result:
    """Medians of the repeats, the repeats themselves, and what the search for settings found."""
    first = runs[0]
    repeats = [
        {"rows_per_cpu_second": run["trained_rows"] / run["cpu_seconds"]}
        | {key: run[key] for key in ("fvu", "l0", "recovery")}
        for run in runs
    ]
    return {
        "tool": tool,
        "architecture": first["architecture"],
        "rows": first["trained_rows"],
        "lowest": min(repeat["rows_per_cpu_second"] for repeat in repeats),
        "highest": max(repeat["rows_per_cpu_second"] for repeat in repeats),
        "lr": first["lr"],
        **{key: first.get(key) for key, _ in CHOICES.values()},
        "startup_seconds": first["startup_seconds"],
        "repeats": repeats,
        "tried": [settings(run) | {"valid_loss": finite(run["valid_loss"])} for run in tried],
        **{key: statistics.median(repeat[key] for repeat in repeats) for key in METRICS},
    }


def metric_rows(entry: Result) -> list[Result]:
    """A row of the table as rows of the project's metrics schema, one repeat a seed: what claims are judged by."""
    tool = {"winnow": "sae", "winnow-torch": "sae_torch"}.get(entry["tool"], entry["tool"])
    names = {"system": f"{tool}_{entry['architecture']}", "workload": "planted", "variant": "throughput"}
    return [
        {**names, "seed": seed, "split": "test", "metric": metric, "value": repeat[metric], "unit": unit, "step": None}
        for seed, repeat in enumerate(entry["repeats"])
        for metric, unit in METRICS.items()
    ]


def versions(*peers: str) -> str:
    """Those of torch, numba and the peers that are compared."""
    pins = dict(line.split("==") for line in PEERS.read_text().splitlines() if "==" in line)
    return ", ".join(f"{name} {pins[name]}" for name in ("torch", *peers, "numba"))


if __name__ == "__main__":
    main()
