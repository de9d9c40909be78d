"""Clusterers by what they share and by what each leaves behind."""

from functools import partial

import numpy as np
import torch

from winnow.evaluate.clusterers import Plan, deep, shallow
from winnow.evaluate.clustering import kmeans_objective
from winnow.evaluate.clustering_tables import centre_rows, label_rows
from winnow.workloads.unit_interval import as_columns, as_images

PLAN = Plan(3, 1, 2, 16, 0.01, [8], 4, 0.0, 0.01, [0.1], 4, 10, 0)


def blobs(n, seed):
    centres = torch.rand(3, 6, generator=torch.Generator().manual_seed(3))
    noise = 0.08 * torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return (centres[torch.arange(n) % 3] + noise).clamp(0.01, 1)


def test_shallow_clusterers_start_alike_and_report_the_objective_of_their_centres():
    x, other = blobs(60, 0), blobs(30, 1)
    found = {(c.system, c.variant): c for c in shallow(x, other, PLAN)}
    systems = ("kmeans", "lloyd", "minibatch_kmeans", "tell_layer", "tell_stream")
    assert set(found) == {(s, v) for s in systems for v in ("raw", "sphere")} | {("spectral", "raw")}
    for (system, _), clustering in found.items():
        assert len(clustering.train) == 60
        assert (clustering.test is None) == (system == "spectral")
    best = found["kmeans", "raw"]
    means = np.stack([x.numpy()[best.train == j].mean(0) for j in range(3)])
    assert np.isclose(best.measured["objective"], kmeans_objective(x.numpy(), means), rtol=1e-5)
    assert found["tell_layer", "raw"].measured["objective"] <= 1.05 * found["lloyd", "raw"].measured["objective"]
    assert len(found["tell_layer", "raw"].history) == 4 and len(found["tell_stream", "raw"].history) == 1


def test_deep_clusterers_take_the_same_epochs_and_tell_how_they_went():
    x, other, seen = blobs(48, 0), blobs(20, 1), []
    found = {(c.system, c.variant): c for c in deep(x, other, PLAN, lambda labels: seen.append(1) or {"nmi": 0.5})}
    arms = {("tell", v) for v in ("main", "weight0.1", "no_alternation", "no_normalisation")}
    others = {("warm_start", "sphere"), ("warm_start", "plain"), ("ae_kmeans", "sphere"), ("ae_kmeans", "plain")}
    assert set(found) == arms | others | {("ae_gmm", "plain"), ("idec", "plain")}
    for arm in arms:
        c = found[arm]
        assert [step for metric, _, step in c.history if metric == "nmi"] == [3, 6]
        assert c.measured["empty"] == sum(v for m, v, _ in c.history if m == "empty")
        assert 0 <= c.measured["entropy"] <= 1
        assert np.array_equal(c.train, c.model.predict(x).numpy())
    assert len(seen) == 2 * len(arms)
    models = {v: found["tell", v].model for _, v in arms}
    assert models["no_alternation"].alternate == "none" and models["main"].alternate == "epoch"
    assert not models["no_normalisation"].layer.normalise
    assert models["weight0.1"].weight == 0.1


def test_labels_carry_the_distance_and_the_margin_and_centres_their_image():
    x = blobs(24, 0)
    model = next(c.model for c in deep(x, x, PLAN, lambda labels: {}) if c.variant == "main")
    y = np.arange(24) % 3
    rows = label_rows(model, x, y, ["a", "b", "c"]).to_pylist()
    far = torch.cdist(model.features(x), model.layer.centres().detach())
    for i, row in enumerate(rows):
        near = sorted(far[i].tolist())
        assert (row["image_id"], row["class"], row["cluster"]) == (i, "abc"[i % 3], int(far[i].argmin()))
        assert np.isclose(row["distance"], near[0], atol=1e-4)
        assert np.isclose(row["margin"], near[1] - near[0], atol=1e-3)
    images = centre_rows(model, x, partial(as_images, shape=(1, 2, 3))).to_pylist()
    assert [(r["kind"], r["cluster"]) for r in images] == [(k, c) for k in ("centre", "nearest") for c in range(3)]
    nearest = x[int(far[:, 1].argmin())]
    assert images[4]["pixels"] == (255 * nearest).round().int().tolist()
    decoded = model.decoder(model.layer.centres())[2].detach()
    assert images[2]["pixels"] == (255 * decoded).round().int().tolist()
    assert (images[0]["height"], images[0]["width"], images[0]["channels"]) == (2, 3, 1)
    columns = centre_rows(model, x, partial(as_columns, names="abcdef")).to_pylist()
    mine = [r["value"] for r in columns if (r["kind"], r["cluster"]) == ("nearest", 1)]
    assert mine == nearest.tolist() and [r["column"] for r in columns[:6]] == list("abcdef")
