"""Which frequency a direction of a network that adds modulo a number stands for.

Nanda et al., "Progress Measures for Grokking via Mechanistic Interpretability", ICLR 2023: such networks compute with
sines and cosines of few frequencies.
"""

from __future__ import annotations

import numpy as np

from winnow.errors import InputError


def single_frequencies(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequency int64[k] that tells most of the variance of each column, and its share float64[k].

    values: float64[p * p, k] over all pairs (a, b), by a and then by b. A frequency f has every function that is made
    of sines and cosines of f a and f b, and of their products. A column that never varies has frequency 0 and share 0.
    Raises InputError for rows that are no square.
    """
    modulus = round(len(values) ** 0.5)
    if modulus**2 != len(values) or modulus < 3:
        raise InputError(f"values: {len(values)} rows are not all pairs of numbers below a modulus of 3 or more")
    power = np.abs(np.fft.fft2(values.reshape(modulus, modulus, -1), axes=(0, 1))) ** 2
    power[0, 0] = 0
    shares = []
    for frequency in range(1, modulus // 2 + 1):
        both = sorted({0, frequency, modulus - frequency})
        shares.append(power[np.ix_(both, both)].sum((0, 1)))
    found, total = np.array(shares), power.sum((0, 1))
    varies = total > 1e-20 * max(1.0, float(total.max()))
    share = np.where(varies, found.max(0) / np.where(varies, total, 1), 0.0)
    return np.where(varies, found.argmax(0) + 1, 0), share
