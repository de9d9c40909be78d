"""Mutation audit: plant faults in a method's file, one after another, and list those its tests do not catch.

    python -m winnow.pipeline.audit winnow/compress/global_magnitude.py [TESTS ...]

Cosmic Ray finds and plants the faults; a few operators of our own add what numerical code gets wrong: a
dropped term or statement, a reduction taken for its sibling. Faults are planted in copies of the tree.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib.util
import json
import math
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator, operator_names

from winnow.errors import InputError
from winnow.pipeline import warm_tests

LEAST_SHARE = 0.9
# Of Cosmic Ray's operators, those that plant a fault a person might make: `x << y` for `x * y` dies at once
# and says nothing about the tests.
CHOSEN = re.compile(
    r"core/(ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Div|Div_FloorDiv|Mod_FloorDiv|Pow_Mul)"
    r"|ReplaceBinaryOperator_(BitAnd_BitOr|BitOr_BitAnd)"
    r"|ReplaceComparisonOperator_(Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Lt_GtE|Gt_LtE|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_Delete_(USub|Not|Invert)"
    r"|AddNot|Replace(True|False|And|Or|Break|Continue)With\w+|NumberReplacer|ZeroIterationForLoop)"
)
# No shrinking of what fails, no memory of an earlier mutant, no deadline on a loaded machine.
PLUGIN = """
def pytest_sessionstart(session):
    from hypothesis import Phase, settings
    settings.register_profile("audit", parent=settings.default, deadline=None, database=None,
                              phases=[Phase.explicit, Phase.generate])
    settings.load_profile("audit")
