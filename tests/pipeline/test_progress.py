"""Long work tells at most every few seconds how far it is, at which rate, and how long it still takes."""

import logging
from types import SimpleNamespace

import pytest

from winnow.pipeline import progress
from winnow.pipeline.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def told(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_line_comes_every_five_seconds_with_rate_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO)
    report = Progress(logging.getLogger("test"), "mlp")
    for step in range(1, 13):
        clock[0] += 1.0
        report(step, 20)
    assert told(caplog) == [
        "mlp: 5 of 20 steps, 1.0 a second, 15 s left",
        "mlp: 10 of 20 steps, 1.0 a second, 10 s left",
    ]


def test_what_was_done_before_a_resumption_does_not_count_in_the_rate(clock, caplog):
    caplog.set_level(logging.INFO)
    report = Progress(logging.getLogger("test"), "sae", "rows", every=2.0)
    for step in (901, 902, 903, 904):
        clock[0] += 0.5
        report(step, 1000)
    assert told(caplog) == ["sae: 904 of 1000 rows, 2.0 a second, 48 s left"]


def test_quick_work_says_nothing(clock, caplog):
    caplog.set_level(logging.INFO)
    report = Progress(logging.getLogger("test"), "mlp")
    clock[0] += 4.999
    report(1, 1)
    assert told(caplog) == []
