"""Rows that ask for a recourse, against the table that they come from."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.bank import bank
from winnow.errors import InputError
from winnow.evaluate.recourse_data import budget_name, recourse_data, rows_of


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    return bank(tmp_path_factory.mktemp("curated"))


def test_data_are_standardised_by_their_own_training_rows_and_split_anew_for_each_seed(workload):
    data, other = recourse_data(workload, "good", 0, ["town"]), recourse_data(workload, "good", 1)
    assert data.names == ["income", "debt", "town is Bonn", "town is Kiel"]
    assert len(data.x) == 96 and len(data.test) == 24 and data.immutable.tolist() == [False, False, True, True]
    assert np.allclose(data.x.mean(axis=0), 0, atol=1e-9) and np.allclose(data.x.std(axis=0), 1, atol=1e-9)
    assert set(data.test_ids) != set(other.test_ids) and not other.immutable.any()
    table = pa.concat_tables([workload.table(s) for s in ("train", "valid", "test")])
    income = dict(zip(table["row_id"].to_pylist(), table["income"].to_pylist(), strict=True))
    back = data.test[:, 0] * data.deviation[0] + data.mean[0]
    assert np.allclose(back, [income[i] for i in data.test_ids], atol=1e-4)
    bad = recourse_data(workload, "bad", 0)
    assert np.array_equal(bad.y, 1 - data.y) and len(recourse_data(workload, "good", 0, limit=50).x) == 40


def test_budgets_are_named_and_counted():
    assert [budget_name(b) for b in (0.005, 0.01, 0.05)] == ["b0.5", "b1", "b5"]
    assert [rows_of(b, 354) for b in (0.001, 0.01, 0.05)] == [1, 4, 18]


def test_what_the_table_does_not_have_is_named(workload):
    with pytest.raises(InputError, match="favourable is 'fine'; it must be one of bad, good"):
        recourse_data(workload, "fine", 0)
    with pytest.raises(InputError, match="immutable names 'age'; the columns are income, debt, town"):
        recourse_data(workload, "good", 0, ["age"])
