"""Subsets, curves and maps of pruning by relevance, and the stage that writes them."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from stages.evaluate.relevance import relevance
from winnow.compress.relevance import prune_iteratively
from winnow.curate.images import curate_images
from winnow.errors import InputError
from winnow.evaluate.relevance_charts import accuracy_curves, kept_units, map_strip
from winnow.evaluate.relevance_pruning import Task, curve, slim_size, tasks
from winnow.models import build, save_model
from winnow.pipeline.tables import read_metrics, read_parquet, write_parquet
from winnow.randomness import numpy_generator
from winnow.workloads import load_workload
from winnow.workloads.image_tables import raw_image_table

LABELS = torch.arange(60) % 4
TRAIN = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)), LABELS
TEST = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)), LABELS[:40]


def net(seed=0, classes=4):
    shape = {"in_channels": 1, "height": 8, "width": 8, "classes": classes}
    return build("small_cnn", seed=seed, **shape, channels=[4, 4], hidden=6).eval()


def test_tasks_hold_as_many_samples_of_each_class_and_all_test_samples():
    found = list(tasks(TRAIN, TEST, 2, 5, [1, 3], seed=7))
    assert [(subset, count) for subset, count, _ in found] == [(s, n) for s in range(5) for n in (1, 3)]
    for (_, _, few), (_, _, more) in zip(found[::2], found[1::2], strict=True):
        chosen = sorted(set(few.reference[1].tolist()))
        assert len(chosen) == 2 and few.reference[1].bincount().max() == 1
        assert more.reference[1].bincount(minlength=4)[chosen].tolist() == [3, 3]
        assert all((more.reference[0] == x).flatten(1).all(1).any() for x in few.reference[0])
        assert torch.equal(few.test[0], TEST[0][torch.isin(TEST[1], torch.tensor(chosen))])
        for x, y in zip(*more.reference, strict=True):
            assert TRAIN[1][(TRAIN[0] == x).flatten(1).all(1)].tolist() == [int(y)]
    assert len({tuple(task.reference[1].tolist()) for _, n, task in found if n == 1}) > 1
    again = list(tasks(TRAIN, TEST, 2, 5, [1, 3], seed=7))
    assert all(torch.equal(a[2].reference[0], b[2].reference[0]) for a, b in zip(found, again, strict=True))


def test_too_many_classes_or_samples_are_told():
    with pytest.raises(InputError, match="classes: 5 of 4"):
        list(tasks(TRAIN, TEST, 5, 1, [1], seed=0))
    with pytest.raises(InputError, match="samples: 16 of a class are asked for, one has 15"):
        list(tasks(TRAIN, TEST, 4, 1, [16], seed=0))


def test_a_curve_measures_the_states_of_pruning():
    task = Task((TRAIN[0][:4], TRAIN[1][:4]), TEST)
    found = curve(net(), task, "taylor", step=0.25, target=0.75, judged_at=0.55, seed=0)
    states = [
        (s.pruned, float((s.model(TEST[0]).argmax(1) == TEST[1]).double().mean()), s.model(TEST[0]).detach())
        for s in prune_iteratively(net(), *task.reference, "taylor", step=0.25, target=0.75)
    ]
    assert found.pruned == [s[0] for s in states] and found.accuracy == pytest.approx([s[1] for s in states])
    assert found.area == pytest.approx(sum(s[1] for s in states) / 4)
    assert found.at(0.55) == found.accuracy[2] and found.at(0.0) == found.accuracy[0]
    assert torch.equal(found.model(TEST[0]), states[2][2])
    assert sum(int((~m).sum()) for m in found.kept.values()) == round(0.75 * 14)


def test_a_slim_model_is_smaller_by_what_it_lost():
    task = Task((TRAIN[0][:4], TRAIN[1][:4]), TEST)
    found = curve(net(), task, "weight", step=0.5, target=0.5, judged_at=0.5, seed=0)
    small, sizes = slim_size(found.model, TEST[0][:2])
    lost = sum(p.numel() for p in net().parameters()) - sizes["slim_parameters"]
    assert lost > 0 and sizes["slim_parameters"] == sum(p.numel() for p in small.parameters())
    assert sizes["bytes"] - sizes["slim_bytes"] == pytest.approx(4 * lost, abs=64)  # and some digits of the header


@pytest.fixture(scope="module")
def stage_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("relevance")
    images = numpy_generator(0, "images").integers(0, 256, (200, 8, 8, 1)).astype(np.uint8)
    table = raw_image_table(images, np.arange(200) % 3, [""] * 200, ["a", "b", "c"])
    curated = curate_images(table, workload="tiny")
    for split, part in curated.tables.items():
        write_parquet(part, path / f"{split}.parquet", curated.metadata)
    save_model(net(classes=3), path / "model.safetensors", workload="tiny")
    inputs = SimpleNamespace(model=path / "model.safetensors", train=path / "train.parquet")
    params = SimpleNamespace(
        workload="tiny", seed=3, criteria=["relevance", "random"], classes=2, subsets=2, samples=[1, 2], step=0.25,
        target=0.5, judged_at=0.25, finetuned_step=0.5, finetune_epochs=1, learning_rate=0.01,
    )  # fmt: skip
    names = {"metrics": "parquet", "kept": "parquet", "maps": "safetensors", "timings": "parquet"}
    outputs = SimpleNamespace(**{name: path / f"out_{name}.{suffix}" for name, suffix in names.items()})
    relevance(inputs, outputs, params, logging.getLogger())
    return load_workload(path), outputs


def test_the_stage_writes_a_row_for_each_curve(stage_run):
    _, outputs = stage_run
    rows = read_metrics([outputs.metrics]).to_pylist()
    variants = {f"n{n}-net3-subset{s}" for n in (1, 2) for s in range(2)} | {"finetuned-net3"}
    for metric in ("area", "judged_accuracy"):
        found = {(r["system"], r["variant"]) for r in rows if r["metric"] == metric}
        assert found == {(s, v) for s in ("relevance", "random", "dense") for v in variants}
    steps = {r["step"] for r in rows if r["metric"] == "accuracy" and r["variant"] == "n1-net3-subset0"}
    assert steps == {0, 29, 50}  # of 14 units: 0, 4 and 7
    assert {r["metric"] for r in rows if r["variant"] == "slim"} == {"slim_parameters", "slim_bytes", "bytes"}
    assert all(0 <= r["value"] <= 1 for r in rows if r["metric"] in ("area", "accuracy", "judged_accuracy"))
    times = read_metrics([outputs.timings]).to_pylist()
    assert {r["metric"] for r in times} == {f"{m}_latency_batch{n}" for m in ("dense", "slim") for n in (1, 128)}


def values_of(chart):
    return chart["data"].get("values") or chart["datasets"][chart["data"]["name"]]


def test_pictures_show_what_the_stage_wrote(stage_run):
    _, outputs = stage_run
    curves = accuracy_curves(read_metrics([outputs.metrics])).to_dict()
    panels = [panel["title"] for panel in curves["hconcat"]]
    assert panels == [
        ["some classes", "1 sample of each, no training"],
        ["some classes", "2 samples of each, no training"],
        ["all classes", "training after each step"],
    ]
    kept = kept_units(read_parquet(outputs.kept)).to_dict()
    values = values_of(kept)
    assert {v["layer"] for v in values} == {"conv1", "conv2", "linear1"} and {v["system"] for v in values} == {
        "relevance",
        "random",
    }
    maps = load_file(outputs.maps)
    assert {name: m.shape for name, m in maps.items()} == dict.fromkeys(("images", "dense", "pruned"), (8, 8, 8))
    tiles = map_strip(maps).to_dict()
    assert len(values_of(tiles)) == 24 and {t["row"] for t in values_of(tiles)} == {
        "image",
        "relevance, dense",
        "relevance, pruned",
    }
