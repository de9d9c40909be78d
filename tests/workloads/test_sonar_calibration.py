"""What is measured in real pings is checked on pings that were made with known numbers."""

import numpy as np
import pytest
from scipy import special, stats

from winnow.errors import InputError
from winnow.workloads.side_scan import LOOKS, METRES_PER_SAMPLE, Pings
from winnow.workloads.sonar_calibration import calibrate, speckle_of


@pytest.mark.parametrize(("gain", "shape"), [(26.0, 1.0), (57.0, 12.0), (10.0, 90.0)])
def test_gain_and_shape_are_told_from_variance_and_skewness(gain, shape):
    variance = gain**2 * special.polygamma(1, shape)
    skewness = special.polygamma(2, shape) / special.polygamma(1, shape) ** 1.5
    assert speckle_of(variance, skewness) == pytest.approx((gain, shape), rel=1e-6)
    drawn = gain * np.log(np.random.default_rng(0).gamma(shape, 1 / shape, 400_000))
    assert drawn.var() == pytest.approx(variance, rel=0.02) and stats.skew(drawn) == pytest.approx(skewness, abs=0.03)


def test_speckle_that_is_no_logarithm_of_an_energy_is_named():
    with pytest.raises(InputError, match="no logarithm of an energy"):
        speckle_of(100.0, 0.3)


def recording(gain=25.0, looks=6.0):
    """Pings over smooth ground of known speckle, with a wide shadow on one side."""
    rng = np.random.default_rng(0)
    slant = np.maximum(METRES_PER_SAMPLE * np.arange(1400), 0.1)
    made = {}
    for name in ("port", "starboard"):
        level = 250 - 40 * np.log(slant) + gain * np.log(rng.gamma(looks, 1 / looks, (320, 1400)))
        if name == "starboard":
            level[:, 700:] = rng.normal(50, 6, (320, 700))
        made[name] = Pings(np.clip(np.rint(level), 0, 255).astype(np.uint8), np.full(320, 1.0), np.arange(320))
    return made


def test_calibration_finds_what_the_pings_were_made_with():
    found = calibrate(recording())
    assert found.gain == pytest.approx(25, rel=0.12)
    # Two samples a pixel: the variance halves, and the shape tells it.
    assert found.gain**2 * special.polygamma(1, found.looks) == pytest.approx(
        25**2 * special.polygamma(1, 6) / LOOKS, rel=0.12
    )
    assert found.fall[1] == pytest.approx(-40, abs=2)
    level = found.fall[0] + found.fall[1] * np.log(15)
    assert level == pytest.approx(250 - 40 * np.log(15) + 25 * (special.digamma(6) - np.log(6)), abs=2)
    assert abs(found.across) < 0.05 and abs(found.along) < 0.05
    assert found.shadow[0] == pytest.approx(50, abs=1) and found.shadow[1] == pytest.approx(6 / LOOKS**0.5, rel=0.1)


def test_pings_without_shadow_or_bottom_cannot_calibrate():
    with pytest.raises(InputError, match="no smooth bottom or no shadow"):
        calibrate({"port": recording()["port"]})
