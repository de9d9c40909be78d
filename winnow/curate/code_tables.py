"""Tables beside the documents of source files: functions, syntax, examples in documentation, and instructions.

Only Python that parses has rows. A row belongs to the split of its file, so that nothing of a file is in two.
"""

from __future__ import annotations

import ast
import copy
import doctest
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa

FUNCTIONS = pa.schema(
    {
        "function_id": pa.int64(),
        "file_id": pa.int64(),
        "split": pa.string(),
        "qualname": pa.string(),
        "signature": pa.string(),
        "docstring": pa.string(),
        "body": pa.string(),
        "line": pa.int32(),
        "end_line": pa.int32(),
    }
)
"""qualname: as Python names it, `<locals>` among its parts. signature: from `def` to the colon, one line. docstring:
cleaned, null for none. body: the lines of all statements after it. line, end_line: from 1, decorators left out."""
NODES = pa.schema(
    {
        "file_id": pa.int64(),
        "split": pa.string(),
        "node": pa.int32(),
        "kind": pa.string(),
        "start": pa.int32(),
        "end": pa.int32(),
        "parent": pa.int32(),
    }
)
"""node: number in the file, parents first. kind: its class in `ast`. start, end: characters of the text, half open, of
nodes that have a place; parent: null for the module."""
DOCTESTS = pa.schema(
    {
        "doctest_id": pa.int64(),
        "function_id": pa.int64(),
        "split": pa.string(),
        "source": pa.string(),
        "expected": pa.string(),
        "setup": pa.string(),
    }
)
"""source, expected: an example of a function's documentation and what it prints; setup: the examples before it."""
INSTRUCTIONS = pa.schema(
    {
        "function_id": pa.int64(),
        "split": pa.string(),
        "prompt": pa.string(),
        "constraint": pa.string(),
        "response": pa.string(),
    }
)
"""prompt: the first paragraph of a function's documentation; constraint: the signature that is asked for; response: the
function without its documentation, dedented."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """A file of Python that parses."""

    file_id: int
    split: str
    path: str
    text: str
    tree: ast.Module


def sources_of(documents: Mapping[str, pa.Table]) -> Iterator[Source]:
    """The files of splits that are Python and parse. documents: split -> table with file_id, path, language, text."""
    for split, table in documents.items():
        for row in table.select(["file_id", "path", "language", "text"]).to_pylist():
            if row["language"] == "python" and (tree := _parsed(row["text"])) is not None:
                yield Source(row["file_id"], split, row["path"], row["text"], tree)


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings, mostly
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def identity(*parts: object) -> int:
    """63 bits of the hash of what a row is about."""
    told = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(told, digest_size=8).digest(), "big") >> 1


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """Every function of a module with its qualified name, in the order of the text."""

    def within(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                yield prefix + child.name, child
                yield from within(child, f"{prefix}{child.name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                yield from within(child, f"{prefix}{child.name}.")
            else:
                yield from within(child, prefix)

    return within(tree, "")


def functions_table(sources: Iterable[Source]) -> pa.Table:
    """A row of FUNCTIONS for every function, sorted by file and place."""
    rows = [row for source in sources for row in _functions(source)]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: (row["file_id"], row["line"])), FUNCTIONS)


def _functions(source: Source) -> Iterator[dict[str, Any]]:
    lines = lines_of(source.text)
    for qualname, node in definitions(source.tree):
        yield {
            "function_id": identity(source.file_id, qualname, node.lineno),
            "file_id": source.file_id,
            "split": source.split,
            "qualname": qualname,
            "signature": signature_of(node),
            "docstring": ast.get_docstring(node),
            "body": _body(node, lines),
            "line": node.lineno,
            "end_line": node.end_lineno,
        }


def lines_of(text: str) -> list[str]:
    """Lines with their ends as Python counts them, which end at no form feed."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def _body(node: Definition, lines: list[str]) -> str:
    """The lines from the first statement after the documentation on, with what decorates it."""
    rest = node.body[ast.get_docstring(node, clean=False) is not None :]
    if not rest:
        return ""
    first = min([rest[0].lineno, *(part.lineno for part in getattr(rest[0], "decorator_list", []))])
    found = "".join(lines[first - 1 : node.end_lineno])
    before = lines[first - 1].encode()[: rest[0].col_offset].decode("utf-8", "ignore")
    # A statement on the line of what comes before it begins there.
    return found if first < rest[0].lineno or not before.strip() else found[len(before) :]


