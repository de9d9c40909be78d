"""FIND: how well interpreters describe opaque functions, as code that is run and as words that are checked.

S. Schwettmann, T. Rott Shaham, J. Materzynska, N. Chowdhury, S. Li, J. Andreas, D. Bau, A. Torralba, "FIND: A
Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023, Datasets and Benchmarks. A
numeric function is described where its code has a normalised squared error below a tenth on the half-integers, one of
texts where its code gives ten texts that it was not asked about, one of words where it gives those that nobody may ask.
Words pass the unit test where who reads them alone tells the function's answers from those of two others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from winnow import sandbox
from winnow.evaluate.find_discrete import Read, held_out, nodes, score_discrete
from winnow.evaluate.find_interpreters import Interpretation, Interpreter
from winnow.randomness import numpy_generator
from winnow.workloads import find_numeric
from winnow.workloads.find_functions import Function, normalised_error

THRESHOLD = 0.1  # NMSE of a numeric success, not reached
SHORT = 40  # nodes of code that count as a description and not as a table
GROUPS = {"sin": "sine", "cos": "sine"}  # families that are one another, shifted


def interpret(record: dict[str, Any], interpreter: Interpreter, budget: int, seed: int) -> tuple[Interpretation, int]:
    """What an interpreter says of a function of the library, and how many inputs it asked."""
    function = Function(record, seed, budget)
    generator = numpy_generator(seed, "find queries", interpreter.name, record["function_id"], str(budget))
    return interpreter.interpret(function, generator), function.calls


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
    judge: Read | None = None,
) -> list[dict[str, Any]]:
    """One row for each function and arm (interpreter and budget): what was said, and its scores.

    Twins are interpreted at the main budget alone. judge: reads words that the parser cannot.
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
    others: dict[str, list[dict[str, Any]]] = {"string": [], "entity": [], "relation": []}
    for record in records:
        others.get(record["kind"], []).append(record)
    inputs = [grid if record["kind"] == "numeric" else held_out(record, seed) for record, _ in said]
    cases = [sandbox.Case(one.code, "f", given) for (_, one), given in zip(said, inputs, strict=True)]
    for row, (record, interpretation), outcome in zip(rows, said, sandbox.run(cases), strict=True):
        if record["kind"] == "numeric":
            row |= score_numeric(record, interpretation, outcome) | {"match": None, "unit_test": None}
        else:
            row |= score_discrete(record, interpretation, outcome, others[record["kind"]], seed, judge)
    return rows
