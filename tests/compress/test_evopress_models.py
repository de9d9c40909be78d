"""Models without layers, with zeros and of few bits, in memory and as they are read back."""

import pytest
import torch

from tests.loud_transformer import loud_transformer
from winnow.compress.evopress_database import layer_databases
from winnow.compress.evopress_models import save_levels, thinned, with_weights
from winnow.models import load_card, load_model, save_model


@pytest.fixture(scope="module")
def model():
    return loud_transformer(3)


@pytest.fixture(scope="module")
def windows():
    return torch.randint(0, 40, (6, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def databases(model, windows):
    return layer_databases(model, windows, 0.5)


def test_what_was_found_is_a_model_on_disk(model, databases, windows, tmp_path):
    sparsity, bits = databases
    save_model(model, tmp_path / "dense.safetensors", "python")
    for database, state in ((sparsity, sparsity.space.highest), (bits, (3,) * 21)):
        path = tmp_path / f"{database.kind}.safetensors"
        made = save_levels(model, database, state, path, "python")
        assert torch.equal(load_model(path)(windows), made(windows))
        assert path.stat().st_size < (tmp_path / "dense.safetensors").stat().st_size * 0.6
    thin = thinned(model, (1, 1, 0, 1, 0, 0))
    save_model(thin, tmp_path / "thin.safetensors", "python")
    assert torch.equal(load_model(tmp_path / "thin.safetensors")(windows), thin(windows))
    assert thin.hook_points() == ["blocks.0", "blocks.1.mlp", "blocks.1", "blocks.2.mlp", "blocks.2"]


def test_weights_are_replaced_in_a_copy(model, windows):
    before = model(windows)
    name = "blocks.1.mlp.down.weight"
    zeros = {name: torch.zeros_like(model.state_dict()[name])}
    changed = with_weights(model.train(), zeros)
    assert not changed.training and not changed.state_dict()[name].any()
    assert torch.equal(model.eval()(windows), before) and not torch.equal(changed(windows), before)
    others = [n for n in model.state_dict() if n != name]
    assert all(torch.equal(model.state_dict()[n], changed.state_dict()[n]) for n in others)


def test_a_thin_model_keeps_the_layers_of_each_kind_that_its_state_keeps(model, windows):
    thin = thinned(model.train(), (0, 1, 1, 1, 0, 0))
    assert not thin.training and thin.arguments["attention"] == [0] and thin.arguments["mlp"] == [1, 2]
    stream = model.embedding(windows)
    first, second, third = model.blocks
    stream = stream + first.attention(first.attention_norm(stream))
    stream = stream + second.mlp(second.mlp_norm(stream))
    stream = stream + third.mlp(third.mlp_norm(stream))
    assert torch.allclose(thin(windows), model.norm(stream) @ model.embedding.weight.T, atol=1e-4)
    whole = thinned(model, (0,) * 6)
    assert torch.allclose(whole(windows), model.eval()(windows), atol=1e-5)


def test_zeros_are_not_stored_and_bits_are_packed(model, databases, tmp_path):
    for database in databases:
        path = tmp_path / f"{database.kind}.safetensors"
        state = database.space.lowest
        made = save_levels(model, database, state, path, "python")
        card = load_card(path)
        assert card["workload"] == "python"
        weights = database.parameters(state)
        assert all(torch.equal(made.state_dict()[name], weight) for name, weight in weights.items())
        if database.kind == "bits":
            assert card["masked"] == [] and {n: bits for n, (bits, _) in card["packed"].items()} == dict(
                zip(database.names, state, strict=True)
            )
        else:
            assert card["masked"] == sorted(weights) and card["packed"] == {}
