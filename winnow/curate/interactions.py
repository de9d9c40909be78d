"""Curation of events of users and items: what cannot be used is dropped with its reason, what is too rare is taken
away until nothing is (k-core: Seidman, "Network structure and minimum degree", Social Networks, 1983), the rest is
ordered and split by position or by time.

Leave-one-out: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. One cut in time for all users:
Meng et al., "Exploring Data Splitting Strategies for the Evaluation of Recommendation Models", RecSys 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from winnow.curate._rows import check_rows
from winnow.errors import InputError
from winnow.workloads.image_tables import SPLITS
from winnow.workloads.interaction_tables import EVENTS, ITEMS, InteractionMeta
from winnow.workloads.splits import first_by_hash, hash_split

REASONS = ("incomplete", "beyond_limit", "exact_duplicate", "repeated_item", "too_rare")
"""Why an event is dropped; the first that applies counts."""


@dataclass(frozen=True)
class CuratedInteractions:
    """What curation made of a raw table of events."""

    tables: dict[str, pa.Table]
    """Split -> `user, item, rating, time, row`, by user, then time, then row."""
    users: pa.Table
    """`user, name, group, events`: users are numbered from 0; group is the split of the user as a whole."""
    items: pa.Table
    """`item, name, title, year, genres, properties, events`: items are numbered from 1; events of the train split."""
    dropped: pa.Table
    """`row, source, reason` of each event dropped."""
    report: dict[str, Any]
    """Counts in, kept and dropped by reason and by split, and how many neighbouring events share their time."""
    metadata: dict[str, str]
    """Parquet metadata that each of the tables has to be written with."""


class _Events:
    """Events as arrays: user and item as codes into their names, times, rows, and the reason of those dropped."""

    def __init__(self, raw: pa.Table) -> None:
        self.rows = raw["row"].to_numpy()
        self.times = raw["time"].to_numpy()
        self.user_names, self.users = _codes(raw["user"])
        self.item_names, self.items = _codes(raw["item"])
        self.reason = np.full(raw.num_rows, None, object)

    @property
    def kept(self) -> np.ndarray:
        """Positions of the events that are not dropped, by user, then time, then row."""
        kept = np.flatnonzero(self.reason == None)  # noqa: E711  elementwise
        return kept[np.lexsort((self.rows[kept], self.times[kept], self.users[kept]))]

    def drop_repeats(self, columns: Sequence[np.ndarray], reason: str) -> None:
        """Drop each kept event that is equal in these columns to an earlier one of its user."""
        kept = self.kept
        values = np.stack([column[kept] for column in columns], axis=1)
        _, first = np.unique(values, axis=0, return_index=True)
        again = np.ones(len(kept), bool)
        again[first] = False
        self.reason[kept[again]] = reason


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Names in order, numbers by their size, and the place of each value among them; -1 for no value."""
    values = np.array(column.to_pylist(), object)
    there = np.array([value is not None for value in values])
    names = sorted(set(values[there]), key=lambda name: (len(name), name))
    place = {name: i for i, name in enumerate(names)}
    return np.array(names, object), np.array([place.get(value, -1) for value in values], np.int64)


def in_core(users: np.ndarray, items: np.ndarray, least: int) -> np.ndarray:
    """bool[n]: the events of the largest set in which every user and every item has at least `least` events.

    users, items: int64[n], at least 0.
    """
    kept = np.ones(len(users), bool)
    while True:
        enough = kept.copy()
        for codes in (users, items):
            counts = np.bincount(codes[kept], minlength=codes.max(initial=0) + 1)
            enough &= counts[codes] >= least
        if (enough == kept).all():
            return kept
        kept = enough


def leave_one_out(users: np.ndarray) -> np.ndarray:
    """Split of each event, given in the order of users and time: last is test, last but one valid, the rest train.

    Users with fewer than three events are in train alone.
    """
    counts = np.bincount(users)
    place = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
    to_end = counts[users] - 1 - place
    splits = np.full(len(users), "train", object)
    long = counts[users] >= 3
    splits[long & (to_end == 0)], splits[long & (to_end == 1)] = "test", "valid"
    return splits


