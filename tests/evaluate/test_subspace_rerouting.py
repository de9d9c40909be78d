"""The search beside finite differences, enumeration of all tokens, and plain runs of all blocks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.refusal import ToObjective, random_model
from winnow.errors import InputError
from winnow.evaluate import subspace_rerouting
from winnow.evaluate.subspace_rerouting import (
    SearchConfig,
    _allowed,
    _Buffer,
    _Run,
    candidates,
    reroute,
    slots_replaced,
)

PROMPT = torch.tensor([1, 7, 9, 5, 5, 2])
SLOTS = (3, 4)


def all_pairs(tokens):
    return torch.cartesian_prod(tokens, tokens)


def plain_losses(model, objective, prompt, slots, ids):
    """By a run of the whole prompt through all blocks."""
    tokens = prompt.repeat(len(ids), 1)
    tokens[:, list(slots)] = ids
    names = [f"blocks.{i}.hook_resid_post" for i in range(len(model.blocks))]
    with torch.no_grad():
        _, saved = model.run(tokens, save=names)
    return objective.loss(saved, saved[names[objective.depth - 1]])


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("slots", [(3, 4), (1, 3), (0, 4)])
def test_losses_of_the_truncated_run_are_those_of_the_whole(depth, slots):
    model = random_model().double()
    objective = ToObjective(depth)
    ids = all_pairs(torch.arange(6, 12))
    run = _Run(model, PROMPT, torch.tensor(slots), objective)
    assert torch.allclose(run.losses(ids), plain_losses(model, objective, PROMPT, slots, ids), atol=1e-12)
    assert run.layer_forwards == len(ids) * depth


def test_what_is_known_is_not_run_again(monkeypatch):
    model, objective = random_model(), ToObjective(2)
    config = SearchConfig(width=40, topk=6, buffer=5, iterations=30, stop_loss=-1.0, patience=4)
    kept = reroute(model, PROMPT, SLOTS, objective, config, torch.Generator().manual_seed(0))
    monkeypatch.setattr(_Run, "losses", _Run._losses)
    monkeypatch.setattr(_Run, "gradient", _Run._gradient)
    plain = reroute(model, PROMPT, SLOTS, objective, config, torch.Generator().manual_seed(0))
    assert plain.layer_forwards == 2 * (5 + 30 * (40 + 3))
    assert torch.equal(kept.slot_ids, plain.slot_ids) and kept.losses == pytest.approx(plain.losses, abs=1e-5)
    assert kept.layer_forwards < plain.layer_forwards / 2


def test_each_candidate_costs_once():
    run = _Run(random_model(), PROMPT, torch.tensor(SLOTS), ToObjective(2))
    ids = torch.tensor([[7, 8], [9, 9], [7, 8]])
    first = run.losses(ids)
    assert run.layer_forwards == 2 * 2 and first[0] == first[2]
    assert torch.equal(run.losses(ids[1:]), first[1:]) and run.layer_forwards == 2 * 2
    slope = run.gradient(ids[0])
    assert run.gradient(ids[2]) is slope and run.layer_forwards == 2 * 2 + 3 * 2


def test_truncation_alone_changes_no_bit():
    model, objective = random_model(), ToObjective(2)
    tokens = PROMPT.repeat(4, 1)
    names = ["blocks.1.hook_resid_post"]
    stopped = model.run(tokens, save=names, stop_at=2)[1]
    assert torch.equal(objective.loss(stopped, tokens), objective.loss(model.run(tokens, save=names)[1], tokens))


def test_the_gradient_is_that_of_the_embedded_slots_by_finite_differences():
    model, objective = random_model().double(), ToObjective(2)
    run = _Run(model, PROMPT, torch.tensor(SLOTS), objective)
    ids = torch.tensor([8, 10])
    found, table = run.gradient(ids), model.embed.weight.detach()
    embedded = table[PROMPT].clone()
    embedded[list(SLOTS)] = table[ids]

    def loss(weights):
        changed = embedded.clone()
        changed[list(SLOTS)] += weights @ table
        return float(objective.loss(model.run(changed[None], save=objective.reads, stop_at=2)[1], changed))

    for slot, token in ((0, 6), (1, 11), (1, 3)):
        step = torch.zeros(2, len(table), dtype=torch.double)
        step[slot, token] = 1e-5
        with torch.no_grad():
            slope = (loss(step) - loss(-step)) / 2e-5
        assert float(found[slot, token]) == pytest.approx(slope, abs=1e-4, rel=1e-4)
    assert run.layer_forwards == 3 * 2


def test_the_best_of_all_pairs_is_found_in_nearly_all_seeds():
    model, objective = random_model(vocabulary=46, layers=1), ToObjective(1)
    words = torch.arange(6, 46)
    losses = plain_losses(model, objective, PROMPT, SLOTS, all_pairs(words))
    config = SearchConfig(stop_loss=-1.0, banned=tuple(range(6)))
    found = 0
    for seed in range(20):
        attack = reroute(model, PROMPT, SLOTS, objective, config, torch.Generator().manual_seed(seed))
        own = plain_losses(model, objective, PROMPT, SLOTS, attack.slot_ids[None])
        found += bool(torch.isclose(own[0], losses.min(), atol=1e-6))
        assert own[0] == pytest.approx(attack.losses[-1], abs=1e-5)
    assert found >= 19


def test_a_search_ends_at_its_loss_and_counts_its_work():
    model, objective = random_model(), ToObjective(1)
    config = SearchConfig(width=8, topk=4, buffer=5, iterations=7, stop_loss=-1.0)
    attack = reroute(model, PROMPT, SLOTS, objective, config, torch.Generator().manual_seed(0))
    assert len(attack.losses) == 8
    assert attack.losses == sorted(attack.losses, reverse=True)
    # A gradient where the best is another one, and candidates that are new.
    assert 5 + 3 + 1 <= attack.layer_forwards <= 5 + 7 * (8 + 3)
    easy = SearchConfig(width=8, topk=4, buffer=5, iterations=7, stop_loss=1e9)
    assert reroute(model, PROMPT, SLOTS, objective, easy, torch.Generator().manual_seed(0)).layer_forwards == 5


@pytest.fixture
def exchanged(monkeypatch):
    """How many slots each iteration of a search exchanged."""
    found, plain = [], candidates
    monkeypatch.setattr(subspace_rerouting, "candidates", lambda *given: found.append(given[2]) or plain(*given))
    return found


def test_losses_that_are_told_are_the_lowest_so_far_and_as_they_fall_fewer_slots_are_exchanged(exchanged, monkeypatch):
    met, plain = [], _Run.losses
    monkeypatch.setattr(_Run, "losses", lambda run, ids: met.append(plain(run, ids)) or met[-1])
    config = SearchConfig(width=16, topk=8, buffer=5, iterations=12, stop_loss=-1.0, patience=99)
    attack = reroute(random_model(), PROMPT, (1, 2, 3, 4), ToObjective(2), config, torch.Generator().manual_seed(0))
    lowest = np.minimum.accumulate([float(each.min()) for each in met])
    assert len(met[0]) == 5 and attack.losses == pytest.approx(lowest)
    expected = [4]  # all of them until something is better than the start
    for before, now in pairwise(lowest):
        expected.append(slots_replaced(4, now / (lowest[0] + 1e-5), 1.8) if now < before else expected[-1])
    assert exchanged == expected[:-1] and len(set(exchanged)) > 1


class Flat(ToObjective):
    """Nothing is better than anything else."""

    def loss(self, saved, stream):
        return 0 * super().loss(saved, stream) + 1


def test_a_search_that_gains_nothing_exchanges_all_slots_and_jumps_whenever_its_patience_ends(exchanged, monkeypatch):
    jumps, plain = [], _Buffer.jump
    monkeypatch.setattr(_Buffer, "jump", lambda *given: jumps.append(len(exchanged)) or plain(*given))
    config = SearchConfig(width=6, topk=4, buffer=5, iterations=10, stop_loss=-1.0, patience=3)
    attack = reroute(random_model(), PROMPT, SLOTS, Flat(1), config, torch.Generator().manual_seed(0))
    assert exchanged == [2] * 10 and jumps == [4, 7, 10]  # after three iterations beside the first, and three each
    assert attack.losses == [1.0] * 11


def test_all_slots_are_exchanged_as_long_as_nothing_is_better_than_the_best_of_the_start(exchanged):
    # Ten draws of the four pairs of two tokens: the best pair is there from the first on.
    config = SearchConfig(width=6, iterations=4, stop_loss=-1.0, banned=tuple(set(range(30)) - {11, 12}))
    attack = reroute(random_model(), PROMPT, SLOTS, ToObjective(2), config, torch.Generator().manual_seed(0))
    ids = all_pairs(torch.tensor([11, 12]))
    least = plain_losses(random_model(), ToObjective(2), PROMPT, SLOTS, ids)
    assert attack.losses == pytest.approx([float(least.min())] * 5, rel=1e-5) and exchanged == [2] * 4
    assert torch.equal(attack.slot_ids, ids[least.argmin()])


def test_a_slot_may_come_first_or_just_before_the_last_token():
    model = random_model()
    assert len(_allowed(model, PROMPT, (0, 4), ToObjective(3), SearchConfig(banned=(0, 7)))) == 28
    for slots in ((0, 5), (-1, 4)):
        with pytest.raises(InputError, match=r"give different places from 0 to 4, before the token at which is read"):
            _allowed(model, PROMPT, slots, ToObjective(3), SearchConfig())


@given(
    count=st.integers(1, 12),
    ratios=st.lists(st.floats(0, 3, allow_nan=False), min_size=2, max_size=6),
    coefficient=st.floats(0.5, 4),
)
@settings(deadline=None)
def test_exchanged_slots_are_within_bounds_and_fall_with_the_loss(count, ratios, coefficient):
    told = [slots_replaced(count, ratio, coefficient) for ratio in sorted(ratios)]
    assert told == sorted(told)
    assert 1 <= told[0] <= told[-1] <= count
    assert slots_replaced(count, 1.0, coefficient) == count


def test_at_a_quarter_of_the_loss_half_of_the_slots_are_exchanged_where_the_coefficient_is_two():
    assert [slots_replaced(count, 0.25, 2.0) for count in (8, 9, 1)] == [4, 4, 1]
    assert slots_replaced(1000, 2**-1.8, 1.8) in (499, 500) and slots_replaced(8, 0.25, 1.0) == 2


def test_the_authors_settings_are_those_of_a_search_that_is_not_told():
    assert SearchConfig() == SearchConfig(256, 64, 10, 1.8, 10, 60, 0.05, ())


@given(seed=st.integers(0, 99), replaced=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_candidates_exchange_so_many_slots_for_promising_tokens(seed, replaced):
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(3, 20, generator=generator)
    allowed, config = torch.arange(4, 20), SearchConfig(width=30, topk=5)
    ids = torch.tensor([0, 1, 2])  # none that could be drawn, so that each exchange shows
    drawn = candidates(ids, gradient, replaced, allowed, config, generator)
    assert ((drawn != ids).sum(1) == replaced).all()
    for slot in range(3):
        best = sorted(range(4, 20), key=lambda token: float(gradient[slot, token]))[:5]
        assert set(drawn[:, slot].tolist()) <= {slot, *best}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=30))
@settings(deadline=None)
def test_a_buffer_holds_the_best_candidates_once_each(rows):
    # The loss of a pair depends on it alone, as that of a model does.
    price = {(a, b): float(loss) for a, b, loss in reversed(rows)}
    ids = torch.tensor([[a, b] for a, b, _ in rows])
    buffer = _Buffer(4, ids[:0], torch.empty(0))
    for part in ids.split(5):
        buffer.add(part, torch.tensor([price[tuple(pair)] for pair in part.tolist()]))
    assert buffer.losses.tolist() == sorted(price.values())[:4]
    assert len({tuple(pair) for pair in buffer.ids.tolist()}) == len(buffer.ids)
    assert [price[tuple(pair)] for pair in buffer.ids.tolist()] == buffer.losses.tolist()


def test_what_a_jump_leaves_behind_is_not_lost():
    buffer = _Buffer(3, torch.tensor([[1], [2], [3]]), torch.tensor([0.0, 0.1, 0.2]))
    for seed in range(20):
        buffer.jump(torch.Generator().manual_seed(seed))
        assert buffer.best().tolist() == [1]
    assert buffer.ids.tolist() == [[3]]
    assert [ids.tolist() for _, ids in buffer.archive] == [[1], [2]]


def test_banned_tokens_are_never_drawn():
    model = random_model()
    banned = tuple(set(range(30)) - {11, 12, 13})
    config = SearchConfig(width=16, topk=64, iterations=4, stop_loss=-1.0, banned=banned)
    attack = reroute(model, PROMPT, SLOTS, ToObjective(1), config, torch.Generator().manual_seed(0))
    assert set(attack.slot_ids.tolist()) <= {11, 12, 13}


@pytest.mark.parametrize(
    ("slots", "depth", "banned", "message"),
    [
        ((), 1, (), "slots: there are none"),
        ((5,), 1, (), "before the token at which is read"),
        ((3, 3), 1, (), "different places"),
        ((-1,), 1, (), "different places"),
        ((3,), 4, (), "reads 4 blocks; the model has 3"),
        ((3,), 0, (), "reads 0 blocks"),
        ((3,), 1, tuple(range(30)), "banned: all 30 tokens"),
    ],
)
def test_impossible_searches_are_refused_in_one_line(slots, depth, banned, message):
    with pytest.raises(InputError, match=message):
        _allowed(random_model(), PROMPT, slots, ToObjective(depth), SearchConfig(banned=banned))
