"""Rows per CPU second of sparse-autoencoder training against SAELens and dictionary_learning.

    python benchmarks/sae_throughput.py --out benchmarks/results/sae_throughput.json

Every run is a process of its own in one virtual environment (.cache/benchmarks/sae, made on first use from
sae_peers.txt), one thread, on the same planted rows in the same order with equal d, m, k, batch and steps.
Each tool first runs once at each lr; at the lr of its lowest validation FVU it then runs `--repeats` times,
tools taking turns. Counted is time.process_time from the first step to the last, after two steps that load
what is loaded late (reported as start-up). Before that, equal weights must give equal reconstructions in all
tools (test_peers.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "benchmarks"
PYTHON = CACHE / "sae" / "bin" / "python"
RATES = (3e-4, 1e-3, 3e-3)
TOOLS = ("winnow", "winnow-torch", "saelens", "dictionary_learning")
PEERS_LACK = {("dictionary_learning", "relu_l1"), ("dictionary_learning", "jumprelu")}
"""Left out: their losses differ in form, so no equal penalty exists."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/sae_throughput.json")
    parser.add_argument("--architectures", nargs="+", default=["topk", "batchtopk"])
    parser.add_argument("--tools", nargs="+", default=list(TOOLS))
    parser.add_argument("--rows", type=int, default=204_800)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(json.loads(arguments.worker))))
        return
    environment()
    problem = {"rows": arguments.rows, "steps": arguments.steps, "d": 128, "m": 1024, "k": 16, "batch": 4096}
    table = [
        row
        for architecture in arguments.architectures
        for row in compare({**problem, "architecture": architecture}, arguments.tools, arguments.repeats)
    ]
    report = {
        "problem": problem,
        "machine": platform.processor() or platform.machine(),
        "table": table,
        "metrics": [row for entry in table for row in metric_rows(entry)],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")


def environment() -> None:
    """Make the virtual environment once, and check there that the tools compute the same function."""
    done = CACHE / "sae" / "installed"
    wanted = (ROOT / "benchmarks/sae_peers.txt").read_text()
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", CACHE / "sae"], check=True)
        pip = [PYTHON, "-m", "pip", "install", "-q", "-r", ROOT / "benchmarks/sae_peers.txt"]
        subprocess.run(pip, check=True)
        # dictionary_learning's nnsight brings a torchvision built for a torch with CUDA; with it nothing
        # imports.
        subprocess.run([PYTHON, "-m", "pip", "uninstall", "-q", "-y", "torchvision"], check=True)
        done.write_text(wanted)
    parity = [PYTHON, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-W", "ignore"]
    command = [*parity, ROOT / "tests/dictionaries/test_peers.py"]
    found = subprocess.run(command, env=surroundings(), cwd=ROOT, capture_output=True, text=True)
    if found.returncode or "2 passed" not in found.stdout:
        raise SystemExit(f"the tools do not compute the same function:\n{found.stdout[-3000:]}{found.stderr[-1000:]}")


def surroundings() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
    }


def compare(problem: dict[str, Any], tools: list[str], repeats: int) -> list[dict[str, Any]]:
    """Best lr of each tool, then repeats in turn; prints and returns one row of the table per tool."""
    tools = [tool for tool in tools if (tool, problem["architecture"]) not in PEERS_LACK]
    best = {}
    for tool in tools:
        if tool == "winnow-torch" and "winnow" in best:
            best[tool] = best["winnow"]  # the same function, so the same best lr
            continue
        tried = [run({**problem, "tool": tool, "lr": lr, "seed": 0}) for lr in RATES]
        best[tool] = min(tried, key=lambda result: result["valid_fvu"])["lr"]
    runs: dict[str, list[dict[str, Any]]] = {tool: [] for tool in tools}
    for seed in range(1, repeats + 1):
        for tool in tools if seed % 2 else reversed(tools):
            runs[tool].append(run({**problem, "tool": tool, "lr": best[tool], "seed": seed}))
    table = [summary(tool, runs[tool]) for tool in tools]
    reference = next((row["rows_per_cpu_second"] for row in table if row["tool"] == "saelens"), None)
    for row in table:
        row["architecture"] = problem["architecture"]
        row["ratio_to_saelens"] = row["rows_per_cpu_second"] / reference if reference else None
        ratio = f"{row['ratio_to_saelens']:5.2f}x" if reference else ""
        print(
            f"{row['architecture']:10} {row['tool']:20} {row['rows_per_cpu_second']:9.0f} rows/CPU s {ratio} "
            f"lr {row['lr']:g} FVU {row['fvu']:.4f} L0 {row['l0']:.1f} "
            f"start-up {row['startup_seconds']:.1f} s",
            flush=True,
        )
    return table


def summary(tool: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [result["cpu_seconds"] for result in runs]
    middle = {key: statistics.median(r[key] for r in runs) for key in ("fvu", "l0", "startup_seconds", "lr")}
    rate = runs[0]["trained_rows"] / statistics.median(seconds)
    fvus = [result["fvu"] for result in runs]
    return {"tool": tool, "rows_per_cpu_second": rate, "cpu_seconds": seconds, "fvus": fvus, **middle}


def metric_rows(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of the table as rows of the project's metrics schema, one repeat a seed: what claims are judged by."""
    trained = entry["rows_per_cpu_second"] * statistics.median(entry["cpu_seconds"])
    measured = [
        (seed, metric, value, unit)
        for seed, (seconds, fvu) in enumerate(zip(entry["cpu_seconds"], entry["fvus"], strict=True))
        for metric, value, unit in (
            ("rows_per_cpu_second", trained / seconds, "rows per CPU second"),
            ("fvu", fvu, "share"),
        )
    ]
    tool = {"winnow": "sae", "winnow-torch": "sae_torch"}.get(entry["tool"], entry["tool"])
    names = {"system": f"{tool}_{entry['architecture']}", "workload": "planted", "variant": "throughput"}
    return [
        {**names, "seed": seed, "split": "test", "metric": metric, "value": value, "unit": unit, "step": None}
        for seed, metric, value, unit in measured
    ]


def run(job: dict[str, Any]) -> dict[str, Any]:
    command = [PYTHON, __file__, "--worker", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings(), cwd=CACHE)
    if done.returncode:
        raise SystemExit(f"{job['tool']} failed on {job['architecture']}:\n{done.stderr[-3000:]}")
    result = {**job, **json.loads(done.stdout.strip().splitlines()[-1])}
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def work(job: dict[str, Any]) -> dict[str, Any]:
    """One run: planted rows, two warm-up steps, the timed fit, FVU and L0 on validation and test rows."""
    import torch

    from winnow.dictionaries.planted import planted_dictionary

    torch.set_num_threads(1)
    torch.manual_seed(job["seed"])
    planted = planted_dictionary(features=800, d=job["d"], active=12, seed=7)
    rows, valid, test = (planted.sample(n, seed) for n, seed in ((job["rows"], 0), (20_480, 1), (20_480, 2)))
    scale = job["d"] ** 0.5 / rows.norm(dim=1).mean()
    rows, valid, test = rows * scale, valid * scale, test * scale
    train = {"saelens": with_saelens, "dictionary_learning": with_dictionary_learning}.get(job["tool"], with_winnow)
    start = time.process_time()
    train(batches(rows, job["batch"]), {**job, "steps": 2})
    startup, start = time.process_time() - start, time.process_time()
    forward = train(batches(rows, job["batch"]), job)
    seconds = time.process_time() - start
    (valid_fvu, _), (fvu, l0) = measure(forward, valid, job["batch"]), measure(forward, test, job["batch"])
    return {
        "cpu_seconds": seconds,
        "startup_seconds": startup,
        "trained_rows": job["steps"] * job["batch"],
        "valid_fvu": valid_fvu,
        "fvu": fvu,
        "l0": l0,
    }


def batches(rows: Any, size: int) -> Iterator[Any]:
    while True:
        yield from (piece for piece in rows.split(size) if len(piece) == size)


def measure(forward: Callable[[Any], tuple[Any, Any]], rows: Any, size: int) -> tuple[float, float]:
    import torch

    with torch.no_grad():
        pairs = [forward(piece) for piece in rows.split(size)]
    missed = (rows - torch.cat([made for _, made in pairs])).double().square().sum()
    spread = (rows - rows.mean(0)).double().square().sum()
    l0 = torch.cat([(code != 0).sum(1) for code, _ in pairs]).double().mean()
    return float(missed / spread), float(l0)


def with_winnow(rows: Iterator[Any], job: dict[str, Any]) -> Callable[[Any], tuple[Any, Any]]:
    from winnow.dictionaries.sae import SaeConfig, fit

    settings = {key: job[key] for key in ("architecture", "m", "k", "steps", "batch", "lr", "seed")}
    backend = "torch" if job["tool"] == "winnow-torch" else "numba"
    dictionary, _ = fit(rows, SaeConfig(**settings, backend=backend, l1=3.0))
    return lambda x: (dictionary.dense(x), dictionary.reconstruct(x))


def with_saelens(rows: Iterator[Any], job: dict[str, Any]) -> Callable[[Any], tuple[Any, Any]]:
    from sae_lens import saes
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    common = {"d_in": job["d"], "d_sae": job["m"], "device": "cpu", "dtype": "float32"}
    made = {
        "topk": lambda: saes.TopKTrainingSAE(saes.TopKTrainingSAEConfig(**common, k=job["k"])),
        "batchtopk": lambda: saes.BatchTopKTrainingSAE(saes.BatchTopKTrainingSAEConfig(**common, k=job["k"])),
        "relu_l1": lambda: saes.StandardTrainingSAE(saes.StandardTrainingSAEConfig(**common, l1_coefficient=3.0)),
        "jumprelu": lambda: saes.JumpReLUTrainingSAE(saes.JumpReLUTrainingSAEConfig(**common)),
    }
    sae = made[job["architecture"]]()
    settings = SAETrainerConfig(
        total_training_samples=job["steps"] * job["batch"],
        train_batch_size_samples=job["batch"],
        lr=job["lr"],
        lr_end=job["lr"],
        lr_warm_up_steps=job["steps"] // 20,
        lr_decay_steps=job["steps"] // 5,
        logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(cfg=settings, sae=sae, data_provider=rows).fit()

    def forward(x: Any) -> tuple[Any, Any]:
        code = sae.encode(x)
        return code, sae.decode(code)

    return forward


def with_dictionary_learning(rows: Iterator[Any], job: dict[str, Any]) -> Callable[[Any], tuple[Any, Any]]:
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = {"topk": TopKTrainer, "batchtopk": BatchTopKTrainer}[job["architecture"]](
        steps=job["steps"],
        activation_dim=job["d"],
        dict_size=job["m"],
        k=job["k"],
        layer=0,
        lm_name="planted",
        lr=job["lr"],
        warmup_steps=job["steps"] // 20,
        decay_start=job["steps"] - max(1, job["steps"] // 5) if job["steps"] > 2 else None,
        seed=job["seed"],
        device="cpu",
    )
    for step in range(job["steps"]):
        trainer.update(step, next(rows))

    def forward(x: Any) -> tuple[Any, Any]:
        code = trainer.ae.encode(x, use_threshold=False)
        return code, trainer.ae.decode(code)

    return forward


if __name__ == "__main__":
    main()
