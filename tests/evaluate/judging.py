"""A claim, the rows it reads, and what judging it gives: shared by the tests of claims and of their pairs."""

import numpy as np
import pyarrow as pa

from winnow.evaluate.claims import evaluate_claims
from winnow.evaluate.claims_schema import Claim
from winnow.pipeline.tables import metric_rows

PAPER = {"title": "T", "authors": "A", "venue": "V", "year": 2020}
OURS = [0.90, 0.92, 0.91, 0.95, 0.93]
THEIRS = [0.85, 0.90, 0.88, 0.89, 0.92]
GAINS = np.array(OURS) - np.array(THEIRS)


def claim(test="paired_t", effect=0.0, minimum_pairs=2, within=None, measure=None, **entry):
    defaults = {
        "metric": "accuracy",
        "direction": "higher",
        "left": {"system": "ours"},
        "right": {"system": "theirs"},
    }
    fields = {"id": "one", "system": "ours", "paper": PAPER, "statement": "Ours is better.", "test": test}
    bound = {"within": within} if within else {"effect": effect}
    return Claim(**fields | bound | {"minimum_pairs": minimum_pairs} | entry, measure=defaults | (measure or {}))


def rows(system, values, metric="accuracy", variant="a", seeds=None, step=None, workload="digits", split="test"):
    seeds = range(len(values)) if seeds is None else seeds
    labels = {"system": system, "workload": workload, "variant": variant, "split": split}
    return pa.concat_tables(
        [metric_rows([(metric, v, step)], seed=s, **labels) for s, v in zip(seeds, values, strict=True)]
    )


def judge(entry, *tables, **options):
    return evaluate_claims([entry], pa.concat_tables(tables), **options).to_pylist()


def one(entry, *tables, **options):
    found = judge(entry, *tables, **options)
    assert len(found) == 1
    return found[0]


BOTH = rows("ours", OURS), rows("theirs", THEIRS)


def three_points(*gains):
    """A claim at several points, ours ahead by the given constants."""
    entry = {"points": {f"p{i}": {"variant": f"v{i}"} for i in range(len(gains))}}
    ours = [rows("ours", np.array(THEIRS) + g, variant=f"v{i}") for i, g in enumerate(gains) if g is not None]
    return entry, [*ours, *(rows("theirs", THEIRS, variant=f"v{i}") for i in range(len(gains)))]