def signature_of(node: Definition) -> str:
    """The first line of a function, without what decorates it, as Python would write it."""
    bare = copy.copy(node)
    bare.decorator_list, bare.body = [], [ast.Pass()]
    return ast.unparse(bare).removesuffix("\n    pass").removesuffix(":")


def instructions_table(sources: Iterable[Source]) -> pa.Table:
    """A row of INSTRUCTIONS for every function that is documented above further statements, on lines of its own."""
    rows: list[dict[str, Any]] = []
    for source in sources:
        lines = lines_of(source.text)
        for qualname, node in definitions(source.tree):
            told, first = ast.get_docstring(node), node.body[0].lineno
            if not told or len(node.body) < 2 or lines[first - 1].lstrip()[:1] not in tuple("\"'rRuU"):
                continue
            row = {"function_id": identity(source.file_id, qualname, node.lineno), "split": source.split}
            row |= {"prompt": told.split("\n\n")[0].strip(), "constraint": signature_of(node)}
            text = "".join(lines[node.lineno - 1 : first - 1]) + _body(node, lines)
            rows.append(row | {"response": textwrap.dedent(text)})
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["function_id"]), INSTRUCTIONS)


def nodes_table(sources: Iterable[Source]) -> pa.Table:
    """A row of NODES for every node of every file, in the order of the text."""
    columns: dict[str, list[Any]] = {name: [] for name in NODES.names}
    for source in sorted(sources, key=lambda source: source.file_id):
        places, count = _Places(source.text), 0
        waiting: list[tuple[ast.AST, int | None]] = [(source.tree, None)]
        while waiting:
            node, parent = waiting.pop()
            row = (source.file_id, source.split, count, type(node).__name__, *places.span(node), parent)
            for name, value in zip(NODES.names, row, strict=True):
                columns[name].append(value)
            # Whether a name is read or written stands in `ast` as one node for all.
            inside = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr_context)]
            waiting += [(child, count) for child in reversed(inside)]
            count += 1
    return pa.table(columns, schema=NODES)


class _Places:
    """Where nodes lie in a text: `ast` counts lines and bytes, tables count characters."""

    def __init__(self, text: str) -> None:
        self.lines = lines_of(text)
        self.starts = [0, *accumulate(map(len, self.lines))]

    def span(self, node: ast.AST) -> tuple[int | None, int | None]:
        if getattr(node, "end_lineno", None) is None:
            return None, None
        ends = ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))  # type: ignore[attr-defined]
        start, end = (self._at(*place) for place in ends)
        return start, end

    def _at(self, line: int, column: int) -> int:
        text = self.lines[line - 1]
        # Python 3.11 misplaces what stands in braces of strings of several lines, also amid a character.
        return self.starts[line - 1] + len(text.encode()[:column].decode("utf-8", "ignore"))


def doctests_table(sources: Iterable[Source]) -> pa.Table:
    """A row of DOCTESTS for every example in the documentation of functions; what cannot be read as one has none."""
    parser, rows = doctest.DocTestParser(), list[dict[str, Any]]()
    for source in sources:
        for qualname, node in definitions(source.tree):
            function = identity(source.file_id, qualname, node.lineno)
            try:
                examples = parser.get_examples(ast.get_docstring(node) or "")
            except ValueError:  # indented as no session is
                continue
            setup = ""
            for number, example in enumerate(examples):
                row = {"doctest_id": identity(function, number), "function_id": function, "split": source.split}
                rows.append(row | {"source": example.source, "expected": example.want, "setup": setup})
                setup += example.source
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["function_id"]), DOCTESTS)
