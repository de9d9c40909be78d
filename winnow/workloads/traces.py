"""Request traces: what source files import and call, one after another, and traces that are made up."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from winnow.errors import InputError

Requests = Literal["imports", "calls"]


def requests_of(text: str, module: Sequence[str], what: Requests) -> list[str]:
    """Modules that a file imports, or names that it calls, in the order of the text.

    module: the parts of the file's own name, to which relative imports refer. A call is named by what stands right
    before its parentheses; a text that does not parse has no requests.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.stmt, ast.expr))]
    except (SyntaxError, ValueError, RecursionError):
        return []
    found: list[str] = []
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if what == "calls" and isinstance(node, ast.Call):
            found += [node.func.id] if isinstance(node.func, ast.Name) else []
            found += [node.func.attr] if isinstance(node.func, ast.Attribute) else []
        elif what == "imports" and isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif what == "imports" and isinstance(node, ast.ImportFrom):
            base = list(module[: len(module) - node.level]) if node.level else []
            found.append(".".join([*base, *([node.module] if node.module else [])]))
    return found


def trace_of(files: Iterable[tuple[str, str]], what: Requests) -> np.ndarray:
    """int64[n]: the requests of files (path, text), one after another, numbered as they come."""
    numbers: dict[str, int] = {}
    trace = []
    for path, text in files:
        module = path.removesuffix(".py").removesuffix("/__init__").split("/")
        trace += [numbers.setdefault(name, len(numbers)) for name in requests_of(text, module, what)]
    return np.array(trace, np.int64)


def items_in_time(events: Sequence[pa.Table]) -> np.ndarray:
    """int64[n]: the items of all events of all users, in the order of their `time` and, where equal, of `row`.

    events: tables with the columns item, time and row. Raises InputError for fewer than 4 events.
    """
    table = pa.concat_tables(part.select(["item", "time", "row"]) for part in events)
    if table.num_rows < 4:
        raise InputError(f"events: are {table.num_rows}; a trace needs 4 or more")
    order = np.lexsort((table["row"].to_numpy(), table["time"].to_numpy()))
    return np.unique(table["item"].to_numpy()[order], return_inverse=True)[1].astype(np.int64)


def cyclic_trace(pages: int, n: int) -> np.ndarray:
    """Pages in turn, again and again: the worst there is for LRU with a cache of one page less."""
    return np.arange(n) % pages


def zipf_trace(pages: int, n: int, generator: np.random.Generator, exponent: float = 1.0) -> np.ndarray:
    """Independent requests with probabilities that fall as 1 / rank^exponent."""
    weights = 1 / np.arange(1, pages + 1) ** exponent
    return generator.choice(pages, n, p=weights / weights.sum())


def own_trace(path: Path | str) -> np.ndarray:
    """int64[n]: the requests of a parquet file with the columns `t` and `key`, in the order of t, numbered from 0.

    A cache holds pages of one size: raises InputError for a column `size` with different values, for a t that stands
    twice, for what is missing, and for fewer than 4 requests.
    """
    from winnow.pipeline.tables import read_parquet

    table = read_parquet(path)
    for name in ("t", "key"):
        if name not in table.column_names:
            raise InputError(f"{path}: no column {name!r}; it has {', '.join(table.column_names)}")
        if table[name].null_count:
            raise InputError(f"{path}: {table[name].null_count} values of {name} are missing; fill them in")
    if "size" in table.column_names and len(sizes := table["size"].unique()) > 1:
        told = f"{len(sizes)} sizes of pages; pages of unequal size are not supported"
        raise InputError(f"{path}: {told}, leave the column size out or cut pages to one size")
    times, keys = table["t"].to_numpy(), table["key"].to_numpy()
    if len(times) < 4 or len(np.unique(times)) < len(times):
        told = f"has {len(times)} requests at {len(np.unique(times))} times"
        raise InputError(f"{path}: {told}; give one trace a file, of 4 requests or more, each at a t of its own")
    return np.unique(keys[np.argsort(times)], return_inverse=True)[1].astype(np.int64)


def trace_table(traces: dict[str, np.ndarray]) -> pa.Table:
    """`trace, t, key`: every request of every trace in order."""
    names = [name for name, trace in traces.items() for _ in trace]
    times = np.concatenate([np.arange(len(trace)) for trace in traces.values()])
    keys = np.concatenate([*traces.values()]).astype(np.int32)
    return pa.table({"trace": names, "t": times, "key": keys})
