"""How real side-scan sonar looks, measured: range fall-off, speckle, and the darkness of shadow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize, special, stats

from winnow.errors import InputError
from winnow.workloads.side_scan import DARK, LOOKS, PIXEL, SIDE, Pings, class_of, despeckled, patch_corners, pixels_of


@dataclass(frozen=True)
class Calibration:
    """What is measured in real pings, in levels of 0 to 255."""

    fall: tuple[float, float]
    """Level of smooth bottom: a + b ln(range in metres)."""
    gain: float
    """Levels for a factor e of echo energy: the recorder compresses logarithmically."""
    looks: float
    """Shape of the gamma distribution that energy has under speckle."""
    across: float
    """Correlation of speckle between neighbouring pixels of a ping."""
    along: float
    """Correlation of speckle between neighbouring pings."""
    shadow: tuple[float, float]
    """Mean and standard deviation of levels in shadow."""


def calibrate(beams: dict[str, Pings]) -> Calibration:
    """Measure real pings: patches of smooth bottom, and patches of shadow.

    Where log-energy of gamma speckle with shape k is recorded with gain g, its variance is g^2 psi'(k) and its skewness
    psi''(k) / psi'(k)^1.5. Single samples are skewed and tell g; pixels are means of samples, and their variance
    then tells their own k. Of all patches the medians count. Raises InputError where the beams show no smooth bottom,
    no shadow, or speckle that is no logarithm of an energy.
    """
    levels, ranges, dark, moments = [], [], [], []
    for pings in beams.values():
        pixels = pixels_of(pings)
        calm, bottom = despeckled(pixels), pings.depth / PIXEL
        for block, first in patch_corners(pixels.shape):
            rows, columns = slice(block, block + SIDE), slice(first, first + SIDE)
            kind = class_of(calm[rows, columns], first, bottom[rows])
            if kind == "smooth":
                levels.append(pixels[rows, columns].mean())
                ranges.append((first + SIDE / 2) * PIXEL)
                samples = _rest(pings.samples[rows, first * LOOKS : (first + SIDE) * LOOKS].astype(float), 31)
                moments.append(
                    [samples.var(), stats.skew(samples, axis=None), *_speckle_moments(pixels[rows, columns])]
                )
            elif kind == "shadow":
                dark.append(pixels[rows, columns][calm[rows, columns] < DARK])
    if not levels or not dark:
        raise InputError("sonar: the pings show no smooth bottom or no shadow; there is nothing to calibrate by")
    slope, level = np.polyfit(np.log(ranges), levels, 1)
    variance, skewness, variance_of_pixels, across, along = np.median(moments, axis=0)
    gain, _ = speckle_of(variance, skewness)
    shadow = np.concatenate(dark)
    return Calibration(
        fall=(float(level), float(slope)),
        gain=gain,
        looks=_shape_of(lambda k: special.polygamma(1, k) * gain**2 - variance_of_pixels),
        across=float(across),
        along=float(along),
        shadow=(float(shadow.mean()), float(shadow.std())),
    )


def _rest(values: np.ndarray, window: int) -> np.ndarray:
    return values - ndimage.uniform_filter(values, window)


def _speckle_moments(pixels: np.ndarray) -> tuple[float, float, float]:
    """Variance, and correlations between neighbours across and along the track."""
    rest = _rest(pixels, 15)
    variance = rest.var()
    return variance, (rest[:, 1:] * rest[:, :-1]).mean() / variance, (rest[1:] * rest[:-1]).mean() / variance


def speckle_of(variance: float, skewness: float) -> tuple[float, float]:
    """Gain g and shape k of g ln(energy), energy gamma of shape k, with this variance and skewness."""
    shape = _shape_of(lambda k: skewness - special.polygamma(2, k) / special.polygamma(1, k) ** 1.5)
    return float(np.sqrt(variance / special.polygamma(1, shape))), shape


def _shape_of(off: Callable[[float], float]) -> float:
    """Where a function that falls with the shape of a gamma distribution is 0."""
    least, most = 0.05, 1e4
    if not off(least) > 0 > off(most):
        raise InputError("sonar: the speckle of the pings is no logarithm of an energy; they are not raw samples")
    return float(np.exp(optimize.brentq(lambda log_shape: off(float(np.exp(log_shape))), np.log(least), np.log(most))))
