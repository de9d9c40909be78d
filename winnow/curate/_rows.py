"""The rows of a raw table and what becomes of each: shared by the kinds of data that curation knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import InputError
from winnow.workloads.image_tables import SPLITS
from winnow.workloads.splits import hash_split

KEEP_FIRST = {"test": 0, "valid": 1, "train": 2}
"""Of copies in several published splits the one outside train stays, so that no other result has seen it."""


class Rows:
    """Rows with a reason for each one dropped, None for the others.

    ids: int64[n], equal where the content is. labels: int64[n], below 0 where unknown. A column `split` of the raw
    table is what the publisher says.
    """

    def __init__(self, raw: pa.Table, ids: np.ndarray, labels: np.ndarray) -> None:
        self.ids, self.labels = ids, labels
        self.numbers = raw["row"].to_numpy()
        self.published = np.array(raw["split"].to_pylist(), object) if "split" in raw.schema.names else None
        self.reason = np.full(raw.num_rows, None, object)
        self.instead = np.full(raw.num_rows, -1, np.int64)
        rank = np.zeros(raw.num_rows, np.int64)
        if self.published is not None:
            rank = np.array([KEEP_FIRST[split] for split in self.published])
        # Position by (published split, key, row): of any group, the first in this order stays.
        order = np.lexsort((self.numbers, self.ids, rank))
        self.precedence = np.argsort(order, kind="stable")

    @property
    def kept(self) -> np.ndarray:
        """Positions of the rows that no reason dropped."""
        return np.flatnonzero(self.reason == None)  # noqa: E711  elementwise

    def drop(self, rows: np.ndarray, reason: str) -> None:
        """Drop the rows at these positions."""
        self.reason[rows] = reason

    def drop_all_but_first(self, rows: np.ndarray, groups: np.ndarray, reason: str) -> None:
        """Drop all rows of each group but the one that comes first; groups[i] is the group of rows[i]."""
        order = np.argsort(self.precedence[rows], kind="stable")
        _, first, inverse = np.unique(groups[order], return_index=True, return_inverse=True)
        sorted_rows = rows[order]
        stays = sorted_rows[first][inverse]
        away = sorted_rows != stays
        self.drop(sorted_rows[away], reason)
        self.instead[sorted_rows[away]] = self.ids[stays[away]]

    def conflicting(self, keys: np.ndarray) -> tuple[np.ndarray, int]:
        """Positions of the kept rows whose key occurs under several labels, and how many keys that are."""
        kept = self.kept
        pairs = np.unique(np.stack([keys[kept], self.labels[kept]]), axis=1)
        unique, labels_per_key = np.unique(pairs[0], return_counts=True)
        found = unique[labels_per_key > 1]
        return kept[np.isin(keys[kept], found)], len(found)

    def splits(
        self, keys: Sequence[Any] | np.ndarray, strata: np.ndarray, salt: str, fractions: Mapping[str, float], name: str
    ) -> np.ndarray:
        """Split of every kept row: the published one or by hash; published train gives what is missing.

        keys, strata: one for each kept row, as `hash_split` takes them.
        """
        kept = self.kept
        published = np.full(len(kept), "train", object) if self.published is None else self.published[kept]
        if self.published is not None and "train" not in self.published:
            raise InputError(f"{name}: its split column has no 'train'; name the split to train on so")
        absent = [s for s in SPLITS if self.published is None or s not in self.published]
        cut = {s: fractions[s] for s in SPLITS if s == "train" or s in absent}
        total = sum(cut.values())
        from_train = published == "train"
        shares = {split: share / total for split, share in cut.items()}
        published[from_train] = hash_split(np.asarray(keys)[from_train], strata[from_train], salt, shares)
        return published

    def counts(self, mask: np.ndarray, reasons: Sequence[str]) -> dict[str, Any]:
        """Rows in, kept, and dropped by reason, of the rows under a mask."""
        of = self.reason[mask]
        dropped = {name: int((of == name).sum()) for name in reasons}
        return {"rows_in": len(of), "kept": int((of == None).sum()), "dropped": dropped}  # noqa: E711  elementwise

    def report(self, splits: np.ndarray, classes: Sequence[str], reasons: Sequence[str]) -> dict[str, Any]:
        """Counts over all rows, by class, by split and by published split; splits: of every kept row."""
        labels = self.labels[self.kept]
        report = self.counts(np.ones(len(self.reason), bool), reasons)
        report["classes"] = {c: self.counts(self.labels == i, reasons) for i, c in enumerate(classes)}
        report["unlabelled"] = self.counts(self.labels < 0, reasons)
        report["splits"] = {
            split: {
                "kept": int((splits == split).sum()),
                "classes": {c: int(((splits == split) & (labels == i)).sum()) for i, c in enumerate(classes)},
            }
            for split in SPLITS
        }
        published = self.published
        report["published_splits"] = (
            {} if published is None else {s: self.counts(published == s, reasons) for s in SPLITS if s in published}
        )
        return report


def check_rows(raw: pa.Table, expected: Mapping[str, pa.DataType], name: str) -> None:
    """Columns, types, row numbers and published splits of a raw table; a fault is an InputError naming it."""
    if "split" in raw.schema.names:
        expected = {**expected, "split": pa.string()}
    for column, kind in expected.items():
        if column not in raw.schema.names:
            raise InputError(f"{name}: no column {column!r}; it has {', '.join(raw.schema.names)}")
        if raw.schema.field(column).type != kind:
            raise InputError(f"{name}: column {column!r} is {raw.schema.field(column).type}; it must be {kind}")
    if not raw.num_rows:
        raise InputError(f"{name}: no rows; there is nothing to curate")
    check_values(raw, "row", pc.is_valid(raw["row"]), "it must not be null", name)
    if pc.count_distinct(raw["row"]).as_py() != raw.num_rows:
        raise InputError(f"{name}: column 'row' repeats a number; it must be different in every row")
    if "split" in expected:
        known = pc.is_in(raw["split"], pa.array(SPLITS))
        check_values(raw, "split", known, f"it must be one of {', '.join(SPLITS)}", name)


def check_values(raw: pa.Table, column: str, valid: pa.ChunkedArray, limit: str, name: str) -> None:
    """Raise InputError for the first row of a column that is not valid."""
    bad = np.flatnonzero(~valid.to_numpy())
    if len(bad):
        value = raw[column][int(bad[0])].as_py()
        raise InputError(f"{name}: column {column!r}, row {bad[0]}: {value!r}; {limit}")
