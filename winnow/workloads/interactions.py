"""Events of users as a workload: what a user takes next, of all items."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.next_item_loss import next_item_loss
from winnow.models.sasrec import NextItem
from winnow.randomness import numpy_generator
from winnow.workloads.image_tables import SPLITS
from winnow.workloads.interaction_tables import InteractionMeta, interaction_meta
from winnow.workloads.ranking import ranking_metrics, ranks

EVALUATION_BATCH = 256
Batch = tuple[Tensor, Tensor]


class Sequences(NamedTuple):
    """Events of users in order: user and item int64[n], each user's events in one run of them."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray

    def runs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The users that have events, where the run of each starts, and its length."""
        users, starts, counts = np.unique(self.users, return_index=True, return_counts=True)
        return users, starts, counts


class Asked(NamedTuple):
    """What a split asks of each user that has an event in it: the last one."""

    users: np.ndarray
    """int64[u]"""
    histories: Tensor
    """int64[u, window]: the items before the target, oldest first, padded with 0 in front."""
    targets: Tensor
    """int64[u]"""
    seen: Tensor
    """int64[u, s]: all items before the target, oldest first, padded with 0 in front."""
    times: Tensor
    """float64[u, window]: when each item of a history was taken, padded with -inf."""


def padded(values: np.ndarray, ends: np.ndarray, lengths: np.ndarray, width: int, fill: float = 0) -> Tensor:
    """[n, width]: the last values before each end, at most `lengths` of them, with `fill` in front."""
    back = np.arange(width, 0, -1)
    places = ends[:, None] - back
    there = back <= lengths[:, None]
    return torch.from_numpy(np.where(there, values[np.where(there, places, 0)], fill))


def consecutive(lengths: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows that cover runs of these lengths: int64[w] which run each is of, and how far into it each ends.

    They go backwards from the end, so that only the first of a run is short.
    """
    pieces = -(-lengths // window)
    owner = np.repeat(np.arange(len(lengths)), pieces)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return owner, lengths[owner] - place * window


class Interactions:
    """Next-item prediction over all items: a language whose words are items and whose documents are users."""

    task = "language"

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._tables: dict[str, dict[str, np.ndarray]] = {}
        # Sorted once, not in each epoch that draws windows and ranks.
        self._sequences: dict[str, Sequences] = {}
        self._asked: dict[str, Asked] = {}

    @cached_property
    def meta(self) -> InteractionMeta:
        """Titles and window, as curation set them."""
        from winnow.pipeline.tables import read_parquet

        path = self.folder / "train.parquet"
        return interaction_meta(read_parquet(path, []), str(path))

    @property
    def items(self) -> int:
        """How many items there are; they are numbered from 1."""
        return len(self.meta.vocabulary) - 1

    def events(self, split: str) -> dict[str, np.ndarray]:
        """user, item, row int64[n] and time float64[n] of a split, by user, time and row.

        Raises InputError for a split without events and for an item that is none.
        """
        if split not in self._tables:
            from winnow.pipeline.tables import read_parquet

            path = self.folder / f"{split}.parquet"
            table = read_parquet(path, ["user", "item", "time", "row"])
            found = {name: table[name].to_numpy() for name in table.schema.names}
            found |= {name: found[name].astype(np.int64) for name in ("user", "item", "row")}
            if not table.num_rows or found["item"].min() < 1 or found["item"].max() > self.items:
                raise InputError(f"{path}: holds no events, or an item outside 1 to {self.items}; curate it again")
            self._tables[split] = found
        return self._tables[split]

    def sequences(self, split: str) -> Sequences:
        """The events of a split and of those before it, each user's in one run, in order."""
        if split not in self._sequences:
            self._sequences[split] = self._sorted(split)
        return self._sequences[split]

    def _sorted(self, split: str) -> Sequences:
        parts = [self.events(name) for name in SPLITS[: SPLITS.index(split) + 1]]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in ("user", "item", "time", "row")}
        order = np.lexsort((joined["row"], joined["time"], joined["user"]))
        return Sequences(joined["user"][order], joined["item"][order], joined["time"][order])

    def asked(self, split: str) -> Asked:
        """The last event of each user in a split, and what came before it; users without a past are left out."""
        if split not in self._asked:
            self._asked[split] = self._last_events(split)
        return self._asked[split]

    def _last_events(self, split: str) -> Asked:
        users, starts, counts = (found := self.sequences(split)).runs()
        there = np.isin(users, self.events(split)["user"]) & (counts > 1)
        users, starts, before = users[there], starts[there], counts[there] - 1
        ends = starts + before
        return Asked(
            users,
            padded(found.items, ends, before, self.meta.window),
            torch.from_numpy(found.items[ends]),
            padded(found.items, ends, before, int(before.max(initial=1))),
            padded(found.times, ends, before, self.meta.window, -np.inf),
        )

    def build(self, name: str, seed: int = 0, **arguments: Any) -> nn.Module:
        """A new model of the registry for this workload's items and window, not yet trained."""
        from winnow.models import build

        return build(name, seed=seed, **{"items": self.items, "window": self.meta.window, **arguments})

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """(x, y) int64[n, window], y one item later than x, both 0 where there is no event.

        train: with a seed, one window of each user of two events or more, which ends at a place drawn from (seed,
        epoch) where the user has more than fit; without one, consecutive windows of all events. valid, test: the window
        before each target, of which y has the target alone. Without a seed users stay in order.
        Raises InputError for a size below 1.
        """
        for x, y, _ in self.batches_of_users(split, size, seed, epoch):
            yield x, y

    def batches_of_users(
        self, split: str, size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The windows x and y of `batches`, and int64[n]: whose each is."""
        if size < 1:
            raise InputError(f"batch size is {size}; it must be at least 1")
        x, y, users = self._windows(split, seed, epoch)
        order = np.arange(len(x))
        if seed is not None:
            order = numpy_generator(seed, "batches", split, str(epoch)).permutation(len(x))
        for first in range(0, len(order), size):
            rows = torch.from_numpy(order[first : first + size])
            yield x[rows], y[rows], users[rows]

    def _windows(self, split: str, seed: int | None, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        window = self.meta.window
        if split != "train":
            asked = self.asked(split)
            y = torch.zeros_like(asked.histories)
            y[:, -1] = asked.targets
            return asked.histories, y, torch.from_numpy(asked.users)
        users, starts, counts = (found := self.sequences("train")).runs()
        long = counts > 1
        users, starts, steps = users[long], starts[long], counts[long] - 1  # an event and the next one make a step
        if seed is None:
            owner, lasts = consecutive(steps, window)
            users, starts = users[owner], starts[owner]
        else:
            spare = np.maximum(steps - window, 0)
            lasts = steps - numpy_generator(seed, "windows", str(epoch)).integers(0, spare + 1)
        x = padded(found.items, starts + lasts, lasts, window)
        return x, padded(found.items, starts + lasts + 1, lasts, window), torch.from_numpy(users)

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy over all items of the next ones, in nats, padding left out."""
        x, y = batch
        wanted = y > 0
        if isinstance(model, NextItem):
            return next_item_loss(model.states(x)[wanted], model.embedding.weight, y[wanted], label_smoothing)
        logits = model(x)[wanted][:, 1:]
        return nn.functional.cross_entropy(logits, y[wanted] - 1, label_smoothing=label_smoothing)

    @torch.no_grad()
    def scores(self, model: Any, histories: Tensor) -> Tensor:
        """float32[u, items + 1]: what a model gives each item after histories int64[u, window]."""
        was_training = model.training
        model.eval()
        # Scores of the last place are all that is asked for; those of all places take most of the time.
        if isinstance(model, NextItem):
            found = model.scores(model.last_states(histories))
        else:
            found = torch.cat([model(part)[:, -1] for part in histories.split(EVALUATION_BATCH)])
        model.train(was_training)
        return found

    def ranks(self, model: nn.Module, split: str) -> np.ndarray:
        """float64[u]: rank of each user's target among all items that the user has not seen."""
        asked = self.asked(split)
        return ranks(self.scores(model, asked.histories), asked.targets, asked.seen)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """ndcg10, hr10 and mrr over the users that a split asks of, all items ranked."""
        return ranking_metrics(self.ranks(model, split))

    def hook_points(self, model: Any) -> list[str]:
        """Names of the model's activations that are worth a dictionary."""
        return list(model.hook_points())

    def example_inputs(self, n: int = 1) -> Tensor:
        """The first n training windows: int64[n, window]."""
        return self._windows("train", None, 0)[0][:n]
