"""Time and memory of the curation of source files, as a corpus grows: the workflow's own stages, one after another.

    python benchmarks/curation_scale.py

The corpus is files of Python's own library, once, twice, four and eight times. Each time every file gets another new
line, and every other file other names, so that it is no copy. Each size is curated in a process of its own, whose peak
of resident memory and CPU seconds count.
"""

from __future__ import annotations

import argparse
import json
import keyword
import logging
import re
import resource
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from stages.curate.text_fates import curate_text_fates  # noqa: E402  needs the path
from stages.curate.text_shards import curate_text_shard  # noqa: E402
from stages.curate.texts import curate_text  # noqa: E402
from winnow.pipeline.benchmarks import machine  # noqa: E402
from winnow.pipeline.settings.curate import CurateText  # noqa: E402
from winnow.pipeline.tables import read_parquet, write_parquet  # noqa: E402
from winnow.workloads.text_tables import raw_text_table  # noqa: E402

FACTORS = (1, 2, 4, 8)
SHARD, SMALLEST, LARGEST = 60, 2_000, 60_000
SETTINGS = CurateText(signals=True, near_duplicate_similarity=0.8)
HASHED = ("bands", "owners", "shingles", "ends")
KEYWORDS = {*keyword.kwlist, *keyword.softkwlist}
MEASURED = """\
Files of Python's own library, once, twice, four and eight times, through the stages of the workflow: each file judged
(syntax, signals and their thresholds) and hashed, in shards of 60 files; the join of all shards on disk at Jaccard
similarities of 0.8 and 0.5, and the fate of each file; the documents that stay gathered, sorted and tokenised. Each
time every file gets another new line, and every other file other names, so that it is no copy. Every size has a process
of its own. Seconds are of the CPU, one thread; memory is the peak of resident memory, interpreter and libraries
included, and that before the first shard beside it."""
COLUMNS = [
    ("factor", "times"),
    ("documents", "documents"),
    ("megabytes", "MB of text"),
    ("kept", "kept"),
    ("kept_megabytes", "MB kept"),
    ("judge_seconds", "judge and hash s"),
    ("join_seconds", "join s"),
    ("gather_seconds", "gather s"),
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


def edited(text: str, number: int, renamed: bool) -> bytes:
    if renamed and number:
        text = re.sub(r"\b[a-z_]{4,}\b", lambda m: m[0] if m[0] in KEYWORDS else f"{m[0]}{number}", text)
    lines = text.splitlines(keepends=True)
    lines.insert(number % (len(lines) + 1), f"# edit {number}\n")
    return "".join(lines).encode()


def write_corpus(files: int, factor: int, path: Path) -> None:
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in library(files)]
    found = {f"{n}/{i}.py": edited(text, n, i % 2 > 0) for n in range(factor) for i, text in enumerate(texts)}
    write_parquet(raw_text_table(found, "library", "library", "PSF-2.0"), path)


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def curate(raw: Path, folder: Path, log: logging.Logger) -> dict[str, float]:
    """CPU seconds of judging and hashing, of the join, and of gathering; results lie in the folder."""
    rows = read_parquet(raw, ["row"]).num_rows
    told = {**SETTINGS.model_dump(), "shards": -(-rows // SHARD), "workload": "library", "sources": None, "seed": 0}
    params = SimpleNamespace(**{**told, "thresholds": SimpleNamespace(**SETTINGS.thresholds)})
    shards = [folder / str(number) for number in range(params.shards)]
    seconds = {}

    def timed(name: str, stage: Callable[..., None], inputs: Any, outputs: Any, **more: Any) -> None:
        start = time.process_time()
        stage(inputs, outputs, SimpleNamespace(**vars(params), **more), log)
        seconds[name] = seconds.get(name, 0.0) + time.process_time() - start

    for number, shard in enumerate(shards):
        shard.mkdir()
        hashed = {name: shard / f"hashed.{name}" for name in HASHED} | {"index": shard / "hashed.json"}
        made = SimpleNamespace(files=shard / "files.parquet", **hashed)
        timed("judge_seconds", curate_text_shard, SimpleNamespace(raw=raw), made, shard=str(number))
    given = {"files": [s / "files.parquet" for s in shards], "index": [s / "hashed.json" for s in shards]}
    fates = folder / "fates.parquet"
    timed("join_seconds", curate_text_fates, SimpleNamespace(**given), SimpleNamespace(fates=fates))
    names = ("train", "valid", "test", "held_out", "dropped", "sources", "metrics")
    made = {name: folder / f"{name}.parquet" for name in names}
    made |= {"tokenizer": folder / "tokenizer.json", "report": folder / "report.json"}
    timed("gather_seconds", curate_text, SimpleNamespace(raw=raw, fates=fates), SimpleNamespace(**made))
    return seconds


def run(factor: int, raw: Path) -> dict[str, Any]:
    log = logging.getLogger("curation")
    with TemporaryDirectory() as folder:  # compiles and imports what is needed
        small = Path(folder, "raw.parquet")
        write_corpus(20, 1, small)
        curate(small, Path(folder), log)
    row: dict[str, Any] = {"factor": factor, "memory_before": megabytes()}
    with TemporaryDirectory() as folder:
        row |= curate(raw, Path(folder), log)
        report = json.loads(Path(folder, "report.json").read_text())
    sizes = read_parquet(raw, ["bytes"])["bytes"].to_numpy()
    kept = sum(split["bytes"] for split in report["splits"].values())
    row |= {"documents": len(sizes), "megabytes": sizes.sum() / 1e6}
    row |= {"kept": report["kept"], "kept_megabytes": kept / 1e6, "memory": megabytes()}
    total = row["judge_seconds"] + row["join_seconds"] + row["gather_seconds"]
    return row | {"milliseconds": 1000 * total / len(sizes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/curation_scale.json")
    parser.add_argument("--files", type=int, default=240)
    parser.add_argument(
        "--raw", type=Path, help="only measure this table, of files `--factor` times, and print its row"
    )
    parser.add_argument("--factor", type=int)
    arguments = parser.parse_args()
    if arguments.raw:
        print(json.dumps(run(arguments.factor, arguments.raw)))
        return
    table = []
    for factor in FACTORS:
        with TemporaryDirectory() as folder:
            raw = Path(folder, "raw.parquet")
            write_corpus(arguments.files, factor, raw)
            command = [sys.executable, __file__, "--raw", str(raw), "--factor", str(factor)]
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
