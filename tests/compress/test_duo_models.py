"""Costs beside torch's own counter, twins beside the model they were added to, and one model beside its two parts."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from winnow.compress.duo import BIG, SKIP, SMALL, Router, all_routes
from winnow.compress.duo_models import costs, routed, twins, with_twins
from winnow.models import build, load_model, save_model
from winnow.models.llama import Llama
from winnow.models.small_language_model import readable
from winnow.models.work import Work

SIZES = {"vocabulary": 20, "width": 16, "layers": 3, "heads": 2}


@pytest.fixture(scope="module")
def whole():
    return grown(build("transformer", seed=1, hidden=24, **SIZES))


@pytest.fixture(scope="module")
def model():
    return grown(build("duo_transformer", seed=1, big=24, small=4, **SIZES))


def grown(net):
    """Larger weights, so that layers matter."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(6)
    return net.eval()


@pytest.fixture(scope="module")
def x():
    return torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def router(model):
    made = Router(model)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return made


@pytest.mark.parametrize("route", [[BIG] * 3, [SMALL] * 3, [SKIP] * 3, [BIG, SKIP, SMALL]])
def test_costs_are_what_torch_counts_for_a_route(model, x, route):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x, torch.tensor(route))
    # Its counter leaves attention out on a CPU: texts, layers, tokens squared, two products, dimensions.
    attention = 2 * 3 * 6 * 6 * 2 * 16
    assert costs(model, 6).of(torch.tensor(route)) * x.numel() == counter.get_total_flops() / 2 + attention


def test_costs_of_shares_lie_between(model):
    cost = costs(model, 6)
    assert cost.of(torch.tensor([0.25, 0.0, 1.0])) == cost.shared + 1.25 * cost.big + 1.75 * cost.small
    routes = all_routes(3, skip=True)
    expected = [cost.shared + sum({BIG: cost.big, SMALL: cost.small}.get(o, 0) for o in r) for r in routes.tolist()]
    assert cost.of(routes.T).tolist() == expected


def test_twins_leave_the_model_what_it_is(whole, x):
    made = with_twins(whole, 8, seed=2)
    assert torch.equal(made(x), whole(x))
    small = made.blocks[0].mlp.small.up.weight
    assert small.shape == (3, 16) and len(twins(made)) == 9 and any(small is twin for twin in twins(made))
    assert not torch.allclose(made(x, torch.full((3,), SMALL)), whole(x), atol=1e-3)
    assert torch.equal(with_twins(whole, 8, seed=2).blocks[2].mlp.small.up.weight, made.blocks[2].mlp.small.up.weight)
    assert with_twins(whole, 100, seed=0).blocks[0].mlp.small.up.weight.shape == (1, 16)


@torch.no_grad()
def test_a_routed_model_is_the_model_and_its_router(model, router, x):
    expected, shares = router.routed(model, x, hard=True)
    assert 0 < shares.mean() < 1
    assert torch.allclose(routed(model, router)(x), expected, atol=1e-5)


@torch.no_grad()
def test_it_makes_as_many_multiply_adds_as_its_shares_cost(model, router, x):
    _, shares = router.routed(model, x, hard=True)
    with Work() as work:
        routed(model, router)(x)
    cost = costs(model, 6)
    assert work.multiply_adds == cost.of(shares).sum() + 3 * cost.router * x.numel()
    assert work.multiply_adds < costs(model, 6).of(torch.full((3,), BIG)) * x.numel()


@torch.no_grad()
def test_it_is_read_back_as_a_language_model_that_reads_on(model, router, x, tmp_path):
    made = routed(model, router)
    save_model(made, tmp_path / "model.safetensors", "python")
    back = load_model(tmp_path / "model.safetensors")
    assert isinstance(back, Llama) and readable(back) is back and torch.equal(back(x), made(x))
    first, cache = back.read(x[:, :4])
    then, _ = back.read(x[:, 4:], cache)
    assert torch.allclose(back.logits(torch.cat([first, then], 1)), made(x), atol=1e-5)
    assert back.arguments == SIZES | {"big": 24, "small": 4}


@torch.no_grad()
def test_every_token_alike_goes_through_one_layer(model, x):
    all_big = SimpleNamespace(layers=torch.nn.ModuleList(torch.nn.Linear(16, 1) for _ in range(3)))
    for layer in all_big.layers:
        layer.weight.zero_()
        layer.bias.fill_(1.0)
    assert torch.allclose(routed(model, all_big)(x), model(x), atol=1e-5)
    for layer in all_big.layers:
        layer.bias.fill_(0.0)  # not above 0
    assert torch.allclose(routed(model, all_big)(x), model(x, torch.full((3,), SMALL)), atol=1e-5)
