"""The kind images: what a model is given, and what is measured on it."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch import nn

from tests.workloads.test_supervised import slow_brier, slow_calibration
from winnow.curate.images import curate_images
from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet, write_parquet
from winnow.workloads import load_workload
from winnow.workloads.image_tables import raw_image_table


@pytest.fixture(scope="module", params=[1, 3])
def folder(request, tmp_path_factory):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (90, 5, 4, request.param)).astype(np.uint8)
    images[..., -1] //= 2  # channels differ in mean and spread
    table = raw_image_table(images, rng.integers(0, 3, 90), [""] * 90, ["a", "b", "c"])
    curated = curate_images(table, workload="tiny")
    path = tmp_path_factory.mktemp("curated")
    for split, part in curated.tables.items():
        write_parquet(part, path / f"{split}.parquet", curated.metadata)
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Images that travel as PNG, with annotations beside them."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (40, 66, 65, 3)).astype(np.uint8)
    annotations = {"factors": pa.array([{"hue": i / 40} for i in range(40)])}
    table = raw_image_table(images, [i % 2 for i in range(40)], [""] * 40, ["a", "b"], annotations=annotations)
    curated = curate_images(table, workload="large")
    path = tmp_path_factory.mktemp("large")
    for split, part in curated.tables.items():
        write_parquet(part, path / f"{split}.parquet", curated.metadata)
    return path, images


def test_large_images_are_read_back_from_their_png_beside_their_annotations(large):
    path, images = large
    workload = load_workload(path)
    pixels, known = workload.pixels("test"), workload.annotations("test")
    assert workload.shape == (3, 66, 65) and known.schema.names == ["image_id", "factors"]
    numbers = [round(row["hue"] * 40) for row in known["factors"].to_pylist()]
    assert np.array_equal(pixels, images[numbers])
    assert workload.arrays("test")[1].tolist() == [number % 2 for number in numbers]
    assert torch.equal(workload.standardise(images[numbers]), workload.arrays("test")[0])


def model_for(workload):
    torch.manual_seed(0)
    c, h, w = workload.shape
    return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, 16), nn.Dropout(0.5), nn.Linear(16, 3))


def test_a_workload_knows_itself(folder):
    workload = load_workload(folder)
    assert (workload.name, workload.kind, workload.classes) == ("tiny", "images", ["a", "b", "c"])
    assert workload.shape[1:] == (5, 4) and workload.example_inputs(2).shape == (2, *workload.shape)
    assert torch.equal(workload.example_inputs(), workload.arrays("train")[0][:1])


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_arrays_are_the_pixels_standardised_by_train_channel_by_channel(folder, split):
    workload = load_workload(folder)
    c, h, w = workload.shape
    pixels = {s: np.array(read_parquet(folder / f"{s}.parquet")["pixels"].to_pylist()) for s in ("train", split)}
    images = {s: p.reshape(-1, h, w, c).transpose(0, 3, 1, 2) / 255 for s, p in pixels.items()}
    mean = images["train"].mean(axis=(0, 2, 3), keepdims=True)
    std = images["train"].std(axis=(0, 2, 3), keepdims=True)
    x, y = workload.arrays(split)
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert np.allclose(x.numpy(), (images[split] - mean) / std, atol=1e-6)  # one float32 rounding
    assert y.tolist() == read_parquet(folder / f"{split}.parquet")["label"].to_pylist()


def test_a_channel_that_never_varies_stays_finite(tmp_path):
    images = np.zeros((12, 2, 2, 3), np.uint8)
    images[:, :, :, 0] = np.arange(48).reshape(12, 2, 2) * 5
    curated = curate_images(raw_image_table(images, [0, 1] * 6, [""] * 12, ["a", "b"]), workload="t")
    for split, part in curated.tables.items():
        write_parquet(part, tmp_path / f"{split}.parquet", curated.metadata)
    x, _ = load_workload(tmp_path).arrays("train")
    assert torch.isfinite(x).all() and (x[:, 1:] == 0).all()


@pytest.mark.parametrize("copies", [1, 7, 30])
def test_channels_that_are_constant_in_train_are_scaled_as_by_scikit_learn(copies, tmp_path):
    """Channel c is c all over train and anything elsewhere; with nothing to divide by, nothing is divided.

    The last channel but one takes two values, the last one any.
    """
    rng = np.random.default_rng(copies)
    images = rng.integers(0, 256, (2 * copies + 4, 1, 2, 258)).astype(np.uint8)
    images[:-4, ..., :256] = np.arange(256)
    images[:-4, 0, :, 256] = [3, 7]
    images[-1] = 255
    published = ["train"] * 2 * copies + ["valid", "valid", "test", "test"]
    raw = raw_image_table(images, np.arange(len(images)) % 2, [""] * len(images), ["a", "b"], splits=published)
    curated = curate_images(raw, workload="t", near_duplicate_distance=0)
    for split, part in curated.tables.items():
        write_parquet(part, tmp_path / f"{split}.parquet", curated.metadata)
    workload = load_workload(tmp_path)
    values = {s: np.array(t["pixels"].to_pylist()).reshape(-1, 258) / 255 for s, t in curated.tables.items()}
    scaler = StandardScaler().fit(values["train"])
    for split in ("train", "valid", "test"):
        found = workload.arrays(split)[0].permute(0, 2, 3, 1).reshape(-1, 258).numpy()
        assert np.allclose(found, scaler.transform(values[split]), rtol=1e-6, atol=1e-6)  # one float32 rounding


def test_batches_in_stored_order_are_the_split_cut_up(folder):
    workload = load_workload(folder)
    x, y = workload.arrays("train")
    for size in (1, 13, len(y), len(y) + 1):
        batches = list(workload.batches("train", size))
        assert [len(b[1]) for b in batches] == [size] * (len(y) // size) + [len(y) % size] * (len(y) % size > 0)
        assert torch.equal(torch.cat([b[0] for b in batches]), x) and torch.equal(torch.cat([b[1] for b in batches]), y)


def test_shuffled_batches_hold_each_row_once_and_depend_on_seed_and_epoch_alone(folder):
    workload = load_workload(folder)

    def order(seed, epoch, size=13):
        return torch.cat([b[0] for b in workload.batches("train", size, seed, epoch)]).flatten(1)

    rows = {tuple(row) for row in workload.arrays("train")[0].flatten(1).tolist()}
    assert {tuple(row) for row in order(0, 0).tolist()} == rows
    torch.manual_seed(5)
    assert torch.equal(order(0, 1), order(0, 1, size=7))
    for other in ((0, 1), (1, 0)):
        assert not torch.equal(order(0, 0), order(*other))
    assert torch.equal(torch.cat([x for x, _ in workload.batches("train", 13, 0)]).flatten(1), order(0, 0))
    x, y = next(workload.batches("train", 13, 0, 0))
    stored = {tuple(a.flatten().tolist()): int(b) for a, b in zip(*workload.arrays("train"), strict=True)}
    assert [stored[tuple(a.flatten().tolist())] for a in x] == y.tolist()


def test_loss_and_metrics_are_their_definitions_and_leave_the_mode_alone(folder, monkeypatch):
    monkeypatch.setattr("winnow.workloads.supervised.EVALUATION_BATCH", 7)
    workload = load_workload(folder)
    model = model_for(workload).train()
    found = workload.metrics(model, "test")
    assert model.training
    model.eval()
    assert workload.metrics(model, "test") == found and not model.training
    x, y = workload.arrays("test")
    with torch.no_grad():
        p = model(x).double().softmax(1).numpy()
        loss = workload.loss(model, (x, y))
        smooth = workload.loss(model, (x, y), label_smoothing=0.3)
    assert found["accuracy"] == (p.argmax(1) == y.numpy()).mean()
    # float32 logits of batches of different size.
    assert found["cross_entropy"] == pytest.approx(log_loss(y, p, labels=[0, 1, 2]), rel=1e-5)
    assert float(loss) == pytest.approx(found["cross_entropy"], rel=1e-5)
    assert float(smooth) == pytest.approx(0.7 * float(loss) - 0.3 * np.log(p).mean(), rel=1e-5)
    assert found["brier"] == pytest.approx(slow_brier(p, y.numpy()), rel=1e-5)
    assert found["expected_calibration_error"] == pytest.approx(slow_calibration(p, y.numpy(), 15), abs=1e-5)


def test_valid_and_test_are_read_only_when_asked_for(folder, tmp_path):
    (tmp_path / "train.parquet").write_bytes((folder / "train.parquet").read_bytes())
    workload = load_workload(tmp_path)
    assert len(workload.arrays("train")[1]) > 0
    with pytest.raises(InputError, match=r"valid\.parquet: no such file"):
        workload.arrays("valid")


def test_what_cannot_be_a_workload_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_workload(tmp_path / "absent")
    with pytest.raises(InputError, match=r"train\.parquet: no such file"):
        load_workload(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"train\.parquet: not a readable parquet file"):
        load_workload(tmp_path)
    table = read_parquet(folder / "train.parquet")
    write_parquet(table, tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train\.parquet: not an image table"):
        load_workload(tmp_path)


def test_a_split_that_is_unknown_empty_or_of_other_images_is_named(folder, tmp_path):
    table = read_parquet(folder / "train.parquet")
    metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    write_parquet(table, tmp_path / "train.parquet", metadata)
    write_parquet(table.slice(0, 0), tmp_path / "valid.parquet", metadata)
    write_parquet(table, tmp_path / "test.parquet", {k: v.replace("tiny", "other") for k, v in metadata.items()})
    workload = load_workload(tmp_path)
    with pytest.raises(InputError, match="split 'dev' is unknown; the splits are train, valid, test"):
        workload.arrays("dev")
    with pytest.raises(InputError, match=r"valid\.parquet: has no rows"):
        workload.arrays("valid")
    with pytest.raises(InputError, match=r"test\.parquet: describes other images"):
        workload.arrays("test")
    lists = pa.array(table["pixels"].to_pylist(), pa.list_(pa.uint8()))
    write_parquet(table.set_column(1, "pixels", lists), tmp_path / "test.parquet", metadata)
    with pytest.raises(InputError, match=r"test\.parquet: describes other images"):
        workload.arrays("test")
    with pytest.raises(InputError, match="batch size is 0"):
        next(workload.batches("train", 0))


def with_labels(folder, path, change):
    """A workload whose train labels are changed."""
    table = read_parquet(folder / "train.parquet")
    labels = pa.array(change(table["label"].to_pylist()), pa.int32())
    metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    changed = table.set_column(table.schema.get_field_index("label"), "label", labels)
    write_parquet(changed, path / "train.parquet", metadata)
    return load_workload(path)


@pytest.mark.parametrize("wrong", [-1, 3, None])
@pytest.mark.parametrize("place", [0, -1])
def test_labels_outside_the_classes_are_refused(folder, tmp_path, wrong, place):
    def change(labels):
        labels[place] = wrong
        return labels

    with pytest.raises(InputError, match=r"train\.parquet: has no rows, or labels outside its classes"):
        with_labels(folder, tmp_path, change).arrays("train")


@pytest.mark.parametrize("label", [0, 2])
def test_a_split_may_hold_a_single_class(folder, tmp_path, label):
    workload = with_labels(folder, tmp_path, lambda labels: [label] * len(labels))
    assert set(workload.arrays("train")[1].tolist()) == {label}


def test_hook_points_are_those_of_the_model(folder):
    class Model(nn.Module):
        def hook_points(self):
            return ("a", "b")

    assert load_workload(folder).hook_points(Model()) == ["a", "b"]
