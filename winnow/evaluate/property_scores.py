"""How well single features tell properties of tokens: best F1 of one, and the union of all precise ones.

Karvonen et al., "Measuring Progress in Dictionary Learning for Language Model Interpretability with Board Game
Models", NeurIPS 2024. Features and thresholds are chosen on one set and scored on another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from winnow.errors import InputError

Pair = tuple[np.ndarray, np.ndarray]
"""Activations float[n, features] and properties bool[n, properties] of the same tokens."""
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def coverage(chosen_on: Pair, scored_on: Pair, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """float64[properties]: F1, on the second set, of the feature and threshold with the best F1 on the first.

    thresholds: shares of a feature's largest activation on the first set, above which it fires.
    """
    limits = _limits(chosen_on, scored_on, thresholds)
    best, said = np.full(chosen_on[1].shape[1], -1.0), np.zeros((len(scored_on[0]), chosen_on[1].shape[1]), bool)
    for limit in limits:
        scores = _rates(chosen_on[0] > limit, chosen_on[1])[1]
        winner = scores.argmax(0)
        value = scores.max(0)
        fires = scored_on[0][:, winner] > limit[winner]
        said = np.where(value > best, fires, said)
        best = np.maximum(best, value)
    return _f1(said, scored_on[1])


def reconstruction(
    chosen_on: Pair, scored_on: Pair, precision: float = 0.95, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
    """float64[properties]: F1, on the second set, of the union of all that is precise enough on the first."""
    said = np.zeros(scored_on[1].shape, bool)
    for limit in _limits(chosen_on, scored_on, thresholds):
        precise = _rates(chosen_on[0] > limit, chosen_on[1])[0] >= precision
        # How many of a property's precise features fire; counts are small, float32 holds them.
        said |= (scored_on[0] > limit).astype(np.float32) @ precise.astype(np.float32) > 0.5
    return _f1(said, scored_on[1])


def _limits(chosen_on: Pair, scored_on: Pair, thresholds: Sequence[float]) -> NDArray[np.float64]:
    for activations, properties in (chosen_on, scored_on):
        if len(activations) != len(properties):
            raise InputError(f"properties: of {len(properties)} tokens, activations of {len(activations)}; give equals")
    return np.array(thresholds)[:, None] * np.maximum(chosen_on[0].max(0), 0)


def _rates(fires: np.ndarray, properties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and F1, float64[features, properties]; 0 for a feature that never fires."""
    right = (fires.T.astype(np.float32) @ properties.astype(np.float32)).astype(float)
    fired, there = fires.sum(0)[:, None], properties.sum(0)[None]
    return right / np.maximum(fired, 1), 2 * right / np.maximum(fired + there, 1)


def _f1(said: np.ndarray, properties: np.ndarray) -> NDArray[np.float64]:
    right = (said & properties).sum(0)
    found: NDArray[np.float64] = 2 * right / np.maximum(said.sum(0) + properties.sum(0), 1)
    return found
