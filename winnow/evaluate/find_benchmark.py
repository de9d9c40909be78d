"""FIND: how well interpreters describe opaque functions, as code that is run and as words that are checked.

S. Schwettmann, T. Rott Shaham, J. Materzynska, N. Chowdhury, S. Li, J. Andreas, D. Bau, A. Torralba, "FIND: A
Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023, Datasets and Benchmarks. A
numeric function is described where its code has a normalised squared error below a tenth on the half-integers, one of
texts where its code gives ten texts that it was not asked about, one of words where it gives those that nobody may ask.
Words pass the unit test where who reads them alone tells the function's answers from those of two others.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from winnow import sandbox
from winnow.evaluate.find_interpreters import Interpretation, Interpreter
from winnow.randomness import numpy_generator
from winnow.workloads import find_concepts, find_numeric, find_strings
from winnow.workloads.find_functions import Function, evaluator, normalised_error

THRESHOLD = 0.1  # NMSE of a numeric success, not reached
SHORT = 40  # nodes of code that count as a description and not as a table
HELD_OUT, SHOWN = 10, 3  # texts that judge the code of a function of texts, and texts of an option of the unit test
GROUPS = {"sin": "sine", "cos": "sine"}  # families that are one another, shifted


def interpret(record: dict[str, Any], interpreter: Interpreter, budget: int, seed: int) -> tuple[Interpretation, int]:
    """What an interpreter says of a function of the library, and how many inputs it asked."""
    function = Function(record, seed, budget)
    generator = numpy_generator(seed, "find queries", interpreter.name, record["function_id"], str(budget))
    return interpreter.interpret(function, generator), function.calls


def nodes(code: str) -> int:
    """Nodes of the syntax tree of what a function of one expression returns; of the whole code otherwise."""
    try:
        tree: ast.AST = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    return sum(not isinstance(node, ast.expr_context) for node in ast.walk(tree))


def overlap(true: Sequence[float] | None, claimed: Sequence[float] | None) -> float | None:
    """Length of the intersection over length of the union of two stretches of the domain; None where there are none."""
    if true is None and claimed is None:
        return None
    if true is None or claimed is None:
        return 0.0
    edge = find_numeric.EDGE
    (a, b), (c, d) = (np.clip(stretch, -edge, edge) for stretch in (true, claimed))
    joint = max(0.0, min(b, d) - max(a, c))
    union = (b - a) + (d - c) - joint
    return float(joint / union) if union > 0 else 0.0


def score_numeric(record: dict[str, Any], said: Interpretation, outcome: sandbox.Outcome) -> dict[str, Any]:
    """Scores of one interpretation from what its code returned on the half-integers."""
    spec, x = json.loads(record["spec"]), find_numeric.half_integers()
    true = find_numeric.truth(spec, x)
    stretch = json.loads(record["domain"])
    scores: dict[str, Any] = {"nmse": float("inf"), "inside": None, "outside": None, "median_relative": float("inf")}
    reason = outcome.reason
    if outcome.status == "ok" and not all(isinstance(value, float) for value in outcome.values):
        reason = "TypeError: returned a text"
    elif outcome.status == "ok":
        found = np.array(outcome.values)
        scores["nmse"] = normalised_error(true, found)
        seen = np.isfinite(true) & (true != 0)
        relative = np.abs(true - found)[seen] / np.abs(true[seen])
        scores["median_relative"] = float(np.median(np.where(np.isfinite(relative), relative, np.inf)))
        if stretch:
            inside = (x > stretch[0]) & (x < stretch[1])
            scores["inside"] = normalised_error(true[inside], found[inside], find_numeric.SPREAD**2) < THRESHOLD
            scores["outside"] = normalised_error(true[~inside], found[~inside]) < THRESHOLD
    elif stretch:
        scores["inside"] = scores["outside"] = False
    size = nodes(said.code)
    success = scores["nmse"] < THRESHOLD
    return scores | {
        "success": success,
        "short_success": success and size <= SHORT,
        "family_right": family_of(said.description) == family_of(record["description"]),
        "overlap": overlap(stretch, said.domain),
        "nodes": size,
        "reason": reason,
    }


def held_out(record: dict[str, Any], seed: int) -> list[str]:
    """What judges a function's code: drawn texts, the first of them empty, or the words that nobody may ask."""
    if record["kind"] == "entity":
        return find_concepts.shown_words(False)
    return find_strings.draw_texts(HELD_OUT, numpy_generator(seed, "find held out", record["function_id"]))


