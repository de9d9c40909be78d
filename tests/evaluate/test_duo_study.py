"""Oracles beside loops over tokens, hindsight where there is nothing to know, routers that keep to a budget."""

from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from winnow.compress.duo import all_routes, oracle_table
from winnow.evaluate import duo_oracles
from winnow.evaluate import duo_study as study
from winnow.models import build

PARAMS = SimpleNamespace(
    layers=3, big=16, small=4, steps=6, batch_size=4, learning_rate=3e-3, router_steps=120, router_rate=0.02,
    budget_weight=60.0, sharpness=[1.0, 5.0],
)  # fmt: skip
ROUTES = all_routes(3).numpy()


def silent(done, total):
    assert done <= total


class Corpus:
    meta = SimpleNamespace(vocabulary=12)

    def batches(self, split, size, seed=None, epoch=0):
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        for _ in range(3):
            start = torch.randint(0, 12, (size, 1), generator=generator)
            x = (start + torch.arange(9)) % 12
            yield x[:, :-1], x[:, 1:]


@pytest.fixture(scope="module")
def model():
    return study.trained(Corpus(), PARAMS, 0, silent)


@pytest.fixture(scope="module")
def xy():
    return next(iter(Corpus().batches("test", 6, 9)))


def test_training_lowers_the_loss_and_is_the_same_again(model, xy):
    again = study.trained(Corpus(), PARAMS, 0, silent)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    longer = study.trained(Corpus(), SimpleNamespace(**{**vars(PARAMS), "steps": 120}), 0, silent)
    x, y = xy
    losses = [float(torch.nn.functional.cross_entropy(net(x).mT, y)) for net in (model, longer)]
    assert losses[1] < losses[0] / 2
    small = torch.nn.functional.cross_entropy(longer(x, torch.zeros(3, dtype=torch.long)).mT, y)
    assert float(small) < losses[0] / 2  # both twins were trained


@pytest.mark.parametrize("by_layer", [False, True])
def test_routers_keep_to_their_budget_and_leave_the_model(model, xy, by_layer):
    before = [p.clone() for p in model.parameters()]
    router = study.router_for(model, Corpus(), PARAMS, 1 / 3, 0, by_layer, silent)
    assert all(torch.equal(a, b) and b.requires_grad for a, b in zip(before, model.parameters(), strict=True))
    _, shares = router.routed(model, xy[0], 5.0)
    assert float(shares.mean()) == pytest.approx(1 / 3, abs=0.1)
    if by_layer:
        assert ((shares.mean((1, 2)) - 1 / 3).abs() < 0.15).all()
    found = study.judged_router(model, router, *xy, 5.0)
    assert 0 <= found["least_used"] <= found["share"] <= found["most_used"] <= 1


def test_the_best_of_all_draws_is_the_best_route_that_all_tokens_take(model, xy):
    x, y = xy
    losses = [
        float(torch.nn.functional.cross_entropy(model(x, route).mT, y)) for route in all_routes(3) if route.sum() == 1
    ]
    tried = []
    best = study.best_drawn(model, x, y, 1, 100, 0, lambda done, total: tried.append((done, total)))
    assert tried == [(1, 3), (2, 3), (3, 3)]  # none is tried twice
    assert best == pytest.approx(min(losses)) and best < max(losses)
    one = study.best_drawn(model, x, y, 1, 1, 0, silent)
    assert min(abs(one - loss) for loss in losses) < 1e-5
    full = study.best_drawn(model, *xy, 3, 1, 0, silent)
    assert full == pytest.approx(float(torch.nn.functional.cross_entropy(model(xy[0]).mT.double(), xy[1])))


def test_oracles_tell_of_the_model(model, xy):
    rows, use, growth = study.told_by_oracles(model, study.tables_of(model, *xy, 0), 0)
    table = oracle_table(model, xy[0], xy[1][None])[:, 0].numpy()
    assert rows["oracle", "k1"]["cross_entropy"] == pytest.approx(duo_oracles.oracle_report(table, ROUTES)["oracle", 1])
    assert rows["fixed", "k3"]["cross_entropy"] == pytest.approx(study.best_drawn(model, *xy, 3, 1, 0, silent))
    assert rows["shuffled", "k1"]["gain"] != rows["oracle", "k1"]["gain"]
    assert len(use) == 6 and len(growth) == 3 and "hopeless" in rows["oracle", "all"]
    assert sum(rows["oracle", "all"][f"{kind}_tokens"] for kind in duo_oracles.CATEGORIES) == pytest.approx(1)


def test_a_router_that_always_says_the_same_loses_what_the_table_says(model, xy):
    x, y = xy
    table = oracle_table(model, x, y[None])[:, 0]
    for at, route in enumerate(all_routes(3)):
        router = study.Router(model)
        for layer, big in zip(router.layers, route.tolist(), strict=True):
            torch.nn.init.constant_(layer.bias, 1.0 if big else -1.0)
        found = study.judged_router(model, router, x, y, 5.0)
        assert found["alone_cross_entropy"] == pytest.approx(float(table[at].double().mean()), rel=1e-5)
        assert found["alone_share"] == found["share"] == pytest.approx(float(route.double().mean()))


