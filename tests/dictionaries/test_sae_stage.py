"""The stage that fits an autoencoder leaves metrics beside the weights, and a row and a picture of its features."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from stages.dictionaries.plot_dictionary import plot_dictionary
from stages.dictionaries.sae import fit_sparse_autoencoder
from winnow.curate.images import curate_images
from winnow.dictionaries.dictionary import load
from winnow.models import build, save_model
from winnow.models.hooks import capture_split
from winnow.pipeline.tables import read_metrics, read_parquet, write_parquet
from winnow.randomness import numpy_generator
from winnow.workloads import load_workload
from winnow.workloads.image_tables import raw_image_table

LOG = logging.getLogger("test")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The outputs of a fit on a small network, and that network's rows of the valid split."""
    path = tmp_path_factory.mktemp("sae")
    images = numpy_generator(0, "images").integers(0, 256, (200, 8, 8, 1)).astype(np.uint8)
    curated = curate_images(raw_image_table(images, np.arange(200) % 2, [""] * 200, ["a", "b"]), workload="tiny")
    for split, part in curated.tables.items():
        write_parquet(part, path / f"{split}.parquet", curated.metadata)
    model = build("mlp", seed=0, in_channels=1, height=8, width=8, classes=2).eval()
    save_model(model, path / "model.safetensors", workload="tiny")
    inputs = SimpleNamespace(model=path / "model.safetensors", train=path / "train.parquet")
    made = {name: path / f"{name}.parquet" for name in ("features", "history", "metrics")}
    outputs = SimpleNamespace(dictionary=path / "dictionary.safetensors", **made)
    settings = {"architecture": "topk", "k": 3, "penalty": None, "width": 24, "steps": 20, "batch_size": 32}
    labels = {"workload": "tiny", "variant": "topk-on-mlp", "model": "mlp", "hook": "relu2", "seed": 0}
    params = SimpleNamespace(**settings, **labels, learning_rate=None, torch_threads=1, resume_folder=path)
    fit_sparse_autoencoder(inputs, outputs, params, LOG)
    return outputs, capture_split(model, load_workload(path), "valid", "relu2")


def test_metrics_stand_beside_the_weights_and_features_have_their_density_and_strongest_examples(fitted):
    outputs, rows = fitted
    dense = load(outputs.dictionary).dense(rows).numpy()
    measured = {row["metric"]: row["value"] for row in read_metrics([outputs.metrics]).to_pylist()}
    assert json.loads(outputs.dictionary.with_suffix(".json").read_text())["metrics"] == measured
    features = read_parquet(outputs.features).to_pylist()
    assert [row["density"] for row in features] == pytest.approx((dense > 0).mean(0).tolist())
    assert [row["top_docs"][:1] for row in features] == [[int(c.argmax())] if c.any() else [] for c in dense.T]


def test_a_picture_has_a_panel_for_each_seed(fitted, tmp_path):
    outputs, _ = fitted
    paths = [tmp_path / f"seed{seed}" / "features.parquet" for seed in (0, 1)]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(outputs.features.read_bytes())
    drawn = SimpleNamespace(density=tmp_path / "density.svg")
    plot_dictionary(SimpleNamespace(features=paths), drawn, SimpleNamespace(), LOG)
    assert "seed0: " in drawn.density.read_text() and "seed1: " in drawn.density.read_text()