def claim_of(kind: str, description: str) -> dict[str, Any] | None:
    """A record that answers as words claim, of what can be read; None for other words."""
    found = find_strings.parse(description) if kind == "string" else find_concepts.parse(description)
    return None if found is None else {"kind": kind, "spec": json.dumps(found), "composed": len(found) > 1}


def score_discrete(
    record: dict[str, Any], said: Interpretation, outcome: sandbox.Outcome, others: Sequence[dict[str, Any]], seed: int
) -> dict[str, Any]:
    """Scores of what is said of a function of texts or words, from what its code returned on what was held out."""
    of, kind = evaluator(record), record["kind"]
    true = [of(given) for given in held_out(record, seed)]
    found = outcome.values if outcome.status == "ok" else [None] * len(true)
    claimed = claim_of(kind, said.description)
    match = float(np.mean([a == b for a, b in zip(found, true, strict=True)]))
    numeric_only = ("nmse", "inside", "outside", "median_relative", "short_success", "overlap")
    return dict.fromkeys(numeric_only) | {
        "success": match == 1,
        "match": match,
        "unit_test": unit_test(record, claimed, others, seed),
        "family_right": claimed is not None and _named(claimed) == _named(record),
        "nodes": nodes(said.code),
        "reason": outcome.reason,
    }


def _named(record: dict[str, Any]) -> Any:
    """The operations of a program without their arguments; the concepts in any order."""
    spec = json.loads(record["spec"])
    return [name for name, _ in spec] if record["kind"] == "string" else sorted(spec)


def unit_test(
    record: dict[str, Any], claimed: dict[str, Any] | None, others: Sequence[dict[str, Any]], seed: int
) -> bool | None:
    """Whether who knows what is claimed alone picks the true answers to three inputs among those of two others.

    Nothing claimed leaves a guess. None where no two of the others answer otherwise.
    """
    generator = numpy_generator(seed, "find unit test", record["function_id"])
    if record["kind"] == "entity":
        inputs = _telling_words(record, generator)
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
        return bool(order[0] == 0)
    expected = answers(evaluator(claimed))
    agreed = [sum(a == b for a, b in zip(options[i], expected, strict=True)) for i in order]
    return bool(order[int(np.argmax(agreed))] == 0)


def _telling_words(record: dict[str, Any], generator: np.random.Generator) -> list[str]:
    """Held-out words, of which the first is near to the concept; most words are near to none."""
    of, words = evaluator(record), find_concepts.shown_words(False)
    near = [word for word in words if of(word) == 1]
    return [str(generator.choice(near)), *map(str, generator.choice(words, SHOWN - 1, replace=False))]


def family_of(description: str) -> str:
    """The families that a description names, in their order, sine and cosine as one."""
    named = [part.split(" function")[0] for part in description.split("a ")[1:] if " function" in part]
    return " ".join(GROUPS.get(name, name) for name in named)


def scored(
    records: Sequence[dict[str, Any]],
    arms: Sequence[tuple[Interpreter, int]],
    main: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """One row for each function and arm (interpreter and budget): what was said, and its scores.

    Twins are interpreted at the main budget alone.
    """
    rows, said = [], []
    work = [
        (r, *arm) for r in records for arm in arms if r["kind"] in arm[0].kinds and (arm[1] == main or not r["twin_of"])
    ]
    for done, (record, interpreter, budget) in enumerate(work):
        interpretation, calls = interpret(record, interpreter, budget, seed)
        said.append((record, interpretation))
        rows.append(
            {
                "function_id": record["function_id"],
                "kind": record["kind"],
                "complication": record["complication"],
                "composed": record["composed"],
                "twin_of": record["twin_of"],
                "interpreter": interpreter.name,
                "budget": budget,
                "calls": calls,
                "description": interpretation.description,
                "code": interpretation.code,
                "confidence": interpretation.confidence,
            }
        )
        progress(done + 1, len(work))
    grid = find_numeric.half_integers().tolist()
    others: dict[str, list[dict[str, Any]]] = {"string": [], "entity": []}
    for record in records:
        others.get(record["kind"], []).append(record)
    inputs = [grid if record["kind"] == "numeric" else held_out(record, seed) for record, _ in said]
    cases = [sandbox.Case(one.code, "f", given) for (_, one), given in zip(said, inputs, strict=True)]
    for row, (record, interpretation), outcome in zip(rows, said, sandbox.run(cases), strict=True):
        if record["kind"] == "numeric":
            row |= score_numeric(record, interpretation, outcome) | {"match": None, "unit_test": None}
        else:
            row |= score_discrete(record, interpretation, outcome, others[record["kind"]], seed)
    return rows
