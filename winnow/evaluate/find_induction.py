"""Interpreters of functions of texts: programs that agree with all answers, and baselines that do not search.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. Candidates are enumerated by size and told apart by what they give, as in S. Gulwani, O.
Polozov, R. Singh, "Program Synthesis", Foundations and Trends in Programming Languages, 2017.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from winnow.evaluate.find_interpreters import Interpretation
from winnow.workloads.find_functions import Function
from winnow.workloads.find_strings import (
    OPERATIONS,
    Program,
    Step,
    apply,
    describe,
    draw_program,
    draw_texts,
    source,
    steps,
)

FIRST = 4
"""Texts that are asked before any is chosen."""
POOL, COMPARED = 60, 200
"""Texts of which the next is chosen, and candidates that it has to tell apart."""


@dataclass(frozen=True)
class Induction:
    """The shortest program that agrees with all answers; `adaptive`: ask what tells most of the candidates apart."""

    name: str = "induction"
    adaptive: bool = True
    kinds: tuple[str, ...] = ("string",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Ask some texts, enumerate, and go on asking until one candidate is left or nothing tells them apart."""
        texts = draw_texts((FIRST if self.adaptive else function.left) + 1, generator)[1:]
        found = agreeing(texts, function.query(texts))
        while self.adaptive and function.left and len(found) > 1:
            # What all but one small group agree on tells little: the entropy of answers is how much is learnt.
            pool = draw_texts(POOL, generator)
            answers = _answers(found[:COMPARED], pool)
            surprise = [_entropy(column) for column in zip(*answers, strict=True)]
            best = int(np.argmax(surprise))
            if surprise[best] == 0:
                break
            (answer,) = function.query([pool[best]])
            found = [program for program in found if apply(program, pool[best]) == answer]
        if not found:
            return Interpretation("is none of the programs that are known here", "def f(x):\n    return x\n", None, 0.0)
        return Interpretation(describe(found[0]), source(found[0]), None, 1 / len(found))


def agreeing(texts: Sequence[str], answers: Sequence[str]) -> list[Program]:
    """Programs of one step, then of two, that give all answers; of first steps that give the same, the first alone."""
    # The shortest first, of which most steps make the same, then the longest, of which they make most different things.
    shortest, *others = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    order = [shortest, *others[::-1]]
    texts, answers = [texts[i] for i in order], [answers[i] for i in order]

    meanings = [(step, OPERATIONS[step[0]].means) for step in steps()]

    @cache
    def completing(made: tuple[str, ...]) -> list[Step]:
        """Steps that give the first answers, of what is made of the first texts: once for all that make the same."""
        *before, last = made
        if not before:
            # `apply` in place: most of the search is this line.
            return [step for step, means in meanings if means(last, *step[1]) == answers[0]]
        answer = answers[len(before)]
        return [step for step in completing(tuple(before)) if apply((step,), last) == answer]

    def completed(first: Program) -> list[Program]:
        made: tuple[str, ...] = ()
        for text in texts:
            made += (apply(first, text),)
            if not completing(made):
                return []
        return [(*first, step) for step in completing(made)]

    found, known = completed(()), set[tuple[str, ...]]()
    for first in steps():
        if programs := completed((first,)):
            made = tuple(apply((first,), text) for text in texts)
            found += programs if made not in known else []
            known.add(made)
    return found


def _answers(programs: Sequence[Program], texts: Sequence[str]) -> list[list[str]]:
    """What each program makes of each text; what programs begin with alike is done once."""

    @cache
    def begun(first: Program) -> list[str]:
        return [apply(first, text) for text in texts]

    return [[apply(program[1:], between) for between in begun(program[:1])] for program in programs]


def _entropy(answers: Sequence[str]) -> float:
    shares = np.array(list(Counter(answers).values())) / len(answers)
    return float(-(shares * np.log2(shares)).sum()) if len(shares) > 1 else 0.0


@dataclass(frozen=True)
class TextMemoriser:
    """The answers themselves, and the text as it is where it was not asked."""

    name: str = "text_memoriser"
    kinds: tuple[str, ...] = ("string",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Code that looks the text up."""
        texts = draw_texts(function.left, generator)
        known = dict(zip(texts, function.query(texts), strict=True))
        return Interpretation("what was answered", f"def f(x):\n    return {known!r}.get(x, x)\n", None, 0.0)


@dataclass(frozen=True)
class RandomProgram:
    """A program that is drawn as the library's are, without a query."""

    name: str = "random_program"
    kinds: tuple[str, ...] = ("string",)

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """One step, drawn."""
        program = draw_program(False, generator)
        return Interpretation(describe(program), source(program), None, 0.0)


TEXT_INTERPRETERS = (Induction(), Induction("induction_random", adaptive=False), TextMemoriser(), RandomProgram())
