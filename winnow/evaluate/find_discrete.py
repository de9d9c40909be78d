"""Scores of what is said of FIND's functions of texts and words, as code that is run and as words that are checked.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. Code is right where it gives all that was held out; words pass the unit test where who reads
them alone tells the function's answers from those of two others.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from winnow import sandbox
from winnow.evaluate.find_interpreters import Interpretation
from winnow.randomness import numpy_generator
from winnow.workloads import find_concepts, find_relations, find_strings
from winnow.workloads.find_functions import evaluator

Read = Callable[[str, Sequence[Any], Sequence[Sequence[Any]]], int | None]
"""Words, inputs and options of answers to them -> the position of the option that the words are of, if any."""
HELD_OUT, SHOWN = 10, 3  # texts that judge the code of a function of texts, and texts of an option of the unit test


def nodes(code: str) -> int:
    """Nodes of the syntax tree of what a function of one expression returns; of the whole code otherwise."""
    try:
        tree: ast.AST = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    return sum(not isinstance(node, ast.expr_context) for node in ast.walk(tree))


def held_out(record: dict[str, Any], seed: int) -> list[str]:
    """What judges a function's code: drawn texts, the first of them empty, or the words that nobody may ask.

    Of a relation these are those of which it says something.
    """
    if record["kind"] == "entity":
        return find_concepts.shown_words(False)
    if record["kind"] == "relation":
        own = find_relations.answers(_relation(record))
        return [word for word in find_relations.related_words(False) if word in own]
    return find_strings.draw_texts(HELD_OUT, numpy_generator(seed, "find held out", record["function_id"]))


def claim_of(kind: str, description: str) -> dict[str, Any] | None:
    """A record that answers as words claim, of what can be read; None for other words."""
    readers: dict[str, Callable[[str], Any]] = {
        "string": find_strings.parse,
        "entity": find_concepts.parse,
        "relation": find_relations.parse,
    }
    found = readers[kind](description)
    composed = kind != "relation" and found is not None and len(found) > 1
    return None if found is None else {"kind": kind, "spec": json.dumps(found), "composed": composed}


def score_discrete(
    record: dict[str, Any],
    said: Interpretation,
    outcome: sandbox.Outcome,
    others: Sequence[dict[str, Any]],
    seed: int,
    judge: Read | None = None,
) -> dict[str, Any]:
    """Scores of what is said of a function of texts or words, from what its code returned on what was held out.

    judge: reads words that the parser cannot; None leaves these a guess.
    """
    read = partial(judge, said.description) if judge is not None and said.description else None
    of, kind = evaluator(record), record["kind"]
    true = [of(given) for given in held_out(record, seed)]
    found = outcome.values if outcome.status == "ok" else [None] * len(true)
    claimed = claim_of(kind, said.description)
    match = float(np.mean([a == b for a, b in zip(found, true, strict=True)]))
    numeric_only = ("nmse", "inside", "outside", "median_relative", "short_success", "overlap")
    return (
        dict.fromkeys(numeric_only)
        | _by_group(record, found, true, seed)
        | {
            "success": match == 1,
            "match": match,
            "unit_test": unit_test(record, claimed, others, seed, read),
            "family_right": claimed is not None and _named(claimed) == _named(record),
            "nodes": nodes(said.code),
            "reason": outcome.reason,
        }
    )


def _by_group(record: dict[str, Any], found: Sequence[Any], true: Sequence[Any], seed: int) -> dict[str, bool]:
    """Of a relation, whether all answers inside, and all outside of its corrupted group are right."""
    if record["kind"] != "relation":
        return {}
    odd = find_relations.corrupted_words(_relation(record))
    rows = [(word in odd, a == b) for word, a, b in zip(held_out(record, seed), found, true, strict=True)]
    return {"inside": all(right for own, right in rows if own), "outside": all(right for own, right in rows if not own)}


def _plain(relation: find_relations.Relation) -> dict[str, Any]:
    return {"kind": "relation", "spec": json.dumps(relation)}


def _relation(record: dict[str, Any]) -> find_relations.Relation:
    return find_relations.Relation(*json.loads(record["spec"]))


def _named(record: dict[str, Any]) -> Any:
    """The operations of a program without their arguments; the concepts in any order; the relation."""
    spec = json.loads(record["spec"])
    if record["kind"] == "relation":
        return spec[0]
    return [name for name, _ in spec] if record["kind"] == "string" else sorted(spec)


def unit_test(
    record: dict[str, Any],
    claimed: dict[str, Any] | None,
    others: Sequence[dict[str, Any]],
    seed: int,
    read: Callable[[Sequence[Any], Sequence[Sequence[Any]]], int | None] | None = None,
) -> bool | None:
    """Whether who knows what is claimed alone picks the true answers to three inputs among those of two others.

    Of a relation the others are the same one, corrupted otherwise or not at all: any other answers nothing.

    Nothing claimed leaves it to `read`, inputs and options -> position, and else to a guess. None where no two of the
    others answer otherwise.
    """
    generator = numpy_generator(seed, "find unit test", record["function_id"])
    if record["kind"] == "entity":
        inputs = _telling_words(record, generator)
    elif record["kind"] == "relation":
        # One word of the corrupted group, so that who overlooks it can be told.
        own, odd = held_out(record, seed), find_relations.corrupted_words(_relation(record))
        inputs = [str(generator.choice([word for word in own if word in odd]))]
        inputs += map(str, generator.choice(own, SHOWN - 1, replace=False))
        others = [_plain(relation) for relation in find_relations.every_relation()]
        others = [other for other in others if _named(other) == _named(record)]
    else:
        inputs = find_strings.draw_texts(SHOWN + 1, generator)[1:]

    def answers(of: Callable[[str], Any]) -> tuple[Any, ...]:
        return tuple(of(given) for given in inputs)

    true = answers(evaluator(record))
    drawn = (others[i] for i in generator.permutation(len(others)))
    apart = dict.fromkeys(answers(evaluator(other)) for other in drawn)
    wrong = [option for option in apart if option != true][:2]
    if len(wrong) < 2:
        return None
    options = [true, *wrong]
    order = generator.permutation(3)
    if claimed is None:
        chosen = read(inputs, [options[i] for i in order]) if read is not None else None
        return bool(order[chosen or 0] == 0)
    expected = answers(evaluator(claimed))
    agreed = [sum(a == b for a, b in zip(options[i], expected, strict=True)) for i in order]
    return bool(order[int(np.argmax(agreed))] == 0)


def _telling_words(record: dict[str, Any], generator: np.random.Generator) -> list[str]:
    """Held-out words, of which the first is near to the concept; most words are near to none."""
    of, words = evaluator(record), find_concepts.shown_words(False)
    near = [word for word in words if of(word) == 1]
    return [str(generator.choice(near)), *map(str, generator.choice(words, SHOWN - 1, replace=False))]
