"""The table in which rows of columns travel: types, levels and units of the columns in the schema's metadata.

Free of torch: the stages that only move tables import this and start quickly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import InputError
from winnow.workloads.image_tables import METADATA_KEY, SPLITS

ColumnType = Literal["numeric", "category", "ordinal"]
Task = Literal["classification", "regression"]
RESERVED = ("row", "source", "split", "row_id", "target", "group", "fold")
"""Names of the columns that are not features; a feature of such a name gets an underscore behind it."""
MISSING = ("", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<null>", "#N/A")
"""Texts that stand for a missing value."""


@dataclass(frozen=True)
class Column:
    """One feature: levels are the texts that a category takes in train, or an ordinal's, lowest first."""

    name: str
    type: ColumnType
    levels: tuple[str, ...] = ()
    unit: str = ""
    missing: int = 0
    """Rows without a value, over all splits."""


@dataclass(frozen=True)
class TableMeta:
    """What the rows of a table have in common; a raw table has no columns yet, since curation tells their types."""

    task: Task
    target: str
    """The name that the target has in the source."""
    group: str | None = None
    """The name that the group has in the source; rows of one group stay in one split."""
    classes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    declared: Mapping[str, Any] = field(default_factory=dict)
    """Column -> its type, or the levels of an ordinal, lowest first, where somebody said so."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Column -> unit, where the source says."""
    workload: str = ""

    def encode(self) -> dict[str, str]:
        """Parquet metadata, as `write_parquet` takes it."""
        fields = {**vars(self), "columns": [vars(column) for column in self.columns], "kind": "table"}
        return {METADATA_KEY.decode(): json.dumps(fields, sort_keys=True, ensure_ascii=False)}


def table_meta(table: pa.Table, name: str = "table") -> TableMeta:
    """The metadata of a table of this kind; absent or inconsistent metadata is an InputError that names `name`."""
    text = (table.schema.metadata or {}).get(METADATA_KEY)
    try:
        fields = json.loads(text or b"")
        if fields.pop("kind") != "table" or fields["task"] not in ("classification", "regression"):
            raise ValueError("another kind")
        columns = tuple(Column(**{**c, "levels": tuple(c["levels"])}) for c in fields.pop("columns"))
        return TableMeta(**{**fields, "classes": tuple(fields["classes"]), "columns": columns})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{name}: its metadata does not describe a table of columns; make it with read_table_file, read_source or "
            "curate_table"
        ) from None


