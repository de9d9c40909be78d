"""Networks answer the same question as linear models, by measures that are taken again by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluate.bank import SETTINGS, bank
from tests.evaluate.recourse_rows import one_thread  # noqa: F401  a fixture
from winnow.errors import InputError
from winnow.evaluate.recourse_data import recourse_data, rows_of
from winnow.evaluate.recourse_experiment import SLACK
from winnow.evaluate.recourse_network_experiment import network_metrics
from winnow.evaluate.recourse_networks import FittedNetwork, network_recourse, network_validity

ARMS = ("network_plain", "network_linearised", "network_linearised_rounds", "network_surrogate", "network_roar")
MEASURES = ("validity_worst", "validity_with_slack", "found", "cost_ratio")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return recourse_data(bank(tmp_path_factory.mktemp("curated")), "good", 0, immutable=["town"])


@pytest.fixture(scope="module")
def measured(data):
    return network_metrics(data, SETTINGS, 0)


def test_every_arm_is_measured_at_every_budget_and_dearer_than_plain(measured):
    assert [row[:3] for row in measured] == [(arm, "b5", measure) for arm in ARMS for measure in MEASURES]
    rows = {row[:3]: row[3] for row in measured}
    assert rows["network_plain", "b5", "cost_ratio"] == 1
    assert rows["network_linearised", "b5", "cost_ratio"] > 1
    for arm in ARMS:
        assert all(rows[arm, "b5", measure] in (0, 0.5, 1) for measure in MEASURES[:3])  # shares of two rows


def test_plain_and_linearised_recourses_are_measured_as_by_hand(data, measured):
    rows = {row[:3]: row[3] for row in measured}
    model = FittedNetwork(data.x, data.y, SETTINGS.ridge, 0)
    x = data.test[(model.network(model.theta, torch.from_numpy(data.test)) < 0).numpy()][:2]
    k, few = rows_of(0.05, len(data.x)), rows_of(0.05 / SLACK, len(data.x))
    assert few < k
    points = {
        "network_plain": network_recourse(model, x, 0, margin=1e-3),
        "network_linearised": network_recourse(model, x, k, margin=1e-3),
    }
    lengths = {arm: np.linalg.norm(at - x, axis=1) for arm, at in points.items()}
    for arm, at in points.items():
        assert rows[arm, "b5", "validity_worst"] == (network_validity(model, at, k) >= 0).mean()
        assert rows[arm, "b5", "validity_with_slack"] == (network_validity(model, at, few) >= 0).mean()
        assert rows[arm, "b5", "found"] == np.isfinite(at).all(axis=1).mean()
        ratio = np.nanmean(lengths[arm] / lengths["network_plain"])
        assert rows[arm, "b5", "cost_ratio"] == pytest.approx(ratio, rel=1e-9)


def test_a_network_that_rejects_nothing_is_named(data):
    with pytest.raises(InputError, match="the network rejects no test row"):
        network_metrics(replace(data, test=data.test[:0]), SETTINGS, 0)
