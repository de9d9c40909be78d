"""Run tests again and again from one warm process: each run is a fork, so that torch is imported once for all.

Started by winnow.pipeline.audit as a script, in a copy of the tree. Reads one run a line, as JSON, and answers in kind.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

TIMED_OUT = {-signal.SIGXCPU, -signal.SIGALRM}
MODULES = Path("winnow_audit_modules.json")
OUTPUT = Path("winnow_audit_output.txt")


def _child(arguments: list[str], seconds: int, first: bool) -> None:
    """Run pytest and end the process with its exit code. A run that does not end is ended by the kernel."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Processor time, so that a busy machine ends no run; the clock only ends one that sleeps for ever.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    signal.alarm(20 * seconds)
    # Bytecode is told apart by whole seconds and sizes: two faults within one second would run as the first of them.
    sys.dont_write_bytecode = not first
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = int(pytest.main(arguments))
    if first:
        installed = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
        files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
        MODULES.write_text(json.dumps([name for name, file in files.items() if file.startswith(installed)]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(arguments: list[str], seconds: int, first: bool) -> dict[str, Any]:
    """One run in a fork: its exit code or the negative of the signal that ended it, its output, its processor time."""
    start = time.monotonic()
    pid = os.fork()
    if not pid:
        _child(arguments, seconds, first)
    _, status, usage = os.wait4(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what the tests have started and left behind
    code = os.waitstatus_to_exitcode(status)
    return {
        "passed": code == 0,
        "timed_out": code in TIMED_OUT,
        "output": OUTPUT.read_text(errors="replace"),
        "seconds": usage.ru_utime + usage.ru_stime,
        "wall": time.monotonic() - start,
    }


def _warm() -> None:
    """Import what the first run imported from elsewhere; nothing of the tree, which the next fault may change."""
    for name in json.loads(MODULES.read_text()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # pytest collects garbage five times a run; unfrozen, each walks all of torch and copies its pages


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        command = json.loads(line)
        answer = _run(**command)
        if command["first"] and MODULES.is_file():
            _warm()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
