import numpy as np
import pytest

from winnow.errors import InputError
from winnow.evaluate.fourier_labels import single_frequencies

P = 7
A, B = (grid.ravel() for grid in np.meshgrid(np.arange(P), np.arange(P), indexing="ij"))


def wave(frequency, what):
    return np.cos(2 * np.pi * frequency * what / P + 0.3)


def by_least_squares(values, frequency):
    """Share of the variance that sines and cosines of one frequency and their products tell."""
    a, b = 2 * np.pi * frequency * A / P, 2 * np.pi * frequency * B / P
    single = [np.cos(a), np.sin(a), np.cos(b), np.sin(b)]
    basis = np.stack([np.ones(len(A)), *single, *(x * y for x in single[:2] for y in single[2:])], 1)
    rest = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    return 1 - rest.var() / values.var()


@pytest.mark.parametrize("what", [A, B, A + B, A - B])
@pytest.mark.parametrize("frequency", [1, 3])
def test_a_wave_is_of_one_frequency(what, frequency):
    found, share = single_frequencies(wave(frequency, what)[:, None] + 5)
    assert found.tolist() == [frequency] and share == pytest.approx(1)


def test_shares_are_those_of_least_squares():
    values = np.random.default_rng(0).normal(size=(P * P, 6))
    values[:, 0] += 3 * wave(2, A)
    found, share = single_frequencies(values)
    for column in range(6):
        expected = [by_least_squares(values[:, column], f) for f in (1, 2, 3)]
        assert share[column] == pytest.approx(max(expected)) and found[column] == 1 + int(np.argmax(expected))
    assert found[0] == 2


def test_two_frequencies_share_by_their_power():
    found, share = single_frequencies((wave(1, A) + 2 * wave(2, A + B))[:, None])
    assert found.tolist() == [2] and share == pytest.approx(0.8)


def test_an_even_modulus_has_a_frequency_of_half_of_it():
    a = np.repeat(np.arange(4), 4)
    found, share = single_frequencies(((-1.0) ** a)[:, None])
    assert found.tolist() == [2] and share == pytest.approx(1)


def test_what_never_varies_has_none():
    found, share = single_frequencies(np.stack([np.full(P * P, 3.0), wave(1, A)], 1))
    assert found.tolist() == [0, 1] and share.tolist() == [0, pytest.approx(1)]


@pytest.mark.parametrize("rows", [48, 4, 1])
def test_rows_that_are_no_pairs_are_refused(rows):
    with pytest.raises(InputError, match=f"{rows} rows are not all pairs"):
        single_frequencies(np.zeros((rows, 1)))
