"""Readers turn archives into raw tables without loss."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pytest
import sklearn.datasets
from sklearn.datasets import load_digits

from winnow.errors import InputError
from winnow.pipeline.acquire import TableFile, TablePin, default_cache, find_source
from winnow.pipeline.readers import idx, mnist_csv, parse_idx, read_archive, read_source, side_scan, sonar_scenes, table
from winnow.workloads.image_tables import image_meta, pixel_array
from winnow.workloads.table_columns import table_meta

CLASSES = ("a", "b", "c")


def csv_of(rows):
    return {"d.csv.gz": gzip.compress("".join(",".join(map(str, row)) + "\n" for row in rows).encode())}


def idx_of(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def idx_members(train, train_labels, test, test_labels):
    return {
        "x/train-images-idx3-ubyte.gz": idx_of(train),
        "x/train-labels-idx1-ubyte.gz": idx_of(train_labels),
        "x/t10k-images-idx3-ubyte.gz": idx_of(test),
        "x/t10k-labels-idx1-ubyte.gz": idx_of(test_labels),
    }


def images(count, height=2, width=3):
    return np.random.default_rng(0).integers(0, 256, (count, height, width))


def test_csv_rows_keep_their_order_pixels_and_labels():
    table = mnist_csv(csv_of([[0, 255, 7, 1, 2], [9, 8, 7, 6, 0]]), "digits", CLASSES)
    meta = image_meta(table)
    assert (meta.height, meta.width, meta.channels, meta.classes) == (2, 2, 1, CLASSES)
    assert table["row"].to_pylist() == [0, 1]
    assert table["pixels"].to_pylist() == [[0, 255, 7, 1], [9, 8, 7, 6]]
    assert table["label"].to_pylist() == [2, 0]
    assert table["source"].to_pylist() == ["digits", "digits"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 256, 7, 1, 2]], "pixel 256 in row 0; it must lie between 0 and 255"),
        ([[0, 1, 7, 1, 2], [0, -1, 7, 1, 2]], "pixel -1 in row 1"),
        ([[0, 1, 7, 1, 3]], "label 3 in row 0; it must lie between 0 and 2"),
        ([[0, 1, 7, 1, -1]], "label -1"),
        ([[0, 1, 7, 1, 2], [0, 1, 7]], "not as expected"),
        ([[0, "x", 7, 1, 2]], "not as expected"),
        ([[0, 1.5, 7, 1, 2]], "not as expected"),
        ([[0, "", 7, 1, 2], [0, 1, 7, 1, 2]], "a value is missing"),
        ([[0, 1, 2, 3, 4, 1]], "5 pixels a row are no square"),
    ],
)
def test_a_csv_that_is_not_as_expected_is_named(rows, message):
    with pytest.raises(InputError, match=message):
        mnist_csv(csv_of(rows), "digits", CLASSES)


def test_pixels_of_another_range_are_stretched_so_that_they_can_be_told_back():
    for largest in (1, 16, 100, 254):
        values = np.arange(largest + 1)
        rows = [[value, 0, largest, value, 0] for value in values.tolist()]
        pixels = np.array(mnist_csv(csv_of(rows), "digits", CLASSES, largest)["pixels"].to_pylist())
        assert (pixels[:, 0] == pixels[:, 3]).all() and (pixels[:, 1:3] == [0, 255]).all()
        assert ((pixels[:, 0] * largest + 254) // 255 == values).all()
    with pytest.raises(InputError, match="pixel 17 in row 0; it must lie between 0 and 16"):
        mnist_csv(csv_of([[0, 17, 7, 1, 2]]), "digits", CLASSES, 16)


def test_the_pinned_digits_are_those_that_scikit_learn_loads():
    pin = find_source("uci_digits", "data/sources.yaml")
    archive = default_cache() / "archives" / pin.sha256
    if not archive.is_dir():
        pytest.skip("the archive is not in the cache")
    table, published = read_source("uci_digits", "data/sources.yaml"), load_digits()
    meta = image_meta(table)
    assert (meta.height, meta.width, meta.channels) == (8, 8, 1)
    assert meta.classes == tuple(map(str, published.target_names))
    assert table["label"].to_numpy().tolist() == published.target.tolist()
    assert np.array_equal((pixel_array(table, meta).astype(int) * 16 + 254) // 255, published.data)


def test_idx_files_become_one_table_with_the_published_split():
    train, test = images(4), images(2) // 2
    table = idx(idx_members(train, np.array([0, 1, 2, 0]), test, np.array([2, 1])), "clothes", CLASSES)
    meta = image_meta(table)
    assert (meta.height, meta.width, meta.channels) == (2, 3, 1)
    assert np.array_equal(pixel_array(table, meta), np.concatenate([train, test]).reshape(6, -1))
    assert table["label"].to_pylist() == [0, 1, 2, 0, 2, 1]
    assert table["split"].to_pylist() == ["train"] * 4 + ["test"] * 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file"),
        (bytes([0, 0, 9, 1, 0, 0, 0, 1, 5]), "not an IDX file of unsigned bytes"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 2, 5]), "9 bytes where its header promises 10"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 5, 5]), "10 bytes where its header promises 9"),
        (bytes([0, 0, 8, 2, 0, 0]), "header promises"),
    ],
)
def test_a_damaged_idx_file_is_named(data, message):
    with pytest.raises(InputError, match=message):
        parse_idx(data, "train")


def test_idx_files_that_do_not_belong_together_are_refused():
    good = (images(3), np.zeros(3), images(2), np.zeros(2))
    with pytest.raises(InputError, match="do not belong together"):
        idx(idx_members(images(4), *good[1:]), "clothes", CLASSES)
    with pytest.raises(InputError, match="differ in size"):
        idx(idx_members(*good[:2], images(2, width=2), good[3]), "clothes", CLASSES)
    with pytest.raises(InputError, match="test label 3"):
        idx(idx_members(*good[:3], np.array([0, 3])), "clothes", CLASSES)
    members = idx_members(*good)
    del members["x/t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(InputError, match="no file t10k-labels-idx1-ubyte.gz"):
        idx(members, "clothes", CLASSES)


def test_an_archive_is_read_by_the_reader_that_its_pin_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as file:
        file.writestr("d/d.csv.gz", csv_of([[0, 255, 7, 1, 2]])["d.csv.gz"])
    pin = find_source("mnist_5k", "data/sources.yaml").model_copy(update={"member": "d/d.csv.gz"})
    assert read_archive(tmp_path / "a.whl", "mine", pin)["label"].to_pylist() == [2]
    with pytest.raises(InputError, match="holds no 'd/other'"):
        read_archive(tmp_path / "a.whl", "mine", pin.model_copy(update={"member": "d/other"}))


@pytest.mark.parametrize("read", [side_scan, sonar_scenes])
def test_sonar_needs_both_beams(read):
    with pytest.raises(InputError, match="sonar: no file B003.SON in the archive"):
        read({"x/B002.SON": b"a"}, "sonar")


def test_a_csv_reader_wants_one_file():
    with pytest.raises(InputError, match="is a folder"):
        mnist_csv({"a": io.BytesIO().getvalue(), "b": b""}, "digits", CLASSES)


@pytest.mark.parametrize(
    ("source_id", "counts"), [("mnist_5k", {"": 500}), ("fashion_mnist", {"train": 6000, "test": 1000})]
)
def test_the_pinned_archives_hold_what_they_are_known_to_hold(source_id, counts):
    pin = find_source(source_id, "data/sources.yaml")
    if not (default_cache() / "archives" / pin.sha256).is_dir():
        pytest.skip("the archive is not in the cache")
    table = read_source(source_id, "data/sources.yaml")
    splits = table["split"].to_numpy() if "split" in table.schema.names else np.full(len(table), "")
    labels = table["label"].to_numpy()
    for split, count in counts.items():
        assert np.bincount(labels[splits == split]).tolist() == [count] * 10


def pinned(source_id):
    """The raw table of a pinned source, where its archive is in the cache."""
    if not (default_cache() / "archives" / find_source(source_id, "data/sources.yaml").sha256).is_dir():
        pytest.skip("the archive is not in the cache")
    return read_source(source_id, "data/sources.yaml")


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris"])
def test_the_pinned_tables_are_those_that_scikit_learn_loads(name):
    table, published = pinned(name), getattr(sklearn.datasets, f"load_{name}")()
    meta = table_meta(table)
    features = [field for field in table.schema.names if field not in ("row", "source", "target")]
    assert np.array_equal(np.stack([table[f].to_numpy() for f in features], axis=1), published.data)
    assert meta.classes == tuple(published.target_names)
    assert table["target"].to_pylist() == [published.target_names[i] for i in published.target]
    short = [str(f).removesuffix(" (cm)") for f in published.feature_names]
    assert features == short


def test_features_and_targets_of_two_files_lie_side_by_side():
    table = pinned("diabetes")
    published = sklearn.datasets.load_diabetes(scaled=False)
    found = np.array([[float(v) for v in table[f].to_pylist()] for f in published.feature_names]).T
    assert np.allclose(found, published.data) and np.array_equal(table["target"].to_numpy(), published.target)
    assert table["sex"].type == pa.string() and table_meta(table).task == "regression"


@pytest.mark.parametrize(
    ("name", "features", "counts"),
    [
        ("spambase", 57, {"ham": 2785, "spam": 1812}),
        ("pima", 8, {"negative": 500, "positive": 268}),
        ("sonar_returns", 60, {"mine": 111, "rock": 97}),
        ("splice", 60, {"EI": 767, "IE": 768, "N": 1655}),
        ("german", 20, {"good": 700, "bad": 300}),
        ("adult", 13, {"<=50K": 37155, ">50K": 11687}),
        ("compas", 8, {"no": 3963, "yes": 3251}),
    ],
)
def test_the_pinned_tables_hold_what_they_are_known_to_hold(name, features, counts):
    table = pinned(name)
    aside = {"row", "source", "target", "split"}
    assert len(set(table.schema.names) - aside) == features
    found = table["target"].value_counts().to_pylist()
    assert {entry["values"]: entry["counts"] for entry in found} == counts
    if name == "adult":
        assert table["split"].to_pylist() == ["train"] * 32561 + ["test"] * 16281


def test_rows_of_text_become_a_table_by_what_their_pin_says():
    pin = TablePin(target="y", classes={"1": "yes", "0": "no"}, columns={"x2": ["lo", "hi"]}, units={"x1": "m"})
    made = table({"d/t.dat": b"1.5, lo, 1\n2, hi ,0\n?, lo, 1\n"}, "mine", pin)
    assert made.schema.names == ["row", "source", "target", "x1", "x2"]
    assert made["x1"].to_pylist() == [1.5, 2, None] and made["x2"].to_pylist() == ["lo", "hi", "lo"]
    assert made["target"].to_pylist() == ["yes", "no", "yes"]
    meta = table_meta(made)
    assert (meta.classes, meta.units, meta.declared) == (("yes", "no"), {"x1": "m"}, {"x2": ["lo", "hi"]})


def test_files_of_a_table_are_unpacked_skipped_split_and_joined():
    members = {"d/a.csv.gz": gzip.compress(b"1 a\n2 b\n"), "d/b.csv": b"note\n3 a\n", "d/c.txt": b"x"}
    files = (TableFile(name="a.csv.gz", split="train"), TableFile(name="b.csv", split="test", skip=1))
    made = table(members, "mine", TablePin(separator=" ", names=("v", "class"), files=files))
    assert made["v"].to_pylist() == [1, 2, 3] and made["split"].to_pylist() == ["train", "train", "test"]
    beside = {"d/a.csv": b"1 5\n2 6\n", "d/b.csv": b"u\nw\n"}
    two = (TableFile(name="a.csv"), TableFile(name="b.csv"))
    made = table(beside, "mine", TablePin(separator=" ", names=("v", "w", "class"), files=two, side_by_side=True))
    assert (made["w"].to_pylist(), made["target"].to_pylist()) == ([5, 6], ["u", "w"])
    with pytest.raises(InputError, match="mine: `member` is a folder; name its `files`"):
        table(members, "mine", TablePin())
    with pytest.raises(InputError, match=r"mine: no file z\.csv in the archive"):
        table(members, "mine", TablePin(files=(TableFile(name="z.csv"),)))


def test_a_header_names_the_columns_of_a_pinned_table():
    data = {"t.csv": b"a,b,b,class\n1,2,3,u\n4,5,6,w\n"}
    made = table(data, "mine", TablePin(header=True, features=("b",)))
    assert made.schema.names == ["row", "source", "target", "b"] and made["b"].to_pylist() == [2, 5]
