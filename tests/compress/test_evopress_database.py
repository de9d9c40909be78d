"""Databases swap weights as they say, and are read back as they were written."""

import numpy as np
import pytest
import torch

from tests.loud_transformer import loud_transformer
from winnow.compress import evopress_fitness
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
from winnow.compress.evopress_fitness import Divergence, LogPerplexity
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


def test_the_divergence_is_kullback_and_leiblers_and_nothing_for_the_model_itself(model, windows):
    database = depth_database(model)
    fitness = Divergence(model, database, windows)
    assert fitness((0,) * 6, np.arange(6)) == 0
    state, drawn = (1, 0, 0, 0, 1, 0), np.array([4, 1])
    p = model(windows[drawn]).double().softmax(-1)
    q = with_weights(model, database.parameters(state))(windows[drawn]).double().softmax(-1)
    expected = (p * (p / q).log()).sum(-1).mean()
    assert fitness(state, drawn) == pytest.approx(float(expected.detach()), rel=1e-4)


@pytest.mark.parametrize("largest", [3, 40, 99])
def test_on_the_largest_logits_the_divergence_is_between_what_is_left_of_both_models(model, windows, largest):
    database, state, drawn = depth_database(model), (1, 0, 0, 0, 1, 0), np.array([4, 1])
    fitness = Divergence(model, database, windows, largest)
    assert fitness((0,) * 6, np.arange(6)) == 0
    dense = model(windows[drawn]).detach().double()
    other = with_weights(model, database.parameters(state))(windows[drawn]).detach().double()
    expected = []
    for p, q in zip(dense.flatten(0, 1), other.flatten(0, 1), strict=True):
        top = sorted(range(40), key=lambda token: -float(p[token]))[:largest]
        p, q = p[top].softmax(-1), q[top].softmax(-1)
        expected.append(float((p * (p / q).log()).sum()))
    assert fitness(state, drawn) == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_logarithm_of_perplexity_is_the_loss_of_all_tokens_but_the_first(model, windows):
    database, state, drawn = depth_database(model), (1, 0, 0, 0, 1, 0), np.array([4, 1])
    logs = with_weights(model, database.parameters(state))(windows[drawn]).detach().double().log_softmax(-1)
    losses = [-float(logs[i, t, windows[row, t + 1]]) for i, row in enumerate(drawn) for t in range(11)]
    assert LogPerplexity(model, database, windows)(state, drawn) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("kept", [0, 2**25])
def test_states_that_share_their_first_blocks_are_judged_as_if_each_were_alone(model, databases, monkeypatch, kept):
    monkeypatch.setattr(evopress_fitness, "KEPT", kept)
    windows = torch.randint(40, (6, 12), generator=torch.Generator().manual_seed(3))
    generator, before = np.random.default_rng(0), model(windows)
    for database in (depth_database(model), depth_database(model, whole_blocks=True), *databases):
        shared = Divergence(model, database, windows)
        low, high = (np.array(ends) for ends in (database.space.lowest, database.space.highest))
        for turn in range(12):
            state, drawn = tuple(generator.integers(low, high + 1).tolist()), np.array([[4, 1], [0, 5]][turn // 3 % 2])
            dense, other = (net(windows[drawn]).detach().log_softmax(-1) for net in (
                model, with_weights(model, database.parameters(state))
            ))  # fmt: skip
            alone = torch.nn.functional.kl_div(other, dense, log_target=True, reduction="none").sum(-1).double().mean()
            assert shared(state, drawn) == pytest.approx(float(alone), rel=1e-5, abs=1e-8)
    assert torch.equal(model(windows), before)


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
