"""Every step's code run by Python beside what the step means."""

import pytest

from winnow.curate._exercise_steps import STEPS
from winnow.curate.code_exercises import inputs_of
from winnow.randomness import numpy_generator


def answer(code, given, k):
    scope = {"given": given}
    exec(code.format(x="given", y="made", k=k), scope)
    return scope["made"]


@pytest.mark.parametrize("name", STEPS)
def test_every_way_to_write_a_step_means_what_the_step_means_and_the_wrong_one_does_not(name):
    step, generator, differ = STEPS[name], numpy_generator(1, name), 0
    for k in range(2, 10):
        for given_ in inputs_of(step.takes, generator):
            expected = repr(step.means(given_, k))
            assert {repr(answer(code, given_, k)) for code in step.codes} == {expected}
            try:
                differ += repr(answer(step.wrong, given_, k)) != expected
            except (IndexError, ValueError, TypeError):
                differ += 1
    assert differ > 2
