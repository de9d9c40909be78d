"""A language model as an interpreter of opaque functions: it supposes, asks, and supposes again.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. Any model that draws texts serves, as a rule one behind an OpenAI-compatible endpoint; in a
single round it is shown answers and may not ask, as MILAN (E. Hernandez et al., ICLR 2022) has it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.evaluate.find_interpreters import Interpretation
from winnow.models.language_model import LanguageModel
from winnow.workloads.find_concepts import shown_words
from winnow.workloads.find_functions import Function
from winnow.workloads.find_numeric import EDGE
from winnow.workloads.find_relations import related_words
from winnow.workloads.find_strings import draw_texts

ROUNDS, SHOWN, ASKED, TOKENS = 10, 8, 16, 400
"""Rounds of questions, answers shown at the start, inputs of a round at most, and tokens of what the model says."""
SAID = {
    "numeric": "a function from numbers to numbers",
    "string": "a function from texts to texts",
    "entity": "a function from words to how near they are to a concept, from 0 to 1,",
    "relation": "a function from words to words that they are related to",
}
PROMPT = """\
You study {kind} that you cannot see. It may be noisy, or behave otherwise in a part of its domain.
Answer in one of two forms. To see more of it, write one line of JSON inputs:
[QUERY] [first, second]
When you know it, write three parts and stop:
[DESCRIPTION] what it does, in a sentence
[DOMAIN] null, or [low, high] where it behaves otherwise
[CODE]
def f(x):
    return x
[END]
"""

JUDGED = """\
A function is described so: {description}
Three lines show answers, of which one is this function's. Say the number of that line alone.
{lines}
Answer:"""


@dataclass(frozen=True)
class Judge:
    """Tells a function's answers by words alone where no parser reads them; not the model that interprets."""

    model: LanguageModel

    def __call__(self, description: str, inputs: Sequence[Any], options: Sequence[Sequence[Any]]) -> int | None:
        """The position of the option that the model says the words are of; None where it names none."""
        lines = []
        for number, option in enumerate(options, 1):
            pairs = [f"f({_json(x)}) = {_json(y)}" for x, y in zip(inputs, option, strict=True)]
            lines.append(f"{number}. " + ", ".join(pairs))
        text = JUDGED.format(description=description, lines="\n".join(lines))
        ((sample,),) = self.model.sample([self.model.encode(text)], 1, 8, 0.0, stop=("[END]", "\n\n"), seed=0)
        found = re.search(r"\d+", sample.text)
        chosen = int(found.group()) - 1 if found else -1
        return chosen if 0 <= chosen < len(options) else None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class LanguageModelInterpreter:
    """Shows a model what the function answers until it describes it; `rounds` 1 is a single look at the answers.

    exemplars: of neurons for concepts the first words shown are those that they answer to most.
    """

    model: LanguageModel
    name: str = "language_model"
    rounds: int = ROUNDS
    kinds: tuple[str, ...] = ("numeric", "string", "entity", "relation")
    exemplars: bool = False

    def interpret(self, function: Function, generator: np.random.Generator) -> Interpretation:
        """Ask what the model wants to ask, within the budget; what it says that cannot be read counts as nothing."""
        first = function.left if self.rounds == 1 else SHOWN
        inputs = _inputs(function, first, generator)
        if self.exemplars and function.kind == "entity":
            inputs = function.exemplars([str(word) for word in generator.permutation(shown_words(True))], len(inputs))
        text = PROMPT.format(kind=SAID[function.kind]) + _shown(function, inputs)
        seed = int(generator.integers(2**31))
        for number in range(self.rounds):
            last = number == self.rounds - 1 or not function.left
            text += "Describe it now.\n[DESCRIPTION]" if last else ""
            ((sample,),) = self.model.sample(
                [self.model.encode(text)], 1, TOKENS, 0.0, stop=("[END]", "[ANSWER]"), seed=seed + number
            )
            told = ("[DESCRIPTION]" if last else "") + sample.text
            wanted = None if last else questions(told, function.kind)
            if not wanted:
                return described(told)
            text += f"{told.strip()}\n{_shown(function, wanted[: min(ASKED, function.left)])}"
        raise AssertionError("the last round describes")


def _inputs(function: Function, count: int, generator: np.random.Generator) -> list[Any]:
    count = min(count, function.left)
    if function.kind == "string":
        return draw_texts(count + 1, generator)[1:]
    if function.kind == "entity":
        return [str(word) for word in generator.permutation(shown_words(True))[:count]]
    if function.kind == "relation":
        return [str(word) for word in generator.permutation(related_words(True))[:count]]
    return [round(float(x), 1) for x in np.sort(generator.uniform(-EDGE, EDGE, count))]


def _shown(function: Function, inputs: Sequence[Any]) -> str:
    answers = function.query(inputs)
    numbers = function.kind not in ("string", "relation")
    pairs = zip(inputs, answers, strict=True)
    lines = [f"f({json.dumps(x)}) = {f'{y:.4g}' if numbers else json.dumps(y, ensure_ascii=False)}" for x, y in pairs]
    return "[ANSWER]\n" + "\n".join(lines) + "\n"


def questions(told: str, kind: str) -> list[Any]:
    """The inputs that a model asks for, those that are of the kind; none where it asks nothing that can be read."""
    found = re.search(r"\[QUERY\]\s*(\[[^\n]*\])", told)
    if "[DESCRIPTION]" in told.split("[QUERY]")[0] or not found:
        return []
    try:
        wanted = json.loads(found.group(1))
    except ValueError:
        return []
    if kind != "numeric":
        return [x for x in wanted if isinstance(x, str)]
    numbers = [float(x) for x in wanted if isinstance(x, int | float) and not isinstance(x, bool)]
    return [x for x in numbers if np.isfinite(x)]


def described(told: str) -> Interpretation:
    """The three parts of what a model said; code that does not parse is left as it is, and fails where it is run."""
    parts = dict(
        re.findall(r"\[(DESCRIPTION|DOMAIN|CODE)\](.*?)(?=\[DESCRIPTION\]|\[DOMAIN\]|\[CODE\]|\Z)", told, re.S)
    )
    code = re.sub(r"^```\w*\n?|```\s*$", "", parts.get("CODE", "").strip(), flags=re.M).strip() + "\n"
    return Interpretation(" ".join(parts.get("DESCRIPTION", "").split()), code, _domain(parts.get("DOMAIN", "")), 0.0)


def _domain(told: str) -> tuple[float, float] | None:
    found = re.search(r"[\[(].*?[\])]", told)
    try:
        low, high = map(float, ast.literal_eval(found.group(0) if found else "[]"))
    except (ValueError, TypeError, SyntaxError):
        return None
    return (low, high) if low < high else None
