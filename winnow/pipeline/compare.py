"""Compare two folders of results byte by byte, and say where two files first differ in their own terms."""

from __future__ import annotations

import filecmp
from pathlib import Path

from winnow.pipeline.provenance import OUTPUT_FOLDERS

WALL_CLOCK = frozenset({"timings.parquet", "latency.svg", "speed.svg"})


def differences(first: Path, second: Path) -> list[str]:
    """One line for each result that is absent from one of two checkouts or has other bytes there."""
    one, two = _results(first), _results(second)
    lines = [f"{name}: only in {first}" for name in sorted(one - two)]
    lines += [f"{name}: only in {second}" for name in sorted(two - one)]
    for name in sorted(one & two):
        if not filecmp.cmp(first / name, second / name, shallow=False):
            lines.append(f"{name}: {_first_difference(first / name, second / name)}")
    return lines


def _results(root: Path) -> set[str]:
    files = (path for folder in OUTPUT_FOLDERS for path in (root / folder).rglob("*") if path.is_file())
    names = {path.relative_to(root) for path in files if path.name not in WALL_CLOCK}
    return {str(name) for name in names if not any(part.startswith(".") for part in name.parts)}


def _first_difference(one: Path, two: Path) -> str:
    compare = {".parquet": _in_tables, ".safetensors": _in_tensors}.get(one.suffix, _in_bytes)
    return compare(one, two) or "equal content in other bytes"


def _in_tables(one: Path, two: Path) -> str:
    import pyarrow.parquet as pq

    a, b = pq.ParquetFile(one).read(), pq.ParquetFile(two).read()
    if a.schema != b.schema or a.num_rows != b.num_rows:
        return f"{a.num_rows} rows of {a.schema.names} against {b.num_rows} of {b.schema.names}"
    for name in a.column_names:
        if not a[name].equals(b[name]):
            pairs = zip(a[name].to_pylist(), b[name].to_pylist(), strict=True)
            row = next((i for i, (x, y) in enumerate(pairs) if x != y), 0)
            return f"column {name}, row {row}: {a[name][row]} against {b[name][row]}"
    return ""


def _in_tensors(one: Path, two: Path) -> str:
    from safetensors.numpy import load_file

    a, b = load_file(one), load_file(two)
    if a.keys() != b.keys():
        return f"tensors {sorted(a.keys() ^ b.keys())} are in one only"
    for name in sorted(a):
        if a[name].shape != b[name].shape or a[name].tobytes() != b[name].tobytes():
            return f"tensor {name}"
    return ""


def _in_bytes(one: Path, two: Path) -> str:
    a, b = one.read_bytes(), two.read_bytes()
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"byte {at}"
