"""Running short programs that a model or a search wrote: a restricted language first, a bounded process second.

What is guaranteed. The source may hold one module of plain functions, without imports but `math`, without names or
attributes that begin with an underscore, and with attributes of `math` and of texts and lists only (`check`). It runs
in a process of its own with an empty environment, an isolated Python without site packages, no right to write files
or to start processes, a cap on memory and on processor time, a cap on each call's time, and a cap on what it may
answer. Answers are compared in the caller, never in the guest. What is not guaranteed: the process shares the
caller's kernel, user and network name space, so the restricted language is the wall and the limits are the fence
behind it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

GUEST = Path(__file__).with_name("_sandbox_guest.py")
NODES = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign),
    *(ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Pass, ast.Expr, ast.Import, ast.alias, ast.Lambda),
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Call, ast.keyword, ast.Constant, ast.Name),
    *(ast.Attribute, ast.Subscript, ast.Slice, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Starred),
    *(ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp, ast.comprehension),
    *(ast.JoinedStr, ast.FormattedValue, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
METHODS = {name for kind in (str, list, dict) for name in dir(kind) if name[0] != "_"} - {"format", "format_map"}
WAIT = 10
"""Times the processor time that a process may use, after which it is ended on a machine that is too busy to run it."""
LONGEST = 100_000  # characters of source; a longer one is refused before it is parsed


@dataclass(frozen=True)
class Limits:
    """Seconds of processor time of each case, bytes of memory of the process, bytes of the answers of a case."""

    seconds: float = 1.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 65_536


class Case(NamedTuple):
    """A program, the function of it that is called, and the arguments of each call (JSON values)."""

    source: str
    entry: str
    inputs: Sequence[Any]


class Outcome(NamedTuple):
    """ok, refused (not in the language), error (raised), limit (time, memory, output) or crash; values of ok alone."""

    status: str
    values: list[Any]
    reason: str


def check(source: str) -> str:
    """Why a source is not of the restricted language; empty where it is."""
    if len(source) > LONGEST:
        return f"SourceTooLong: {len(source)} characters"
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    named = dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    for node in ast.walk(tree):
        if not isinstance(node, NODES):
            return f"Refused: {type(node).__name__}"
        if isinstance(node, ast.Import) and any(a.name != "math" or a.asname for a in node.names):
            return "Refused: import of anything but math"
        if isinstance(node, ast.Attribute) and not _plain_attribute(node):
            return f"Refused: attribute {node.attr}"
        if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name.startswith("_")):
            return f"Refused: function {node.name}"
        if isinstance(node, ast.arg) and node.arg.startswith("_"):
            return f"Refused: argument {node.arg}"
    hidden = [name for name in named if name.startswith("__") or (name.startswith("_") and name != "_")]
    return f"Refused: name {hidden[0]}" if hidden else ""


def _plain_attribute(node: ast.Attribute) -> bool:
    if isinstance(node.value, ast.Name) and node.value.id == "math":
        return not node.attr.startswith("_")
    return node.attr in METHODS


def run(cases: Sequence[Case], limits: Limits | None = None) -> list[Outcome]:
    """Outcome of each case. Cases share a process; where it dies, each half is tried again in one of its own."""
    limits = limits or Limits()
    if min(limits.seconds, limits.memory_bytes, limits.output_bytes) <= 0:
        raise ValueError(f"{limits}: every limit must be above 0")
    found = {i: Outcome("refused", [], why) for i, case in enumerate(cases) if (why := check(case.source))}
    sound = [i for i in range(len(cases)) if i not in found]
    found |= dict(zip(sound, _batch([cases[i] for i in sound], limits), strict=True))
    return [found[i] for i in range(len(cases))]


def _batch(cases: list[Case], limits: Limits) -> list[Outcome]:
    if not cases:
        return []
    answers = _guest(cases, limits)
    if answers is not None:
        return [Outcome(*answer) for answer in answers]
    if len(cases) == 1:
        return [Outcome("limit", [], "ProcessEnded: time or memory")]
    half = len(cases) // 2
    return _batch(cases[:half], limits) + _batch(cases[half:], limits)


def _guest(cases: list[Case], limits: Limits) -> list[Any] | None:
    """Answers of a process for all cases, or None where it was ended or answered out of shape."""
    longest = len(cases) * limits.seconds + 2
    task = {
        "cases": [[c.source, c.entry, list(c.inputs)] for c in cases],
        "limits": [limits.seconds, limits.memory_bytes, limits.output_bytes, int(longest) + 1],
    }
    command = [sys.executable, "-I", "-S", str(GUEST)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, env={}, cwd="/", start_new_session=True) as process:
        try:
            out, _ = process.communicate(json.dumps(task).encode(), timeout=WAIT * longest)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return None
    try:
        answers = json.loads(out)
    except ValueError:
        return None
    return answers if process.returncode == 0 and isinstance(answers, list) and len(answers) == len(cases) else None
