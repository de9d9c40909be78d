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
            answers = [[apply(program, text) for text in pool] for program in found[:COMPARED]]
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
    steps_by_what_is_made = cache(_steps_by_what_is_made)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    texts, answers = [texts[i] for i in order], [answers[i] for i in order]

    def completed(first: Program) -> list[Program]:
        # First steps make much the same of the shortest text: what follows is tried once for all of them.
        left = steps_by_what_is_made(apply(first, texts[0])).get(answers[0], [])
        for text, answer in zip(texts[1:], answers[1:], strict=True):
            if not left:
                break
            between = apply(first, text)
            left = [step for step in left if apply((step,), between) == answer]
        return [(*first, step) for step in left]

    found, known = completed(()), set[tuple[str, ...]]()
    for first in steps():
        if programs := completed((first,)):
            made = tuple(apply((first,), text) for text in texts)
            found += programs if made not in known else []
            known.add(made)
    return found


def _steps_by_what_is_made(text: str) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps():
        found.setdefault(apply((step,), text), []).append(step)
    return found


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
