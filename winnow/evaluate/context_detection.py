"""How well the contexts in which a unit is strongest tell where else it is: an explanation that needs no reader.

It stands in for the scores that language models give each other's explanations: Bills et al., "Language models can
explain neurons in language models", OpenAI, 2023; detection as in Paulo et al., "Automatically Interpreting Millions of
Features in Large Language Models", ICML 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LENGTH = 8
"""Bytes of a context, the unit's own byte last."""
TOP = 10
"""Contexts that explain a unit."""
STRONG = 0.5
"""Share of its largest activation above which a unit counts as strong."""


def contexts_at(symbols: np.ndarray, places: np.ndarray, length: int = LENGTH) -> np.ndarray:
    """uint8[n, length]: the bytes up to and with each place int64[n]; zeros before the first."""
    padded = np.concatenate([np.zeros(length - 1, np.uint8), symbols])
    return padded[places[:, None] + np.arange(length)]


def detection(
    chosen: np.ndarray, chosen_contexts: np.ndarray, scored: np.ndarray, scored_contexts: np.ndarray
) -> NDArray[np.float64]:
    """float64[units]: area under the curve with which likeness of contexts foretells where a unit is strong.

    chosen, scored: activations float[n, units] on two sets of bytes, contexts uint8[n, length]. A byte of the second
    set is as like as the longest ending that its context shares with one of the `TOP` contexts in which the unit was
    strongest on the first. .5 is chance; NaN for a unit that never fires on the first set, or is nowhere or everywhere
    strong on the second.
    """
    tops = np.argsort(-chosen, axis=0, kind="stable")[:TOP]
    limits = STRONG * chosen.max(0)
    areas = np.full(chosen.shape[1], np.nan)
    for unit in np.flatnonzero(limits > 0):
        known = tops[:, unit][chosen[tops[:, unit], unit] > 0]
        alike = np.max([shared_endings(scored_contexts, chosen_contexts[place]) for place in known], axis=0)
        areas[unit] = _area(alike, scored[:, unit] > limits[unit], scored_contexts.shape[1])
    return areas


def shared_endings(contexts: np.ndarray, one: np.ndarray) -> NDArray[np.int64]:
    """int64[n]: how many last bytes each context uint8[n, length] shares with one."""
    same = (contexts == one)[:, ::-1]
    # The first place where they differ, counted from the end; all of them where they do not.
    return np.where(same.all(1), contexts.shape[1], same.argmin(1))


def _area(alike: np.ndarray, strong: np.ndarray, most: int) -> float:
    """The chance that a strong byte is more like than another one, ties counting half."""
    yes, no = (np.bincount(alike[which], minlength=most + 1) for which in (strong, ~strong))
    if not yes.sum() or not no.sum():
        return float("nan")
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (yes.sum() * no.sum()))


def readable(context: Sequence[int]) -> str:
    """A context as text: what is no UTF-8 as U+FFFD, the ends of lines as a sign."""
    return bytes(context).lstrip(b"\0").decode("utf-8", "replace").replace("\n", "\u21b5").replace("\0", "\u2400")
