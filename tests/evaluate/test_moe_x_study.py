"""As many units work in each kind of layer; up-cycled arms share a dense half; a dictionary takes a layer's place."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.errors import InputError
from winnow.evaluate.moe_x_study import ARMS, labelled, spliced, trained
from winnow.models.experts import Dense, MoEX
from winnow.models.hooks import capture

SETTINGS = SimpleNamespace(
    width=16, layers=2, hidden=8, experts=4, k=2, context=16, steps=4, batch_size=4, learning_rate=3e-3, windows=8,
    precision=0.9, seed=0, dictionary_rows=200, dictionary_steps=40, dictionary_batch=50,
)  # fmt: skip
FILES = ["def f(x):\n    return [x, 1]  # one\n" * 6, "import os\n" * 9, "def (", "class A:\n    b = 'c'\n" * 9]
TEXT, MARKS = labelled(FILES)
BY_NAME = {arm.name: arm for arm in ARMS}


def silent(done, of):
    pass


@pytest.fixture(scope="module")
def models():
    begun = {}
    return {arm.name: trained(arm, TEXT, SETTINGS, silent, begun) for arm in ARMS}


def test_files_that_do_not_parse_are_left_out():
    assert TEXT.tobytes().decode() == FILES[0] + FILES[1] + FILES[3] and len(MARKS) == len(TEXT)
    with pytest.raises(InputError, match="no file parses as Python"):
        labelled(["def ("])


def test_layers_are_of_the_size_they_should_be(models):
    layers = {name: model.blocks[1].mlp for name, (model, _) in models.items()}
    sizes = {name: layer.encoder.weight.shape[0] for name, layer in layers.items() if isinstance(layer, Dense)}
    assert sizes == {"dense": 16, "dense_wide": 32, "dense_continued": 8}
    experts = {name: layer for name, layer in layers.items() if isinstance(layer, MoEX)}
    assert all(layer.encoder.shape == (4, 16, 8) and layer.k == 2 for layer in experts.values())
    assert {name: (layer.activation, layer.router is None) for name, layer in experts.items()} == {
        "switch": ("gelu", False),
        "relu_experts": ("relu", False),
        "quiet_router": ("gelu", True),
        "moe_x": ("relu", True),
        "switch_upcycled": ("gelu", False),
        "relu_experts_upcycled": ("relu", False),
        "quiet_router_upcycled": ("gelu", True),
        "moe_x_upcycled": ("relu", True),
    }
    for _, history in models.values():
        assert [step for _, _, step in history] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["moe_x", "relu_experts_upcycled", "moe_x_upcycled"])
def test_an_arm_alone_is_what_it_is_beside_others(models, name):
    torch.manual_seed(5)  # what others drew before does not matter
    again = trained(BY_NAME[name], TEXT, SETTINGS, silent, {})[0]
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), models[name][0].parameters(), strict=True))


def test_upcycled_arms_of_an_activation_have_their_first_half_in_common(models):
    half = {name: history[:2] for name, (_, history) in models.items()}
    assert half["moe_x_upcycled"] == half["relu_experts_upcycled"] == half["dense_continued"]
    assert half["switch_upcycled"] == half["quiet_router_upcycled"] != half["moe_x_upcycled"]
    later = [models[name][1][2:] for name in ("moe_x_upcycled", "relu_experts_upcycled", "dense_continued")]
    assert later[0] != later[1] != later[2]


def test_a_dictionary_of_the_last_layer_takes_its_place(models):
    model = models["dense"][0]
    made = spliced(model, TEXT, 3.4, SETTINGS, silent)
    assert made.dictionary.m == 32 and made.dictionary.k == 3 and made.hook == "blocks.1.mlp"
    x = torch.from_numpy(TEXT[:32].astype(np.int64)).view(2, 16)
    rows = capture(model, x, "blocks.1.mlp")
    assert made.codes(x).shape == (32, 32) and torch.all((made.codes(x) > 0).sum(1) <= 3)
    # What runs after the last feed-forward layer, written out here.
    stream = model.blocks[0](model.embedding(x))
    block = model.blocks[1]
    stream = stream + block.attention(block.attention_norm(stream))
    stream = stream + made.dictionary.reconstruct(rows).view(2, 16, 16)
    assert torch.allclose(made(x), model.norm(stream) @ model.embedding.weight.T, atol=1e-5)
    fine = spliced(model, TEXT, 31.0, SETTINGS, silent)
    assert (fine(x) - model(x)).abs().mean() < (made(x) - model(x)).abs().mean()


def test_a_dictionary_has_at_least_one_latent_at_work_and_at_least_one_idle(models):
    model = models["dense"][0]
    assert spliced(model, TEXT, 0.2, SETTINGS, silent).dictionary.k == 1
    assert spliced(model, TEXT, 99.0, SETTINGS, silent).dictionary.k == 31