def test_help_is_that_of_one_large_layer_and_foretold_on_other_windows(model, xy):
    x, y = xy
    table = oracle_table(model, x, y[None])[:, 0]
    given, helps = study._gains_of_one(model, x, y)
    assert given.shape == (3, *x.shape, model.embedding.embedding_dim)
    for block, route in enumerate(([1, 0, 0], [0, 1, 0], [0, 0, 1])):
        at = ROUTES.tolist().index(route)
        sure = (table[at] - table[0]).abs() > 1e-4
        assert sure.any() and torch.equal(torch.from_numpy(helps[block])[sure], (table[at] < table[0])[sure])
    other = next(iter(Corpus().batches("valid", 6, 3)))
    found = study.foreseen_by_block(model, other, xy)
    areas = [
        duo_oracles.foreseen(*each) for each in zip(*study._gains_of_one(model, *other), given, helps, strict=True)
    ]
    assert [found[f"foreseen_{block}"] for block in range(3)] == areas and found["foreseen"] == sum(areas) / 3


def test_a_model_that_may_skip_is_told_by_its_large_layers(xy):
    model = study.trained(Corpus(), PARAMS, 0, silent, skip=1 / 3)
    other = study.trained(Corpus(), PARAMS, 0, silent)
    assert not torch.equal(model.blocks[0].mlp.big.up.weight, other.blocks[0].mlp.big.up.weight)
    tables = study.tables_of(model, *xy, 0, skip=True)
    assert tables.routes.shape == (27, 3) and len(tables.true) == 27
    rows, skips = study.told_of_skips(tables)
    plain = oracle_table(model, xy[0], xy[1][None])[:, 0].numpy()
    for k in range(4):
        two = duo_oracles.oracle_report(plain, ROUTES)["oracle", k]
        assert rows["oracle_of_two", f"k{k}"]["cross_entropy"] == pytest.approx(two, rel=1e-5)
        of_three = rows["oracle_of_three", f"k{k}"]["cross_entropy"]
        those = tables.true[(tables.routes == 1).sum(1) == k].astype(float)
        assert of_three == pytest.approx(those.min(0).mean()) and of_three <= two + 1e-6
    assert rows["oracle_of_three", "k0"]["gain"] > 0 and rows["shuffled_of_three", "k1"]["gain"] > 0
    assert {row["k"] for row in skips} == {1, 2} and all(0 <= row["share"] <= 1 for row in skips)


def test_only_twins_learn_beside_a_trained_model(xy):
    whole = build("transformer", seed=0, vocabulary=12, width=16, layers=3, heads=2, hidden=16)
    params = SimpleNamespace(**vars(PARAMS), twin_steps=30, draws=2)
    made, router, rows = study.twins_told(whole, Corpus(), params, xy, 0, lambda what: silent)
    assert torch.equal(made(xy[0]), whole(xy[0])) and all(p.requires_grad for p in made.parameters())
    fresh = study.with_twins(whole, 4, 0)
    small = torch.zeros(3, dtype=torch.long)
    losses = [float(torch.nn.functional.cross_entropy(net(xy[0], small).mT, xy[1])) for net in (made, fresh)]
    assert losses[0] < losses[1]
    whole_loss = torch.nn.functional.cross_entropy(whole(xy[0]).mT.double(), xy[1])
    assert rows["fixed_of_twins", "k3"]["cross_entropy"] == pytest.approx(float(whole_loss))
    share = rows["router_of_twins", "k1"]["share"]
    cost = study.costs(made, 8)
    asked = float(cost.of(torch.full((3,), share, dtype=torch.float64))) + 3 * cost.router
    assert rows["router_of_twins", "k1"]["multiply_adds"] == pytest.approx(asked)
    found = study.judged_model(made, *xy)
    assert found["multiply_adds"] == float(cost.of(torch.ones(3, dtype=torch.long)))
    assert found["cross_entropy"] == pytest.approx(float(whole_loss))


def test_tables_of_routes_and_of_tokens(model, xy):
    tables = study.tables_of(model, *xy, 0)
    rows = study.route_table(tables).to_pylist()
    assert len(rows) == tables.true.size
    row = rows[len(rows) // 3]
    assert row["loss"] == tables.true[row["route"], row["window"], row["position"]]
    told = study.token_rows(tables, [["x"] * 8, ["y"] * 8])
    assert [(r["window"], r["position"], r["text"]) for r in told[7:9]] == [(0, 7, "x"), (1, 0, "y")]
    assert told[9]["loss"] == tables.true[0, 1, 1]
    assert told[9]["gain"] == tables.true[0, 1, 1] - tables.true[:, 1, 1].min()


def test_batches_go_on_after_an_epoch():
    batches = list(islice(study._endless(Corpus(), 2, 0), 4))
    assert not torch.equal(batches[0][0], batches[3][0])
