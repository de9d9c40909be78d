"""What each byte of a Python file is, told by the language's own tokenizer and parser."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
import warnings
from itertools import accumulate

import numpy as np

GRAMMAR = (
    "comment", "string", "name", "keyword", "number", "operator", "indentation", "newline", "in brackets",
    "deep in brackets", "def or class line", "import line", "decorator", "argument", "attribute", "called", "nested",
)  # fmt: skip
TREE = (
    "docstring", "annotation", "keyword argument", "assigned", "subscript", "loop line", "condition line",
    "return line",
)  # fmt: skip
"""Facts that the tokens alone do not show."""
PROPERTIES = GRAMMAR + TREE
_KINDS = {
    tokenize.COMMENT: "comment",
    tokenize.STRING: "string",
    tokenize.NUMBER: "number",
    tokenize.OP: "operator",
    tokenize.INDENT: "indentation",
}
NESTED = 3
"""Levels of indentation from which a line is nested."""


def byte_properties(text: str) -> np.ndarray | None:
    """bool[bytes, properties] of a file in UTF-8; None for one that does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return None
    lines = text.split("\n")
    starts = [0, *accumulate(len(line.encode()) + 1 for line in lines)]
    found = np.zeros((len(text.encode()), len(PROPERTIES)), bool)

    def mark(name: str, first: int, last: int) -> None:
        found[first:last, PROPERTIES.index(name)] = True

    def place(row: int, column: int) -> int:
        # tokenize counts characters, ast bytes.
        return starts[row - 1] + len(lines[row - 1][:column].encode()) if row <= len(lines) else len(found)

    depth = level = 0
    for token in tokens:
        first, last = place(*token.start), place(*token.end)
        level += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        if token.type in _KINDS:
            mark(_KINDS[token.type], first, last)
        elif token.type == tokenize.NAME:
            mark("keyword" if keyword.iskeyword(token.string) else "name", first, last)
        elif token.type in (tokenize.NEWLINE, tokenize.NL):
            mark("newline", first, first + 1)
        depth -= token.string in ")]}" if token.type == tokenize.OP else 0
        if depth > 0:
            mark("in brackets", first, last)
        if depth > 1:
            mark("deep in brackets", first, last)
        depth += token.string in "([{" if token.type == tokenize.OP else 0
        if level >= NESTED:
            mark("nested", first, last)
    _mark_nodes(tree, starts, mark)
    return found


def _mark_nodes(tree: ast.AST, starts: list[int], mark) -> None:  # type: ignore[no-untyped-def]
    def line(name: str, row: int) -> None:
        mark(name, starts[row - 1], starts[row] - 1)

    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            line("def or class line", node.lineno)
            for decorator in node.decorator_list:
                line("decorator", decorator.lineno)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            line("import line", node.lineno)
        elif isinstance(node, ast.arg):
            first = starts[node.lineno - 1] + node.col_offset
            mark("argument", first, first + len(node.arg.encode()))
        elif isinstance(node, ast.Attribute) and node.end_lineno is not None and node.end_col_offset is not None:
            last = starts[node.end_lineno - 1] + node.end_col_offset
            mark("attribute", last - len(node.attr.encode()), last)
        elif isinstance(node, ast.Call) and node.func.end_lineno is not None and node.func.end_col_offset is not None:
            last = starts[node.func.end_lineno - 1] + node.func.end_col_offset
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            mark("called", last - len(name.encode()), last)
    _mark_tree(tree, starts, mark)


_LINES = {
    ast.For: "loop line", ast.AsyncFor: "loop line", ast.While: "loop line", ast.If: "condition line",
    ast.Return: "return line",
}  # fmt: skip


def _mark_tree(tree: ast.AST, starts: list[int], mark) -> None:  # type: ignore[no-untyped-def]
    def whole(name: str, node: ast.AST | None) -> None:
        if node is not None:
            first, last = (
                starts[getattr(node, f"{side}lineno") - 1] + getattr(node, f"{side}col_offset") for side in ("", "end_")
            )
            mark(name, first, last)

    # Older parsers give places within formatted strings that are not those of the file.
    formatted = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in formatted:
            continue
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                whole("docstring", node.body[0])
            whole("annotation", getattr(node, "returns", None))
        elif isinstance(node, (ast.arg, ast.AnnAssign)):
            whole("annotation", node.annotation)
        elif isinstance(node, ast.keyword) and node.arg is not None:
            first = starts[node.lineno - 1] + node.col_offset
            mark("keyword argument", first, first + len(node.arg.encode()))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            whole("assigned", node)
        elif isinstance(node, ast.Subscript):
            whole("subscript", node.slice)
        elif type(node) in _LINES:
            row = node.lineno  # type: ignore[attr-defined]
            mark(_LINES[type(node)], starts[row - 1], starts[row] - 1)
