"""A library of opaque functions with known descriptions, and black-box access to them.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. Numbers are in `find_numeric`, texts in `find_strings`, concepts in `find_concepts`,
relations in `find_relations`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads import find_concepts, find_numeric, find_relations, find_strings

SCHEMA = pa.schema(
    [
        ("function_id", pa.string()),
        ("kind", pa.string()),
        ("family", pa.string()),
        ("composed", pa.bool_()),
        ("complication", pa.string()),
        ("twin_of", pa.string()),
        ("spec", pa.string()),
        ("code", pa.string()),
        ("description", pa.string()),
        ("noise", pa.string()),
        ("domain", pa.string()),
        ("approximation_error", pa.float64()),
    ]
)


def evaluator(record: dict[str, Any]) -> Callable[[str], Any]:
    """What a record's function of texts or of words makes of one."""
    spec = json.loads(record["spec"])
    if record["kind"] == "string":
        program = find_strings.program_of(spec)
        return lambda text: find_strings.apply(program, text)
    if record["kind"] == "relation":
        relation = find_relations.Relation(*spec)
        return lambda word: find_relations.value(relation, word)
    concepts = tuple(map(tuple, spec))
    return lambda word: find_concepts.value(concepts, word)


class BudgetExceeded(Exception):
    """More was asked of a function than its budget allows."""


class Shares(NamedTuple):
    """Shares of numeric functions that are noisy, corrupted, approximated (exclusive), and of all that are composed."""

    noise: float
    corruption: float
    approximation: float
    composed: float


class Function:
    """Access to one function of a library: `query` counts what is asked, one for each input."""

    def __init__(self, record: dict[str, Any], seed: int, budget: int) -> None:
        self.kind, self.budget, self.calls = record["kind"], budget, 0
        self._record, self._spec = record, json.loads(record["spec"])
        self._noise = numpy_generator(seed, "find noise", record["function_id"])

    @property
    def left(self) -> int:
        """Inputs that may still be asked."""
        return self.budget - self.calls

    def query(self, inputs: Sequence[Any] | np.ndarray) -> Any:
        """Outputs: float64[n] of numbers, texts of texts and of related words, floats of words near to concepts.

        Raises BudgetExceeded before an answer.
        """
        if len(inputs) > self.left:
            raise BudgetExceeded(f"{len(inputs)} inputs are asked, {self.left} of {self.budget} are left")
        self.calls += len(inputs)
        if self.kind != "numeric":
            of = evaluator(self._record)
            return [of(given) for given in inputs]
        return find_numeric.answers(self._spec, np.asarray(inputs, dtype=float), self._noise)

    def exemplars(self, words: Sequence[str], count: int) -> list[str]:
        """Of words near to concepts the `count` that the function answers to most, the first ones of ties.

        What a search through data finds before anybody asks, so that it is not counted.
        """
        return sorted(words, key=evaluator(self._record), reverse=True)[:count]


def numeric_functions(count: int, seed: int, shares: Shares) -> list[dict[str, Any]]:
    """Records of numeric functions; a corrupted one is followed by its twin without corruption."""
    if count < 1:
        raise InputError(f"find_benchmark.numeric: {count} functions; ask for 1 at least")
    records = []
    for number in range(count):
        generator = numpy_generator(seed, "find numeric", str(number))
        tree = find_numeric.draw_tree(generator.random() < shares.composed, generator)
        while find_numeric.spoiled(tree):
            tree = find_numeric.draw_tree(tree[0] in ("sum", "product"), generator)
        chance = generator.random() - np.cumsum(shares[:3])
        complication = ["noise", "corruption", "approximation", "clean"][int(np.searchsorted(-chance, 0, "right"))]
        identity = f"numeric{number:04d}"
        records.append(numeric_record(identity, tree, complication, generator))
        if complication == "corruption":
            records.append(numeric_record(f"{identity}-clean", tree, "clean", generator, identity))
    return records


