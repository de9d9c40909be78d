"""How well single features tell properties of tokens: best F1 of one, and the union of all precise ones.

Karvonen et al., "Measuring Progress in Dictionary Learning for Language Model Interpretability with Board Game
Models", NeurIPS 2024. Features and thresholds are chosen on one set and scored on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from winnow.errors import InputError

Pair = tuple[np.ndarray, np.ndarray]
"""Activations float[n, features] and properties bool[n, properties] of the same tokens."""
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Best(NamedTuple):
    """The feature that tells each property best, each field [properties]: found on one set, scored on another."""

    feature: np.ndarray
    limit: np.ndarray
    """Activation above which it fires."""
    f1: np.ndarray
    precision: np.ndarray


def best_features(chosen_on: Pair, scored_on: Pair, thresholds: Sequence[float] = THRESHOLDS) -> Best:
    """Of each property the feature and threshold with the best F1 on the first set, with scores on the second.

    thresholds: shares of a feature's largest activation on the first set, above which it fires.
    """
    count = chosen_on[1].shape[1]
    best, said = np.full(count, -1.0), np.zeros((len(scored_on[0]), count), bool)
    feature, at = np.zeros(count, np.int64), np.zeros(count)
    for limit in _limits(chosen_on, scored_on, thresholds):
        scores = _rates(chosen_on[0] > limit, chosen_on[1])[1]
        winner, value = scores.argmax(0), scores.max(0)
        better = value > best
        said = np.where(better, scored_on[0][:, winner] > limit[winner], said)
        feature, at = np.where(better, winner, feature), np.where(better, limit[winner], at)
        best = np.maximum(best, value)
    right = (said & scored_on[1]).sum(0)
    return Best(feature, at, _f1(said, scored_on[1]), right / np.maximum(said.sum(0), 1))


def coverage(chosen_on: Pair, scored_on: Pair, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """float64[properties]: the F1 of `best_features`."""
    return best_features(chosen_on, scored_on, thresholds).f1


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
