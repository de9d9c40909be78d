"""The process in which `winnow.sandbox` runs programs: reads one task as JSON, writes one answer for each case.

It is started alone and imports nothing of the project.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from typing import Any

BUILTINS = {
    kind.__name__: kind
    for kind in (
        *(abs, all, any, bool, chr, dict, divmod, enumerate, filter, float, int, isinstance, len, list, map, max),
        *(min, ord, pow, range, repr, reversed, round, set, sorted, str, sum, tuple, zip),
        *(ArithmeticError, OverflowError, ValueError, ZeroDivisionError),
    )
}


class Late(BaseException):
    """The time of a case is over; not an Exception, so that a program cannot catch it."""


def _late(*_: Any) -> None:
    raise Late


def answer(case: list[Any], seconds: float, output_bytes: int) -> list[Any]:
    """[status, values, reason] of one case."""
    source, entry, inputs = case
    # `import math` is the one import that the language has
    names: dict[str, Any] = {"__builtins__": BUILTINS | {"__import__": lambda name, *_: math}, "math": math}
    # Processor time, which a loaded machine does not use up; the language has nothing to wait for.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        exec(compile(source, "<program>", "exec"), names)
        values, size = [], 0
        for given in inputs:
            value = names[entry](given)
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                return ["error", [], f"TypeError: returned {type(value).__name__}"]
            size += len(value) if isinstance(value, str) else 24
            if size > output_bytes:
                return ["limit", [], "OutputTooLong"]
            values.append(float(value) if isinstance(value, int) else value)
        return ["ok", values, ""]
    except Late:
        return ["limit", [], "TimeLimit"]
    except MemoryError:
        return ["limit", [], "MemoryError"]
    except Exception as error:
        return ["error", [], type(error).__name__]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    task = json.load(sys.stdin)
    seconds, memory, output, total = task["limits"]
    for limit, value in {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: total,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 8,
        resource.RLIMIT_CORE: 0,
    }.items():
        resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGPROF, _late)
    sys.stdout.write(json.dumps([answer(case, seconds, output) for case in task["cases"]]))


if __name__ == "__main__":
    main()
