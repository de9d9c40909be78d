"""Functions of source files: what they are asked to do, what they need, and the same with every statement explained.

Huang et al., "OpenCoder: The Open Cookbook for Top-Tier Code Large Language Models", ACL 2025: its algorithmic corpus
is picked by keywords among code that stands by itself, and its textbooks explain such code. There a language model
writes the explanations; here the syntax of each statement does.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

ALGORITHMIC = re.compile(
    r"(?i)sort|search|find|merge|split|count|group|unique|graph|tree|path|match|parse|hash|range|index|window|chunk"
    r"|distance|reverse|rotate|partition|combin|permut|product|interval|queue|stack|prefix|suffix|encode|decode|pair"
)
"""What belongs to algorithms, in the name of a function or the first sentence about it."""
BUILTINS = frozenset(dir(builtins))
LONGEST = 60


@dataclass(frozen=True)
class Function:
    """A function of a file: `prompt` (up to the end of its documentation) and `body` make up its text, dedented."""

    name: str
    arguments: tuple[str, ...]
    documentation: str
    prompt: str
    body: str
    imports: tuple[str, ...] | None
    """Lines that import what it needs of the standard library; None where it needs more of its file than that."""

    @property
    def text(self) -> str:
        return self.prompt + self.body


def functions_of(text: str) -> list[Function]:
    """The functions and methods of a file, in order: undecorated, of 2 to 60 lines; none where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings, mostly
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines = text.splitlines(keepends=True)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and not node.decorator_list]
    imported = _imported(tree)
    found = [_function(node, lines, imported) for node in sorted(nodes, key=lambda node: node.lineno)]
    return [function for function in found if function is not None]


def _imported(tree: ast.Module) -> dict[str, str]:
    """Name -> the line that imports it from the standard library, of those that a file imports at its top."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if "." not in alias.name and alias.name in sys.stdlib_module_names:
                    found[alias.asname or alias.name] = f"import {ast.unparse(alias)}"
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                if node.module.split(".")[0] in sys.stdlib_module_names - {"__future__"}:
                    found[alias.asname or alias.name] = f"from {node.module} import {ast.unparse(alias)}"
    return found


def _function(node: ast.FunctionDef, lines: list[str], imported: dict[str, str]) -> Function | None:
    documented = ast.get_docstring(node) is not None
    if len(node.body) == documented or not 2 <= (node.end_lineno or 0) - node.lineno + 1 <= LONGEST:
        return None
    start = node.lineno - 1
    first = (node.body[0].end_lineno or 0) if documented else node.body[0].lineno - 1
    if first <= start:  # the body stands on the line of the name
        return None
    whole = textwrap.dedent("".join(lines[start : node.end_lineno])).splitlines(keepends=True)
    arguments = tuple(argument.arg for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
    prompt, body = "".join(whole[: first - start]), "".join(whole[first - start :])
    body = body if body.endswith("\n") else body + "\n"
    needed = needs(node)
    imports = tuple(sorted({imported[name] for name in needed})) if needed <= imported.keys() else None
    return Function(node.name, arguments, ast.get_docstring(node) or "", prompt, body, imports)


def needs(node: ast.FunctionDef) -> set[str]:
    """The names that a function reads and that are no argument, not bound within it and not built into Python.

    Annotations do not count. One that imports, or binds names outside, needs what it binds there.
    """
    inside = list(_without_annotations(node))
    names = [inner for inner in inside if isinstance(inner, ast.Name)]
    bound = {name.id for name in names if not isinstance(name.ctx, ast.Load)} | {node.name}
    bound |= {inner.arg for inner in ast.walk(node) if isinstance(inner, ast.arg)}
    bound |= {inner.name for inner in inside if isinstance(inner, ast.FunctionDef | ast.ClassDef)}
    bound |= {inner.name for inner in inside if isinstance(inner, ast.ExceptHandler) and inner.name}
    outside = {name for inner in inside if isinstance(inner, ast.Global | ast.Nonlocal) for name in inner.names}
    asked = [inner for inner in inside if isinstance(inner, ast.Import | ast.ImportFrom)]
    outside |= {alias.name for inner in asked for alias in inner.names}
    return {name.id for name in names if isinstance(name.ctx, ast.Load)} - bound - BUILTINS | outside


def _without_annotations(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a function that are run, annotations left out, each without its children."""
    for field, value in ast.iter_fields(node):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST) and field not in ("annotation", "returns", "decorator_list"):
                yield from _without_annotations(part)
    yield node


def algorithmic(function: Function) -> bool:
    """Whether a function needs nothing of its file, has arguments, and its name or first sentence is of algorithms."""
    told = f"{function.name} {function.documentation.partition('.')[0]}"
    own = function.arguments[:1] in ((), ("self",), ("cls",))
    return function.imports is not None and not own and bool(ALGORITHMIC.search(told))


def explained(function: Function) -> str:
    """A page of a textbook: what a function is for, and its text with what each statement does above it."""
    node = ast.parse(function.text).body[0]
    assert isinstance(node, ast.FunctionDef)
    lines = function.text.splitlines(keepends=True)
    notes: dict[int, str] = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.stmt) and inner is not node and (note := _note(inner)):
            notes.setdefault(inner.lineno, f"{' ' * inner.col_offset}# {note}\n")
    code = "".join(notes.get(number, "") + line for number, line in enumerate(lines, 1))
    purpose = function.documentation.split("\n\n")[0].replace("\n", " ").strip()
    words = function.name.strip("_").replace("_", " ")
    head = [f"# {words[:1].upper()}{words[1:]}", *([f"# {purpose}"] if purpose else [])]
    return "\n".join([*head, *(function.imports or ()), code])


def _note(node: ast.stmt) -> str:
    """A sentence about a statement; empty for those that need none."""
    match node:
        case ast.For(target=target, iter=over):
            return f"Take each {_said(target)} of {_said(over)}."
        case ast.While(test=test):
            return f"Go on as long as {_said(test)}."
        case ast.If(test=test):
            return f"Only where {_said(test)}:"
        case ast.Return(value=None):
            return "Stop here."
        case ast.Return(value=ast.expr() as value):
            return f"The answer is {_said(value)}."
        case ast.Assign(targets=[target], value=value):
            return f"Let {_said(target)} be {_said(value)}."
        case ast.AugAssign(target=target, op=ast.Add(), value=value):
            return f"Add {_said(value)} to {_said(target)}."
        case ast.Raise(exc=ast.expr() as error):
            return f"Refuse with {_said(error)}."
        case ast.Expr(value=ast.Yield(value=ast.expr() as value)):
            return f"Hand out {_said(value)}."
    return ""


def _said(node: ast.AST) -> str:
    """An expression in words where it is simple, cut where it is long."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARED:
            return f"{_said(left)} {COMPARED[type(op)]} {_said(right)}"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"not {_said(operand)}"
        case ast.Call(func=ast.Name(id="len"), args=[counted]):
            return f"the number of {_said(counted)}"
    text = ast.unparse(node).split("\n")[0]
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ..."


COMPARED: dict[type[ast.cmpop], str] = {
    ast.Eq: "is",
    ast.NotEq: "is not",
    ast.Lt: "is below",
    ast.LtE: "is at most",
    ast.Gt: "is above",
    ast.GtE: "is at least",
    ast.In: "is in",
    ast.NotIn: "is not in",
}
