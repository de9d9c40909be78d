"""Curation of tables: the types of the columns are told once and frozen; rows that cannot be used are dropped, with
their reason; the rest is keyed by content, split and sorted.

Repeated two-fold cross-validation for small sets: Dietterich, "Approximate Statistical Tests for Comparing Supervised
Classification Learning Algorithms", Neural Computation, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.curate._rows import Rows
from winnow.curate._table_values import check_raw_table, column_of, features_of, labels_of, require_all
from winnow.workloads.image_tables import SPLITS
from winnow.workloads.splits import first_by_hash, hash_split
from winnow.workloads.table_columns import RESERVED, TableMeta, columns_table, with_workload

REASONS = ("no_target", "no_features", "conflicting_label", "exact_duplicate", "beyond_limit")
"""Why a row is dropped; the first that applies counts."""
STRATA = 10
"""Quantiles of a regression target that count as strata."""


@dataclass(frozen=True)
class CuratedTable:
    """What curation made of a raw table."""

    tables: dict[str, pa.Table]
    """Split -> `row_id, target, group, <features>[, fold]`, sorted by row_id."""
    columns: pa.Table
    """`name, type, levels, unit, missing` of every feature."""
    classes: pa.Table
    """`label, name` of every class; no rows for regression."""
    dropped: pa.Table
    """`row, source, row_id, reason, kept` of each row dropped; kept: the row that stayed in its place."""
    report: dict[str, Any]
    """Counts in, kept and dropped by reason; over all, by class, by split; columns by type."""
    metadata: dict[str, str]
    """Parquet metadata that each of the tables has to be written with."""


def _digest(*parts: bytes) -> int:
    state = blake2b(digest_size=8)
    for part in parts:
        state.update(part)
    return int.from_bytes(state.digest(), "big")


def _cells(column: pa.ChunkedArray) -> np.ndarray:
    """uint64[n]: a number's bits, a text's hash; a missing value is a number of its own."""
    if pa.types.is_floating(column.type):
        values = column.to_numpy().astype(np.float64) + 0.0  # minus zero becomes zero
        return np.where(np.isnan(values), np.nan, values).view(np.uint64)
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    hashes = np.array([_digest(b"text", v.encode()) for v in encoded.dictionary.to_pylist()] + [0], np.uint64)
    return hashes[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


def content_hashes(table: pa.Table) -> np.ndarray:
    """Key of every row: the first 63 bits of a hash of its columns' names and values, whatever their order.

    Returns int64[n], at least 0. Columns are float64 or text. Equal content has equal keys in every data set.
    """
    names = sorted(table.schema.names)
    prefix = blake2b(repr(names).encode(), digest_size=8)

    def one(row: np.ndarray) -> int:
        state = prefix.copy()
        state.update(row.data)
        return int.from_bytes(state.digest(), "big") >> 1

    cells = np.stack([_cells(table[name]) for name in names], axis=1).astype("<u8")
    return np.fromiter((one(row) for row in np.ascontiguousarray(cells)), np.int64, len(cells))


def _strata(raw: pa.Table, rows: Rows, task: str) -> np.ndarray:
    """Stratum of every kept row: its class, or the quantile of its target."""
    if task == "classification":
        return rows.labels[rows.kept]
    targets = raw["target"].to_numpy()[rows.kept]
    return np.searchsorted(np.quantile(targets, np.arange(1, STRATA) / STRATA), targets, side="right")


def _keys(raw: pa.Table, rows: Rows, content: np.ndarray) -> np.ndarray:
    """What must not straddle splits: the group of a kept row, or its content."""
    own = content[rows.kept].astype(str).astype(object)
    if "group" not in raw.schema.names:
        return own.astype(str)
    groups = raw["group"].to_pylist()
    named = [
        ("row " + key) if groups[i] is None else "group " + groups[i] for i, key in zip(rows.kept, own, strict=True)
    ]
    return np.array(named)


def _row_ids(rows: Rows) -> np.ndarray:
    """int64 of every kept row: its content with its target; a repeated row takes another, by how often it came."""
    kept = rows.kept
    order = kept[np.lexsort((rows.numbers[kept], rows.ids[kept]))]
    same = np.append(False, rows.ids[order][1:] == rows.ids[order][:-1])
    start = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    occurrence = np.arange(len(order)) - start
    found = dict(zip(order.tolist(), occurrence.tolist(), strict=True))
    ids = rows.ids[kept].tolist()
    repeats = [found[i] for i in kept.tolist()]
    return np.array(
        [i if not n else _digest(b"%d %d" % (i, n)) >> 1 for i, n in zip(ids, repeats, strict=True)], np.int64
    )


def _folds(keys: np.ndarray, strata: np.ndarray, salt: str, shape: Sequence[int]) -> np.ndarray:
    """int8[rows, repeats]: the fold of each row in each repetition, stratified."""
    repeats, folds = shape
    shares = {str(fold): 1 / folds for fold in range(folds)}
    columns = [hash_split(keys, strata, f"{salt} fold {repeat}", shares) for repeat in range(repeats)]
    return np.stack(columns, axis=1).astype(np.int8)


def _drop(raw: pa.Table, rows: Rows, content: np.ndarray, features: list[str], task: str, duplicates: str) -> dict:
    """Drop what cannot be used; how many rows repeat others or contradict them, whether these are dropped or not."""
    empty = np.all([raw[feature].is_null().to_numpy() for feature in features], axis=0)
    rows.drop(np.flatnonzero(empty), "no_features")
    rows.drop(np.flatnonzero(rows.labels < 0), "no_target")
    contradicting, keys = rows.conflicting(content) if task == "classification" else (np.empty(0, int), 0)
    kept = rows.kept
    repeated = len(kept) - len(np.unique(rows.ids[kept]))
    if duplicates == "drop":
        rows.drop(contradicting, "conflicting_label")
        rows.drop_all_but_first(rows.kept, rows.ids[rows.kept], "exact_duplicate")
    return {"conflicting_rows": len(contradicting), "conflicting_keys": keys, "repeated_rows": repeated}


def _curated(
    raw: pa.Table, rows: Rows, members: np.ndarray, row_ids: np.ndarray, folds: np.ndarray | None, meta: TableMeta
) -> pa.Table:
    """members: which of the kept rows."""
    members = members[np.argsort(row_ids[members], kind="stable")]
    chosen = raw.take(pa.array(rows.kept[members]))
    target = (
        pa.array(rows.labels[rows.kept[members]], pa.int32()) if meta.task == "classification" else chosen["target"]
    )
    columns = {"row_id": pa.array(row_ids[members], pa.int64()), "target": target}
    columns["group"] = chosen["group"] if meta.group is not None else pa.nulls(len(members), pa.string())
    columns |= {column.name: chosen[column.name] for column in meta.columns}
    if folds is not None:
        flat = pa.array(folds[members].reshape(-1), pa.int8())
        columns["fold"] = pa.FixedSizeListArray.from_arrays(flat, folds.shape[1])
    return pa.table(columns).replace_schema_metadata(meta.encode())


def _dropped(raw: pa.Table, rows: Rows) -> pa.Table:
    away = np.flatnonzero(rows.reason != None)  # noqa: E711  elementwise
    away = away[np.argsort(rows.numbers[away], kind="stable")]
    chosen = raw.select(["row", "source"]).take(pa.array(away)).replace_schema_metadata(None)
    columns = {
        "row": chosen["row"],
        "source": chosen["source"],
        "row_id": pa.array(rows.ids[away], pa.int64()),
        "reason": pa.array(rows.reason[away], pa.string()),
        "kept": pa.array(rows.instead[away], pa.int64(), mask=rows.instead[away] < 0),
    }
    return pa.table(columns)


def _column_report(raw: pa.Table, rows: Rows, splits: np.ndarray, meta: TableMeta) -> dict[str, Any]:
    """Columns by type, those that say nothing, and how many values outside train train does not know."""
    types = [column.type for column in meta.columns]
    unknown = {}
    kept, outside = raw.take(pa.array(rows.kept)), pa.array(splits != "train")
    for column in meta.columns:
        if column.type == "category":
            values = kept[column.name].filter(outside).drop_null()
            unknown[column.name] = (
                len(values) - pc.sum(pc.is_in(values, pa.array(column.levels))).as_py() if len(values) else 0
            )
    return {
        "types": {kind: types.count(kind) for kind in ("numeric", "category", "ordinal")},
        "without_values": [
            n for n in raw.schema.names if n not in RESERVED and n not in {c.name for c in meta.columns}
        ],
        "constant": [c.name for c in meta.columns if pc.count_distinct(kept[c.name], mode="all").as_py() == 1],
        "missing": {c.name: c.missing for c in meta.columns if c.missing},
        "unknown_levels": {name: count for name, count in unknown.items() if count},
    }


def curate_table(
    raw: pa.Table,
    *,
    workload: str,
    split_salt: str = "winnow",
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    duplicates: Literal["drop", "keep"] = "drop",
    folds: Sequence[int] = (5, 2),
    folds_below: int = 500,
    limit: int | None = None,
) -> CuratedTable:
    """Freeze the types of the columns, drop what cannot be used, split the rest.

    raw: `row, source, target[, group][, split], <features>`, as the readers make it. A published split is honoured;
    what it lacks is cut from its train. Otherwise the key is the group, or the content of the row without its target,
    so that copies stay together, and the stratum the class or the decile of the target. fractions: shares of
    train, valid and test. duplicates: drop leaves one of rows that are equal in all columns, and none of those that
    are equal in all but the class; keep leaves both, and reports them. folds: repetitions and folds of a
    stratified cross-validation over all rows, written as column `fold` where fewer than `folds_below` rows stay.
    limit: at most so many rows of each split, the first by hash. All results are independent of the order of rows
    and columns. Raises InputError for a table that breaks the schema, a text that is no category, a target
    that is no class, a split or class without a row to train on.
    """
    name = f"{workload}: raw table"
    meta = with_workload(check_raw_table(raw, name), workload)
    features = features_of(raw)
    content = content_hashes(raw.select(features))
    labels, classes = labels_of(raw, meta, name)
    rows = Rows(raw, content_hashes(raw.select([*features, "target"])), labels)
    repeated = _drop(raw, rows, content, features, meta.task, duplicates)
    keys, strata = _keys(raw, rows, content), _strata(raw, rows, meta.task)
    splits = rows.splits(keys, strata, split_salt, dict(zip(SPLITS, fractions, strict=True)), name)
    require_all(rows.labels[rows.kept], splits, classes, name)
    if limit is not None:
        stays = np.zeros(len(splits), bool)
        for split in SPLITS:
            stays[splits == split] = first_by_hash(rows.ids[rows.kept][splits == split], split_salt, limit)
        rows.drop(rows.kept[~stays], "beyond_limit")
        keys, strata, splits = keys[stays], strata[stays], splits[stays]
    train = rows.kept[splits == "train"]
    kept = raw.take(pa.array(rows.kept))
    columns = [column_of(raw, feature, meta, train, name) for feature in features]
    columns = [replace(column, missing=kept[column.name].null_count) for column in columns]
    meta = replace(meta, classes=classes, columns=tuple(columns))
    small = len(rows.kept) < folds_below
    of_rows = _folds(keys, strata, split_salt, folds) if small else None
    row_ids = _row_ids(rows)
    tables = {s: _curated(raw, rows, np.flatnonzero(splits == s), row_ids, of_rows, meta) for s in SPLITS}
    report = rows.report(splits, classes, REASONS) | repeated
    report |= {"columns": _column_report(raw, rows, splits, meta), "folds": list(folds) if small else None}
    names = pa.table({"label": pa.array(range(len(classes)), pa.int32()), "name": pa.array(classes, pa.string())})
    return CuratedTable(tables, columns_table(meta), names, _dropped(raw, rows), report, meta.encode())
