"""How bad candidates are: held against the formulas on whole models."""

import numpy as np
import pytest
import torch

from tests.loud_transformer import loud_transformer
from winnow.compress import evopress_fitness
from winnow.compress.evopress_database import (
    depth_database,
    layer_databases,
)
from winnow.compress.evopress_fitness import Divergence, LogPerplexity
from winnow.compress.evopress_models import with_weights


@pytest.fixture(scope="module")
def model():
    return loud_transformer(3)


@pytest.fixture(scope="module")
def windows():
    return torch.randint(0, 40, (6, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def databases(model, windows):
    return layer_databases(model, windows, 0.5)


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
