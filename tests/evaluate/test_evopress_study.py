"""Arms of equal cost, judged on windows apart."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.loud_transformer import loud_transformer
from winnow.compress.evopress import Stage
from winnow.compress.evopress_database import depth_database, layer_databases
from winnow.compress.evopress_fitness import Divergence, LogPerplexity
from winnow.errors import InputError
from winnow.evaluate.evopress_study import (
    all_arms,
    budget_of,
    histories,
    judge_of,
    layer_arms,
    levels_of,
    owl_weights,
    require_apart,
    uniform_state,
    window_losses,
    windows,
)

SETTINGS = SimpleNamespace(
    offspring=3,
    stages=[SimpleNamespace(sequences=2, keep=2), SimpleNamespace(sequences=3, keep=1)],
    starts=3,
    start_windows=2,
    generations=2,
    dropped=[0.25, 0.5],
    sparsity=0.5,
    blocks=2,
    fitness="divergence",
    largest=5,
    schedules=SimpleNamespace(depth=None, sparsity=None, bits=None),
)


@pytest.fixture(scope="module")
def model():
    return loud_transformer(4)


@pytest.fixture(scope="module")
def x():
    return torch.randint(0, 40, (5, 10), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def layers(model, x):
    sparsity, bits = layer_databases(model, x, 0.5)
    return [(sparsity, 0), (bits, 3)]


@pytest.fixture(scope="module")
def arms(model, x, layers):
    return all_arms(model, x, layers, SETTINGS, 0, lambda kind: lambda step, total: None)


def test_two_shares_that_drop_as_many_layers_are_refused(model, x):
    settings = SimpleNamespace(**{**vars(SETTINGS), "dropped": [0.25, 0.3]})
    with pytest.raises(InputError, match="dropped: 0.3 of 4 layers are 1, as another share's; leave one out"):
        all_arms(model, x, [], settings, 0, lambda kind: lambda step, total: None)


def test_all_arms_of_a_kind_cost_the_same(model, arms, layers):
    found, blocks = arms
    assert list(found) == ["dense", "depth-25", "depth-50", "sparsity", "bits"]
    for kind, dropped in (("depth-25", 1), ("depth-50", 2)):
        for arm, chosen in found[kind].items():
            assert len(chosen.state) == 8
            if arm != "dp":
                assert sum(chosen.state[:4]) == sum(chosen.state[4:]) == dropped
        assert found[kind].keys() >= {"evopress", "random", "additive", "shortgpt", "norm_ratio", "window_cosine"}
    attention, mlp = 4 * 16 * 16, 3 * 16 * 48
    dp = found["depth-50"]["dp"].state
    assert attention * sum(dp[:4]) + mlp * sum(dp[4:]) >= 2 * (attention + mlp)
    for database, level in layers:
        cost = database.space.cost((level,) * 28)
        states = {arm: chosen.state for arm, chosen in found[database.kind].items() if chosen.state}
        assert states["uniform"] == (level,) * 28
        assert all(database.space.cost(state) == cost for arm, state in states.items() if arm != "dp")
        assert database.space.cost(states["dp"]) <= cost
    assert list(blocks) == ["evopress", "random"]
    assert all(sum(each.state) == 2 and len(each.state) == 4 for each in blocks.values())
    assert blocks["evopress"].found.evaluations == blocks["random"].found.evaluations


def test_searches_at_random_spend_what_evopress_spends(arms):
    for kind, those in arms[0].items():
        if kind != "dense":
            assert those["evopress"].found.evaluations == those["random"].found.evaluations
    rows = histories(arms[0])
    assert len(rows) == 4 * 2 * 2 and {row["generation"] for row in rows} == {1, 2}
    assert rows[0]["evaluations"] == 3 * 2 + 3 * 2 + 3 * 3


def test_seeds_move_the_searches_alone(model, x, layers, arms):
    again, _ = all_arms(model, x, layers, SETTINGS, 0, lambda kind: lambda step, total: None)
    other, _ = all_arms(model, x, layers, SETTINGS, 5, lambda kind: lambda step, total: None)
    assert levels_of(again) == levels_of(arms[0])
    a, b = levels_of(arms[0]), levels_of(other)
    assert a["sparsity"]["random"] != b["sparsity"]["random"]
    assert {k: v for k, v in a["depth-50"].items() if k not in ("evopress", "random")} == {
        k: v for k, v in b["depth-50"].items() if k not in ("evopress", "random")
    }


def test_dp_on_the_layers_own_errors_has_the_least_sum(layers, arms):
    for database, _ in layers:
        sums = {
            arm: sum(errors[at] for errors, at in zip(database.errors, chosen.state, strict=True))
            for arm, chosen in arms[0][database.kind].items()
            if chosen.state
        }
        assert sums["dp"] == min(sums.values()), sums


def test_owl_prunes_as_much_in_all_and_blocks_differently(model, x):
    pruned = owl_weights(model, x, 0.5)
    shares = [
        float(torch.cat([w.flatten() for n, w in pruned.items() if n.startswith(f"blocks.{b}.")]).eq(0).double().mean())
        for b in range(4)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.005) and max(shares) - min(shares) == pytest.approx(
        0.16, abs=0.01
    )


def test_losses_of_windows_are_the_models(model, x):
    y = x.roll(-1, 1)
    state = (1, 0, 0, 0, 0, 0, 0, 0)
    losses = window_losses(model, depth_database(model).parameters(state), x, y)
    assert losses.shape == (5,) and not np.allclose(losses, window_losses(model, {}, x, y))
    with torch.no_grad():
        dense = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    assert window_losses(model, {}, x, y).mean() == pytest.approx(float(dense), abs=1e-5)


def test_windows_are_the_same_for_all_and_cut_to_length():
    class Corpus:
        def batches(self, split, size, seed=None, epoch=0):
            assert (split, seed) == ("train", 0)
            x = torch.arange(48).view(4, 12)[:size]
            yield x, x + 1

    x, y = windows(Corpus(), "train", 3, 5)
    assert x.shape == (3, 5) and torch.equal(y, x + 1)
    for count, length in ((5, 5), (3, 13)):
        with pytest.raises(InputError, match="train: has"):
            windows(Corpus(), "train", count, length)


def test_a_kind_may_have_a_schedule_of_its_own():
    own = SimpleNamespace(offspring=7, stages=[SimpleNamespace(sequences=5, keep=1)], generations=9)
    params = SimpleNamespace(**{**vars(SETTINGS), "schedules": SimpleNamespace(depth=None, sparsity=own, bits=None)})
    assert budget_of(params, "sparsity") == (7, (Stage(5, 1),), 3, 2, 9)
    assert budget_of(params, "bits") == budget_of(params, "depth") == (3, (Stage(2, 2), Stage(3, 1)), 3, 2, 2)


@pytest.mark.parametrize(
    ("fitness", "kind", "kept"),
    [("divergence", Divergence, 40), ("sparse_divergence", Divergence, 5), ("perplexity", LogPerplexity, None)],
)
def test_searches_go_by_what_is_asked(model, x, fitness, kind, kept):
    judge = judge_of(SimpleNamespace(fitness=fitness, largest=5), model, depth_database(model), x)
    assert type(judge) is kind and judge.windows is x
    assert kept is None or judge.dense.shape[-1] == kept


def test_mean_bits_may_be_a_fraction(model, x, layers):
    database = layers[1][0]
    space, sizes = database.space, np.array(database.space.steps)
    for bits in (2.25, 3.5):
        state = np.array(uniform_state(space, bits, np.random.default_rng(0)))
        assert 0 <= bits * sizes.sum() - sizes @ state < sizes.max() and set(state) <= {*range(2, 5)}
        assert len(set(state)) > 1
    assert uniform_state(space, 3.0, np.random.default_rng(0)) == (3,) * 28
    arms = layer_arms(
        database, 2.25, Divergence(model, database, x), budget_of(SETTINGS, "bits"), 0, lambda step, total: None
    )
    costs = {arm: space.cost(chosen.state) for arm, chosen in arms.items()}
    assert costs["evopress"] == costs["random"] == costs["uniform"] >= costs["dp"]
    assert arms["evopress"].found.evaluations == arms["random"].found.evaluations


def test_windows_that_are_judged_cannot_calibrate(x):
    require_apart(x, x.flip(1))
    with pytest.raises(InputError, match="calibration: 2 of 5 windows are among those judged"):
        require_apart(x, torch.cat([x[3:], x.flip(1)]))
