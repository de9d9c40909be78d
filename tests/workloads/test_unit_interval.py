"""Inputs from 0 to 1 against scikit-learn's scaler, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from winnow.curate.tables import curate_table
from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.workloads import load_workload
from winnow.workloads.table_columns import raw_table
from winnow.workloads.unit_interval import as_images, shown_by, unit_inputs


def table(folder, task="classification"):
    generator = np.random.default_rng(0)
    columns = {
        "age": generator.normal(50, 10, 80).tolist(),
        "town": generator.choice(["Bonn", "Kiel", "Ulm"], 80).tolist(),
        "same": [3.0] * 80,
        "well": [["no", "yes"][i % 2] for i in range(80)] if task == "classification" else list(map(float, range(80))),
    }
    curated = curate_table(raw_table(pa.table(columns), source="people", target="well", task=task), workload="people")
    for split, rows in curated.tables.items():
        write_parquet(rows, folder / f"{split}.parquet", metadata=curated.metadata)
    return load_workload(folder)


def test_columns_run_from_0_to_1_over_training_as_sklearn_has_it(tmp_path):
    workload = table(tmp_path)
    found = unit_inputs(workload, ["train", "test"])
    train, test = (workload.table(split) for split in ("train", "test"))
    numbers = MinMaxScaler(clip=True).fit(train.select(["age"]).to_pandas())
    towns = OneHotEncoder(sparse_output=False).fit(train.select(["town"]).to_pandas())
    for split, rows in (("train", train), ("test", test)):
        x, y = found[split]
        assert x.dtype == torch.float32 and torch.equal(y, workload.arrays(split)[1])
        np.testing.assert_allclose(x[:, :1], numbers.transform(rows.select(["age"]).to_pandas()), atol=1e-6)
        assert (x[:, 1:4].numpy() == towns.transform(rows.select(["town"]).to_pandas())).all()
        assert (x[:, 4] == 0).all()  # a column that does not vary
    rows = shown_by(workload)(found["train"][0][:2])
    assert [cell["column"] for cell in rows[1]] == ["age", "town is Bonn", "town is Kiel", "town is Ulm", "same"]
    assert [cell["value"] for cell in rows[1]] == found["train"][0][1].tolist()


def test_points_are_images_of_their_shape():
    point = torch.tensor([[0.0, 1.0, 0.5, 2.0, 0.1, 0.2]])
    [[row]] = as_images(point, (1, 2, 3))
    assert (row["height"], row["width"], row["channels"]) == (2, 3, 1)
    assert row["pixels"] == [0, 255, 128, 255, 26, 51]


def test_a_target_that_is_a_number_is_refused(tmp_path):
    with pytest.raises(InputError, match="people: its target is a number"):
        unit_inputs(table(tmp_path, "regression"), ["train"])
