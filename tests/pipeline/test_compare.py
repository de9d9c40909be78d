"""The comparison of two runs names the first difference in the file's own terms."""

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from winnow.pipeline.compare import differences
from winnow.pipeline.tables import write_parquet


@pytest.fixture
def pair(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "results").mkdir(parents=True)
    return tmp_path / "one", tmp_path / "two"


def test_equal_folders_have_no_difference_and_timings_do_not_count(pair):
    for i, root in enumerate(pair):
        (root / "results/a.json").write_text("{}")
        write_parquet(pa.table({"value": [i]}), root / "results/timings.parquet")
    assert differences(*pair) == []


def test_a_missing_file_is_named_on_either_side(pair):
    (pair[0] / "results/a.json").write_text("{}")
    (pair[1] / "results/b.json").write_text("{}")
    assert [line.split(":")[0] for line in differences(*pair)] == ["results/a.json", "results/b.json"]


def test_a_table_names_column_and_row(pair):
    for i, root in enumerate(pair):
        write_parquet(pa.table({"a": [1, 2, 3], "b": [1.0, 2.0 + i, 3.0]}), root / "results/t.parquet")
    assert differences(*pair) == ["results/t.parquet: column b, row 1: 2.0 against 3.0"]


def test_a_model_names_the_tensor(pair):
    for i, root in enumerate(pair):
        save_file({"a": np.zeros(3), "b": np.full(3, i)}, root / "results/m.safetensors")
    assert differences(*pair) == ["results/m.safetensors: tensor b"]


def test_other_files_name_the_byte(pair):
    for i, root in enumerate(pair):
        (root / "results/p.svg").write_bytes(b"abc%d" % i)
    assert differences(*pair) == ["results/p.svg: byte 3"]
