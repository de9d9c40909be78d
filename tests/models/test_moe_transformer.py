"""Mixtures of experts beside one wide layer, loops over rows, draws of weights, and what must not change."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.models import build, load_model, save_model
from winnow.models.moe_transformer import MoEX, Routing, balance_loss, expected_activity


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(seed=0, size=1.0, **changes):
    mixture = MoEX(**{"d": 6, "h": 5, "experts": 4, "k": 2, **changes}).double()
    with torch.no_grad():
        for i, parameter in enumerate(mixture.parameters()):
            parameter.copy_(size * normal(*parameter.shape, seed=seed + i))
    return mixture


ROUTED = [{"router": "sparsity"}, {"router": "topk"}, {"act": "gelu"}, {"k": 1}, {"k": 4}, {"experts": 1, "k": 1}]


@torch.no_grad()
@pytest.mark.parametrize("changes", ROUTED)
def test_outputs_are_those_of_a_loop_over_rows_and_experts(changes):
    mixture, x = layer(**changes), normal(3, 7, 6, seed=9).double()
    out = mixture(x)
    for row, found in zip(x.flatten(0, 1), out.flatten(0, 1), strict=True):
        scores = []
        for expert in range(mixture.experts):
            if mixture.router == "topk" and mixture.experts > 1:
                scores.append(float(mixture.learned.weight[expert] @ row))
                continue
            w, b = mixture.encoder[expert], mixture.bias[expert]
            mean, spread = float(row @ w.mean(1) + b.mean()), 0.0
            for i in range(6):
                spread += float(row[i] ** 2 * ((w[i] - w[i].mean()) ** 2).mean())
            spread += float(((b - b.mean()) ** 2).mean())
            scores.append(-math.erf(mean / math.sqrt(2 * spread)))
        best = sorted(range(mixture.experts), key=lambda e: -scores[e])[: mixture.k]
        weights = [math.exp(scores[e]) for e in best]
        by_hand = sum(
            weight / sum(weights) * (mixture.act(row @ mixture.encoder[e] + mixture.bias[e]) @ mixture.decoder[e])
            for weight, e in zip(weights, best, strict=True)
        )
        torch.testing.assert_close(found, by_hand, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("changes", ROUTED)
def test_a_mixture_is_one_wide_layer_with_blocks_switched_off(changes):
    mixture, x = layer(**changes), normal(11, 6, seed=3).double()
    hidden, gates = mixture.as_wide_mlp(x)
    assert hidden.shape == (11, mixture.experts * 5)
    wide = (hidden * gates.repeat_interleave(5, dim=1)) @ mixture.decoder.flatten(0, 1)
    torch.testing.assert_close(wide, mixture(x), rtol=1e-9, atol=1e-9)
    units = hidden.view(11, mixture.experts, 5)
    assert (gates > 0).sum(1).tolist() == [mixture.k] * 11
    assert not units[gates == 0].any()
    torch.testing.assert_close(gates.sum(1), torch.ones(11).double())
    if changes == {"experts": 1, "k": 1}:
        torch.testing.assert_close(hidden, torch.relu(x @ mixture.encoder[0] + mixture.bias[0]))


def test_expected_activity_is_the_share_of_active_units_over_draws_of_the_weights():
    x, mean, spread = normal(5, 6, seed=1), 0.3 * normal(2, 6, 1, seed=2), normal(2, 6, 1, seed=3).abs()
    weight = mean + spread * normal(2, 6, 40_000, seed=4)
    bias = torch.tensor([[0.5], [-0.3]]) + 0.7 * normal(2, 40_000, seed=5)
    share = ((torch.einsum("nd,edh->neh", x, weight) + bias[None]) > 0).float().mean(2)
    assert (expected_activity(weight, bias, x) - share).abs().max() < 0.01  # four standard errors of 40,000 draws
    assert share.std() > 0.1


def test_an_input_of_zeros_has_a_score_and_a_gradient():
    mixture = layer()
    with torch.no_grad():
        mixture.bias.zero_()
    x = torch.zeros(1, 6).double().requires_grad_()
    assert mixture.scores(x).tolist() == [[0.0] * 4]
    mixture(x).sum().backward()
    assert torch.isfinite(x.grad).all() and all(torch.isfinite(p.grad).all() for p in mixture.parameters())


def test_the_router_without_parameters_trains_the_encoders():
    mixture = layer(size=0.3)
    assert set(dict(mixture.named_parameters())) == {"encoder", "bias", "decoder"}
    assert set(dict(layer(router="topk").named_parameters())) == {"encoder", "bias", "decoder", "learned.weight"}
    assert layer(router="topk", experts=1, k=1).learned is None
    scores = mixture.scores(normal(3, 6).double())
    scores.sum().backward()
    assert mixture.encoder.grad.abs().sum() > 0 and mixture.bias.grad.abs().sum() > 0


def test_gradients_are_those_of_differences():
    mixture, x = layer(size=0.5), normal(4, 6, seed=8).double()
    parameters = tuple(p.detach().clone().requires_grad_() for p in mixture.parameters())
    names = [name for name, _ in mixture.named_parameters()]

    def out(x, *values):
        return torch.func.functional_call(mixture, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(out, (x.requires_grad_(), *parameters))


@torch.no_grad()
@given(st.permutations(range(4)), st.sampled_from(["sparsity", "topk"]))
def test_the_order_of_experts_does_not_matter(order, router):
    first, second = layer(router=router), layer(router=router)
    for name, parameter in second.named_parameters():
        parameter.copy_(first.get_parameter(name)[list(order)])
    x = normal(9, 6, seed=2).double()
    torch.testing.assert_close(second(x), first(x))


@torch.no_grad()
def test_all_experts_at_equal_scores_are_averaged():
    mixture, x = layer(router="topk", k=4), normal(5, 6).double()
    mixture.learned.weight.zero_()
    alone = [mixture.hidden(expert, x) @ mixture.decoder[expert] for expert in range(4)]
    torch.testing.assert_close(mixture(x), torch.stack(alone).mean(0))
    mixture.k = 2
    assert mixture.route(x).chosen.tolist() == [[0, 1]] * 5


@given(st.integers(1, 5), st.integers(1, 6))
def test_the_balance_loss_is_one_where_loads_are_uniform_and_the_number_of_experts_where_one_has_all(k, experts):
    rows = experts * 3
    turns = torch.stack([(torch.arange(rows) + i) % experts for i in range(k)], dim=1)
    uniform = Routing(torch.zeros(rows, experts), turns, torch.ones(rows, k) / k)
    assert float(balance_loss(uniform)) == pytest.approx(1)
    one = Routing(torch.eye(experts)[0].expand(rows, -1) * 100, torch.zeros(rows, 1, dtype=torch.int64), turns)
    assert float(balance_loss(one)) == pytest.approx(experts)


def test_the_balance_loss_is_that_of_the_rows_seen_last_and_pushes_scores_apart():
    mixture = layer(router="topk")
    x = normal(20, 6).double()
    mixture(x)
    torch.testing.assert_close(mixture.balance, balance_loss(mixture.route(x)))
    mixture.balance.backward()
    assert mixture.learned.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 5}, "k is 5 of 4 experts"),
        ({"k": 0}, "k is 0 of 4"),
        ({"h": 0}, "h is 0"),
        ({"d": 0}, "d is 0"),
        ({"router": "best"}, "router: unknown name 'best'; use one of sparsity, topk"),
        ({"act": "silu"}, "act: unknown name 'silu'; use one of relu, gelu"),
    ],
)
def test_layers_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MoEX(**{"d": 6, "h": 5, "experts": 4, "k": 2, **changes})


def test_models_are_built_saved_and_loaded_like_any_other(tmp_path):
    arguments = {"vocabulary": 20, "width": 8, "layers": 2, "heads": 2, "hidden": 6, "experts": 3}
    model = build("moe_transformer", seed=1, **arguments, router="topk").eval()
    assert [mixture.experts for mixture in model.mixtures()] == [3, 3]
    save_model(model, tmp_path / "model.safetensors", workload="none")
    x = torch.arange(10)[None]
    assert torch.equal(load_model(tmp_path / "model.safetensors")(x), model(x))
    assert model.hook_points() == ["blocks.0.mlp", "blocks.0", "blocks.1.mlp", "blocks.1"]
    wide = build("moe_transformer", vocabulary=20, width=32, hidden=64, layers=2)
    assert float(wide.mixtures()[1].encoder.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(wide.mixtures()[1].decoder.detach().std()) == pytest.approx(0.01, rel=0.05)
    with pytest.raises(InputError, match="k is 4 of 3 experts"):
        build("moe_transformer", **arguments, k=4)
