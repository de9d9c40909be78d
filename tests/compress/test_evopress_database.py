"""Databases swap weights as they say, and are read back as they were written."""

import pytest
import torch

from tests.loud_transformer import loud_transformer
from winnow.compress._second_order import gptq, second_moment, sparse_obs
from winnow.compress.evopress_database import (
    BITS,
    LEVELS,
    calibrated,
    depth_database,
    layer_databases,
    load_database,
    save_database,
)
from winnow.compress.evopress_models import thinned, with_weights
from winnow.errors import InputError
from winnow.models import build, save_model
from winnow.models.hooks import capture


@pytest.fixture(scope="module")
def model():
    return loud_transformer(3)


@pytest.fixture(scope="module")
def windows():
    return torch.randint(0, 40, (6, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def databases(model, windows):
    return layer_databases(model, windows, 0.5)


def test_dropping_a_layer_leaves_the_residual_stream_as_it_is(model, windows):
    state = (0, 1, 0, 1, 0, 0)  # attention of block 1, feed-forward of block 0
    database = depth_database(model)
    assert database.names[1] == "blocks.1.attention" and database.names[3] == "blocks.0.mlp"
    x = model.embedding(windows)
    for index, block in enumerate(model.blocks):
        if index != 1:
            x = x + block.attention(block.attention_norm(x))
        if index != 0:
            x = x + block.mlp(block.mlp_norm(x))
    expected = model.norm(x) @ model.embedding.weight.T
    assert torch.allclose(with_weights(model, database.parameters(state))(windows), expected, atol=1e-4)
    assert torch.allclose(thinned(model, state)(windows), expected, atol=1e-4)


def test_whole_blocks_are_both_their_layers(model, windows):
    blocks, layers = depth_database(model, whole_blocks=True), depth_database(model)
    a = with_weights(model, blocks.parameters((0, 0, 1)))(windows)
    assert torch.equal(a, with_weights(model, layers.parameters((0, 0, 1, 0, 0, 1)))(windows))
    assert blocks.space.groups == ((0, 1, 2),) and layers.space.groups == ((0, 1, 2), (3, 4, 5))


def test_levels_cost_what_they_say(model, databases):
    sparsity, bits = databases
    smallest = 16 * 16
    step = int(0.5 / 2 / LEVELS * smallest)
    for unit, name in enumerate(sparsity.names):
        zeros = {level: int((weight[name] == 0).sum()) for level, weight in sparsity.weights[unit].items()}
        size = model.get_parameter(name).numel()
        assert zeros == {level: size // 2 + level * step for level in range(-LEVELS, LEVELS + 1)}
        assert sparsity.space.steps[unit] == -step and bits.space.steps[unit] == size
        assert {len(weight[name].unique()) <= size for weight in bits.weights[unit].values()} == {True}
        assert [int(bits.codes[name][b].codes.max()) < 2**b for b in BITS] == [True] * len(BITS)
    assert len(sparsity.space.groups) == 1 and {len(group) for group in bits.space.groups} == {12, 9}


def test_errors_fall_with_the_levels(databases):
    sparsity, bits = databases
    for errors in sparsity.errors:
        assert sorted(errors, key=errors.get) == sorted(errors)
    for errors in bits.errors:
        assert errors[2] > errors[4] > errors[6]


def test_later_blocks_are_compressed_on_what_earlier_ones_let_through(model, windows, databases):
    sparsity, _ = databases
    middle = {name: levels[0][name] for name, levels in zip(sparsity.names, sparsity.weights, strict=True)}
    before = {name: weight for name, weight in middle.items() if name.startswith("blocks.0.")}
    with torch.no_grad():
        inputs = capture(with_weights(model, before), windows, "blocks.1.attention_norm")
        weight = model.blocks[1].attention.key.weight
        expected = sparse_obs(weight, second_moment(inputs), 0.5)
    assert torch.allclose(middle["blocks.1.attention.key.weight"], expected, atol=1e-5)
    with torch.no_grad():
        uncompressed = capture(model, windows, "blocks.1.attention_norm")
    assert not torch.allclose(expected, sparse_obs(weight, second_moment(uncompressed), 0.5), atol=1e-3)


def test_each_layer_is_told_its_own_inputs(model, windows):
    with torch.no_grad():
        found = {n: moment for n, _, moment in calibrated(model, windows, lambda name, weight, moment: weight)}
        up = capture(model, windows, "blocks.2.mlp_norm")
    assert len(found) == 21
    assert torch.allclose(found["blocks.2.mlp.up.weight"], second_moment(up), rtol=1e-4)
    assert found["blocks.2.mlp.down.weight"].shape == (48, 48)


@pytest.mark.parametrize("which", [0, 1])
def test_a_database_is_read_back_as_it_was(databases, tmp_path, which):
    database = databases[which]
    save_database(database, tmp_path / "a.safetensors")
    read = load_database(tmp_path / "a.safetensors")
    assert read.kind == database.kind and read.names == database.names and read.space == database.space
    assert read.errors == database.errors
    for state in (database.space.lowest, database.space.highest):
        a, b = database.parameters(state), read.parameters(state)
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    save_database(read, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_bad_requests_are_refused(model, windows, databases, tmp_path):
    for bad in (0.0, 1.0):
        with pytest.raises(InputError, match=f"sparsity: is {bad}"):
            layer_databases(model, windows, bad)
    with pytest.raises(InputError, match="unit 0 has level 7"):
        databases[1].parameters((7,) + (3,) * 20)
    with pytest.raises(InputError, match=r"none.safetensors: no such file"):
        load_database(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad.safetensors: is no database"):
        load_database(tmp_path / "bad.safetensors")
    save_model(model, tmp_path / "model.safetensors", "python")
    with pytest.raises(InputError, match=r"model.safetensors: is no database"):
        load_database(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="does not make|do not make"):
        build("thin_transformer", vocabulary=40, layers=2, attention=[2])


@pytest.mark.parametrize("sparsity", [0.25, 0.75])
def test_levels_go_half_of_the_way_to_the_nearer_end_and_each_layer_is_told_of(windows, sparsity):
    small, told = loud_transformer(1), []
    database, bits = layer_databases(small, windows, sparsity, lambda done, of: told.append((done, of)))
    step = int(0.25 / 2 / LEVELS * 16 * 16)
    for name, levels in zip(database.names, database.weights, strict=True):
        size = small.get_parameter(name).numel()
        zeros = {level: int((weights[name] == 0).sum()) for level, weights in levels.items()}
        assert zeros == {level: round(sparsity * size) + level * step for level in range(-LEVELS, LEVELS + 1)}
    assert told == [(done, 14) for done in range(1, 15)]
    # Layers of one size are a group, in the order of the first of each.
    assert bits.space.groups == ((0, 1, 2, 3), (4, 5, 6))


def test_few_bits_of_later_blocks_are_told_by_three_bits_of_earlier_ones(model, windows, databases):
    _, bits = databases
    name = "blocks.1.attention.key.weight"
    found, weight = bits.weights[bits.names.index(name)][6][name], model.get_parameter(name).detach()

    def expected(through):
        before = {n: levels[through][n] for n, levels in zip(bits.names, bits.weights, strict=True) if "blocks.0." in n}
        with torch.no_grad():
            inputs = capture(with_weights(model, before), windows, "blocks.1.attention_norm")
            return gptq(weight, second_moment(inputs), 6).dense()

    assert torch.allclose(found, expected(3), atol=1e-5)
    assert not torch.allclose(found, expected(2), atol=1e-5) and not torch.allclose(found, expected(4), atol=1e-5)


@pytest.mark.parametrize(("inputs", "scales"), [(128, 1), (129, 2)])
def test_128_inputs_share_a_scale(windows, inputs, scales):
    net = build("transformer", vocabulary=40, width=8, layers=1, heads=1, hidden=inputs, seed=0)
    _, bits = layer_databases(net, windows, 0.5)
    assert bits.codes["blocks.0.mlp.down.weight"][3].scale.shape == (8, scales)
