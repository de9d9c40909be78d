"""Resting experts are silent; features are judged on other files; routers beside correlations of numpy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluate.test_moe_x_study import ARMS, MARKS, SETTINGS, TEXT, silent
from winnow.evaluate.moe_x_study import labelled, spliced, trained
from winnow.evaluate.moe_x_units import encoder_map, judged, merit, seen
from winnow.evaluate.property_scores import coverage
from winnow.workloads.byte_properties import GRAMMAR, PROPERTIES

EVERY = '''def f(a: int, b=1):
    """What it is."""
    for i in a[b]:
        if i:
            c = g(i, d=2)
    return c
'''
X = torch.from_numpy(TEXT[:32].astype(np.int64)).view(2, 16)


@pytest.fixture(scope="module")
def models():
    begun = {}
    return {
        arm.name: trained(arm, TEXT, SETTINGS, silent, begun)[0]
        for arm in ARMS
        if arm.name in ("dense", "moe_x", "relu_experts")
    }


def test_units_of_resting_experts_are_silent(models):
    look = seen(models["moe_x"], X)
    assert look.units.shape == (32, 32)
    assert all((part.sum(1) == 2).all() and part.shape == (32, 4) for part in look.chosen)
    worked = torch.from_numpy(look.units).view(32, 4, 8).any(2)
    assert not (worked & ~look.chosen[-1]).any()
    assert ((look.units != 0).reshape(32, 4, 8).any(2).sum(1) <= 2).all()
    assert [part.shape for part in look.scores] == [part.shape for part in look.active] == [(32, 4)] * 2
    dense = seen(models["dense"], X)
    assert dense.units.shape == (32, 16) and dense.scores == dense.active == []
    assert not any(block.mlp._forward_hooks for block in models["dense"].blocks)


def test_scores_and_active_shares_are_those_of_each_layer_worked_out_here(models):
    model = models["relu_experts"]
    look, stream = seen(model, X), model.embedding(X)
    for block, scores, active in zip(model.blocks, look.scores, look.active, strict=True):
        stream = stream + block.attention(block.attention_norm(stream))
        given = block.mlp_norm(stream).flatten(0, 1)
        experts = zip(block.mlp.encoder, block.mlp.bias, strict=True)
        fired = torch.stack([(given @ encoder + bias > 0).float().mean(1) for encoder, bias in experts], 1)
        assert torch.allclose(active, fired) and torch.allclose(scores, given @ block.mlp.router.weight.T, atol=1e-6)
        stream = stream + block.mlp(block.mlp_norm(stream))
    pooled = np.corrcoef(*(np.concatenate([p.numpy().ravel() for p in part]) for part in (look.scores, look.active)))
    assert merit(look.scores, look.active) == pytest.approx(pooled[0, 1], abs=1e-5)
    assert np.isnan(merit([], []))


def test_judged_tells_each_score(models):
    found = judged(models["moe_x"], TEXT, MARKS, SETTINGS)
    values = found.values
    assert 0 < values["l0"] <= 16 and 0 <= values["dead"] < 1 and -1 <= values["router_correlation"] < 0
    assert 0 <= values["reconstruction"] <= 1 and 0 < values["coverage"] <= 1 and values["cross_entropy"] > 4
    assert 0 < values["detection"] <= 1
    assert len(found.layers) == 2 and all(-1 <= layer <= 1 for layer in found.layers)
    dense = judged(models["dense"], TEXT, MARKS, SETTINGS)
    assert dense.values["router_correlation"] is None and dense.layers == dense.experts == []
    assert all(row["expert"] is None for row in dense.features)


def test_what_only_the_tree_tells_is_scored_apart(models):
    """A text in which every property occurs on both sides, each a fact of tree or grammar alone."""
    text, marks = labelled([EVERY * 8, EVERY * 8])
    half = len(text) // 2
    assert marks[:half, len(GRAMMAR) :].any(0).all() and marks[half:, len(GRAMMAR) :].any(0).all()
    wide = SimpleNamespace(**vars(SETTINGS) | {"windows": 40})
    values = judged(models["moe_x"], text, marks, wide).values
    assert 0 < values["coverage_tree"] <= 1
    # Without what the tree tells, nothing is left to find, and what the grammar tells is as before.
    bare = marks.copy()
    bare[:, len(GRAMMAR) :] = False
    found = judged(models["moe_x"], text, bare, wide).values
    assert found["coverage_tree"] == 0 and found["coverage"] == values["coverage"]


def test_features_are_told_with_their_contexts(models):
    found = judged(models["moe_x"], TEXT, MARKS, SETTINGS)
    assert [row["property"] for row in found.features] == list(PROPERTIES)
    told = np.mean([row["f1"] for row in found.features[:17]])
    assert told == pytest.approx(found.values["coverage"], abs=1e-12)
    text = TEXT.tobytes().decode().replace("\n", "\u21b5")
    for row in found.features:
        assert row["expert"] == row["feature"] // 8 and len(row["contexts"]) == 5
        assert all(context in text for context in row["contexts"])
    means = {(row["layer"], row["expert"]): row for row in found.experts}
    assert set(means) == {(layer, expert) for layer in (1, 2) for expert in range(4)}
    assert all(0 <= row["active"] <= 1 and -1 <= row["score"] <= 0 for row in means.values())


def test_a_model_with_a_dictionary_is_judged_by_its_latents(models):
    made = spliced(models["dense"], TEXT, 4, SETTINGS, silent)
    found = judged(made, TEXT, MARKS, SETTINGS)
    assert found.values["l0"] <= 4 and found.values["router_correlation"] is None
    assert found.values["cross_entropy"] != judged(models["dense"], TEXT, MARKS, SETTINGS).values["cross_entropy"]


def test_shifted_labels_stay_whole_windows(models, monkeypatch):
    pairs = []

    def watched(chosen, scored):
        pairs.append((chosen[1], scored[1]))
        return coverage(chosen, scored)

    monkeypatch.setattr("winnow.evaluate.moe_x_units.coverage", watched)
    judged(models["dense"], TEXT, MARKS, SETTINGS)
    (true, shifted), size = (pairs[0], pairs[-1]), SETTINGS.context
    for before, after in zip(true, shifted, strict=True):
        windows = [part.tobytes() for part in before.reshape(-1, size, 17)]
        moved = [part.tobytes() for part in after.reshape(-1, size, 17)]
        assert moved in [windows[-n:] + windows[:-n] for n in range(1, len(windows))] and moved != windows


def test_experts_that_nobody_asks_for_are_counted(models):
    (arm,) = [arm for arm in ARMS if arm.name == "relu_experts"]
    model, _ = trained(arm, TEXT, SETTINGS, silent, {})
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.router.weight.zero_()  # scores tie, so that the same two of four work on all bytes
    found = judged(model, TEXT, MARKS, SETTINGS)
    assert found.values["dead_experts"] == 4
    used = {(row["layer"], row["expert"]): row["used"] for row in found.experts}
    assert sorted(used.values()) == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5]
    alive = judged(models["relu_experts"], TEXT, MARKS, SETTINGS)
    idle = [row for row in alive.experts if row["used"] == 0]
    assert len(idle) == alive.values["dead_experts"]
    assert sum(row["used"] for row in alive.experts) == pytest.approx(2)
    assert judged(models["dense"], TEXT, MARKS, SETTINGS).values["dead_experts"] is None


def test_units_that_point_alike_lie_together(models):
    model = models["moe_x"]
    with torch.no_grad():
        for expert, weight in enumerate(model.blocks[-1].mlp.encoder):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(expert))
            weight.copy_(torch.eye(16)[:, [expert]] * 3 + 0.01 * noise)  # its units point along one axis
    rows = encoder_map(model, 6, 0)
    assert [row["expert"] for row in rows] == [e for e in range(4) for _ in range(6)]
    places = np.array([[row["x"], row["y"]] for row in rows])
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    same = np.repeat(np.arange(4), 6)[:, None] == np.repeat(np.arange(4), 6)
    assert distance[same].max() < distance[~same].min()
    assert rows == encoder_map(model, 6, 0)


def test_coverage_of_no_more_than_chance_shows_in_labels_of_other_windows(models):
    wide = SimpleNamespace(**vars(SETTINGS) | {"windows": 20})
    values = judged(models["dense"], TEXT, MARKS, wide).values
    assert values["coverage_shifted"] < values["coverage"]
    perfect = (MARKS[:, :17].astype(float), MARKS[:, :17])
    assert coverage(perfect, perfect)[MARKS[:, :17].any(0)].min() == 1
