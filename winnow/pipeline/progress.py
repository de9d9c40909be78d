"""Progress of long work as log lines: how far, how fast, how long still."""

from __future__ import annotations

import logging
import time


class Progress:
    """Callable (step, total) that logs at most one line every few seconds, with rate and time left."""

    def __init__(self, log: logging.Logger, what: str, unit: str = "steps", every: float = 5.0) -> None:
        self.log, self.what, self.unit, self.every = log, what, unit, every
        self.started = self.last = time.monotonic()
        self.first: int | None = None

    def __call__(self, step: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = step - 1  # resumed work starts late, and its rate must not count what was done before
        if now - self.last >= self.every:
            self.last = now
            rate = (step - self.first) / (now - self.started)
            left = (total - step) / rate
            self.log.info("%s: %d of %d %s, %.1f a second, %.0f s left", self.what, step, total, self.unit, rate, left)
