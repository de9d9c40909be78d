"""Runs of tests in forks of one warm process: each sees the tree as it is, and none outlives its time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from winnow.pipeline import warm_tests

PASSES = "from thing import VALUE\n\n\ndef test_value():\n    assert VALUE == 1\n"


@pytest.fixture
def ask(tmp_path):
    """A function that sends a run to a warm process in a tree with one test, and returns its answer."""
    (tmp_path / "thing.py").write_text("VALUE = 1\n")
    (tmp_path / "test_thing.py").write_text(PASSES)
    command = [sys.executable, str(Path(warm_tests.__file__))]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def asked(seconds=20, first=False):
            arguments = ["-q", "-p", "no:cacheprovider", "test_thing.py"]
            process.stdin.write(json.dumps({"arguments": arguments, "seconds": seconds, "first": first}) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield asked
        process.stdin.close()
        assert process.wait(timeout=20) == 0  # it ends with its input


def test_each_run_sees_the_tree_as_it_is(ask, tmp_path):
    first = ask(first=True)
    assert first["passed"] and not first["timed_out"] and "1 passed" in first["output"] and first["seconds"] > 0
    # Of equal size and within one second: bytecode of the first would be taken for that of the second.
    for value, passed in ((2, False), (1, True), (3, False)):
        (tmp_path / "thing.py").write_text(f"VALUE = {value}\n")
        told = ask()
        assert told["passed"] == passed and ("1 failed" in told["output"]) != passed
    (tmp_path / "thing.py").write_text("VALUE = (\n")
    assert not ask()["passed"]


def test_a_run_that_computes_for_ever_is_ended_and_told_from_one_that_fails(ask, tmp_path):
    (tmp_path / "test_thing.py").write_text("def test_ever():\n    while True:\n        pass\n")
    told = ask(seconds=1)
    assert told["timed_out"] and not told["passed"] and told["seconds"] < 7
    (tmp_path / "test_thing.py").write_text("import os\n\n\ndef test_crash():\n    os.abort()\n")
    crashed = ask()
    assert not crashed["timed_out"] and not crashed["passed"]
    (tmp_path / "test_thing.py").write_text(PASSES)
    assert ask()["passed"]


def test_what_a_run_left_behind_is_ended(ask, tmp_path):
    (tmp_path / "test_thing.py").write_text(
        "import pathlib, subprocess\n\n\ndef test_leaves():\n"
        "    child = subprocess.Popen(['sleep', '600'])\n    pathlib.Path('pid').write_text(str(child.pid))\n"
    )
    assert ask()["passed"]
    left = int((tmp_path / "pid").read_text())
    for _ in range(50):
        state = Path(f"/proc/{left}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("what the tests started goes on")
