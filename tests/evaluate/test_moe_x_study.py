"""As many units work in each kind of layer; resting experts are silent; features are judged on other files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import moe_x_charts
from winnow.evaluate.moe_x_study import ARMS, judged, labelled, trained, units
from winnow.pipeline.tables import metric_rows
from winnow.train.moe_x import Dense, MoEX

SETTINGS = SimpleNamespace(
    width=16, layers=2, hidden=8, experts=4, k=2, context=16, steps=4, batch_size=4, learning_rate=3e-3, windows=8,
    precision=0.9, seed=0,
)  # fmt: skip
FILES = ["def f(x):\n    return [x, 1]  # one\n" * 6, "import os\n" * 9, "def (", "class A:\n    b = 'c'\n" * 9]
TEXT, MARKS = labelled(FILES)


def silent(done, of):
    pass


@pytest.fixture(scope="module")
def models():
    return {arm.name: trained(arm, TEXT, SETTINGS, silent) for arm in ARMS}


def test_files_that_do_not_parse_are_left_out():
    assert TEXT.tobytes().decode() == FILES[0] + FILES[1] + FILES[3] and len(MARKS) == len(TEXT)
    with pytest.raises(InputError, match="no file parses as Python"):
        labelled(["def ("])


def test_layers_are_of_the_size_they_should_be(models):
    layers = {name: model.blocks[1].mlp for name, (model, _) in models.items()}
    assert layers["dense"].encoder.weight.shape[0] == 16 and layers["dense_wide"].encoder.weight.shape[0] == 32
    for name in ("switch", "relu_experts", "moe_x", "moe_x_upcycled"):
        assert isinstance(layers[name], MoEX) and layers[name].encoder.shape == (4, 16, 8) and layers[name].k == 2
    assert [layers[n].activation for n in ("dense", "switch", "moe_x", "moe_x_upcycled")] == [
        "gelu",
        "gelu",
        "relu",
        "relu",
    ]
    assert layers["moe_x"].router is None and layers["relu_experts"].router is not None
    for _, history in models.values():
        assert [step for _, _, step in history] == [1, 2, 3, 4]
    again = trained(ARMS[4], TEXT, SETTINGS, silent)[0]
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), models["moe_x"][0].parameters(), strict=True))


def test_units_of_resting_experts_are_silent_and_merit_is_told(models):
    x = torch.from_numpy(TEXT[:32].astype(np.int64)).view(2, 16)
    found, merit = units(models["moe_x"][0], x)
    assert found.shape == (32, 32) and ((found != 0).reshape(32, 4, 8).any(2).sum(1) <= 2).all()
    assert -1 <= merit < 0
    dense, none = units(models["dense"][0], x)
    assert dense.shape == (32, 16) and np.isnan(none)
    assert isinstance(models["dense"][0].blocks[0].mlp, Dense) and not models["dense"][0].blocks[0].mlp._forward_hooks


def test_judged_tells_each_score(models):
    values = judged(models["moe_x"][0], TEXT, MARKS, SETTINGS)
    assert 0 < values["l0"] <= 16 and 0 <= values["dead"] < 1 and values["router_correlation"] < 0
    assert 0 <= values["reconstruction"] <= 1 and 0 < values["coverage"] <= 1 and values["cross_entropy"] > 4
    assert judged(models["dense"][0], TEXT, MARKS, SETTINGS)["router_correlation"] is None


def test_the_chart_has_a_panel_for_each_score():
    values = dict.fromkeys(moe_x_charts.PANELS, 0.5)
    table = metric_rows(values, system="moe_x", workload="", variant="trained", seed=0, split="test")
    assert [row["layer"] for row in drawn(moe_x_charts.scores(table)) if "layer" in row] == ["MoE-X"]
    with pytest.raises(InputError, match="the table has no cross-entropy"):
        moe_x_charts.scores(table.slice(0, 0))
