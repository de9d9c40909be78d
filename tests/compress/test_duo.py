"""Routes beside plain transformers and loops over single tokens."""

import pytest
import torch

from winnow.compress.duo import (
    BIG,
    SKIP,
    SMALL,
    DuoFeedForward,
    DuoTransformer,
    Router,
    all_routes,
    budget_loss,
    drawn_route,
    keys_values,
    oracle_table,
    routed_alone,
)
from winnow.errors import InputError
from winnow.models.transformer import Transformer


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = DuoTransformer(20, width=16, layers=3, heads=2, big=24, small=4)
    return net.eval()


@pytest.fixture(scope="module")
def x():
    return torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("which", "hidden"), [("big", 24), ("small", 4)])
@torch.no_grad()
def test_one_route_for_all_is_a_plain_transformer(model, x, which, hidden):
    plain = Transformer(20, width=16, layers=3, heads=2, hidden=hidden)
    names = {name: name.replace("mlp.", f"mlp.{which}.") for name in plain.state_dict()}
    plain.load_state_dict({name: model.state_dict()[ours] for name, ours in names.items()})
    route = torch.full((3,), BIG if which == "big" else SMALL)
    assert torch.allclose(model(x, route), plain(x), atol=1e-6)
    if which == "big":
        assert torch.equal(model(x), model(x, route))


@torch.no_grad()
def test_a_skipped_layer_is_one_that_adds_nothing(model, x):
    plain = Transformer(20, width=16, layers=3, heads=2, hidden=24)
    state = {n: model.state_dict()[n.replace("mlp.", "mlp.big.")] for n in plain.state_dict()}
    state["blocks.1.mlp.down.weight"] = torch.zeros(16, 24)
    plain.load_state_dict(state)
    assert torch.allclose(model(x, torch.tensor([BIG, SKIP, BIG])), plain(x), atol=1e-6)


def test_gathered_tokens_are_as_a_masked_mixture():
    layer = DuoFeedForward(8, 12, 3)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    choice = torch.randint(0, 3, (3, 5), generator=torch.Generator().manual_seed(1))
    expected = (choice == BIG)[..., None] * layer.big(x) + (choice == SMALL)[..., None] * layer.small(x)
    assert torch.allclose(layer(x, choice), expected, atol=1e-6)
    assert torch.allclose(layer(x, (choice == BIG).float())[choice != SKIP], expected[choice != SKIP], atol=1e-6)
    half = layer(x, torch.full((3, 5), 0.25))
    assert torch.allclose(half, 0.25 * layer.big(x) + 0.75 * layer.small(x), atol=1e-6)


@pytest.mark.parametrize("skip", [False, True])
@torch.no_grad()
def test_the_table_is_a_loop_over_tokens_and_routes(model, x, skip):
    targets = torch.stack([x.roll(-1, 1), x.flip(1)])
    table, routes = oracle_table(model, x, targets, skip), all_routes(3, skip)
    assert table.shape == (len(routes), 2, 2, 6)
    for at, route in enumerate(routes.tolist()):
        for token in range(6):
            each = torch.full((3, *x.shape), BIG)
            each[:, :, token] = torch.tensor(route)[:, None]
            logs = model(x, each)[:, token].log_softmax(-1)
            for which, target in enumerate(targets):
                expected = -logs.gather(1, target[:, token, None])[:, 0]
                assert torch.allclose(table[at, which, :, token], expected, atol=1e-5)


@torch.no_grad()
def test_a_token_is_routed_alone_among_tokens_of_large_layers(model, x):
    torch.manual_seed(2)
    choices = torch.randint(0, 3, (3, *x.shape))
    logits, taken, given = routed_alone(model, x, lambda number, inner: choices[number])
    assert torch.equal(taken, choices) and given.shape == (3, 2, 6, 16)
    again = routed_alone(model, x, lambda number, inner: choices[number], keys_values(model, x))
    assert all(torch.equal(*each) for each in zip(again, (logits, taken, given), strict=True))
    for token in range(6):
        each = torch.full((3, *x.shape), BIG)
        each[:, :, token] = choices[:, :, token]
        assert torch.allclose(model(x, each)[:, token], logits[:, token], atol=1e-5)
    first = model.blocks[0]
    states = model.embedding(x)
    expected = first.mlp_norm(states + first.attention(first.attention_norm(states)))
    assert torch.allclose(given[0], expected, atol=1e-5)


