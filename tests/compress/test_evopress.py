"""The search keeps its budget, finds what brute force finds, and spends what it says."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.compress.evopress import (
    Space,
    Stage,
    evolve,
    lowered_at_random,
    mutated,
    random_state,
)
from winnow.errors import InputError


def dropping(units, groups=1):
    size = units // groups
    return Space(
        (0,) * units, (1,) * units, tuple(tuple(range(g * size, (g + 1) * size)) for g in range(groups)), (1,) * units
    )


BITS = Space((2,) * 5, (6,) * 5, ((0, 1, 2), (3, 4)), (4, 4, 4, 9, 9))


def search(space, starts, fitness, seed=0, generations=15, **changes):
    settings = {"offspring": 4, "stages": (Stage(2, 2), Stage(4, 1)), "start_sequences": 2} | changes
    return evolve(space, starts, fitness, 6, generations=generations, generator=np.random.default_rng(seed), **settings)


@given(st.integers(0, 10**6), st.integers(2, 6))
def test_mutations_keep_the_budget_of_each_group_and_the_levels(seed, level):
    generator = np.random.default_rng(seed)
    state = (2, 6, 4, level, 8 - level)
    child = mutated(BITS, state, generator)
    BITS.require(child)
    for group in BITS.groups:
        assert sum(child[unit] for unit in group) == sum(state[unit] for unit in group)
    assert sum(abs(a - b) for a, b in zip(child, state, strict=True)) <= 6


def test_one_to_three_exchanges_with_few_more_likely():
    space = Space((0,) * 90, (60,) * 90, (tuple(range(90)),), (1,) * 90)
    generator = np.random.default_rng(0)
    moves = np.zeros(4)
    for _ in range(3000):
        child = mutated(space, (30,) * 90, generator)
        moves[sum(abs(level - 30) for level in child) // 2] += 1
    # min of two dice of three: 5/9, 3/9, 1/9; few exchanges undo one another
    assert moves[1:] / 3000 == pytest.approx([5 / 9, 3 / 9, 1 / 9], abs=0.06)


def test_every_unit_is_changed_alike():
    space, counts = dropping(9), np.zeros(9)
    generator = np.random.default_rng(1)
    for _ in range(4000):
        child = mutated(space, (1, 1, 1, 0, 0, 0, 0, 0, 0), generator)
        counts += np.array(child) != (1, 1, 1, 0, 0, 0, 0, 0, 0)
    assert counts[:3] / counts[:3].sum() == pytest.approx(np.full(3, 1 / 3), abs=0.03)
    assert counts[3:] / counts[3:].sum() == pytest.approx(np.full(6, 1 / 6), abs=0.03)


def test_the_optimum_of_brute_force_is_found():
    """Six units with interactions, three dropped: 20 states, 100 landscapes."""
    space, found = dropping(6), 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        own, pairs = generator.normal(size=6), generator.normal(size=(6, 6))

        def fitness(state, drawn, own=own, pairs=pairs):
            x = np.array(state)
            return float(own @ x + x @ pairs @ x)

        states = [tuple(int(u in chosen) for u in range(6)) for chosen in combinations(range(6), 3)]
        best = min(states, key=lambda state: fitness(state, None))
        found += search(space, [states[0]], fitness, seed).state == best
    assert found >= 95


def test_on_a_fixed_set_the_error_never_rises():
    generator = np.random.default_rng(3)
    table = dict(zip(product((0, 1), repeat=8), generator.normal(size=256), strict=True))
    errors = [error for error, _, _ in search(dropping(8), [(1, 1, 1, 1, 0, 0, 0, 0)], lambda s, d: table[s]).history]
    assert errors == sorted(errors, reverse=True) and errors[0] > errors[-1]


def test_the_best_of_the_starts_comes_first_and_is_judged_on_its_own_sequences():
    calls = []

    def fitness(state, drawn):
        calls.append((state, tuple(drawn)))
        return float(state[0])

    starts = [(1, 1, 0, 0), (0, 1, 1, 0), (1, 0, 0, 1)]
    found = search(dropping(4), starts, fitness, generations=1)
    assert [state for state, _ in calls[:3]] == starts and len({drawn for _, drawn in calls[:3]}) == 1
    assert (0, 1, 1, 0) in [state for state, _ in calls[7:]]  # the parent joins the last stage
    assert found.evaluations == sum(len(drawn) for _, drawn in calls)
    assert all(len(set(drawn)) == len(drawn) and max(drawn) < 6 for _, drawn in calls)


def test_evaluations_are_those_of_the_stages():
    found = search(dropping(8), [(1, 1, 0, 0, 0, 0, 0, 0)], lambda state, drawn: sum(state[4:]), generations=3)
    # no start to choose from; then 4 children on 2 sequences, 2 of them and the parent on 4
    assert [spent for _, spent, _ in found.history] == [20, 40, 60]


def test_a_parent_that_was_lucky_is_judged_anew():
    values = iter([-100.0] + [1.0] * 1000)
    found = search(dropping(6), [(1, 0, 0, 0, 0, 0)] * 2, lambda state, drawn: next(values), generations=2)
    assert [error for error, _, _ in found.history] == [1.0, 1.0]


def test_children_are_distinct_and_not_their_parent():
    seen = []

    def fitness(state, drawn):
        seen.append(state)
        return 0.0

    search(dropping(6), [(1, 1, 0, 0, 0, 0)], fitness, generations=1, offspring=8, stages=(Stage(2, 1), Stage(3, 1)))
    assert len(set(seen[:8])) == 8 and (1, 1, 0, 0, 0, 0) not in seen[:8]
    seen.clear()
    # Two units, one of them dropped: there is one other state
    search(dropping(2), [(1, 0)], fitness, generations=1)
    assert seen == [(0, 1), (0, 1), (1, 0)] or seen == [(0, 1), (1, 0), (0, 1)]


def test_random_states_drop_as_many_of_each_group():
    counts = np.zeros(8)
    generator = np.random.default_rng(0)
    for _ in range(2000):
        state = random_state(dropping(8, 2), (1, 3), generator)
        assert sum(state[:4]) == 1 and sum(state[4:]) == 3
        counts += state
    assert counts / 2000 == pytest.approx([0.25] * 4 + [0.75] * 4, abs=0.04)


@given(st.integers(0, 10**6), st.integers(60, 180))
def test_lowering_at_random_ends_just_below_the_budget(seed, budget):
    state = lowered_at_random(BITS, BITS.highest, budget, np.random.default_rng(seed))
    assert BITS.cost(state) <= budget < BITS.cost(state) + max(BITS.steps)
    BITS.require(state)


def test_a_random_search_of_equal_cost_ignores_the_parent():
    space = dropping(6)
    found = search(
        space,
        [(1, 1, 0, 0, 0, 0)],
        lambda state, drawn: float(np.dot(state, np.arange(6))),
        generations=30,
        propose=lambda parent, generator: random_state(space, (2,), generator),
    )
    assert found.state == (1, 1, 0, 0, 0, 0) and found.evaluations == 30 * 20


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Space((0, 0), (1, 1), ((0,),), (1, 1)), "each unit once"),
        (lambda: Space((0, 0), (1, 1, 1), ((0, 1),), (1, 1)), "each unit once"),
        (lambda: Space((0, 0), (1, 1), ((0, 1),), (1, 1, 1)), "each unit once"),
        (lambda: Space((0, 0), (1, 1), ((0, 1),), (1, 2)), "several sizes"),
        (lambda: dropping(3).require((0, 2, 0)), "unit 1 has level 2; the database has 0 to 1"),
        (lambda: dropping(3).require((0, 0)), "has 2 levels; there are 3 units"),
        (lambda: random_state(dropping(3), (4,), np.random.default_rng(0)), "4 of 3 units"),
        (lambda: random_state(dropping(3), (-1,), np.random.default_rng(0)), "-1 of 3 units cannot be chosen"),
        (lambda: lowered_at_random(BITS, BITS.highest, 10, np.random.default_rng(0)), "budget: 10 is below 60"),
        (lambda: mutated(dropping(3), (0, 0, 0), np.random.default_rng(0)), "can exchange a level"),
        (lambda: search(dropping(3), [(1, 0, 0)], lambda s, d: 0.0, stages=(Stage(2, 2),)), "keep 1 at last"),
        (lambda: search(dropping(3), [(1, 0, 0)], lambda s, d: 0.0, stages=(Stage(7, 1),)), "of 6 sequences"),
        (lambda: search(dropping(3), [(1, 0, 0)], lambda s, d: 0.0, stages=(Stage(0, 1),)), "of 6 sequences"),
        (lambda: search(dropping(3), [(1, 0, 0)], lambda s, d: 0.0, start_sequences=0), "of 6 sequences"),
        (lambda: search(dropping(3), [(1, 0, 0)], lambda s, d: 0.0, propose=lambda p, g: (1, 1, 0)), "costs other"),
        (lambda: search(dropping(3), [(2, 0, 0)], lambda s, d: 0.0), "unit 0 has level 2"),
    ],
)
def test_impossible_requests_are_refused(call, told):
    with pytest.raises(InputError, match=told):
        call()


def test_all_or_none_of_a_group_may_be_chosen():
    assert random_state(dropping(4, 2), (0, 2), np.random.default_rng(0)) == (0, 0, 1, 1)


def test_lowering_ends_at_the_lowest_levels_and_each_generation_is_told_of():
    assert lowered_at_random(BITS, BITS.highest, BITS.cost(BITS.lowest), np.random.default_rng(0)) == BITS.lowest
    told = []
    search(dropping(4), [(1, 0, 0, 0)], lambda s, d: 0.0, generations=3, progress=lambda *each: told.append(each))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_single_sequence_is_enough_to_judge_by():
    found = search(
        dropping(4), [(1, 0, 0, 0)] * 2, lambda s, d: 0.0, generations=1, stages=(Stage(1, 1),), start_sequences=1
    )
    assert found.evaluations == 2 + 3 + 1  # the starts, three other states, their parent


def test_one_child_of_another_cost_among_many_is_refused():
    drawn = iter([(0, 1, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)] * 9)
    with pytest.raises(InputError, match="propose: a child costs other than its parent"):
        search(dropping(4), [(1, 0, 0, 0)], lambda s, d: 0.0, propose=lambda parent, generator: next(drawn))


def test_a_parent_without_other_children_stays_after_a_hundred_draws_for_each():
    drawn = []
    found = search(
        dropping(4), [(1, 0, 0, 0)], lambda s, d: 0.5, generations=1, propose=lambda p, g: drawn.append(p) or p
    )
    assert len(drawn) == 100 * 4 and found.history == [(0.5, 4, (1, 0, 0, 0))]
