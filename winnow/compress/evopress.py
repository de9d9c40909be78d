"""EvoPress: evolutionary search for the compression level of each unit of a model under one budget.

Sieberling, Kuznedelev, Kurtic, Alistarh, "EvoPress: Accurate Dynamic Model Compression via Evolutionary Search", ICML
2025. A (1 + lambda) strategy: children of the best state differ from it by few exchanges of levels between units of
equal size, and are weeded out in stages on ever more sequences; the parent joins the last stage.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from winnow.errors import InputError

State = tuple[int, ...]
Fitness = Callable[[State, np.ndarray], float]
"""A state and the sequences it is judged on (int64[n], distinct) -> its error, lower is better."""
Propose = Callable[[State, np.random.Generator], State]
PATIENCE = 100
"""Draws for each child that is looked for, before a generation is content with fewer."""


@dataclass(frozen=True)
class Space:
    """Which levels each unit can have, and which units may exchange them, a level costing all of these the same."""

    lowest: State
    highest: State
    groups: tuple[tuple[int, ...], ...]
    """Units that may exchange levels; each unit is in one group."""
    steps: State
    """What one level more costs each unit."""

    def __post_init__(self) -> None:
        units = sorted(unit for group in self.groups for unit in group)
        if units != list(range(len(self.lowest))) or len(self.highest) != len(units) or len(self.steps) != len(units):
            raise InputError("groups: do not hold each unit once; name each in one group")
        uneven = [group for group in self.groups if len({self.steps[unit] for unit in group}) > 1]
        if uneven:
            raise InputError(f"groups: the units {uneven[0]} are of several sizes; exchanges would change the budget")

    def cost(self, state: State) -> int:
        """What all levels of a state cost together."""
        return sum(level * step for level, step in zip(state, self.steps, strict=True))

    def require(self, state: State) -> None:
        """Raise InputError for a level that a unit has not."""
        if len(state) != len(self.lowest):
            raise InputError(f"state: has {len(state)} levels; there are {len(self.lowest)} units")
        for unit, level in enumerate(state):
            if not self.lowest[unit] <= level <= self.highest[unit]:
                low, high = self.lowest[unit], self.highest[unit]
                raise InputError(f"state: unit {unit} has level {level}; the database has {low} to {high}")


class Stage(NamedTuple):
    """One round of selection: how many sequences judge each candidate, and how many candidates stay."""

    sequences: int
    keep: int


class Found(NamedTuple):
    """What a search found: the state, its error at each generation's last stage, sequences evaluated until then."""

    state: State
    history: list[tuple[float, int, State]]
    evaluations: int


def random_state(space: Space, chosen: Sequence[int], generator: np.random.Generator) -> State:
    """A state at the lowest levels but for `chosen[g]` units of each group g, drawn at random, at the highest.

    Raises InputError for a group that has not so many units.
    """
    state = list(space.lowest)
    for group, count in zip(space.groups, chosen, strict=True):
        if not 0 <= count <= len(group):
            raise InputError(f"budget: {count} of {len(group)} units cannot be chosen; choose 0 to {len(group)}")
        for unit in generator.choice(group, count, replace=False):
            state[unit] = space.highest[unit]
    return tuple(state)


def lowered_at_random(space: Space, start: State, budget: int, generator: np.random.Generator) -> State:
    """A state that costs at most the budget, made from a dearer one by lowering units at random, a level at a time.

    Raises InputError where even the lowest levels cost more.
    """
    space.require(start)
    if space.cost(space.lowest) > budget:
        raise InputError(
            f"budget: {budget} is below {space.cost(space.lowest)}, the cost of the lowest levels; raise it"
        )
    state = list(start)
    while space.cost(tuple(state)) > budget:
        # A group that is larger is drawn more often, as in the authors' code: every unit is as likely.
        open_units = [unit for unit, level in enumerate(state) if level > space.lowest[unit]]
        state[generator.choice(open_units)] -= 1
    return tuple(state)


def mutated(space: Space, parent: State, generator: np.random.Generator) -> State:
    """A child of equal cost: min(U{1..3}, U{1..3}) times one unit goes up a level and another of its group down.

    Raises InputError where no two units of a group can exchange a level.
    """
    state = list(parent)
    for _ in range(min(generator.integers(1, 4, 2))):
        options = []
        for group in space.groups:
            lower = [unit for unit in group if state[unit] > space.lowest[unit]]
            higher = [unit for unit in group if state[unit] < space.highest[unit]]
            if any(up != down for up in higher for down in lower):
                options.append((len(group), lower, higher))
        if not options:
            raise InputError("state: no two units of a group can exchange a level; give a budget between the extremes")
        sizes = np.array([size for size, _, _ in options])
        _, lower, higher = options[generator.choice(len(options), p=sizes / sizes.sum())]
        down = up = generator.choice(lower)
        while up == down:
            down, up = generator.choice(lower), generator.choice(higher)
        state[down] -= 1
        state[up] += 1
    return tuple(state)


def evolve(
    space: Space,
    starts: Sequence[State],
    fitness: Fitness,
    sequences: int,
    *,
    offspring: int,
    stages: Sequence[Stage],
    start_sequences: int,
    generations: int,
    generator: np.random.Generator,
    propose: Propose | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Search from the best of the starts, as judged on `start_sequences` of the calibration sequences.

    Each stage of each generation judges on sequences drawn anew, the parent in the last only. propose: draws a child
    of the parent; without it `mutated`. A search that draws children at random, whatever the parent, is the random
    search of equal budget. Raises InputError for stages that keep more than one in the end, or ask for more sequences
    than there are.
    """
    largest = max(start_sequences, *(stage.sequences for stage in stages))
    if stages[-1].keep != 1 or largest > sequences or min(start_sequences, *(s.sequences for s in stages)) < 1:
        raise InputError(
            f"stages: {list(stages)} of {sequences} sequences; keep 1 at last and ask for no more sequences"
        )
    for start in starts:
        space.require(start)
    evaluations = 0

    def best(candidates: list[State], stage: Stage) -> list[tuple[float, State]]:
        nonlocal evaluations
        drawn = generator.choice(sequences, stage.sequences, replace=False)
        evaluations += len(candidates) * stage.sequences
        return heapq.nsmallest(stage.keep, ((fitness(state, drawn), state) for state in candidates))

    error, parent = (0.0, starts[0]) if len(starts) == 1 else best(list(starts), Stage(start_sequences, 1))[0]
    budget, history = space.cost(parent), []
    for generation in range(generations):
        candidates = _children(parent, offspring, propose or (lambda p, g: mutated(space, p, g)), generator)
        if any(space.cost(child) != budget for child in candidates):
            raise InputError("propose: a child costs other than its parent; exchange levels within a group")
        for stage in stages[:-1]:
            candidates = [state for _, state in best(candidates, stage)]
        error, parent = best([*candidates, parent], stages[-1])[0]
        history.append((error, evaluations, parent))
        if progress:
            progress(generation + 1, generations)
    return Found(parent, history, evaluations)


def _children(parent: State, count: int, propose: Propose, generator: np.random.Generator) -> list[State]:
    """Distinct children that differ from the parent; fewer than asked for where there are no more."""
    children: dict[State, None] = {}
    for _ in range(PATIENCE * count):
        child = propose(parent, generator)
        if child != parent:
            children.setdefault(child)
        if len(children) == count:
            break
    return list(children)
