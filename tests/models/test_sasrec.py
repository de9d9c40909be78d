"""SASRec is the network of its paper: beside torch's own attention, and by what must not change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import layer_norm, linear

from winnow.errors import InputError
from winnow.models import build, load_model, save_model
from winnow.models.hooks import capture

ITEMS, WINDOW = 30, 8


def model(**changes):
    net = build("sasrec", **{"items": ITEMS, "window": WINDOW, "d": 12, "heads": 3, "seed": 2, **changes}).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for name, parameter in net.named_parameters():  # far from their start, where attention is nearly uniform
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
            if name == "embedding.weight":
                parameter[0] = 0
    return net


def histories(count=4, length=6, seed=0):
    return torch.randint(1, ITEMS + 1, (count, length), generator=torch.Generator().manual_seed(seed))


def left(x, by):
    return torch.cat([torch.zeros(len(x), by, dtype=torch.int64), x], 1)


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 2])
def test_states_are_those_of_torchs_attention(blocks):
    net, x = model(blocks=blocks), histories()
    w = net.state_dict()
    h = w["embedding.weight"][x] * 12**0.5 + w["positions.weight"][WINDOW - 6 :]
    for i in range(blocks):
        p = f"blocks.{i}."
        attention = torch.nn.MultiheadAttention(12, 3, batch_first=True).eval()
        names = [f"{p}attn_out.{part}" for part in ("query", "key", "value")]
        attention.in_proj_weight.copy_(torch.cat([w[f"{name}.weight"] for name in names]))
        attention.in_proj_bias.copy_(torch.cat([w[f"{name}.bias"] for name in names]))
        attention.out_proj.weight.copy_(w[f"{p}attn_out.output.weight"])
        attention.out_proj.bias.copy_(w[f"{p}attn_out.output.bias"])
        normed = layer_norm(h, (12,), w[f"{p}attention_norm.weight"], w[f"{p}attention_norm.bias"])
        later = torch.ones(6, 6, dtype=torch.bool).triu(1)
        h = h + attention(normed, normed, normed, attn_mask=later, need_weights=False)[0]
        normed = layer_norm(h, (12,), w[f"{p}mlp_norm.weight"], w[f"{p}mlp_norm.bias"])
        up = linear(normed, w[f"{p}mlp_out.up.weight"], w[f"{p}mlp_out.up.bias"]).relu()
        h = h + linear(up, w[f"{p}mlp_out.down.weight"], w[f"{p}mlp_out.down.bias"])
    expected = layer_norm(h, (12,), w["user_state.weight"], w["user_state.bias"])
    assert torch.allclose(net.states(x), expected, atol=1e-5)
    assert torch.allclose(net(x)[..., 1:], expected @ w["embedding.weight"][1:].T, atol=1e-4)


@torch.no_grad()
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(1, ITEMS))
def test_no_state_before_a_place_depends_on_its_item(place, item):
    for net in (model(), build("gru4rec", items=ITEMS, window=WINDOW, d=6, hidden=5).eval()):
        x = left(histories(), 1)
        changed = x.clone()
        changed[:, place + 1] = item
        assert torch.equal(net.states(x)[:, : place + 1], net.states(changed)[:, : place + 1])


@torch.no_grad()
@pytest.mark.parametrize("padding", [1, 2])
def test_more_padding_gives_the_same_scores(padding):
    for net in (model(), build("gru4rec", items=ITEMS, window=WINDOW, d=6, hidden=5).eval()):
        x = histories(length=5)
        assert torch.allclose(net(left(x, padding))[:, padding:], net(x), atol=1e-5)


@torch.no_grad()
def test_the_last_state_alone_is_that_of_all():
    lengths = torch.randint(0, WINDOW + 1, (300,), generator=torch.Generator().manual_seed(3))
    x = histories(300, WINDOW) * (torch.arange(WINDOW) >= WINDOW - lengths[:, None])
    for net in (model(), model(blocks=1), build("gru4rec", items=ITEMS, window=WINDOW, d=6, hidden=5).eval()):
        whole = net.states(x)
        assert torch.allclose(net.states(x, last=True), whole[:, -1:], atol=1e-5)
        assert torch.allclose(net.last_states(x), whole[:, -1], atol=1e-5)


@torch.no_grad()
def test_the_order_of_a_history_counts():
    x = histories(1)
    assert not torch.allclose(model()(x)[:, -1], model()(x.flip(1))[:, -1], atol=1e-2)


def test_padding_has_no_score_and_gets_no_gradient():
    net = model()
    x = left(histories(), 2)
    assert net(x)[..., 0].unique().tolist() == [-1e9]
    net(x).square().clamp(max=100).sum().backward()
    assert not net.embedding.weight.grad[0].any() and net.embedding.weight.grad[1:].any()


def test_hook_points_can_be_read_and_decide_the_scores():
    net, x = model(), histories()
    assert net.hook_points() == ["user_state", *(f"blocks.{i}.{p}" for i in (0, 1) for p in ("attn_out", "mlp_out"))]
    for name in net.hook_points():
        assert capture(net, x, name).shape == (24, 12)
    rows = capture(net, x, "user_state").unflatten(0, (4, 6))
    assert torch.equal(net.scores(rows), net(x))


def test_dropout_is_for_training_alone():
    net, x = model(dropout=0.5), histories()
    assert torch.equal(net(x), net(x))
    assert not torch.equal(net.train()(x), net(x))


@torch.no_grad()
@pytest.mark.parametrize(
    "place", ["dropout", "blocks.0.dropout", "blocks.1.attn_out.dropout", "blocks.0.mlp_out.dropout"]
)
def test_every_place_has_its_dropout(place):
    net, x = model(dropout=0.0), histories()
    plain = net(x)
    assert torch.equal(net.train()(x), plain)
    net.get_submodule(place).p = 0.5
    assert not torch.equal(net(x), plain)


@torch.no_grad()
def test_padding_has_the_state_of_nothing():
    net, x = model(), left(histories(), 2)
    assert torch.allclose(net.states(x)[:, :2], net.user_state.bias.expand(4, 2, 12), atol=1e-6)


def test_it_comes_back_from_its_file(tmp_path):
    net = model()
    save_model(net, tmp_path / "model.safetensors", workload="films")
    assert torch.equal(load_model(tmp_path / "model.safetensors")(histories()), net(histories()))


def test_what_it_cannot_read_is_refused():
    with pytest.raises(InputError, match="d 12 is no multiple of the 5 heads"):
        build("sasrec", items=3, d=12, heads=5)
    for name in ("sasrec", "gru4rec"):
        net = build(name, items=ITEMS, window=WINDOW)
        with pytest.raises(ValueError, match="sequences of 9 items; the model reads 8 at most"):
            net(histories(length=9))
        for item in (-1, ITEMS + 1):
            with pytest.raises(ValueError, match=f"items are 1 to {ITEMS}"):
                net(torch.tensor([[1, item]]))
