"""Digests of what a stage's result depends on in this repository's code.

Snakemake follows a script's mtime and sees no imports. A digest of the script, of what its rule feeds it and of every
module it imports from this repository, taken over syntax trees, changes when meaning can change and only then.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from winnow.architectures import ARCHITECTURES
from winnow.errors import InputError

# These run around a stage's function and cannot change the bytes it writes; editing them reruns nothing. What the
# list of architectures says of a name counts where code gives that name.
BOOKKEEPING = frozenset(
    f"winnow.{name}"
    for name in (
        "architectures",
        *(f"pipeline.{name}" for name in ("closure", "provenance", "output_cache", "hashing", "workflow", "runner")),
    )
)
DIRECTIVES_THAT_MATTER = frozenset({"input", "params", "script"})


def code_digest(script: Path, root: Path) -> str:
    """Digest of a script and of every module of this repository that it imports, however deep.

    script: the stage script; root: the repository. Comments, docstrings, formatting and mtimes do not count; a package
    that is only passed through on the way to a module counts with its module-level imports, as Python would run it.
    Raises InputError for a script that is absent or does not parse.
    """
    return _digest_of_closure(_closure(script, root, _memory(root)), root, _rule_text(script))


def architecture_digest(name: str, root: Path) -> str:
    """Digest of where the registry says that an architecture is defined, of that module and of all it imports."""
    place = ARCHITECTURES[name]
    module = place.rpartition(".")[0]
    file = _module_file(module, root)
    if file is None:
        raise InputError(f"winnow/architectures.py: {name} is defined in {module}, which is no module; correct it")
    return _digest_of_closure(_closure(file, root, _memory(root), module), root, place)


def reads_models(script: Path, root: Path) -> bool:
    """Whether a script, or code that it imports, can build or load models of the registry."""
    return "winnow.models" in _closure(script, root, _memory(root))


def architectures_of(script: Path, root: Path) -> set[str]:
    """The architectures that a script and the code it imports name as such."""
    memory = _memory(root)
    files = _closure(script, root, memory).items()
    named = {name for module, path in files for name in _imports(path, module, True, memory)}
    return {name for name, place in ARCHITECTURES.items() if place in named}


def _digest_of_closure(files: dict[str, Path], root: Path, more: str) -> str:
    memory = _memory(root)
    digest = blake2b(digest_size=16)
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{_tree_digest(path, memory)}\0".encode())
    digest.update(more.encode())
    memory.save()
    return digest.hexdigest()


class Memory:
    """What was found out about files, by their content: parsing hundreds of them anew takes seconds each time."""

    def __init__(self, path: Path) -> None:
        self.path, self.changed = path, False
        # What this file finds out differs with its own code, the list of architectures and Python's grammar.
        self.maker = Path(__file__).read_bytes() + json.dumps(ARCHITECTURES).encode() + sys.version.encode()
        try:
            self.known: dict[str, Any] = dict(json.loads(path.read_text()))
        except (OSError, ValueError):
            self.known = {}

    def recall(self, path: Path, what: str, find: Callable[[], Any]) -> Any:
        """What is known under this name about a file's content, found out if need be."""
        if not path.is_file():
            raise InputError(f"{path}: no such script; correct the rule that names it")
        key = blake2b(b"\0".join([self.maker, what.encode(), path.read_bytes()]), digest_size=16).hexdigest()
        if key not in self.known:
            self.known[key], self.changed = find(), True
        return self.known[key]

    def save(self) -> None:
        """Write what was learnt, whole or not at all, where Snakemake keeps its own state."""
        if self.changed and self.path.parents[1].is_dir():
            self.path.parent.mkdir(exist_ok=True)
            temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(self.known))
            temporary.replace(self.path)
            self.changed = False


@cache
def _memory(root: Path) -> Memory:
    return Memory(root / ".snakemake/winnow/code.json")


