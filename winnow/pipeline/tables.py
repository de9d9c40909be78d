"""Tables on disk: one metrics schema for all stages, parquet and JSON written to the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import InputError

METRICS_SCHEMA = pa.schema(
    [
        ("system", pa.string()),
        ("workload", pa.string()),
        ("variant", pa.string()),
        ("seed", pa.int32()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("step", pa.int64()),
    ]
)

UNITS = {
    "accuracy": "share",
    "balanced_accuracy": "share",
    "cross_entropy": "nats",
    "loss": "nats",
    "expected_calibration_error": "share",
    "dead_fraction": "share",
    "silent_fraction": "share",
    "fvu": "share",
    "ce_recovered": "share",
    "flops": "operations",
    "flops_ratio": "share",
    "slim_flops": "operations",
    "parameters": "weights",
    "slim_parameters": "weights",
    "nonzero": "weights",
    "min_layer_nonzero": "weights",
    "bytes": "bytes",
    "bits_per_byte": "bits per byte",
    "l0": "features",
}


def metric_rows(
    values: Mapping[str, float | None] | Iterable[tuple[str, float | None, int | None]],
    *,
    system: str,
    workload: str,
    variant: str,
    seed: int,
    split: str,
    units: Mapping[str, str] | None = None,
) -> pa.Table:
    """Rows of the metrics schema.

    values: metric -> value, or (metric, value, step) triples for a history. A value of None stays null.
    units: metric -> unit, over the usual ones; a metric without a unit gets "".
    """
    triples = [(m, v, None) for m, v in values.items()] if isinstance(values, Mapping) else list(values)
    names = UNITS | dict(units or {})
    count = len(triples)
    columns = {
        "system": [system] * count,
        "workload": [workload] * count,
        "variant": [variant] * count,
        "seed": [seed] * count,
        "split": [split] * count,
        "metric": [m for m, _, _ in triples],
        "value": [None if v is None else float(v) for _, v, _ in triples],
        "unit": [names.get(m, "") for m, _, _ in triples],
        "step": [s for _, _, s in triples],
    }
    return pa.table(columns, schema=METRICS_SCHEMA)


def write_parquet(table: pa.Table, path: Path | str, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table to the same bytes each time: fixed codec, level, row groups and metadata."""
    table = table.replace_schema_metadata(dict(metadata) if metadata else None).combine_chunks()
    pq.write_table(table, path, compression="zstd", compression_level=3, row_group_size=1 << 16, store_schema=True)


def read_parquet(path: Path | str, columns: list[str] | None = None) -> pa.Table:
    """Read a parquet file; an absent, corrupt or wrongly shaped one is an InputError naming it."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; run the stage that makes it, or correct the path")
    try:
        # ParquetFile, not read_table: a folder named like `kind=images` would otherwise become a column.
        file = pq.ParquetFile(path)
        missing = [c for c in columns or [] if c not in file.schema_arrow.names]
        if missing:
            raise InputError(f"{path}: no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}")
        return file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: not a readable parquet file ({reason}); delete it and run its stage again"
        ) from error


def read_metrics(paths: Iterable[Path | str]) -> pa.Table:
    """All rows of several metrics files, in the order given."""
    tables = []
    for path in paths:
        table = read_parquet(path)
        if table.schema.remove_metadata() != METRICS_SCHEMA:
            raise InputError(f"{path}: not a metrics table; its columns are {', '.join(table.schema.names)}")
        tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables) if tables else METRICS_SCHEMA.empty_table()


def write_json(value: Any, path: Path | str) -> None:
    """Write JSON with sorted keys and a closing newline; a NaN is refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")
