"""What a family makes of its numbers is what the tree that it names gives."""

import numpy as np
import pytest

from tests.evaluate.find_rows import TREES, X
from winnow.evaluate.find_families import FAMILIES, PARTS, pairs_of
from winnow.randomness import numpy_generator
from winnow.workloads import find_numeric


@pytest.mark.parametrize("name", FAMILIES)
def test_columns_times_numbers_are_the_values_of_the_tree(name):
    family, generator = FAMILIES[name], numpy_generator(0, "family", name)
    grid = family.grid(X, find_numeric.values(TREES[12], X))
    for theta in grid[generator.integers(0, len(grid), 4)]:
        columns = family.columns(theta[None], X)
        assert columns.shape[:2] == (1, 64)
        numbers = generator.normal(size=columns.shape[2])
        expected = find_numeric.values(family.tree(theta, numbers), X)
        np.testing.assert_allclose(columns[0] @ numbers, expected, rtol=1e-9, atol=1e-9)


def test_several_numbers_at_once_are_each_alone():
    for family in FAMILIES.values():
        grid = family.grid(X, find_numeric.values(TREES[12], X))[:3]
        together = family.columns(grid, X)
        for theta, columns in zip(grid, np.broadcast_to(together, (len(grid), *together.shape[1:])), strict=True):
            np.testing.assert_array_equal(family.columns(theta[None], X)[0], columns)


def test_every_family_of_the_library_but_ratios_and_cosines_is_known_and_places_of_jumps_are_between_inputs():
    named = {tree[0] for tree in TREES}
    assert named - {"polynomial"} <= set(FAMILIES) and set(PARTS) <= set(FAMILIES)
    assert {f"polynomial{order}" for order in (2, 3, 4, 5)} <= set(FAMILIES)
    y = find_numeric.values(["step", 3.0, 10.0, 4.0], X)
    middles = FAMILIES["step"].grid(X, y)[:, 0]
    np.testing.assert_allclose(middles, (np.sort(X)[1:] + np.sort(X)[:-1]) / 2)
    low, high = FAMILIES["rectangle"].grid(X, y).T
    assert (low < high).all() and len(low) == 16 * 15 / 2
    at = np.searchsorted(X, 10.0)
    assert (np.isclose(low, (X[at - 1] + X[at]) / 2) | np.isclose(high, (X[at - 1] + X[at]) / 2)).sum() == 15
    assert pairs_of(np.array([1.0, 2.0]), np.array([3.0, 4.0])).tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