def by_time(times: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Split of each event by two times at which shares of all events have passed; equal times stay together."""
    cuts = np.quantile(times, np.cumsum(fractions)[:2], method="higher")
    return np.array(SPLITS, object)[np.searchsorted(cuts, times, side="right")]


def curate_interactions(
    raw: pa.Table,
    items: pa.Table | None = None,
    *,
    workload: str,
    split: Literal["leave_one_out", "global_time"] = "leave_one_out",
    core: int = 5,
    repeats: Literal["drop", "keep"] = "drop",
    window: int = 50,
    split_salt: str = "winnow",
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    limit: int | None = None,
) -> CuratedInteractions:
    """Drop what cannot be used, order the rest by user, time and row, and split it.

    raw: EVENTS. items: ITEMS, what is known of them, if anything is. core: events that each user and each item must
    have. repeats: drop leaves a user the first event of each item, keep all but those that are equal in time as well.
    Events of equal time keep the order of the log. fractions: of users in the groups that `users` names, and of events
    before the two cuts in time. limit: at most so many users, the first by hash. Raises InputError for a table that
    breaks the schema and for a split without an event.
    """
    check_rows(raw, dict(zip(EVENTS.names, EVENTS.types, strict=True)), f"{workload}: raw table")
    events = _Events(raw)
    _drop(events, core, repeats, split_salt, limit)
    kept = events.kept
    if not len(kept):
        raise InputError(f"{workload}: no event is left; lower core, which is {core}")
    users, user_of = np.unique(events.users[kept], return_inverse=True)
    names, item_of = np.unique(events.items[kept], return_inverse=True)
    times = events.times[kept]
    splits = leave_one_out(user_of) if split == "leave_one_out" else by_time(times, fractions)
    absent = next((name for name in SPLITS if not (splits == name).any()), None)
    if absent:
        raise InputError(f"{workload}: no event is in {absent}; give users of three events or more, or more times")
    counts = np.bincount(item_of[splits == "train"], minlength=len(names))
    known = _items(events.item_names[names], counts, items)
    metadata = InteractionMeta(["", *known["title"].to_pylist()], window, workload).encode()
    columns = {
        "user": pa.array(user_of, pa.int32()),
        "item": pa.array(item_of + 1, pa.int32()),
        **{name: raw[name].take(pa.array(kept)).combine_chunks() for name in ("rating", "time", "row")},
    }
    whole = pa.table(columns).replace_schema_metadata(metadata)
    tables = {name: whole.filter(pa.array(splits == name)) for name in SPLITS}
    told = _users(events.user_names[users], np.bincount(user_of), split_salt, fractions)
    report = _report(events, user_of, times, tables)
    return CuratedInteractions(tables, told, known, _dropped(raw, events), report, metadata)


def _drop(events: _Events, core: int, repeats: str, salt: str, limit: int | None) -> None:
    """Give each event that cannot be used its reason."""
    lacking = (events.users < 0) | (events.items < 0) | ~np.isfinite(events.times)
    events.reason[lacking] = "incomplete"
    if limit is not None:
        kept = events.kept
        away = ~first_by_hash(events.user_names[events.users[kept]].astype(str), salt, limit)
        events.reason[kept[away]] = "beyond_limit"
    events.drop_repeats([events.users, events.items, events.times], "exact_duplicate")
    if repeats == "drop":
        events.drop_repeats([events.users, events.items], "repeated_item")
    kept = events.kept
    events.reason[kept[~in_core(events.users[kept], events.items[kept], core)]] = "too_rare"


def _users(names: np.ndarray, counts: np.ndarray, salt: str, fractions: Sequence[float]) -> pa.Table:
    shares = dict(zip(SPLITS, fractions, strict=True))
    groups = hash_split(names.astype(str), np.zeros(len(names), np.int64), salt, shares)
    return pa.table(
        {
            "user": pa.array(range(len(names)), pa.int32()),
            "name": pa.array(names, pa.string()),
            "group": pa.array(groups, pa.string()),
            "events": pa.array(counts, pa.int32()),
        }
    )


def _items(names: np.ndarray, counts: np.ndarray, known: pa.Table | None) -> pa.Table:
    """The table of items in the order of their numbers; an item of which nothing is known is called by its name."""
    rows = {} if known is None else {row["item"]: row for row in known.to_pylist()}
    nothing: dict[str, Any] = {"year": None, "genres": [], "properties": []}
    found = [rows.get(name, nothing | {"title": name}) for name in names]
    return pa.table(
        {
            "item": pa.array(range(1, len(names) + 1), pa.int32()),
            "name": pa.array(names, pa.string()),
            **{
                name: pa.array([row[name] for row in found], ITEMS.field(name).type)
                for name in ("title", "year", "genres", "properties")
            },
            "events": pa.array(counts, pa.int32()),
        }
    )


def _dropped(raw: pa.Table, events: _Events) -> pa.Table:
    away = np.flatnonzero(events.reason != None)  # noqa: E711  elementwise
    away = away[np.argsort(events.rows[away], kind="stable")]
    chosen = raw.select(["row", "source"]).take(pa.array(away)).replace_schema_metadata(None)
    return chosen.append_column("reason", pa.array(events.reason[away], pa.string()))


def _report(events: _Events, users: np.ndarray, times: np.ndarray, tables: dict[str, pa.Table]) -> dict[str, Any]:
    neighbours = users[1:] == users[:-1]
    tied = neighbours & (times[1:] == times[:-1])
    return {
        "rows_in": len(events.rows),
        "kept": len(users),
        "dropped": {reason: int((events.reason == reason).sum()) for reason in REASONS},
        "splits": {name: {"kept": table.num_rows} for name, table in tables.items()},
        "users": int(users.max()) + 1,
        "events_of_a_user": {
            name: float(np.quantile(np.bincount(users), share))
            for name, share in (("least", 0), ("median", 0.5), ("most", 1))
        },
        "tied_neighbours": float(tied.sum() / max(1, neighbours.sum())),
    }
