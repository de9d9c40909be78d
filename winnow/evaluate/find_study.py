"""FIND's experiment: who interprets what with which budget, the audit of the library, and metrics of a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from winnow import sandbox
from winnow.evaluate.find_discrete import claim_of
from winnow.evaluate.find_entities import ENTITY_INTERPRETERS
from winnow.evaluate.find_induction import TEXT_INTERPRETERS
from winnow.evaluate.find_interpreters import INTERPRETERS, Interpreter
from winnow.evaluate.find_language_model import LanguageModelInterpreter
from winnow.evaluate.find_related import RELATION_INTERPRETERS
from winnow.models.language_model import LanguageModel
from winnow.randomness import numpy_generator
from winnow.workloads import find_concepts, find_numeric, find_relations, find_strings
from winnow.workloads.find_functions import evaluator

Rows = Sequence[dict[str, Any]]
SWEPT = ("template", "induction", "induction_random", "concepts", "concepts_random", "relations", "relations_random")
"""Interpreters that get every budget; the others get the main one."""
COMPLICATIONS = ("clean", "noise", "corruption", "approximation")
POINTS, EXACT = 1000, 1e-12  # of the audit; rounding of sums is relative to the largest value


def arms(budgets: Sequence[int], main: int, model: LanguageModel | None = None) -> list[tuple[Interpreter, int]]:
    """(interpreter, budget) of every arm; with a model, it interprets too, also in a single round and by exemplars."""
    every: tuple[Interpreter, ...] = (
        *INTERPRETERS,
        *TEXT_INTERPRETERS,
        *ENTITY_INTERPRETERS,
        *RELATION_INTERPRETERS,
    )
    if model is not None:
        every += (
            LanguageModelInterpreter(model),
            LanguageModelInterpreter(model, "language_model_once", rounds=1),
            LanguageModelInterpreter(model, "language_model_exemplars", kinds=("entity",), exemplars=True),
        )
    return [(i, budget) for i in every for budget in budgets if budget == main or i.name in SWEPT]


def confirmed(records: Rows, seed: int) -> list[bool]:
    """Whether each record is what its labels say, by its code in the sandbox and by what queries are told."""
    x = np.linspace(-find_numeric.EDGE, find_numeric.EDGE, POINTS)
    texts = find_strings.draw_texts(POINTS, numpy_generator(seed, "find audit"))
    inputs = {"numeric": x.tolist(), "string": texts, "entity": list(find_concepts.places())}
    inputs["relation"] = [*find_relations.related_words(True), *find_relations.related_words(False)]
    outcomes = sandbox.run([sandbox.Case(record["code"], "f", inputs[record["kind"]]) for record in records])
    return [
        _numeric_confirmed(r, o, x, seed) if r["kind"] == "numeric" else _discrete_confirmed(r, o, inputs[r["kind"]])
        for r, o in zip(records, outcomes, strict=True)
    ]


def _discrete_confirmed(record: dict[str, Any], outcome: sandbox.Outcome, inputs: Sequence[str]) -> bool:
    claimed, of = claim_of(record["kind"], record["description"]), evaluator(record)
    return (
        outcome.status == "ok"
        and outcome.values == [of(given) for given in inputs]
        and claimed is not None
        and (claimed["spec"], claimed["composed"]) == (record["spec"], record["composed"])
    )


def _numeric_confirmed(record: dict[str, Any], outcome: sandbox.Outcome, x: np.ndarray, seed: int) -> bool:
    spec, stretch = json.loads(record["spec"]), json.loads(record["domain"])
    true = find_numeric.truth(spec, x)
    generator = numpy_generator(seed, "find audit", record["function_id"])
    asked = [find_numeric.answers(spec, x, generator) for _ in range(2)]
    inside = (x > stretch[0]) & (x < stretch[1]) if stretch else np.zeros(len(x), bool)
    changing = asked[0] != asked[1]
    changing &= np.isfinite(true)
    scale = np.nanmax(np.abs(true))
    facts = {
        "code": outcome.status == "ok" and _same(np.array(outcome.values), true, EXACT * scale),
        "noise": bool(changing[~inside].any()) == (record["complication"] == "noise"),
        "stretch": (record["complication"] == "corruption") == bool(stretch)
        and bool(np.all(np.abs(asked[0] - true)[inside] < 10 * find_numeric.SPREAD)),
        "approximation": (record["complication"] == "approximation") == (record["approximation_error"] is not None),
    }
    return all(facts.values())


def _same(found: np.ndarray, true: np.ndarray, tolerance: float) -> bool:
    unknown = np.isnan(true)
    return bool(np.array_equal(np.isnan(found), unknown) and np.all(np.abs(found - true)[~unknown] <= tolerance))


def summaries(rows: Rows) -> dict[str, dict[str, float | None]]:
    """Variant "<interpreter>-<kind>-<budget>" -> metrics; twins are counted only beside the functions they are of."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(f"{row['interpreter']}-{row['kind']}-{row['budget']}", []).append(row)
    metrics = {variant: _summary(group) for variant, group in found.items()}
    for variant, values in metrics.items():
        if variant.startswith("template_interval-"):
            plain = metrics.get(variant.replace("_interval", ""), {})
            values["gap_closed"] = _closed(plain.get("gap"), plain.get("inside"), values["inside"])
    return metrics


