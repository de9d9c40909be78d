"""Exercises in programming with solutions and tests, made from a grammar, of which those stay that pass their tests.

Huang et al., "OpenCoder: The Open Cookbook for Top-Tier Code Large Language Models", ACL 2025: a language model writes
tasks, solutions and tests around seeds, and a solution stays when it passes them. Here a grammar of steps writes
them, some with a fault, so that it is known what verification has to find; expected answers come from what the steps
mean, not from their code.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from winnow import sandbox
from winnow.curate._exercise_steps import STEPS, Step
from winnow.errors import InputError
from winnow.randomness import numpy_generator

SAID = {"numbers": "a list of numbers", "words": "a list of words", "text": "a text"}
ARGUMENTS = {
    "numbers": ("values", "numbers", "items", "data"),
    "words": ("words", "names", "lines", "tags"),
    "text": ("text", "name", "value", "key"),
}
FAULTS = ("step", "return", "name", "loop")
"""A step written wrongly, no answer given back, a name that is not there, a loop without an end."""
LARGEST, INPUTS, LONGEST = 9, 6, 3
LETTERS = "abcdeginorstu"


@dataclass(frozen=True)
class Exercise:
    """A function to write: `task` in a sentence, `prompt` (head and documentation), `body`, and tests."""

    steps: tuple[str, ...]
    """Names of the steps with their numbers: the composition."""
    name: str
    task: str
    prompt: str
    body: str
    inputs: tuple[Any, ...]
    expected: tuple[str, ...]
    """repr of the answer to each input."""
    fault: str
    """What was planted; empty for a solution that means to be right."""

    @property
    def text(self) -> str:
        return self.prompt + self.body


def unseen(exercise: Exercise, share: float) -> bool:
    """Whether an exercise belongs to a share of all compositions, which is kept for judging."""
    names = " ".join(step.split()[0] for step in exercise.steps)
    return int.from_bytes(blake2b(names.encode(), digest_size=8).digest(), "big") / 2**64 < share


def exercises(count: int, seed: int, faults: float = 0.0) -> list[Exercise]:
    """Different exercises of one to three steps, each with six inputs.

    faults: share of solutions with a planted fault. Raises InputError for a share outside [0, 1] and a count below 1.
    """
    if count < 1 or not 0 <= faults <= 1:
        raise InputError(f"exercises: {count} with a share {faults} of faults; give 1 or more, and a share from 0 to 1")
    generator = numpy_generator(seed, "exercises")
    found: dict[str, Exercise] = {}
    while len(found) < count:
        made = _exercise(generator, faults)
        found.setdefault(made.text, made)
    return list(found.values())


def _exercise(generator: np.random.Generator, faults: float) -> Exercise:
    kind = str(generator.choice(list(SAID)))
    chain = _chain(generator, kind)
    numbers = [int(generator.integers(2, LARGEST + 1)) for _ in chain]
    inputs = tuple(inputs_of(kind, generator))
    expected = tuple(repr(meaning(chain, numbers, given)) for given in inputs)
    fault = str(generator.choice(FAULTS)) if generator.random() < faults else ""
    argument = str(generator.choice(ARGUMENTS[kind]))
    name = "_then_".join(chain)
    says = ", then ".join(STEPS[step].says.format(k=k) for step, k in zip(chain, numbers, strict=True))
    task = f"Of {SAID[kind]}: {says}."
    example = f">>> {name}({inputs[0]!r})\n{expected[0]}"
    prompt = f'def {name}({argument}):\n    """{task}\n\n{textwrap.indent(example, "    ")}\n    """\n'
    body = textwrap.indent(_body(generator, chain, numbers, argument, fault), "    ")
    steps = tuple(f"{step} {k}" for step, k in zip(chain, numbers, strict=True))
    return Exercise(steps, name, task, prompt, body, inputs, expected, fault)


def _chain(generator: np.random.Generator, kind: str) -> list[str]:
    chain: list[str] = []
    length = int(generator.integers(1, LONGEST + 1))
    while len(chain) < length and kind != "number":
        fitting = [name for name, step in STEPS.items() if step.takes == kind and name not in chain]
        chain.append(str(generator.choice(fitting)))
        kind = STEPS[chain[-1]].gives
    return chain


def _body(generator: np.random.Generator, chain: list[str], numbers: list[int], argument: str, fault: str) -> str:
    wrong = int(generator.integers(len(chain))) if fault == "step" else -1
    lines, given = [], argument
    for place, (name, k) in enumerate(zip(chain, numbers, strict=True)):
        step = STEPS[name]
        made = _fresh(step, given, place)
        code = step.wrong if place == wrong else str(generator.choice(step.codes))
        lines.append(code.format(x=given, y=made, k=k))
        given = made
    if fault == "name":
        lines[-1] = lines[-1].replace(argument if len(chain) == 1 else "item", "itme")
        given = f"{given}s"
    if fault == "loop":
        lines.append(f"while {given} == {given}:\n    pass")
    return "\n".join([*lines, *([] if fault == "return" else [f"return {given}"])]) + "\n"


def _fresh(step: Step, given: str, place: int) -> str:
    return step.makes if step.makes != given else f"{step.makes}{place + 1}"


def meaning(chain: Sequence[str], numbers: Sequence[int], given: Any) -> Any:
    """The answer of steps with their numbers, by what they mean."""
    for name, k in zip(chain, numbers, strict=True):
        given = STEPS[name].means(given, k)
    return given


def inputs_of(kind: str, generator: np.random.Generator, count: int = INPUTS) -> list[Any]:
    """Inputs of a kind, the second empty or as short as can be."""
    if kind == "numbers":
        sizes = [int(generator.integers(3, 7)) for _ in range(count)]
        found: list[Any] = [generator.integers(-LARGEST, 2 * LARGEST, size).tolist() for size in sizes]
        return [found[0], [], *found[2:]][:count]
    letters = list(LETTERS)
    texts = [["".join(generator.choice(letters, generator.integers(1, 8))) for _ in range(4)] for _ in range(count)]
    if kind == "words":
        return [texts[0], [], *(words[: 1 + i % 4] + words[:1] for i, words in enumerate(texts[2:]))][:count]
    return ["_".join(texts[0][:2]), "a", *("_".join(words) for words in texts[2:])][:count]


def verify(found: Sequence[Exercise], limits: sandbox.Limits | None = None, fresh: int | None = None) -> list[str]:
    """What became of each solution in the sandbox: `passed`, `wrong`, or `refused`, `error`, `limit`, `crash` of it.

    fresh: a seed, by which other inputs are drawn than the exercise's own.
    """
    tests = [(e.inputs, e.expected) if fresh is None else _other_tests(e, fresh) for e in found]
    cases = [
        sandbox.Case(f"{e.text}\ndef checked(given):\n    return repr({e.name}(given))\n", "checked", inputs)
        for e, (inputs, _) in zip(found, tests, strict=True)
    ]
    outcomes = sandbox.run(cases, limits)
    return [
        outcome.status if outcome.status != "ok" else "passed" if outcome.values == list(expected) else "wrong"
        for outcome, (_, expected) in zip(outcomes, tests, strict=True)
    ]


def _other_tests(exercise: Exercise, seed: int) -> tuple[list[Any], list[str]]:
    chain, numbers = zip(*(step.split() for step in exercise.steps), strict=True)
    inputs = inputs_of(STEPS[chain[0]].takes, numpy_generator(seed, "fresh", exercise.text), 4 * INPUTS)
    return inputs, [repr(meaning(chain, [int(k) for k in numbers], given)) for given in inputs]
