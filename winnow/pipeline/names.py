"""How variants are named after their settings. Apart, so that no stage that names one depends on all settings."""

from __future__ import annotations


def percent(sparsity: float) -> str:
    """A sparsity as variants are named after it: 0.995 is "s99.5"."""
    return f"s{round(sparsity * 100, 6):g}"