def _closed(gap: float | None, before: float | None, after: float | None) -> float | None:
    """Share of a gap that is closed; None where there was none."""
    return (after - before) / gap if gap and gap > 0 and before is not None and after is not None else None


def _mean(values: list[Any]) -> float | None:
    return float(np.mean(values)) if values else None


def _summary(rows: Rows) -> dict[str, float | None]:
    own = [row for row in rows if not row["twin_of"]]
    names = ("success", "short_success", "family_right", "inside", "outside", "overlap", "unit_test", "match", "calls")
    metrics = {name: _mean([row[name] for row in own if row.get(name) is not None]) for name in names}
    for name in COMPLICATIONS:
        metrics[f"success_{name}"] = _mean([row["success"] for row in own if row["complication"] == name])
    for name, composed in (("atomic", False), ("composed", True)):
        metrics[f"success_{name}"] = _mean([row["success"] for row in own if row["composed"] == composed])
    twins = {row["twin_of"]: row["success"] for row in rows if row["twin_of"]}
    pairs = [(twins[row["function_id"]], row["inside"]) for row in own if row["function_id"] in twins]
    metrics["gap"] = _mean([float(clean) - float(inside) for clean, inside in pairs])
    odd = [row for row in own if row.get("inside") is not None and row.get("outside") is not None]
    metrics["gap_within"] = _mean([float(row["outside"]) - float(row["inside"]) for row in odd])
    relative = [row["median_relative"] for row in own if row.get("median_relative") is not None]
    # Failures have infinite errors, so that the median over functions is taken; where most fail there is none.
    middle = float(np.median(relative)) if relative else np.inf
    metrics["median_relative"] = middle if np.isfinite(middle) else None
    if pairs:
        metrics["mcnemar_p"] = mcnemar(pairs)
    metrics["failed_to_run"] = _mean([bool(row["reason"]) for row in own])
    return {name: value for name, value in metrics.items() if value is not None}


def mcnemar(pairs: Sequence[tuple[bool, bool]]) -> float:
    """Exact two-sided p of McNemar's test: 1 where no pair differs."""
    first, second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    return float(stats.binomtest(first, first + second).pvalue) if first + second else 1.0


def error_curves(records: Rows, rows: Rows, count: int) -> list[dict[str, Any]]:
    """Truth and what was said, at the half-integers, of the worst functions of the first arm that has any."""
    known = {record["function_id"]: record for record in records}
    chosen = [
        row for row in rows if row["interpreter"] == "template" and row["kind"] == "numeric" and not row["twin_of"]
    ]
    largest = max((row["budget"] for row in chosen), default=0)
    worst = sorted((r for r in chosen if r["budget"] == largest), key=lambda r: (-r["nmse"], r["function_id"]))[:count]
    x = find_numeric.half_integers()
    outcomes = sandbox.run([sandbox.Case(row["code"], "f", x.tolist()) for row in worst])
    curves = []
    for row, outcome in zip(worst, outcomes, strict=True):
        true = find_numeric.truth(json.loads(known[row["function_id"]]["spec"]), x)
        said = np.array(outcome.values) if outcome.status == "ok" else np.full(len(x), np.nan)
        scale = float(np.nanmax(np.abs(true)))
        title = f"{known[row['function_id']]['family'].replace('_', ' ')}, {row['complication']}"
        for name, values in (("function", true), ("description", said)):
            inside = np.where(np.isfinite(values), np.clip(values / scale, -2, 2), np.nan)
            curves += [
                {"function_id": row["function_id"], "title": title, "what": name, "x": float(a), "value": float(b)}
                for a, b in zip(x, inside, strict=True)
            ]
    return curves