"""


class OwnOperator(Operator):
    """A Cosmic Ray operator written as a rule: (node) -> the texts that may stand in its place."""

    @abstractmethod
    def replacements(self, node: Any) -> Iterable[str]:
        """The texts that may stand in the node's place."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        for _ in self.replacements(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        code = list(self.replacements(node))[index]
        # A name node carries any text; the prefix keeps indentation and blanks.
        return parso.python.tree.Name(code, node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return ()


class DropTerm(OwnOperator):
    """One operand of a sum, product or boolean combination is left out."""

    def replacements(self, node: Any) -> Iterable[str]:
        if node.type not in {"arith_expr", "term", "and_test", "or_test", "expr", "and_expr"}:
            return
        children = [child.get_code().strip() for child in node.children]
        for i in range(0, len(children), 2):
            kept = children[: max(i - 1, 0)] + children[i + 1 if i else 2 :]
            if i or children[1] not in {"-", "/", "//", "%"}:
                yield "(" + " ".join(kept) + ")"


class DropStatement(OwnOperator):
    """A statement that acts by its effect (a call, an augmented or an element assignment) is left out."""

    def replacements(self, node: Any) -> Iterable[str]:
        if node.parent is None or node.parent.type != "simple_stmt" or node.type not in {"expr_stmt", "atom_expr"}:
            return
        target = node.children[0]
        plain_assignment = (
            node.type == "expr_stmt" and target.type == "name" and node.children[1].type in {"operator", "annassign"}
        )
        if not plain_assignment:
            yield "pass"


class SwapName(OwnOperator):
    """A reduction, rounding or bound is taken for its sibling."""

    SIBLINGS = (
        ("max", "min"),
        ("amax", "amin"),
        ("maximum", "minimum"),
        ("argmax", "argmin"),
        ("sum", "mean"),
        ("any", "all"),
        ("floor", "ceil"),
        ("zeros", "ones"),
        ("zeros_like", "ones_like"),
        ("log", "log1p"),
        ("exp", "expm1"),
        ("train", "eval"),
    )
    OTHER = dict(SIBLINGS) | {b: a for a, b in SIBLINGS}

    def replacements(self, node: Any) -> Iterable[str]:
        following = node.get_next_leaf() if node.type == "name" else None
        if following is not None and following.value == "(" and node.value in self.OTHER:
            yield self.OTHER[node.value]


class AugmentedAssignment(OwnOperator):
    """`x += y` is taken for `x -= y`, `x *= y` for `x /= y`."""

    OTHER = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="}

    def replacements(self, node: Any) -> Iterable[str]:
        if node.type == "operator" and node.value in self.OTHER:
            yield self.OTHER[node.value]


class Mutant(NamedTuple):
    """One planted fault: where (first line that differs), and the file's text with it."""

    line: int
    code: str


def _operators() -> list[Operator]:
    chosen = [get_operator(name)() for name in operator_names() if CHOSEN.fullmatch(name)]
    return [*chosen, DropTerm(), DropStatement(), SwapName(), AugmentedAssignment()]


def _meaning(code: str) -> str | None:
    """What a file does, as a text: no docstring, no annotation, no strictness of zip, no way of passing arguments.

    None if it is no Python.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.arguments):
            # By name or by position: `*` in place of `/` only forbids calls that no test would make.
            node.args, node.posonlyargs, node.kwonlyargs = [*node.posonlyargs, *node.args, *node.kwonlyargs], [], []
            node.defaults, node.kw_defaults = [*node.defaults, *filter(None, node.kw_defaults)], []
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip":
            # An assertion of what cannot happen, which no test can make happen.
            node.keywords = []
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return ast.dump(tree)


def mutants(code: str) -> list[Mutant]:
    """All faults to plant in a file's text, by line; those that do not change what it does are left out."""
    tree, seen, found = get_ast(code), {_meaning(code), None}, []
    for operator in _operators():
        count = sum(1 for node in ast_nodes(tree) for _ in operator.mutation_positions(node))
        for occurrence in range(count):
            mutated = mutate_code(code, operator, occurrence)
            meaning = _meaning(mutated)
            if meaning not in seen:
                seen.add(meaning)
                pairs = zip(code.splitlines(), mutated.splitlines(), strict=False)
                line = next(number for number, (a, b) in enumerate(pairs, start=1) if a != b)
                found.append(Mutant(line, mutated))
    return sorted(found)


def mirror_of(path: Path) -> Path:
    """The tests that mirror a file of the library: winnow/compress/_x.py -> tests/compress/test_x.py.

    A package's own __init__.py is mirrored by the folder of its tests.
    """
    folder = Path("tests", *path.parts[1:-1])
    return folder if path.name == "__init__.py" else folder / f"test_{path.name.lstrip('_')}"


def _copy_tree(root: Path, copy: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
    (copy / "winnow_audit_settings.py").write_text(PLUGIN)


class Bench:
    """A copy of the tree with a warm process beside it that runs the tests there."""

    def __init__(self, root: Path, room: Path, path: Path, tests: list[Path]) -> None:
        copy = Path(tempfile.mkdtemp(dir=room))
        _copy_tree(root, copy)
        self.file = copy / path
        self.arguments = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
        self.arguments += ["-p", "winnow_audit_settings", "--hypothesis-seed=0", "--basetemp=winnow_audit_files"]
        self.arguments += map(str, tests)
        environment = {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        if "numba.njit" in self.file.read_text():
            # Compiling each fault would take far longer than running it, and hide an index out of range.
            environment["NUMBA_DISABLE_JIT"] = "1"
        # -P: the modules beside that script are no modules of the tests.
        self.process = subprocess.Popen(
            [sys.executable, "-P", warm_tests.__file__],
            cwd=copy, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, code: str | None = None, seconds: int = 1800, first: bool = False) -> dict[str, Any]:
        """Run the tests on a text of the file (None: as it is). Keys: passed, timed_out, output, seconds, wall."""
        assert self.process.stdin and self.process.stdout
        if code is not None:
            self.file.write_text(code)
            # The first run left bytecode, which whole seconds and sizes tell apart: not two texts within one second.
            Path(importlib.util.cache_from_source(str(self.file))).unlink(missing_ok=True)
        self.process.stdin.write(json.dumps({"arguments": self.arguments, "seconds": seconds, "first": first}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the process that runs the tests has ended")
        return dict(json.loads(answer))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def _show(path: Path, code: str, mutant: Mutant) -> None:
    print(f"\nnot caught: {path}:{mutant.line}")
    difference = difflib.unified_diff(code.splitlines(), mutant.code.splitlines(), lineterm="", n=0)
    print("\n".join(line for line in difference if not line.startswith(("---", "+++", "@@"))), flush=True)


def _check_tests(bench: Bench, path: Path, code: str) -> dict[str, Any]:
    """Refuse tests that cannot judge the file; warm the bench. Returns a warm run's answer."""
    for first in (True, False):
        answer = bench.run(first=first)
        if not answer["passed"]:
            raise InputError(
                f"{bench.arguments[-1]}: fails before any fault is planted; mend it first\n{answer['output']}"
            )
    if bench.run("raise ImportError('planted')\n")["passed"]:
        raise InputError(
            f"{bench.arguments[-1]}: passes although {path} cannot be imported; it does not test that file"
        )
    bench.file.write_text(code)
    return answer


def audit(path: Path, tests: list[Path], root: Path) -> float:
    """Plant every fault in a file, print those that survive its tests, and return the share that was caught.

    path, tests: relative to root, which must be a git work tree; it is only read. A fault that makes the tests
    take more than five times their processor time (and more than 10 s) counts as caught, and is counted apart.
    Raises InputError if a file is missing, the tests fail as they stand, or they do not import the file.
    """
    for needed in [path, *tests]:
        if not (root / needed).exists():
            raise InputError(f"{needed}: no such file; name a file of the library and, after it, its tests")
    code = (root / path).read_text()
    planted, survivors, endless = mutants(code), 0, 0
    processes = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="winnow-audit-")))
        benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        for _ in range(processes):
            bench = Bench(root, room, path, tests)
            stack.callback(bench.close)
            plain = _check_tests(bench, path, code)
            benches.put(bench)
        print(f"{path}: {len(planted)} faults, {plain['wall']:.1f} s a test run, {processes} at a time", flush=True)
        seconds = max(10, math.ceil(5 * plain["seconds"]))

        def judge(mutant: Mutant) -> dict[str, Any]:
            bench = benches.get()
            try:
                return bench.run(mutant.code, seconds)
            finally:
                benches.put(bench)

        pool = stack.enter_context(ThreadPoolExecutor(processes))
        # Where a person interrupts, only the runs under way are waited for.
        stack.callback(pool.shutdown, cancel_futures=True)
        runs, start = {pool.submit(judge, mutant): mutant for mutant in planted}, time.monotonic()
        for done, run in enumerate(as_completed(runs), start=1):
            endless += run.result()["timed_out"]
            if run.result()["passed"]:
                survivors += 1
                _show(path, code, runs[run])
            if done % 10 == 0:
                left = (time.monotonic() - start) / done * (len(planted) - done)
                print(f"{done}/{len(planted)} tried, {survivors} not caught, {left:.0f} s left", flush=True)
    caught = 1 - survivors / len(planted) if planted else 1.0
    print(
        f"\n{path}: {len(planted) - survivors} of {len(planted)} faults caught ({caught:.1%})"
        + (f", {endless} of them by not ending" if endless else "")
    )
    return caught


def main(arguments: list[str]) -> int:
    if not arguments:
        print("usage: python -m winnow.pipeline.audit FILE [TESTS ...]", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    tests = [Path(name) for name in arguments[1:]] or [mirror_of(path)]
    # An end by SIGTERM leaves like Ctrl-C, with the copies removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        caught = audit(path, tests, Path.cwd())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if caught >= LEAST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
