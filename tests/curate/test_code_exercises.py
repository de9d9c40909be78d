"""Exercises with examples that are true, and faults that verification has to find."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow import sandbox
from winnow.curate._exercise_steps import STEPS
from winnow.curate.code_exercises import FAULTS, SAID, exercises, inputs_of, meaning, unseen, verify
from winnow.errors import InputError

LIMITS = sandbox.Limits(seconds=0.2)
MADE = exercises(150, 3, 0.4)


@pytest.mark.parametrize("kind", SAID)
def test_inputs_are_of_their_kind_and_the_second_is_as_short_as_can_be(kind):
    found = inputs_of(kind, np.random.default_rng(0), 24)
    assert len(found) == 24 and found[1] == {"numbers": [], "words": [], "text": "a"}[kind]
    of = {"numbers": lambda v: all(isinstance(i, int) for i in v), "words": lambda v: all(i.isalpha() for i in v)}
    assert all(of.get(kind, lambda v: isinstance(v, str) and v.replace("_", "").isalpha())(value) for value in found)


def test_exercises_differ_and_are_drawn_by_the_seed():
    assert len({e.text for e in MADE}) == 150 and exercises(150, 3, 0.4) == MADE
    assert exercises(5, 4) != exercises(5, 3) and not any(e.fault for e in exercises(60, 0))
    share = np.mean([bool(e.fault) for e in exercises(400, 1, 0.4)])
    assert share == pytest.approx(0.4, abs=5 * (0.24 / 400) ** 0.5)
    assert {e.fault for e in MADE} == {"", *FAULTS}
    assert {len(e.steps) for e in MADE} == {1, 2, 3}
    for count, faults in ((0, 0.1), (3, -0.1), (3, 1.1)):
        with pytest.raises(InputError, match="give 1 or more, and a share from 0 to 1"):
            exercises(count, 0, faults)


def test_prompts_hold_the_task_and_an_example_that_is_true():
    for exercise in MADE[:40]:
        assert exercise.prompt.startswith(f"def {exercise.name}(") and exercise.task in exercise.prompt
        assert f">>> {exercise.name}({exercise.inputs[0]!r})\n    {exercise.expected[0]}\n" in exercise.prompt
        chain, numbers = zip(*((s.split()[0], int(s.split()[1])) for s in exercise.steps), strict=True)
        assert exercise.expected == tuple(repr(meaning(chain, numbers, given_)) for given_ in exercise.inputs)
        kinds = [STEPS[name] for name in chain]
        assert all(a.gives == b.takes for a, b in zip(kinds, kinds[1:], strict=False))
        assert len(set(chain)) == len(chain)


def test_right_solutions_pass_and_faults_end_as_they_must():
    of_fault = {fault: [e for e in MADE if e.fault == fault] for fault in ("", *FAULTS)}
    tried = [e for fault, found in of_fault.items() for e in (found[:2] if fault == "loop" else found)]
    found = {fault: Counter() for fault in of_fault}
    for exercise, outcome in zip(tried, verify(tried, LIMITS), strict=True):
        found[exercise.fault][outcome] += 1
    assert set(found[""]) == {"passed"} and found["loop"] == {"limit": 2} and found["name"]["error"] > 2
    assert "passed" not in found["return"] + found["name"]
    assert found["step"]["wrong"] > 0 and found["step"]["passed"] < 0.4 * found["step"].total()
    right = of_fault[""]
    assert verify(right[:30], LIMITS, fresh=5) == ["passed"] * 30


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_of_compositions_holds_the_smaller(low, high):
    low, high = sorted((low, high))
    assert all(unseen(e, high) or not unseen(e, low) for e in MADE[:20])
    assert not any(unseen(e, 0.0) for e in MADE[:20]) and all(unseen(e, 1.0) for e in MADE[:20])


def test_numbers_do_not_make_a_composition_another_one():
    kept = {}
    for exercise in MADE:
        names = tuple(step.split()[0] for step in exercise.steps)
        assert kept.setdefault(names, unseen(exercise, 0.3)) == unseen(exercise, 0.3)
    assert np.mean(list(kept.values())) == pytest.approx(0.3, abs=5 * (0.21 / len(kept)) ** 0.5)
