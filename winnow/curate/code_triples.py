"""What the files of a workload say of one another: who defines, imports, calls, inherits from and raises whom.

Names are resolved by what a file itself defines and imports; what a name stands for otherwise is not known, and such a
call has no row.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from winnow.curate.code_tables import Definition, Source

TRIPLES = pa.schema(
    {"file_id": pa.int64(), "split": pa.string(), "head": pa.string(), "relation": pa.string(), "tail": pa.string()}
)
"""head: a module, class or function by its full name; relation: defines, imports, calls, inherits or raises; tail: the
full name of the other."""
BUILTINS = frozenset(dir(builtins))


class _Names(NamedTuple):
    """What names of a file stand for, and the names that each class of it defines."""

    module: str
    known: dict[str, str]
    members: dict[str, set[str]]

    def of(self, node: ast.AST, own: str | None) -> str | None:
        """The full name of an expression `a`, `a.b` or `self.a`; own: the class around it."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        parts.reverse()
        if node.id in ("self", "cls") and own is not None:
            return f"{own}.{parts[0]}" if len(parts) == 1 and parts[0] in self.members[own] else None
        if node.id in self.known:
            return ".".join([self.known[node.id], *parts])
        return ".".join(["builtins", node.id, *parts]) if node.id in BUILTINS else None


def module_of(path: str) -> str:
    """The dotted name of a module by its path from the package's folder on."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def triples_table(sources: Iterable[Source]) -> pa.Table:
    """A row of TRIPLES for all that each file says, each thing once, sorted."""
    rows = sorted({(s.file_id, s.split, *triple) for s in sources for triple in _triples(s)})
    columns = zip(*rows, strict=True) if rows else ([] for _ in TRIPLES.names)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, TRIPLES, strict=True)], TRIPLES)


def _triples(source: Source) -> Iterator[tuple[str, str, str]]:
    module, package = module_of(source.path), source.path.endswith("__init__.py")
    imported = dict(_imports(source.tree, module, package))
    yield from ((module, "imports", target) for target in _imported(source.tree, module, package))
    defined = {
        node.name: f"{module}.{node.name}" for node in source.tree.body if isinstance(node, Definition | ast.ClassDef)
    }
    names = _Names(module, imported | defined, {})
    yield from _inside(source.tree, module, None, names)


def _absolute(node: ast.ImportFrom, module: str, package: bool) -> str:
    """The module that names are imported from; a relative one counts from the file's own package."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + package]
    return ".".join([*base, *([node.module] if node.module else [])])


def _imports(tree: ast.Module, module: str, package: bool) -> Iterator[tuple[str, str]]:
    """(name, what it stands for) of all imports, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, f"{_absolute(node, module, package)}.{alias.name}"


def _imported(tree: ast.Module, module: str, package: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield _absolute(node, module, package)


def _inside(node: ast.AST, head: str, own: str | None, names: _Names) -> Iterator[tuple[str, str, str]]:
    """What is said within a module, class or function; what stands in a function inside it is said of that one."""
    if isinstance(node, ast.ClassDef):
        names.members[head] = {child.name for child in node.body if isinstance(child, Definition | ast.ClassDef)}
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition | ast.ClassDef):
            inner = f"{head}.{child.name}"
            yield head, "defines", inner
            if isinstance(child, ast.ClassDef):
                yield from _told(inner, "inherits", child.bases, own, names)
            yield from _inside(child, inner, inner if isinstance(child, ast.ClassDef) else own, names)
            continue
        if isinstance(child, ast.Call):
            yield from _told(head, "calls", [child.func], own, names)
        elif isinstance(child, ast.Raise) and child.exc is not None:
            raised = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            yield from _told(head, "raises", [raised], own, names)
        yield from _inside(child, head, own, names)


def _told(
    head: str, relation: str, nodes: Iterable[ast.AST], own: str | None, names: _Names
) -> Iterator[tuple[str, str, str]]:
    for node in nodes:
        if (tail := names.of(node, own)) is not None:
            yield head, relation, tail