def _plain(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    """A column as float64 or text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind) or pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return column.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    raise InputError(f"{where}: column {name!r} holds {kind}; make it a number or a text, or name it in leave_out")


def _renamed(values: Mapping[str, Any] | None, own: Mapping[str, str]) -> dict[str, Any]:
    return {own.get(name, name): value for name, value in (values or {}).items()}


def _own_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Values as text: 1.0 is "1"."""
    values = column.to_pylist()
    if pa.types.is_string(column.type):
        return values
    return [None if value is None else f"{value:.15g}" for value in values]


def _declared(column: pa.ChunkedArray, kind: Any, name: str, where: str) -> pa.ChunkedArray:
    """A column as what it was said to be."""
    if kind != "numeric":
        return pa.chunked_array([pa.array(_texts(column), pa.string())])
    if pa.types.is_string(column.type):
        raise InputError(f"{where}: column {name!r} is set to numeric and holds text; correct it or set category")
    return column


def raw_table(
    table: pa.Table,
    *,
    source: str,
    target: str,
    task: Task = "classification",
    group: str | None = None,
    features: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    columns: Mapping[str, Any] | None = None,
    classes: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    missing: Sequence[str] = MISSING,
    splits: Sequence[str] | None = None,
    where: str = "table",
) -> pa.Table:
    """Raw table `row, source, target[, group][, split], <features>`, one row a record in the order given.

    Features are float64 or text. target: a column of the table; as text for classification, float64 for
    regression. columns: feature -> numeric, category, or the levels of an ordinal, lowest first; others are told
    from their values. classes: text of a class in the source -> its name, in the order in which classes are numbered.
    group: a column of which equal values must not straddle splits. features: None takes all other columns
    but those to leave out; where two columns of one name are asked for, the first counts. missing: texts that
    stand for no value. splits: the split that the publisher put each record in; a column `split` of train, valid
    and test counts as well. where: what messages call the table.
    Raises InputError for a column that is absent, doubled or neither number nor text, for an infinite value, for a
    regression target that is no number.
    """
    names = table.schema.names
    wanted = [name for name in names if name not in leave_out] if features is None else [target, *features]
    for name in [target, *([group] if group else []), *leave_out, *wanted]:
        if name not in names:
            raise InputError(f"{where}: no column {name!r}; it has {', '.join(names)}")
        if features is None and names.count(name) > 1:
            raise InputError(f"{where}: two columns are called {name!r}; rename one of them")
    wanted = list(dict.fromkeys([*wanted, target, *([group] if group else [])]))
    first = {name: table.column(names.index(name)) for name in wanted}
    declared = dict(columns or {})
    as_text: set[str | None] = {name for name, kind in declared.items() if kind != "numeric"}
    as_text |= {group} if task == "regression" else {group, target}
    values = {
        name: _without_tokens(_plain(column, name, where), missing, name not in as_text)
        for name, column in first.items()
    }
    for name, kind in declared.items():
        if name not in values:
            raise InputError(f"{where}: no column {name!r}, whose type is set; it has {', '.join(names)}")
        values[name] = _declared(values[name], kind, name, where)
    found: dict[str, Any] = {
        "row": pa.array(np.arange(table.num_rows), pa.int64()),
        "source": pa.array([source] * table.num_rows, pa.string()),
    }
    if task == "classification":
        renamed = classes or {}
        found["target"] = pa.array([t if t is None else renamed.get(t, t) for t in _texts(values[target])], pa.string())
    elif pa.types.is_string(values[target].type):
        raise InputError(
            f"{where}: column {target!r} is text; a regression target is a number: set task: classification"
        )
    else:
        found["target"] = values[target]
    if group is not None:
        found["group"] = pa.array(_texts(values[group]), pa.string())
    aside = {target, group}
    if splits is not None:
        found["split"] = pa.array(splits, pa.string())
    elif "split" in values and set(pc.unique(values["split"]).to_pylist()) <= set(SPLITS):
        found["split"] = values["split"]
        aside.add("split")
    kept = [name for name in wanted if name not in aside]
    if not kept:
        raise InputError(f"{where}: no column is left beside the target; leave out fewer")
    own = {name: _own_name(name, [*RESERVED, *(n for n in kept if n != name)]) for name in kept}
    found |= {own[name]: values[name] for name in kept}
    for name, column in found.items():
        if pa.types.is_floating(column.type) and (bad := np.flatnonzero(np.isinf(column.to_numpy()))).size:
            raise InputError(f"{where}: column {name!r}, row {bad[0]}: is infinite; correct it or leave it empty")
    order = tuple(dict.fromkeys((classes or {}).values())) if task == "classification" else ()
    meta = TableMeta(task, target, group, classes=order, declared=_renamed(declared, own), units=_renamed(units, own))
    return pa.table(found).replace_schema_metadata(meta.encode())


def _without_tokens(column: pa.ChunkedArray, missing: Sequence[str], numbers: bool) -> pa.ChunkedArray:
    """Texts that stand for no value become null; what is left becomes numbers where it may and all of it is."""
    if not pa.types.is_string(column.type):
        return column
    column = pc.utf8_trim_whitespace(column)
    column = pc.if_else(pc.is_in(column, pa.array(missing, pa.string())), pa.scalar(None, pa.string()), column)
    try:
        return column.cast(pa.float64()) if numbers and column.null_count < len(column) else column
    except pa.ArrowInvalid:
        return column


def columns_table(meta: TableMeta) -> pa.Table:
    """Table `name, type, levels, unit, missing` of the columns."""
    kinds = {"name": pa.string(), "type": pa.string(), "levels": pa.list_(pa.string())}
    kinds |= {"unit": pa.string(), "missing": pa.int64()}
    rows = {key: [getattr(column, key) for column in meta.columns] for key in kinds}
    return pa.table(
        {key: pa.array([list(v) if key == "levels" else v for v in rows[key]], kinds[key]) for key in kinds}
    )


def with_workload(meta: TableMeta, workload: str) -> TableMeta:
    """The metadata under a workload's name."""
    return replace(meta, workload=workload)
