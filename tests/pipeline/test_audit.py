"""The mutation audit finds the faults that a weak test lets pass, and leaves the tree alone."""

import importlib.util
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="the audit belongs to the test extras")

from winnow.errors import InputError
from winnow.pipeline.audit import Bench, audit, main, mirror_of, mutants

METHOD = '''"""A toy method."""


def clipped_sum(values: list[float] | None, limit: float = 2.0) -> float:
    """Sum of the values, at most limit."""
    total = 0.0
    for value in values or []:
        total += value
    return min(total, limit)
'''
STRONG = """
from toy.method import clipped_sum

def test_sum_is_clipped():
    assert clipped_sum([0.5, 0.25]) == 0.75
    assert clipped_sum([1.5, 3.0]) == 2.0
    assert clipped_sum(None) == 0.0
    assert clipped_sum([-4.0, 1.0]) == -3.0
"""
WEAK = """
from toy.method import clipped_sum

def test_sum_is_a_number():
    assert clipped_sum([1.5, 3.0]) > 0
"""


@pytest.fixture
def tree(tmp_path):
    def make(tests):
        for name, text in {
            "toy/__init__.py": "",
            "toy/method.py": METHOD,
            "tests/test_method.py": tests,
        }.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
        return tmp_path

    return make


@pytest.fixture
def bench(tree, tmp_path_factory):
    made = []

    def make(tests):
        paths = Path("toy/method.py"), [Path("tests/test_method.py")]
        made.append(Bench(tree(tests), tmp_path_factory.mktemp("room"), *paths))
        assert made[0].run(first=True)["passed"]
        return made[0]

    yield make
    made[0].close()


