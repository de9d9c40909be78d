"""The tables in which events of users and items travel, and files of one's own as such tables.

Free of torch: the stages that only move tables import this and start quickly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import InputError
from winnow.workloads.image_tables import METADATA_KEY
from winnow.workloads.table_files import parse_csv

EVENTS = pa.schema(
    {
        "row": pa.int64(),
        "source": pa.string(),
        "user": pa.string(),
        "item": pa.string(),
        "rating": pa.float64(),
        "time": pa.float64(),
    }
)
"""Columns of a raw table of events, one row an event in the order of the log; dates are seconds since 1970."""
ITEMS = pa.schema(
    {
        "item": pa.string(),
        "title": pa.string(),
        "year": pa.int32(),
        "genres": pa.list_(pa.string()),
        "properties": pa.list_(pa.string()),
    }
)
"""Columns of what is known of items; a property is "<kind>: <value>"."""
NAMES = {
    "user": ("user", "user_id"),
    "item": ("item", "item_id"),
    "time": ("time", "timestamp"),
    "rating": ("rating",),
    "title": ("title", "name"),
    "year": ("year",),
    "genres": ("genres", "genre"),
}
"""How a column may be called where nobody says what it is called."""


@dataclass(frozen=True)
class InteractionMeta:
    """What the events of a curated table have in common."""

    vocabulary: list[str]
    """The title of each item; the first one, which is empty, pads."""
    window: int
    """Most events of a user that a model reads at once."""
    workload: str = ""

    def encode(self) -> dict[str, str]:
        """Parquet metadata, as `write_parquet` takes it."""
        fields = {**vars(self), "kind": "interactions"}
        return {METADATA_KEY.decode(): json.dumps(fields, sort_keys=True, ensure_ascii=False)}


def interaction_meta(table: pa.Table, name: str) -> InteractionMeta:
    """The metadata of a curated table of events; absent or foreign ones are an InputError that names `name`."""
    try:
        fields = json.loads((table.schema.metadata or {})[METADATA_KEY])
        if fields.pop("kind") != "interactions":
            raise ValueError("its kind is another")
        return InteractionMeta(**fields)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{name}: is no table of curated events ({error}); run the curate stage again") from error


def raw_events(table: pa.Table, source: str, columns: Mapping[str, str] | None, where: str) -> pa.Table:
    """Raw table of events (EVENTS) from a table with columns of users, items, times and perhaps ratings.

    columns: user, item, time, rating -> what the table calls them; what is left out goes by its usual names.
    Raises InputError, naming `where`, for a column that is not there or holds what it cannot.
    """
    if not table.num_rows:
        raise InputError(f"{where}: has no rows; there is nothing to recommend from")
    found = {kind: _column(table, kind, columns, where) for kind in ("user", "item", "time")}
    called = (columns or {}).get("rating")
    rated = called is not None or any(name in table.schema.names for name in NAMES["rating"])
    rating = _numbers(table[_column(table, "rating", columns, where)], "rating", where) if rated else None
    count = table.num_rows
    return pa.table(
        {
            "row": pa.array(range(count), pa.int64()),
            "source": pa.array([source] * count, pa.string()),
            "user": _texts(table[found["user"]]),
            "item": _texts(table[found["item"]]),
            "rating": pa.nulls(count, pa.float64()) if rating is None else rating,
            "time": _times(table[found["time"]], found["time"], where),
        },
        schema=EVENTS,
    )


def raw_items(
    table: pa.Table,
    columns: Mapping[str, str] | None,
    where: str,
    parted: str = "|",
    more: Mapping[str, Any] | None = None,
) -> pa.Table:
    """What is known of items (ITEMS) from a table with one row an item.

    columns: item, title, year, genres -> what the table calls them; every other column is a property. parted: what
    stands between the genres, or the values of a property, of one item. more: item -> further properties.
    Raises InputError, naming `where`, for a table without items or with an item that stands twice.
    """
    called = {kind: _called(table, kind, columns) for kind in ("item", "title", "year", "genres")}
    items = _texts(table[_column(table, "item", columns, where)]).to_pylist()
    if None in items:
        raise InputError(f"{where}: row {items.index(None)} names no item; leave it out")
    if len(set(items)) < len(items):
        repeated = Counter(items).most_common(1)[0][0]
        raise InputError(f"{where}: item {repeated!r} stands twice; leave one row for each item")
    others = [name for name in table.schema.names if name not in called.values()]
    texts = {name: _texts(table[name]).to_pylist() for name in others}
    years = [None] * len(items) if called["year"] is None else _texts(table[called["year"]]).to_pylist()
    told = [_parts(cell, parted) for cell in _texts(table[called["genres"]]).to_pylist()] if called["genres"] else None
    properties = [
        [f"{name}: {value}" for name in others for value in _parts(texts[name][i], parted)]
        + list((more or {}).get(item, []))
        for i, item in enumerate(items)
    ]
    titles = _texts(table[called["title"]]).to_pylist() if called["title"] else items
    return pa.table(
        {
            "item": items,
            "title": [title or item for title, item in zip(titles, items, strict=True)],
            "year": [int(year) if year and year.isdecimal() and len(year) == 4 else None for year in years],
            "genres": told or [[] for _ in items],
            "properties": properties,
        },
        schema=ITEMS,
    )


def read_event_file(path: Path | str, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Raw table of events of a CSV (with a header) or parquet file; errors are those of `raw_events`."""
    return raw_events(_read(path, ("user", "item"), columns), Path(path).name, columns, str(path))


