"""Arms cost what they say, and the stage writes what the pictures show."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.evaluate.bilevel import bilevel
from winnow.curate.images import curate_images
from winnow.evaluate.bilevel_arms import arms
from winnow.models import build, load_model, save_model
from winnow.pipeline.tables import read_metrics, write_parquet
from winnow.randomness import numpy_generator
from winnow.workloads import load_workload
from winnow.workloads.image_tables import raw_image_table

SETTINGS = SimpleNamespace(epochs=1, learning_rate=0.05, mask_learning_rate=0.1, ablated=[0.0], batch_size=16)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a curated workload and two models."""
    path = tmp_path_factory.mktemp("bilevel")
    images = numpy_generator(0, "images").integers(0, 256, (120, 8, 8, 1)).astype(np.uint8)
    table = raw_image_table(images, np.arange(120) % 3, [""] * 120, ["a", "b", "c"])
    curated = curate_images(table, workload="tiny")
    for split, part in curated.tables.items():
        write_parquet(part, path / f"{split}.parquet", curated.metadata)
    shape = {"in_channels": 1, "height": 8, "width": 8, "classes": 3}
    for name, more in (("mlp", {"hidden": [8, 6]}), ("small_cnn", {"channels": 4, "hidden": 6})):
        save_model(build(name, seed=0, **shape, **more), path / f"{name}.safetensors", workload="tiny")
    return path


@pytest.mark.parametrize("group", ["weight", "filter"])
def test_arms_put_as_many_examples_through_as_they_say(tiny, group):
    workload, model = load_workload(tiny), load_model(tiny / "mlp.safetensors")
    rows = len(workload.arrays("train")[1])
    found = arms(model, workload, group, SETTINGS, seed=0)
    scores = {"snip", "grasp", "synflow", "relevance", "random"}
    learned = {"bilevel", "bilevel_inv_gamma_0", "hydra", "imp", "magnitude", "magnitude_twice"}
    assert found.keys() == scores | learned
    steps = -(-rows // SETTINGS.batch_size)
    for name, arm in found.items():
        pruned = arm(0.5)
        taken = sum(metric == "loss" for metric, _, _ in pruned.history)
        epochs = {"magnitude": 1, "imp": 4, "bilevel": 1, "bilevel_inv_gamma_0": 1}.get(name, 2)
        assert taken == (steps // 2 * 2 if name.startswith("bilevel") else epochs * steps)
        whole = {"magnitude": rows, "imp": 5 * rows}.get(name, 2 * rows)
        # A batch without a partner is left out on two levels.
        assert whole - 2 * SETTINGS.batch_size < pruned.examples <= whole
        assert all((pruned.model.get_parameter(n)[~m] == 0).all() for n, m in pruned.masks.items())


@pytest.fixture(scope="module")
def stage_runs(tiny):
    found = {}
    for variant, name, groups, keep in (
        ("bilevel", "mlp", ["weight"], [0.5, 0.2]),
        ("bilevel_groups", "small_cnn", ["filter"], [0.5]),
    ):
        inputs = SimpleNamespace(model=tiny / f"{name}.safetensors", train=tiny / "train.parquet")
        outputs = SimpleNamespace(metrics=tiny / f"{variant}.parquet", timings=tiny / f"{variant}_times.parquet")
        settings = vars(SETTINGS) | {"groups": groups, "keep": keep, "rounds_at": [0.5] if variant == "bilevel" else []}
        params = SimpleNamespace(workload="tiny", variant=variant, seed=0, **settings)
        bilevel(inputs, outputs, params, logging.getLogger())
        found[variant] = read_metrics([outputs.metrics]), read_metrics([outputs.timings])
    return found


def values(table, metric):
    return {(r["system"], r["variant"]): r["value"] for r in table.to_pylist() if r["metric"] == metric}


def test_the_stage_measures_every_arm_at_every_share(stage_runs):
    metrics, times = stage_runs["bilevel"]
    accuracy = values(metrics, "accuracy")
    assert {v for s, v in accuracy if s == "bilevel"} == {"weight-s50", "weight-s80"}
    assert {v for s, v in accuracy if s == "imp"} == {"weight-s50"} and ("dense", "bilevel") in accuracy
    kept = values(metrics, "nonzero")
    assert kept["bilevel", "weight-s80"] == kept["magnitude", "weight-s80"] == round(0.2 * (64 * 8 + 48 + 18))
    assert (
        values(times, "cpu_seconds").keys()
        == accuracy.keys() - {("dense", "bilevel")}
        == values(metrics, "examples").keys()
    )
    overlaps = [r for r in metrics.to_pylist() if r["metric"] == "mask_overlap"]
    assert {(r["system"], r["variant"]) for r in overlaps} >= {("bilevel", "weight-s50"), ("bilevel", "weight-s80")}
    assert all(r["step"] is not None for r in overlaps)


def test_pruned_groups_are_delivered_small(stage_runs):
    metrics, times = stage_runs["bilevel_groups"]
    slim, whole, eight = (values(metrics, m) for m in ("slim_parameters", "onnx_bytes", "int8_bytes"))
    assert set(slim) == set(whole) == set(eight) == {("bilevel", "filter-s50"), ("magnitude_twice", "filter-s50")}
    assert all(0 < slim[key] < 4 * 9 + 4 + 8 * 36 + 8 + 128 * 6 + 6 + 18 + 3 for key in slim)
    found = {r["metric"] for r in times.to_pylist()}
    forms = ("", "slim_", "onnx_", "int8_")
    assert found == {"cpu_seconds"} | {f"{f}latency_batch{n}" for f in forms for n in (1, 128)}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