def ended(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() == ""
    except (FileNotFoundError, ProcessLookupError):
        return True


def mutated(code):
    return {mutant.code.strip() for mutant in mutants(code)}


@pytest.mark.parametrize(
    "code, fault",
    [
        ("y = a + b * c", "y = (a)"),
        ("y = a + b * c", "y = (b * c)"),
        ("y = a + b * c", "y = a - b * c"),
        ("y = a + b * c", "y = a + (b)"),
        ("y = a / b", "y = (a)"),
        ("y = x.sum(dim=1)", "y = x.mean(dim=1)"),
        ("y = x.sum(dim=1)", "y = x.sum(dim= 0)"),
        ("y = sort(x, stable=True)", "y = sort(x, stable=False)"),
        ("y = -x", "y = x"),
        ("y += x", "y -= x"),
        ("y = a[:k] if k < n else a", "y = a[:k] if k <= n else a"),
        ("def f(rate=0.5):\n    return rate", "def f(rate= 1.5):\n    return rate"),
    ],
)
def test_faults_of_numerical_code_are_planted(code, fault):
    assert fault in mutated(code)


def test_a_dropped_call_and_a_dropped_element_assignment_are_planted():
    code = "def f(x):\n    x.clamp_(0)\n    x[0] = 1\n    y = x\n    return y"
    found = mutated(code)
    assert code.replace("x.clamp_(0)", "pass") in found
    assert code.replace("x[0] = 1", "pass") in found
    assert code.replace("y = x", "pass") not in found


def test_annotations_docstrings_and_what_zip_asserts_carry_no_fault():
    assert not any("False" in code for code in mutated("for a, b in zip(x, y, strict=True):\n    pass\n"))
    code = '"""Adds 1 + 1."""\n\nx: int | None\n\n\ndef f(a: A | B) -> int | None:\n    """1 + 1."""\n'
    assert mutants(code) == []


def test_a_way_of_passing_arguments_carries_no_fault_but_defaults_do():
    code = "def f(a, *, b={}, c):\n    return a, b, c"
    assert {fault.split(":")[0] for fault in mutated(code.format(2))} == {
        "def f(a, *, b= 1, c)",
        "def f(a, *, b= 3, c)",
    }


def test_no_fault_is_planted_twice_and_lines_are_right():
    found = mutants(METHOD)
    assert len({mutant.code for mutant in found}) == len(found)
    for mutant in found:
        before, after = METHOD.splitlines()[mutant.line - 1], mutant.code.splitlines()[mutant.line - 1]
        assert before != after


def test_tests_mirror_the_tree():
    assert mirror_of(Path("winnow/compress/x.py")) == Path("tests/compress/test_x.py")
    assert mirror_of(Path("winnow/compress/_x.py")) == Path("tests/compress/test_x.py")
    assert mirror_of(Path("winnow/statistics.py")) == Path("tests/test_statistics.py")
    assert mirror_of(Path("winnow/compress/__init__.py")) == Path("tests/compress")


@pytest.mark.slow
def test_strong_tests_catch_every_fault_and_the_tree_is_untouched(tree, monkeypatch, capfd):
    root = tree(STRONG)
    monkeypatch.chdir(root)
    assert main(["toy/method.py"]) == 0
    assert "faults caught (100.0%)" in capfd.readouterr().out
    assert (root / "toy/method.py").read_text() == METHOD
    assert sorted(p.name for p in root.iterdir()) == [".git", "tests", "toy"]


def test_of_two_faults_of_one_size_planted_at_once_each_is_run(bench):
    tried = bench(STRONG)
    bytecode = Path(importlib.util.cache_from_source(str(tried.file)))
    assert bytecode.is_file()  # of the first run
    for _ in range(3):
        # As many bytes, within one second: bytecode on disk could not tell the two apart.
        assert not tried.run(METHOD.replace("+= value", "-= value"))["passed"]
        assert tried.run(METHOD)["passed"] and not bytecode.exists()


def test_a_fault_by_which_the_tests_do_not_end_is_told_from_one_that_fails(bench):
    tried = bench(STRONG)
    endless = tried.run(METHOD.replace("for value in values or []:", "while True:\n        value = 0.0"), seconds=1)
    assert not endless["passed"] and endless["timed_out"]
    failing = tried.run(METHOD.replace("+= value", "-= value"), seconds=1)
    assert not failing["passed"] and not failing["timed_out"]


def test_waiting_is_not_taken_for_not_ending(bench):
    # So it is with a run that a busy machine keeps waiting.
    answer = bench("import time\n\ndef test_waits():\n    time.sleep(1.2)\n").run(seconds=1)
    assert answer["passed"] and answer["wall"] > 1.2


def test_faults_do_not_meet_and_what_tests_leave_behind_is_ended(bench, tmp_path):
    leaves = f"""
import os, subprocess, sys, toy.method

def test_leaves_a_process():
    assert "planted" not in os.environ
    os.environ["planted"] = "1"
    with open({str(tmp_path / "pid")!r}, "w") as file:
        file.write(str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid))
"""
    tried = bench(leaves)
    assert tried.run()["passed"]
    left = int((tmp_path / "pid").read_text())
    for _ in range(100):  # a killed process takes a moment to go
        if ended(left):
            break
        time.sleep(0.1)
    assert ended(left)


def test_compiled_loops_are_run_uncompiled(tree, tmp_path_factory):
    # No numba is needed to say so: the text of the file decides.
    root = tree("import os, toy.method\n\ndef test_is_told():\n    assert os.environ['NUMBA_DISABLE_JIT'] == '1'\n")
    (root / "toy/method.py").write_text(METHOD + "\n\n# numba.njit\n")
    told = Bench(root, tmp_path_factory.mktemp("room"), Path("toy/method.py"), [Path("tests/test_method.py")])
    assert told.run()["passed"]
    told.close()


@pytest.mark.slow
def test_weak_tests_are_told_what_they_miss(tree, monkeypatch, capfd):
    monkeypatch.chdir(tree(WEAK))
    assert main(["toy/method.py"]) == 1
    out = capfd.readouterr().out
    assert "not caught: toy/method.py:9\n-    return min(total, limit)\n+    return max(total, limit)\n" in out


@pytest.mark.parametrize(
    "tests, message",
    [
        ("def test_fails():\n    assert False\n", "fails before any fault is planted"),
        ("def test_something_else():\n    assert True\n", "does not test that file"),
    ],
)
def test_tests_that_cannot_judge_are_refused(tree, tests, message):
    with pytest.raises(InputError, match=message):
        audit(Path("toy/method.py"), [Path("tests/test_method.py")], tree(tests))


def test_a_missing_file_is_named(tree, monkeypatch, capsys):
    monkeypatch.chdir(tree(STRONG))
    assert main(["toy/methot.py"]) == 2
    assert capsys.readouterr().err.startswith("toy/methot.py: no such file")
