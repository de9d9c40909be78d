"""Which dictionaries are judged, by which settings, and on what."""

from types import SimpleNamespace

import pytest
import torch

from winnow.evaluate.judged_dictionaries import judge
from winnow.evaluate.supervised_task import giving_task
from winnow.models import build
from winnow.workloads.names_language import vocabulary

SETTINGS = SimpleNamespace(width=12, k=2, steps=2, batch_size=64, penalties=[2.0], sizes=[1], least_ceiling=0.0,
                           arms=["topk"], queries=False)  # fmt: skip
SUPERVISED = {"supervised_mean", "supervised_mse", "supervised_joint", "supervised_names", "ceiling", "unedited"}
FLOORS = {"random", "components"}


def judged(**changed):
    model = build("hooked_transformer", vocabulary=len(vocabulary()), context=32, width=16, layers=2, heads=2)
    fit, test = giving_task("train", 1000, 0), giving_task("test", 30, 0)
    settings = SimpleNamespace(**{**vars(SETTINGS), **changed})
    return judge(model, fit, test, fit.tokens, settings, 0, lambda done, total: None)


def test_only_the_arms_that_are_asked_for_are_fitted_and_queries_only_on_request():
    found = judged().metrics
    assert set(found) == SUPERVISED | FLOORS | {"sae_topk"}
    edits = {
        variant for variants in found.values() for variant, values in variants.items() if "edit_accuracy" in values
    }
    told = {variant.split("-")[0] for variant in edits - {"subject-1", "order-1"}}
    assert told == {"indirect"}
    # How many answers would move is told all the same.
    assert set(found["ceiling"]) == {"indirect-1", "subject-1", "order-1"}


@pytest.mark.parametrize(("arm", "systems"), [
    ("gated", {"sae_gated"}),
    ("general", {"sae_general"}),
    ("attribution", {"sae_attribution", "sae_attribution_explained"}),
])  # fmt: skip
def test_each_arm_has_its_systems(arm, systems):
    assert set(judged(arms=[arm]).metrics) == SUPERVISED | FLOORS | systems


def test_queries_add_edits_of_subject_and_order_and_features_are_those_of_topk():
    found, plain = judged(queries=True), judged()
    for system in ("supervised_mse", "sae_topk", "random", "components"):
        edited = {variant.split("-")[0] for variant in found.metrics[system]}
        assert {"indirect", "subject", "order"} <= edited and "subject" not in "".join(plain.metrics[system])
    assert found.features == plain.features and judged(arms=["gated"]).features == []
    assert {row["attribute"] for row in found.features} <= {"indirect", "subject", "order"}
    for system, variants in plain.metrics.items():
        for variant, values in variants.items():
            assert found.metrics[system][variant] == values
    assert all(
        torch.isfinite(torch.tensor(list(values.values()))).all() for values in plain.metrics["sae_topk"].values()
    )