def numeric_record(
    identity: str, tree: list[Any], complication: str, generator: np.random.Generator, twin_of: str = ""
) -> dict[str, Any]:
    """One row of the library."""
    spec: dict[str, Any] = {"tree": tree, "noise": None, "corruption": None}
    error = None
    if complication == "noise":
        shares = find_numeric.NOISES
        spec["noise"] = str(generator.choice(list(shares), p=list(shares.values())))
    elif complication == "corruption":
        spec["corruption"] = find_numeric.corrupted(tree, generator)
    elif complication == "approximation":
        spec["tree"] = find_numeric.approximated(tree)
        x = find_numeric.half_integers()
        error = normalised_error(find_numeric.values(tree, x), find_numeric.values(spec["tree"], x))
    stretch = spec["corruption"]
    words = find_numeric.describe(tree)
    if stretch:
        words += f", but near {stretch['level']:g} from {stretch['low']:g} to {stretch['high']:g}"
    return {
        "function_id": identity,
        "kind": "numeric",
        "family": tree[0] if tree[0] not in ("sum", "product") else f"{tree[1][0]} {tree[2][0]}",
        "composed": tree[0] in ("sum", "product"),
        "complication": complication,
        "twin_of": twin_of,
        "spec": json.dumps(spec),
        "code": find_numeric.source(spec["tree"], stretch),
        "description": words,
        "noise": spec["noise"] or "",
        "domain": json.dumps([stretch["low"], stretch["high"]] if stretch else None),
        "approximation_error": error,
    }


def string_functions(count: int, seed: int) -> list[dict[str, Any]]:
    """Records of functions of texts, three in ten of two steps; they have no complication."""
    if count < 1:
        raise InputError(f"find_benchmark.strings: {count} functions; ask for 1 at least")
    records = []
    for number in range(count):
        generator = numpy_generator(seed, "find strings", str(number))
        composed = bool(generator.random() < find_strings.COMPOSED)
        program = find_strings.draw_program(composed, generator)
        family = " ".join(name for name, _ in program)
        words, code = find_strings.describe(program), find_strings.source(program)
        records.append(_plain_record("string", number, family, composed, program, code, words))
    return records


def entity_functions(count: int, seed: int) -> list[dict[str, Any]]:
    """Records of neurons that answer to a concept, three in ten (`composed`) to either of two."""
    if count < 1:
        raise InputError(f"find_benchmark.entities: {count} functions; ask for 1 at least")
    records = []
    for number in range(count):
        generator = numpy_generator(seed, "find entities", str(number))
        polysemous = bool(generator.random() < find_concepts.POLYSEMOUS)
        concepts = find_concepts.draw_concepts(polysemous, generator)
        family = " ".join(concept[-1] for concept in concepts)
        words, code = find_concepts.describe(concepts), find_concepts.source(concepts)
        records.append(_plain_record("entity", number, family, polysemous, concepts, code, words))
    return records


def relation_functions(count: int, seed: int) -> list[dict[str, Any]]:
    """Records of neurons that tell a relation, each of them corrupted in one group of its words, its `domain`."""
    if count < 1:
        raise InputError(f"find_benchmark.relations: {count} functions; ask for 1 at least")
    records = []
    for number in range(count):
        relation = find_relations.draw_relation(numpy_generator(seed, "find relations", str(number)))
        words, code = find_relations.describe(relation), find_relations.source(relation)
        record = _plain_record("relation", number, relation.relation, False, relation, code, words)
        records.append(record | {"complication": "corruption", "domain": json.dumps(relation.group)})
    return records


def _plain_record(
    kind: str, number: int, family: str, composed: bool, spec: Any, code: str, words: str
) -> dict[str, Any]:
    """One row of the library without a complication."""
    return {
        "function_id": f"{kind}{number:04d}",
        "kind": kind,
        "family": family,
        "composed": composed,
        "complication": "clean",
        "twin_of": "",
        "spec": json.dumps(spec),
        "code": code,
        "description": words,
        "noise": "",
        "domain": "null",
        "approximation_error": None,
    }


def normalised_error(true: np.ndarray, found: np.ndarray, floor: float = 0.0) -> float:
    """NMSE = sum (f - g)^2 / sum f^2 where f is finite; infinite where g is not finite.

    floor: mean square below which that of f does not count, for a level near 0; without one, nothing but f itself
    comes near a function that is 0 throughout.
    """
    seen = np.isfinite(true)
    scale = max(float(np.max(np.abs(true[seen]), initial=0)), np.sqrt(floor))  # squares of large numbers may not fit
    if scale == 0:
        return 0.0 if np.array_equal(found[seen], true[seen]) else float("inf")
    with np.errstate(all="ignore"):
        power = max(float(np.mean((true[seen] / scale) ** 2)), (np.sqrt(floor) / scale) ** 2)
        error = np.mean(((true[seen] - found[seen]) / scale) ** 2) / power
    return float(error) if np.isfinite(error) else float("inf")


def library(records: list[dict[str, Any]]) -> pa.Table:
    """The records as the table that is written."""
    return pa.Table.from_pylist(records, schema=SCHEMA)