@cache
def _closure(script: Path, root: Path, memory: Memory, module: str = "") -> dict[str, Path]:
    """Module name -> file, for a file itself (a script has no name) and all it imports from the repository."""
    found: dict[str, Path] = {module: script}
    explicit: set[str] = set()
    queue = [(script, module, True)]
    while queue:
        path, module, whole = queue.pop()
        for name in _imports(path, module, whole, memory):
            for target, named in _modules(name, root):
                if target in BOOKKEEPING or (target in explicit) or (target in found and not named):
                    continue
                file = _module_file(target, root)
                if file is not None:
                    found[target] = file
                    if named:
                        explicit.add(target)
                    queue.append((file, target, named))
    return found


@cache
def _modules(name: str, root: Path) -> tuple[tuple[str, bool], ...]:
    """The module that `name` means and the packages passed on the way; True marks what is really named.

    `from winnow.compress import snip` asks for winnow.compress.snip: when that is a module, winnow.compress is passed
    through; when it is a function, winnow.compress itself is what is named.
    """
    parts = name.split(".")
    while parts and _module_file(".".join(parts), root) is None:
        parts.pop()
    return tuple((".".join(parts[:length]), length == len(parts)) for length in range(1, len(parts) + 1))


@cache
def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


@cache
def _imports(path: Path, module: str, whole: bool, memory: Memory) -> tuple[str, ...]:
    """Dotted names a file imports, places of architectures it names among them.

    All of them, or (whole=False) those that count when the file is itself imported.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: list[str] = memory.recall(path, f"imports {package} {whole}", lambda: _names(path, package, whole))
    return tuple(found)


def _names(path: Path, package: str, whole: bool) -> list[str]:
    nodes = ast.walk(_tree(path)) if whole else _module_level(_tree(path))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update({ARCHITECTURES[node.value]} if node.value in ARCHITECTURES else ())
    return sorted(names)


def _module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes outside function bodies and `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not checking:
            yield node
            yield from _module_level(node)


@cache
def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno}: does not parse ({error.msg}); correct it") from error


class _WithoutText(ast.NodeTransformer):
    """Drops constants that stand alone: docstrings, also those below an attribute."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


@cache
def _tree_digest(path: Path, memory: Memory) -> str:
    return str(memory.recall(path, "digest", lambda: _digest_of_tree(path)))


def _digest_of_tree(path: Path) -> str:
    tree = _WithoutText().visit(ast.parse(ast.unparse(_tree(path))))  # a copy: the cached tree keeps its docstrings
    return blake2b(ast.dump(tree, annotate_fields=False).encode(), digest_size=16).hexdigest()


@cache
def _rule_text(script: Path) -> str:
    """What the rules of the neighbouring .smk files feed to a script, without comments, layout and quoting style."""
    texts = [text for text in _rules(script.parent) if f'"{script.name}"' in text]
    return "\n".join(sorted(_normalised(text) for text in texts))


@cache
def _rules(folder: Path) -> tuple[str, ...]:
    """The text of each rule of the .smk files of a folder."""
    files = [file.read_text(encoding="utf-8") for file in folder.glob("*.smk")]
    return tuple(text for file in files for text in re.split(r"(?m)^(?=rule |checkpoint |use rule )", file))


def _normalised(rule: str) -> str:
    directives = re.split(r"(?m)^    (?=\w+:)", rule)[1:]
    kept = (d for d in directives if d.split(":", 1)[0] in DIRECTIVES_THAT_MATTER)
    return ";".join(" ".join(_tokens(text)) for text in kept)


def _tokens(text: str) -> Iterator[str]:
    layout = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    words = [
        repr(ast.literal_eval(token.string)) if token.type == tokenize.STRING else token.string
        for token in tokenize.generate_tokens(io.StringIO(text.replace("\n    ", "\n")).readline)
        if token.type not in layout
    ]
    for word, following in zip(words, [*words[1:], ")"], strict=True):
        if word != "," or following not in (")", "]", "}"):  # a formatter's trailing comma means nothing
            yield word
