"""Encoders of tables beside scikit-learn's, and models on top of them."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from winnow.models.tables import TableEncoder, TableLinear, TableMLP, TargetScale

LEVELS = (0, 3, 0, 2)


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return np.column_stack(
        [generator.normal(5, 2, 40), generator.integers(0, 3, 40), np.full(40, 7.0), generator.integers(0, 2, 40)]
    )


def fitted(rows):
    encoder = TableEncoder(LEVELS)
    encoder.fit(torch.tensor(rows))
    return encoder


def test_numbers_are_standardised_and_categories_become_indicators_as_elsewhere(rows):
    found = fitted(rows)(torch.tensor(rows, dtype=torch.float32)).numpy()
    categories = OneHotEncoder(categories=[range(3), range(2)], sparse_output=False).fit_transform(rows[:, [1, 3]])
    numbers = StandardScaler().fit_transform(rows[:, [0, 2]])
    expected = np.column_stack([numbers[:, 0], categories[:, :3], numbers[:, 1], categories[:, 3:]])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_constant_column_keeps_its_unit_and_a_level_outside_is_none_of_them(rows):
    encoder = fitted(rows)
    assert encoder.deviation.tolist()[1:] == [1, 1, 1] and encoder.mean[1] == encoder.mean[3] == 0
    odd = torch.tensor([[5.0, 9.0, 8.0, 1.0]])
    assert encoder(odd)[0].tolist()[1:] == [0, 0, 0, 1, 0, 1]


def test_what_is_missing_reaches_every_part_of_its_column_and_no_other(rows):
    odd = torch.tensor(rows[:1], dtype=torch.float32)
    odd[0, 1] = float("nan")
    assert fitted(rows)(odd).isnan()[0].tolist() == [False, True, True, True, False, False, False]


def test_a_target_comes_back_in_its_unit_and_a_constant_one_is_only_shifted():
    scale, y = TargetScale(), torch.tensor([1.0, 5.0, 9.0])
    scale.fit(y)
    np.testing.assert_allclose(scale(torch.tensor([-1.0, 0.0, 2.0])), [5 - y.std(correction=0), 5, 5 + 6.531973], 1e-5)
    scale.fit(torch.full((3,), 4.0))
    assert scale(torch.tensor([0.0, 1.0])).tolist() == [4, 5]


def test_the_fit_of_a_model_is_that_of_its_parts_and_travels_with_it(rows):
    x, y = torch.tensor(rows), torch.arange(40.0)
    model = TableMLP(LEVELS, 1, regression=True, hidden=(5, 4), activation="tanh")
    model.fit_scaler(x, y)
    assert model.scale.mean == y.mean() and torch.equal(model.encoder.mean, fitted(rows).mean)
    again = TableMLP(LEVELS, 1, regression=True, hidden=(5, 4), activation="tanh")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x.float()), model(x.float())) and model(x.float()).shape == (40, 1)
    assert model.hook_points() == ["tanh1", "tanh2"]


def test_a_linear_model_is_linear_in_its_encoded_columns(rows):
    model = TableLinear(LEVELS, 3)
    encoded = model.encoder(torch.tensor(rows, dtype=torch.float32))
    torch.testing.assert_close(
        model(torch.tensor(rows, dtype=torch.float32)), encoded @ model.output.weight.T + model.output.bias
    )
    assert model.hook_points() == ["encoder"]


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="activation is 'gelu'; it can be relu or tanh"):
        TableMLP(LEVELS, 2, activation="gelu")
