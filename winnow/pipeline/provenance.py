"""Provenance that travels: what made each output, in one text file under git.

Snakemake keeps its records in `.snakemake`, which no clone has, and believes whatever lies at an output's path. Here a
stage writes a record of each output (parameters, code digest, checksums of inputs and of its own bytes) before the
output appears. Before the graph is built, every output on disk is compared with those records: where the bytes are the
ones a record tells of, Snakemake gets that record; where no record knows them, it gets one that matches no parameters,
so the output is stale and is made again. Nothing but a stage's own record can make an output count as fresh.
"""

from __future__ import annotations

import json
import os
import platform
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from winnow.pipeline.hashing import HashMemory

LOCK = Path("provenance.lock")
STATE = Path(".snakemake/winnow")
METADATA = Path(".snakemake/metadata")
OUTPUT_FOLDERS = (Path("data/raw"), Path("results"), Path("summaries"))
STALE = ["bytes of unknown origin"]
REMEMBERED = 20  # records kept for one output, so that bytes restored from any cache are recognised
SNAKEMAKE_RECORD_FORMAT = 6

Record = dict[str, Any]


@cache
def platform_tuple() -> dict[str, str]:
    """What equal bytes are promised within: processor capability and the versions of the numerical libraries."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        flags = []
    capability = next((name for name in ("avx512f", "avx2", "avx") if name in flags), platform.machine())
    libraries = {}
    for name in ("altair", "numba", "numpy", "pillow", "polars", "pyarrow", "scikit-learn", "scipy", "torch"):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = "absent"
    blas = os.environ.get("OPENBLAS_CORETYPE", "default")
    return {"cpu": capability, "openblas_core": blas, "python": platform.python_version(), **libraries}


def make_record(rule: str, params: Iterable[Any], inputs: Mapping[str, str], sha256: str, platform_name: str) -> Record:
    """What made an output: inputs is path -> sha256 of the bytes read; params are kept as Snakemake keeps them."""
    return {
        "rule": rule,
        "params": sorted(repr(value) for value in params),
        "inputs": dict(sorted(inputs.items())),
        "sha256": sha256,
        "platform": platform_name,
    }


def platform_digest() -> str:
    """A short name for `platform_tuple`."""
    return blake2b(json.dumps(platform_tuple(), sort_keys=True).encode(), digest_size=6).hexdigest()


def remember(output: str, record: Record) -> None:
    """Keep the record of an output; called before its bytes appear at their path."""
    path = _record_path(output)
    records = [r for r in _remembered(path) if r != record][: REMEMBERED - 1]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"output": output, "records": [record, *records]}))
    temporary.replace(path)


def reconcile(after_run: bool) -> list[str]:
    """Give Snakemake the record that the bytes of each output tell of; return the outputs whose bytes no record knows.

    after_run: Snakemake has just run, so of records of equal bytes its own says which holds, and the lock is written.
    """
    locked, platforms = read_lock()
    METADATA.with_name("incomplete").mkdir(parents=True, exist_ok=True)  # without it Snakemake migrates old records
    memory = HashMemory(STATE / "hashes.json")
    unknown, fresh = [], {}
    for output in _outputs_on_disk():
        digest = memory.sha256(Path(output))
        # The lock first: where several runs made the same bytes, it tells of the run this checkout is about.
        candidates = [*([locked[output]] if output in locked else []), *_remembered(_record_path(output))]
        matching = [record for record in candidates if record["sha256"] == digest]
        if after_run:
            told = _read_metadata(output)
            matching.sort(key=lambda record: _differences(record, told))
        if matching:
            fresh[output] = matching[0]
            _write_metadata(output, matching[0])
        else:
            unknown.append(output)
            _write_metadata(output, {"rule": None, "params": STALE, "inputs": {}})
    memory.save()
    if after_run:
        _write_lock(locked | fresh, platforms | {platform_digest(): platform_tuple()})
    return unknown


def _differences(record: Record, told: Record) -> tuple[bool, bool]:
    """In what a record differs from Snakemake's own: parameters, inputs."""
    return record["params"] != told.get("params"), _checksums(record) != told.get("input_checksums")


def _checksums(record: Record) -> dict[str, str]:
    """The inputs of a record as Snakemake writes them."""
    return {name: f"sha256:{digest}" for name, digest in record["inputs"].items()}


def read_lock(path: Path = LOCK) -> tuple[dict[str, Record], dict[str, dict[str, str]]]:
    """Records by output, and the platforms they name; empty without a lock file, lines in conflict left out."""
    records: dict[str, Record] = {}
    platforms: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a merge conflict's marker: the outputs it is about count as unknown and are made again
        if "outputs" in entry:
            records |= {output: entry | {"sha256": sha256} for output, sha256 in entry.pop("outputs").items()}
        elif "name" in entry:
            platforms[entry.pop("name")] = entry
    return records, platforms


def _write_lock(records: Mapping[str, Record], platforms: Mapping[str, dict[str, str]]) -> None:
    used = {record["platform"] for record in records.values()}
    rows = [{"name": name, **entry} for name, entry in sorted(platforms.items()) if name in used]
    rows += _by_job(records)
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    if not LOCK.is_file() or LOCK.read_text(encoding="utf-8") != text:
        temporary = LOCK.with_name(f".{LOCK.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(LOCK)


def _by_job(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    """One row for the outputs that were made alike, so that the lock says only once what each of them was made from."""
    jobs: dict[str, dict[str, Any]] = {}
    for output, record in sorted(records.items()):
        made = {key: value for key, value in record.items() if key != "sha256"}
        job = jobs.setdefault(json.dumps(made, sort_keys=True), made | {"outputs": {}})
        job["outputs"][output] = record["sha256"]
    return list(jobs.values())


def _outputs_on_disk() -> list[str]:
    files = (path for folder in OUTPUT_FOLDERS for path in folder.rglob("*") if path.is_file())
    return sorted(str(p) for p in files if not any(part.startswith(".") for part in p.parts))


def _record_path(output: str) -> Path:
    return STATE / "records" / f"{blake2b(output.encode(), digest_size=16).hexdigest()}.json"


def _remembered(path: Path) -> list[Record]:
    try:
        return list(json.loads(path.read_text())["records"])
    except (OSError, ValueError, KeyError):
        return []


def _write_metadata(output: str, record: Record) -> None:
    """Write Snakemake's own metadata file for an output, unless it already says the same."""
    checksums = _checksums(record)
    wanted = {"params": record["params"], "input": sorted(checksums), "input_checksums": checksums}
    path, present = metadata_path(output), _read_metadata(output)
    if all(present.get(key) == value for key, value in wanted.items()):
        return
    made = Path(output).stat().st_mtime
    defaults = {"rule": record["rule"], "log": [], "incomplete": False, "starttime": made, "endtime": made}
    version = {"record_format_version": SNAKEMAKE_RECORD_FORMAT}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**defaults, **present, **version, **wanted}))


def _read_metadata(output: str) -> Record:
    try:
        return dict(json.loads(metadata_path(output).read_text()))
    except (OSError, ValueError):
        return {}


def metadata_path(output: str) -> Path:
    # Snakemake names a record after its output in base64, cut into folders where a name would be too long.
    name = urlsafe_b64encode(output.encode()).decode()
    limit = os.pathconf(".", "PC_NAME_MAX") - 1
    parts = [name[i : i + limit] for i in range(0, len(name), limit)]
    return METADATA.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
