"""What a recipe for code models is trained on after its corpus: functions, textbooks, exercises, and instructions."""

from __future__ import annotations

import doctest
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from winnow import sandbox
from winnow.curate.byte_pairs import encode
from winnow.curate.code_exercises import Exercise, exercises, unseen, verify
from winnow.curate.code_functions import Function, algorithmic, explained
from winnow.errors import InputError
from winnow.train.instruction_tuning import Pair

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INSTRUCTION, RESPONSE = "### Instruction\n{}\n", "### Response\n"
STOPS = ("\n\n", "\ndef ", "\n#", "\nassert")
"""Where what a model writes for a body ends at the latest."""
LIMITS = sandbox.Limits(seconds=0.2)


class Made(NamedTuple):
    """Exercises with what became of each in the sandbox, the judged ones of compositions that no other has."""

    learned: list[Exercise]
    outcomes: list[str]
    judged: list[Exercise]

    @property
    def verified(self) -> list[Exercise]:
        """Those to learn from that passed their tests."""
        return [e for e, outcome in zip(self.learned, self.outcomes, strict=True) if outcome == "passed"]


def made(count: int, faults: float, judged: int, share: float, seed: int) -> Made:
    """Exercises, a share of them with faults, and others to judge by, whose compositions are a share of all."""
    learned = _first(count, lambda exercise: not unseen(exercise, share), seed, faults)
    # The judged are the same for all seeds.
    apart = _first(judged, lambda exercise: unseen(exercise, share), 0, 0.0)
    return Made(learned, verify(learned, LIMITS), apart)


def _first(count: int, wanted: Callable[[Exercise], bool], seed: int, faults: float) -> list[Exercise]:
    """So many that are wanted, of as many drawn as that takes."""
    for times in (2, 8, 32):
        found = [exercise for exercise in exercises(times * count, seed, faults) if wanted(exercise)]
        if len(found) >= count:
            return found[:count]
    raise InputError(f"unseen: {len(found)} of {32 * count} exercises are on its side, not {count}; give another share")


def soundness(found: Made, seed: int) -> dict[str, float]:
    """What verification does: shares of faulty solutions that it stops, of right ones that stay, and how many agree.

    agree: share of those that stay that also answer 24 inputs rightly that they were not tested on.
    """
    faulty = np.array([bool(exercise.fault) for exercise in found.learned])
    passed = np.array(found.outcomes) == "passed"
    again = verify(found.verified, LIMITS, fresh=seed)
    return {
        "stopped": float((~passed)[faulty].mean()) if faulty.any() else 1.0,
        "kept": float(passed[~faulty].mean()),
        "agree": float(np.mean([outcome == "passed" for outcome in again])),
    }


def snippet(exercise: Exercise) -> str:
    """An exercise as a piece of code: the function and its tests as assertions."""
    tests = zip(exercise.inputs[1:4], exercise.expected[1:4], strict=True)
    lines = [f"assert {exercise.name}({given!r}) == {answer}\n" for given, answer in tests]
    return f"{exercise.text}\n\n{''.join(lines)}"


def algorithms(functions: Sequence[Function]) -> list[str]:
    """The algorithmic corpus: functions that stand by themselves, with the lines that import what they need."""
    return ["\n".join([*(f.imports or ()), f.text]) for f in functions if algorithmic(f)]


def textbooks(functions: Sequence[Function]) -> list[str]:
    """Functions that stand by themselves and are documented, each statement explained."""
    return [explained(f) for f in functions if f.imports is not None and f.documentation]


def broad_questions(functions: Sequence[Function], package: str) -> list[tuple[str, str]]:
    """Questions about documented functions of a package, with answers from their documentation and their heads."""
    found = []
    for function in functions:
        if function.documentation:
            purpose = " ".join(function.documentation.split("\n\n")[0].split())
            arguments = ", ".join(function.arguments) or "none"
            found += [
                (f"What does {function.name} of {package} do?", purpose),
                (f"Which arguments does {function.name} of {package} take?", arguments),
                (f"Which function of {package} is this: {purpose}", function.name),
            ]
    return found


def code_tasks(functions: Sequence[Function], package: str) -> list[tuple[str, str]]:
    """Tasks with code for an answer: documented functions to write, and examples of how they are used."""
    found = []
    for function in functions:
        if function.documentation:
            purpose = " ".join(function.documentation.split("\n\n")[0].split())
            found.append((f"Write {function.name}({', '.join(function.arguments)}): {purpose}", function.text))
            if examples := _examples(function.documentation):
                found.append((f"Use {function.name} of {package}: {purpose}", examples))
    return found


def _examples(documentation: str) -> str:
    try:
        parts = doctest.DocTestParser().get_examples(documentation)
    except ValueError:  # indented in ways that the format does not know
        return ""
    return "".join(part.source for part in parts)


def exercise_task(exercise: Exercise) -> tuple[str, str]:
    """An exercise as an instruction and its answer."""
    return f"Write a function {exercise.name}. {exercise.task}", exercise.text


def instructed(tasks: Sequence[tuple[str, str]], tokenizer: Tokenizer) -> list[Pair]:
    """Tokens of instructions and responses."""
    return _pairs([(INSTRUCTION.format(task) + RESPONSE, answer) for task, answer in tasks], tokenizer)


def bodies(parts: Sequence[Function | Exercise], tokenizer: Tokenizer) -> list[Pair]:
    """Tokens of what stands before a body, its documentation included, and of the body."""
    return _pairs([(part.prompt, part.body) for part in parts], tokenizer)


def _pairs(texts: list[tuple[str, str]], tokenizer: Tokenizer) -> list[Pair]:
    ends = [np.array(ids[:-1], np.int64) for ids in encode(tokenizer, [t for pair in texts for t in pair]).to_pylist()]
    return list(zip(ends[::2], ends[1::2], strict=True))


def pass_rate(judged: Sequence[Exercise], answers: Sequence[str], whole: bool) -> float:
    """Share of exercises that a model's answers pass: bodies, or whole functions."""
    tried = [
        replace(exercise, prompt="" if whole else exercise.prompt, body=f"{answer}\n")
        for exercise, answer in zip(judged, answers, strict=True)
    ]
    return float(np.mean([outcome == "passed" for outcome in verify(tried, LIMITS)]))
