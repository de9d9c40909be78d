"""Experts beside one wide layer, all experts run and masked, and draws from the law that the router assumes; a
transformer of them beside one that they were put into, through training, files, samples and pruning."""

import copy

import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.models import build
from winnow.models.experts import (
    Dense,
    MoEX,
    MoEXTransformer,
    balance_loss,
    expected_activity,
    with_feed_forward,
)

WIDTH = 6


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(experts=4, k=2, hidden=5, seed=0, **changes):
    torch.manual_seed(seed)
    made = MoEX(WIDTH, hidden, experts, k, **changes)
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed + index))
    return made


def masked(made, x):
    """Every expert on every token, then weighted by what the router says, worked out here."""
    shares = made.scores(x).softmax(-1)
    limit = shares.sort(-1, descending=True).values[:, made.k - 1 : made.k]
    weights = shares * (shares >= limit)
    weights = weights / weights.sum(-1, keepdim=True)
    act = nn.functional.relu if made.activation == "relu" else nn.functional.gelu
    outputs = torch.stack(
        [act(x @ made.encoder[e] + made.bias[e]) @ made.decoder[e] for e in range(len(made.encoder))], 1
    )
    return (weights[..., None] * outputs).sum(1)


@pytest.mark.parametrize("router", ["sparsity", "learned"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_it_is_all_experts_masked_and_one_wide_layer(router, activation, k):
    made, x = layer(k=k, router=router, activation=activation), normal(20, WIDTH, seed=9)
    assert torch.allclose(made(x), masked(made, x), atol=1e-5)
    units, gates = made.as_wide_mlp(x)
    assert units.shape == gates.shape == (20, 20)
    assert torch.allclose((units * gates) @ made.decoder.flatten(0, 1), made(x), atol=1e-5)
    assert torch.equal((gates.view(20, 4, 5)[:, :, 0] > 0).sum(1), torch.full((20,), k))
    assert torch.equal(made(x.view(4, 5, WIDTH)), made(x).view(4, 5, WIDTH))


def test_expected_activity_is_that_of_drawn_weights():
    generator = torch.Generator().manual_seed(1)
    mean, deviation = normal(3, WIDTH, 1, seed=2), normal(3, WIDTH, 1, seed=3).abs()
    encoder = mean + deviation * torch.randn(3, WIDTH, 20_000, generator=generator)
    bias = normal(3, 1, seed=4).expand(3, 20_000)
    x = normal(10, WIDTH, seed=5)
    active = torch.stack([(x @ encoder[e] + bias[e] > 0).float().mean(1) for e in range(3)], 1)
    assert torch.allclose(expected_activity(encoder, bias, x), active, atol=0.02)
    # Weights that do not vary have a certain answer.
    certain = expected_activity(
        torch.ones(2, WIDTH, 3), torch.zeros(2, 3), torch.tensor([[1.0] * WIDTH, [-1.0] * WIDTH])
    )
    assert certain.tolist() == [[1, 1], [0, 0]]


def test_the_router_without_parameters_picks_the_quietest():
    made = layer(k=1)
    x = normal(50, WIDTH, seed=7)
    _, chosen = made.routed(x)
    assert torch.equal(chosen[:, 0], expected_activity(made.encoder, made.bias, x).argmin(1))
    assert made.router is None and {n for n, _ in made.named_parameters()} == {"encoder", "bias", "decoder"}
    assert {n for n, _ in layer(router="learned").named_parameters()} > {"router.weight"}
    made(x).sum().backward()
    assert torch.all(made.encoder.grad.abs().sum((1, 2)) > 0)


def test_all_experts_alike_are_their_average():
    made = layer(k=4, router="learned")
    with torch.no_grad():
        made.router.weight.zero_()
    x = normal(8, WIDTH, seed=3)
    each = [torch.relu(x @ made.encoder[e] + made.bias[e]) @ made.decoder[e] for e in range(4)]
    assert torch.allclose(made(x), torch.stack(each).mean(0), atol=1e-6)
    assert made.balance.item() == pytest.approx(1)


def test_experts_may_change_places():
    made, x = layer(), normal(9, WIDTH, seed=2)
    moved, order = copy.deepcopy(made), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for name in ("encoder", "bias", "decoder"):
            getattr(moved, name).copy_(getattr(made, name)[order])
    assert torch.allclose(moved(x), made(x), atol=1e-6)


def test_the_balancing_loss_is_the_sum_over_experts_of_use_times_share():
    made = layer(k=1, router="learned", experts=2)
    with torch.no_grad():
        made.router.weight.zero_()
        made.router.weight[0, 0] = 1
    x = torch.zeros(4, WIDTH)
    x[:, 0] = torch.tensor([2.0, 2.0, 2.0, -2.0])
    made(x)
    high = torch.sigmoid(torch.tensor(2.0))
    expected = 2 * (0.75 * (3 * high + 1 - high) / 4 + 0.25 * (3 * (1 - high) + high) / 4)
    assert made.balance.item() == pytest.approx(expected.item(), abs=1e-6)
    pair = nn.ModuleList([made, made])
    assert balance_loss(pair).item() == pytest.approx(0.01 * expected.item(), abs=1e-7)
    assert balance_loss(nn.ModuleList([made, copy.copy(made)]), 0.5).item() == pytest.approx(expected.item(), abs=1e-6)
    assert balance_loss(nn.Linear(1, 1)).item() == 0


def test_units_without_weights_are_as_likely_above_as_below():
    assert expected_activity(torch.zeros(2, WIDTH, 3), torch.zeros(2, 3), normal(4, WIDTH)).unique().tolist() == [0.5]


def test_a_new_layer_has_two_of_eight_quiet_experts_of_small_normal_weights():
    torch.manual_seed(0)
    made = MoEX(12, 200)
    assert made.encoder.shape == (8, 12, 200) and made.decoder.shape == (8, 200, 12)
    assert made.k == 2 and made.router is None and made.activation == "relu" and made.balance.item() == 1
    for weight in (made.encoder, made.decoder):
        assert weight.std().item() == pytest.approx(0.16, rel=0.05) and weight.abs().max() > 0.48
    assert not made.bias.any()
    dense, x = Dense(WIDTH, 5), normal(4, WIDTH)
    assert torch.equal(dense.hidden(x), nn.functional.gelu(dense.encoder(x))) and dense.decoder.bias is None


def test_expected_activity_does_not_depend_on_the_scale_of_weights():
    encoder, bias, x = normal(3, WIDTH, 7), normal(3, 7, seed=1), normal(9, WIDTH, seed=2)
    for scale in (1e-3, 1e3):
        found = expected_activity(scale * encoder, scale * bias, x)
        assert torch.allclose(found, expected_activity(encoder, bias, x), atol=1e-5)


def test_bad_input_is_named():
    for k in (0, 5):
        with pytest.raises(InputError, match=f"k: is {k}; give 1 to the number of experts, 4"):
            MoEX(WIDTH, 5, 4, k)
    with pytest.raises(InputError, match="hidden: is 0"):
        MoEX(WIDTH, 0)
    with pytest.raises(InputError, match="router 'best'"):
        MoEX(WIDTH, 5, router="best")
    with pytest.raises(InputError, match="activation 'tanh'"):
        MoEX(WIDTH, 5, activation="tanh")


@pytest.mark.parametrize("router", ["sparsity", "learned"])
def test_dense_layers_experts_and_routers_start_on_one_scale(router):
    torch.manual_seed(0)
    dense, experts = Dense(64, 200), MoEX(64, 200, router=router)
    weights = [dense.encoder.weight, dense.decoder.weight, experts.encoder, experts.decoder]
    weights += [experts.router.weight] if router == "learned" else []
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.0693, rel=0.1) and abs(weight.mean().item()) < 0.01
    assert not dense.encoder.bias.any() and not experts.bias.any()


@torch.no_grad()
@pytest.mark.parametrize("router", ["sparsity", "learned"])
def test_the_model_of_the_registry_is_a_transformer_with_these_layers(router):
    shape = {"vocabulary": 11, "width": 16, "layers": 2, "heads": 2}
    torch.manual_seed(1)
    layers = [MoEX(16, 12, 4, 2, router, "gelu") for _ in range(2)]
    study = with_feed_forward(build("transformer", seed=3, **shape), layers)
    made = build("moe_x_transformer", experts=4, k=2, hidden=12, router=router, activation="gelu", **shape)
    made.load_state_dict(study.state_dict())
    x = torch.randint(11, (2, 10), generator=torch.Generator().manual_seed(0))
    assert torch.equal(made(x), study(x))
    assert torch.equal(made.extra_loss(), balance_loss(study)) and balance_loss(study) > 0


def test_a_model_of_the_registry_has_eight_quiet_experts_unless_told():
    made = MoEXTransformer(11)
    assert made.embedding.weight.shape == (11, 64) and len(made.blocks) == 2 and made.blocks[0].attention.heads == 4
    layer = made.blocks[1].mlp
    assert layer.encoder.shape == (8, 64, 256) and layer.k == 2 and layer.router is None and layer.activation == "relu"
    assert made.extra_loss().item() == pytest.approx(0.02)


def test_a_model_is_copied_in_the_midst_of_training():
    made, x = layer(router="learned"), normal(5, WIDTH)
    made(x)
    copied = copy.deepcopy(made)
    assert made.balance.requires_grad and not copied.balance.requires_grad
    assert copied.balance.item() == made.balance.item() and torch.equal(copied(x), made(x))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"k": 9}, "k: is 9; give 1 to the number of experts, 8"),
        ({"experts": 0}, "k: is 2; give 1 to the number of experts, 0"),
        ({"hidden": 0}, "hidden: is 0; give at least 1"),
        ({"router": "best"}, "router 'best', activation 'relu': give sparsity or learned, relu or gelu"),
        ({"experts": 2.5}, "arguments .*'experts': 2.5.* do not make a model"),
        ({"heads": 0}, "arguments .*'heads': 0.* do not make a model"),
        ({"width": 18}, "width 18 is no multiple of twice the 4 heads"),
        ({"expert": 4}, "unknown argument 'expert'; did you mean experts?"),
    ],
)
def test_bad_arguments_are_one_line(arguments, expected):
    with pytest.raises(InputError, match=f"model moe_x_transformer: .*{expected}") as error:
        build("moe_x_transformer", vocabulary=11, **arguments)
    assert "\n" not in str(error.value)
