"""Clusterers by what they share and by what each leaves behind."""

import numpy as np
import torch

from winnow.evaluate.clusterers import Plan, deep, shallow
from winnow.evaluate.clustering import kmeans_objective

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
