"""Rows of a table as they are asked for a recourse: standardised, and split anew for each seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from winnow.errors import InputError
from winnow.models.tables import TableEncoder
from winnow.workloads.splits import first_by_hash, hash_split
from winnow.workloads.tables import Tables


@dataclass(frozen=True)
class RecourseData:
    """Standardised rows of a table, split for one seed, with 1 for the favourable class."""

    x: np.ndarray
    """float64[n, d], training rows."""
    y: np.ndarray
    """float64[n], 0 or 1."""
    test: np.ndarray
    """float64[m, d], rows that may ask."""
    test_ids: np.ndarray
    """int64[m], their row_id."""
    names: list[str]
    """Of the d features."""
    mean: np.ndarray
    """float64[d]: x is (value - mean) / deviation."""
    deviation: np.ndarray
    immutable: np.ndarray
    """bool[d]."""


def recourse_data(
    workload: Tables, favourable: str, seed: int, immutable: Sequence[str] = (), limit: int | None = None
) -> RecourseData:
    """A table's rows, four fifths for training, split by hash anew for each seed and stratified by class.

    favourable: a class; or high or low, above or below the median of the training targets. Raises InputError for a
    class or a column that the table does not have.
    """
    parts = [workload.arrays(split) for split in ("train", "valid", "test")]
    inputs, target = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    ids = np.concatenate([workload.table(split)["row_id"].to_numpy() for split in ("train", "valid", "test")])
    if limit is not None:
        chosen = torch.from_numpy(first_by_hash(ids, "robust recourse", limit))
        inputs, target, ids = inputs[chosen], target[chosen], ids[chosen.numpy()]
    known = workload.classes or ["high", "low"]
    if favourable not in known:
        raise InputError(f"favourable is {favourable!r}; it must be one of {', '.join(known)}")
    for name in immutable:
        if name not in workload.inputs:
            raise InputError(f"immutable names {name!r}; the columns are {', '.join(workload.inputs)}")
    if workload.task == "regression":
        above = (target > target.median()).numpy()
        accepted = above if favourable == "high" else ~above
    else:
        accepted = (target == workload.classes.index(favourable)).numpy()
    split = hash_split(ids, accepted.astype(np.int64), f"robust recourse {seed}", {"train": 0.8, "test": 0.2})
    train = split == "train"
    encoder = TableEncoder(workload.levels).double()
    rows = encoder(inputs.double()).numpy()
    mean, deviation = rows[train].mean(axis=0), rows[train].std(axis=0)
    deviation[deviation < 1e-12] = 1.0
    rows = (rows - mean) / deviation
    stays = np.isin(workload.inputs, immutable)[encoder.source.numpy()]
    y = accepted.astype(np.float64)
    return RecourseData(
        rows[train], y[train], rows[~train], ids[~train], workload.encoded_names(), mean, deviation, stays
    )


def budget_name(budget: float) -> str:
    """How variants are named after a budget: 0.005 is "b0.5"."""
    return f"b{round(100 * budget, 6):g}"


def rows_of(budget: float, n: int) -> int:
    """How many of n rows a budget is, one at least."""
    return max(1, round(budget * n))