def test_all_routes_are_counted():
    assert all_routes(2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert len(all_routes(6)) == 64 and len(all_routes(4, skip=True)) == 81
    assert len({tuple(route) for route in all_routes(4, skip=True).tolist()}) == 81
    for layers in (0, 13):
        with pytest.raises(InputError, match=f"layers is {layers}"):
            all_routes(layers)


def test_routes_are_drawn_for_each_token_and_layer():
    route = drawn_route(4, (50, 60), torch.Generator().manual_seed(0))
    assert route.shape == (4, 50, 60) and set(route.unique().tolist()) == {SMALL, BIG}
    assert ((route.double().mean((1, 2)) - 0.5).abs() < 0.05).all()
    assert (route.double().mean((0, 2)) != 0.5).any() and route.double().var(2).mean() > 0.2


def test_some_tokens_skip_and_the_rest_are_as_without():
    plain, skipping = (drawn_route(4, (50, 60), torch.Generator().manual_seed(0), skip) for skip in (0.0, 0.25))
    skipped = skipping == SKIP
    assert torch.equal(plain[~skipped], skipping[~skipped])
    assert ((skipped.double().mean((1, 2)) - 0.25).abs() < 0.03).all()


@torch.no_grad()
def test_a_router_routes_as_it_says(model, x):
    router = Router(model)
    logits, shares = router.routed(model, x)
    assert torch.equal(shares, torch.full((3, 2, 6), 0.5))
    assert torch.allclose(logits, model(x, shares), atol=1e-6)
    generator = torch.Generator().manual_seed(3)
    for layer in router.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / 10)
    logits, shares = router.routed(model, x, hard=True)
    assert set(shares.unique().tolist()) == {0, 1}
    assert torch.allclose(logits, model(x, shares.long()), atol=1e-6)
    soft, sharp = (router.routed(model, x, sharpness)[1] for sharpness in (1.0, 1e4))
    assert ((soft > 0) & (soft < 1)).all() and not torch.allclose(soft, sharp, atol=0.1)
    # The first layer's input does not depend on choices: there a sharp router is a hard one.
    assert torch.allclose(sharp[0], shares[0], atol=1e-3)


def test_the_budgets_gradient_is_zero_at_its_target():
    shares = torch.tensor([[[0.2, 0.4]], [[0.6, 0.4]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(budget_loss(shares, 0.4), shares)
    assert gradient.abs().max() < 1e-7
    assert budget_loss(shares, 0.1).item() == pytest.approx(0.09)
    assert budget_loss(shares, 0.4, by_layer=True).item() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("route", "match"),
    [
        (torch.ones(2, dtype=torch.long), "shape"),
        (torch.ones(3, 6, dtype=torch.long), "shape"),
        (torch.ones(3, 2, 5, dtype=torch.long), "shape"),
        (torch.tensor([0, 1, 3]), "0 to 3; give 0 to 2"),
        (torch.tensor([0, -1, 1]), "-1 to 1"),
        (torch.tensor([0.0, 1.5, 0.0]), "give 0 to 1"),
    ],
)
def test_routes_that_do_not_fit_are_refused(model, x, route, match):
    with pytest.raises(InputError, match=match):
        model(x, route)


@pytest.mark.parametrize("layers", [1, 6])
def test_feed_forward_layers_begin_as_those_of_the_transformer(layers):
    net = DuoTransformer(20, width=64, layers=layers)
    for block in net.blocks:
        for part in (block.mlp.big, block.mlp.small):
            assert float(part.down.weight.std()) == pytest.approx(0.0693 / (2 * layers) ** 0.5, rel=0.12)
            assert float(part.up.weight.std()) == pytest.approx(0.0693, rel=0.12)


def test_unless_told_six_blocks_have_layers_of_256_and_16():
    net = DuoTransformer(20)
    assert net.embedding.weight.shape == (20, 64) and len(net.blocks) == 6
    for block in net.blocks:
        assert block.attention.heads == 4
        assert block.mlp.big.up.weight.shape == (256, 64) and block.mlp.small.up.weight.shape == (16, 64)


@torch.no_grad()
def test_unless_told_a_router_mixes_by_the_sigmoid_of_its_score(model, x):
    router = Router(model)
    router.layers[0].bias.fill_(0.7)
    logits, shares = router.routed(model, x)
    assert torch.allclose(shares[0], torch.tensor(0.7).sigmoid()) and torch.equal(
        shares[1:], torch.full((2, 2, 6), 0.5)
    )
    assert torch.equal(logits, router.routed(model, x, sharpness=1.0, hard=False)[0])


def test_more_routes_than_can_be_tried_are_refused(x):
    deep = DuoTransformer(20, width=8, layers=13, heads=1, big=2, small=1)
    with pytest.raises(InputError, match="layers is 13; all routes can be tried for 1 to 12"):
        oracle_table(deep, x, x[None])


@torch.no_grad()
def test_a_new_router_scores_nothing_above_0_and_picks_the_small_layers(model, x):
    router = Router(model)
    logits, shares = router.routed(model, x, hard=True)
    assert not shares.any() and torch.allclose(logits, model(x, torch.full((3,), SMALL)), atol=1e-6)
    given = torch.ones(2, 6, 16)
    assert not router.choice(1, given).any()
    router.layers[1].bias.fill_(1e-6)
    assert router.choice(1, given).tolist() == [[1] * 6] * 2 and not router.choice(0, given).any()
