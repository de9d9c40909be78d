"""Programs that are run beside us reach nothing, end in time, and never take their neighbours along."""

import math
import os

import pytest

from winnow.sandbox import Case, Limits, Outcome, check, run

QUICK = Limits(seconds=0.5)


def test_outcomes_stand_in_the_order_of_cases_and_one_bad_program_fails_alone():
    cases = [
        Case("def f(x):\n    return 2 * x", "f", [1, 2.5]),
        Case("def f(x):\n    while True:\n        pass", "f", [1]),
        Case("def f(x, y):\n    return x", "f", [1]),
        Case("import math\ndef f(x):\n    return math.nan if x else x.upper()", "f", [1]),
        Case("def f(x):\n    return 'a' * 10 ** 7", "f", [1]),
        Case("def f(x):\n    return [0] * 10 ** 10", "f", [1]),
        Case("def f(x):\n    return [x]", "f", [1]),
        Case("def g(x):\n    return x", "f", [1]),
        Case("def f(x):\n    return f(x)", "f", [1]),
        Case("import os\ndef f(x):\n    return 1.0", "f", [1]),
        Case("def f(s):\n    return s.upper() + str(len(s))", "f", ["ab", "ß"]),
    ]
    found = run(cases, QUICK)
    assert found[0] == Outcome("ok", [2.0, 5.0], "")
    assert [(o.status, o.reason) for o in found[1:3]] == [("limit", "TimeLimit"), ("error", "TypeError")]
    assert found[3].status == "ok" and math.isnan(found[3].values[0])
    assert [(o.status, o.reason) for o in found[4:10]] == [
        ("limit", "OutputTooLong"),
        ("limit", "MemoryError"),
        ("error", "TypeError: returned list"),
        ("error", "KeyError"),
        ("error", "RecursionError"),
        ("refused", "Refused: import of anything but math"),
    ]
    assert found[10].values == ["AB2", "SS1"]


def test_a_program_that_ends_its_process_is_found_and_its_neighbours_run_again():
    endless = "def f(x):\n    return 9 ** 9 ** 9"  # one operation, which no alarm interrupts
    good = Case("def f(x):\n    return x + 1", "f", [1])
    found = run([good, Case(endless, "f", [1]), good], Limits(seconds=0.3))
    assert [o.status for o in found] == ["ok", "limit", "ok"]


@pytest.mark.parametrize(
    "body",
    [
        "open('/etc/passwd')",
        "__import__('os')",
        "().__class__",
        "x.__globals__",
        "'{0.__class__}'.format(x)",
        "eval('1')",
        "exec('1')",
        "getattr(x, 'real')",
        "_hidden",
        "math.__loader__",
    ],
)
def test_what_could_reach_the_host_is_refused_or_not_there(body):
    (outcome,) = run([Case(f"import math\ndef f(x):\n    return {body}", "f", [1])], QUICK)
    assert outcome.status == "refused" or outcome.reason == "NameError"


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    pass",
        "async def f(x):\n    return 1",
        "def f(x):\n    global y",
        "def f(x):\n    try:\n        return 1\n    except:\n        return 2",
        "from math import sin",
        "import math as m",
        "@f\ndef f(x):\n    return 1",
        "def _f(x):\n    return 1",
        "def f(_x):\n    return 1",
        "def f(x):\n    return (",
        "f = 1\0",
        "1" * 100_001,
        "(" * 5000,
    ],
)
def test_what_is_not_of_the_language_is_refused_with_a_reason(source):
    assert check(source)


def test_the_guest_sees_no_environment(monkeypatch):
    monkeypatch.setenv("WINNOW_SECRET", "x")
    assert "WINNOW_SECRET" in os.environ
    (outcome,) = run([Case("def f(x):\n    return repr(__builtins__)", "f", [1])], QUICK)
    assert outcome.status == "refused"


def test_limits_below_nothing_are_an_error_and_no_case_needs_no_process():
    with pytest.raises(ValueError, match="every limit must be above 0"):
        run([], Limits(seconds=0))
    assert run([]) == []
