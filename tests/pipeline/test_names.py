"""Variants are named after their sparsity in percent, without digits that rounding makes."""

import pytest

from winnow.pipeline.names import percent


@pytest.mark.parametrize(
    ("sparsity", "name"),
    [
        (0.995, "s99.5"),
        (0.9, "s90"),
        (0.29, "s29"),
        (0, "s0"),
        (1 - 0.2, "s80"),
        (1 / 3, "s33.3333"),
        (0.9999, "s99.99"),
    ],
)
def test_a_sparsity_is_named_in_percent(sparsity, name):
    assert percent(sparsity) == name