def read_item_file(path: Path | str, columns: Mapping[str, str] | None = None) -> pa.Table:
    """What is known of items, from a CSV or parquet file; errors are those of `raw_items`."""
    return raw_items(_read(path, ("item", "title", "year", "genres"), columns), columns, str(path))


def parse_events(data: bytes, where: str, texts: Sequence[str], separator: str | None = None) -> pa.Table:
    """The table of a CSV file whose columns `texts` are text whatever they look like."""
    header = parse_csv(data.split(b"\n", 1)[0] + b"\n", where, separator=separator)
    # "user_id:token", as RecBole writes its headers, is called user_id.
    names = [name.partition(":")[0] for name in header.schema.names]
    texts = [name for name in names if name in texts]
    return parse_csv(data, where, separator=separator, names=names, skip=1, texts=texts)


def _read(path: Path | str, kinds: Sequence[str], columns: Mapping[str, str] | None) -> pa.Table:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct `path` or `items`")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        from winnow.pipeline.tables import read_parquet

        return read_parquet(path)
    if suffix not in (".csv", ".tsv", ".txt"):
        raise InputError(f"{path}: ends in {suffix or 'nothing'}; give a .csv or .parquet file")
    called = [name for kind in kinds for name in (*NAMES[kind], (columns or {}).get(kind, ""))]
    return parse_events(path.read_bytes(), str(path), called)


def _called(table: pa.Table, kind: str, columns: Mapping[str, str] | None) -> str | None:
    """What the table calls a kind of column, None where it has none."""
    chosen = (columns or {}).get(kind)
    names = NAMES[kind] if chosen is None else (chosen,)
    return next((name for name in names if name in table.schema.names), None)


def _column(table: pa.Table, kind: str, columns: Mapping[str, str] | None, where: str) -> str:
    found = _called(table, kind, columns)
    if found is None:
        wanted = (columns or {}).get(kind) or NAMES[kind][0]
        has = ", ".join(table.schema.names)
        raise InputError(f"{where}: no column {wanted!r}; it has {has}: name the one of the {kind} in `columns`")
    return found


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as text: 1.0 is "1", an empty text no value."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        values = [None if v is None or np.isnan(v) else f"{v:.15g}" for v in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.string())])
    texts = column.cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _numbers(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise InputError(f"{where}: column {name!r} holds {kind}; it must hold numbers")
    return column.cast(pa.float64(), safe=False)


def _times(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    """Numbers as they are, dates as seconds since 1970."""
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        micro = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return pc.divide(micro.cast(pa.float64(), safe=False), 1e6)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raise InputError(f"{where}: column {name!r} holds text; give numbers, or dates such as 2024-01-31 12:00:00")
    return _numbers(column, name, where)


def _parts(cell: str | None, parted: str) -> list[str]:
    return [part.strip() for part in (cell or "").split(parted) if part.strip()]
