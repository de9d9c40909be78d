"""Latents of a recommender's states on new users: who they answer to, and what taking them out does to ten offers.

Wang, Zhang, Ma and Zhang, "Interpret the Internal States of Recommendation Model with Sparse Autoencoder", 2024
(RecSAE). What the paper lacks stands beside each figure: neurons and random directions that are active as often, and
edits of equal size in a random direction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
import torch
from scipy.stats import rankdata
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary, Sparse
from winnow.dictionaries.harvest import read_hooks
from winnow.dictionaries.rec_sae import group_events, group_windows
from winnow.errors import InputError
from winnow.evaluate.item_concepts import Attributes, one_of_each, sparse_acts, thresholded
from winnow.randomness import numpy_generator, torch_generator
from winnow.workloads.interactions import Interactions, Sequences, padded
from winnow.workloads.ranking import top_items

HOOK = "user_state"
TOP = 10
BATCH = 256
ALIKE = 20
"""Items that count as having the concept of one item: those most alike."""


@dataclass(frozen=True)
class Places:
    """Places in the windows of some users, each a sequence that ends there."""

    states: Tensor
    """float32[n, d]"""
    recent: np.ndarray
    """int64[n, 5]: the last five items of the window up to the place, padded with 0 in front."""
    events: Sequences
    """All training events of the users."""
    starts: np.ndarray
    """int64[n]: where among them the user's begin."""
    ends: np.ndarray
    """int64[n]: where those up to the place end."""

    @property
    def owner(self) -> np.ndarray:
        """int64[n]: whose place it is."""
        return self.events.users[self.starts]

    def seen(self, rows: np.ndarray) -> Tensor:
        """int64[r, s]: all items that the users of some places took up to them, also before the window."""
        counts = self.ends[rows] - self.starts[rows]
        return padded(self.events.items, self.ends[rows], counts, int(counts.max(initial=1)))


@torch.no_grad()
def places_of(workload: Interactions, model: Any, users: Collection[int], most: int, seed: int) -> Places:
    """The places of the training events of some users, in windows drawn until `most` places would be exceeded.

    Raises InputError for users without events and for fewer places than a window has.
    """
    events, window = group_events(workload, users), workload.meta.window
    starts, ends = group_windows(events, window)
    order = numpy_generator(seed, "places").permutation(len(ends))
    sizes = np.cumsum(np.minimum(ends - starts, window)[order])
    chosen = np.sort(order[: np.searchsorted(sizes, most, side="right")])
    if not len(chosen):
        raise InputError(f"places: {most} is less than one window has; raise it")
    starts, ends = starts[chosen], ends[chosen]
    x = padded(events.items, ends, ends - starts, window)
    kept = x > 0
    states = torch.cat([read_hooks(model, part, [HOOK])[0] for part in x.split(BATCH)])[kept]
    row, place = kept.nonzero(as_tuple=True)
    before = torch.nn.functional.pad(x, (4, 0))
    recent = torch.stack([before[row, place + back] for back in range(5)], 1)
    return Places(states, recent.numpy(), events, starts[row], ends[row] - window + place.numpy() + 1)


@dataclass(frozen=True)
class Units:
    """What may answer to concepts: latents, neurons or random directions, each active on as many rows."""

    dictionary: Dictionary | None
    directions: Tensor
    """float32[d, units]"""
    cuts: np.ndarray
    """float[units]: projections above are active."""

    def acts(self, states: Tensor) -> sp.csr_array:
        """csr[n, units], above 0 where a unit is active on states float32[n, d]."""
        if self.dictionary is not None:
            code = self.dictionary.encode(states)
            return sparse_acts(code.values, code.indices, self.dictionary.m)
        return thresholded((states @ self.directions).numpy(), self.cuts)


def units(dictionary: Dictionary, states: Tensor, seed: int) -> dict[str, Units]:
    """rec_sae, neurons and random_directions; of the last two a unit is active on the share of rows of a latent.

    states: float32[n, d] of the rows that concepts are read from. There are as many random directions as latents.
    """
    d = states.shape[1]
    share = int((dictionary.encode(states).values > 0).sum()) / (len(states) * dictionary.m)
    drawn = torch.randn(d, dictionary.m, generator=torch_generator(seed, "random directions"))
    found = {"rec_sae": Units(dictionary, dictionary.W_enc, np.zeros(dictionary.m))}
    for name, directions in (("neurons", torch.eye(d)), ("random_directions", drawn / drawn.norm(dim=0))):
        cuts = np.quantile((states @ directions).numpy(), 1 - share, axis=0)
        found[name] = Units(None, directions, cuts)
    return found


def has_concept(kind: str, about: int, known: Attributes, like: Tensor) -> np.ndarray:
    """bool[items + 1]: the items that have an attribute, or, of kind item, the ones most like the item.

    like: float[items + 1, items + 1]; items of likeness 0 are not like it.
    """
    if kind != "item":
        return known.table[:, [about]].toarray().ravel() > 0
    found = np.zeros(len(like), bool)
    near = like[about].clone()
    near[[0, about]] = 0
    order = torch.sort(near, descending=True, stable=True)
    found[order.indices[:ALIKE][order.values[:ALIKE] > 0].numpy()] = True
    return found


@torch.no_grad()
def offered(model: Any, states: Tensor, seen: Tensor) -> tuple[Tensor, np.ndarray]:
    """Scores float[n, items + 1] by states float32[n, d], and int64[n, 10]: the best items that are not seen."""
    scores = model.scores(states)
    return scores, top_items(scores, seen, TOP).numpy()


class Offers(NamedTuple):
    """What states of some users make of all items."""

    best: np.ndarray
    """int64[n, 10]: the best items that are not seen."""
    centred: np.ndarray
    """float64[n, i]: the rank of each item without a concept among these, less their mean."""


def offers_of(model: Any, states: Tensor, seen: Tensor, having: np.ndarray) -> Offers:
    """The offers by states float32[n, d], and the ranks of the items without a concept, bool[items + 1]."""
    scores, best = offered(model, states, seen)
    rest = np.flatnonzero(~having[1:]) + 1
    # Ranks of n items are (n + 1) / 2 on average, with ties or without.
    return Offers(best, row_ranks(scores[:, rest].numpy()) - (len(rest) + 1) / 2)


def row_ranks(values: np.ndarray) -> np.ndarray:
    """float64[n, i]: ranks from 1 within each row of float[n, i], the mean of their ranks for equal ones."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, 1)
    found = np.empty(values.shape)
    np.put_along_axis(found, order, np.arange(1.0, values.shape[1] + 1)[None], 1)
    # Few rows hold equal values, and those alone need more than the order; NaN is left to the definition as well.
    tied = ~(ordered[:, 1:] > ordered[:, :-1]).all(1)
    found[tied] = rankdata(values[tied], axis=1)
    return found


def edited(before: Offers, after: Offers, having: np.ndarray) -> dict[str, np.ndarray]:
    """What an edit of states does to each row's ten offers, of which those before and after are given.

    share_before, share_after: of the offers that have a concept, bool[items + 1]; overlap: share of the offers that
    stay; collateral: rank correlation of the scores of the items without the concept, 0 for fewer than two. float64[n]
    each.
    """
    stay = (before.best[:, :, None] == after.best[:, None, :]).any(2).mean(1)
    scale = np.sqrt((before.centred**2).sum(1) * (after.centred**2).sum(1))
    return {
        "share_before": having[before.best].mean(1),
        "share_after": having[after.best].mean(1),
        "overlap": stay,
        "collateral": (before.centred * after.centred).sum(1) / np.where(scale > 0, scale, 1),
    }


class Latent(NamedTuple):
    """A latent of a recommender's states, and the items that have its concept."""

    model: Any
    dictionary: Dictionary
    number: int
    places: Places
    having: np.ndarray
    """bool[items + 1]"""
    active: Tensor
    """float[n]: how active it is at each place."""
    strongest: np.ndarray
    """int64[u]: of each user in whom it is active the place where it is most, the most active first."""


def latent_of(
    model: Any, dictionary: Dictionary, number: int, places: Places, having: np.ndarray, code: Sparse | None = None
) -> Latent:
    """A latent as it is at some places; code: of their states, where it is known."""
    active = activations(dictionary.encode(places.states) if code is None else code, number)
    order = torch.sort(active, descending=True, stable=True).indices[: int((active > 0).sum())]
    return Latent(model, dictionary, number, places, having, active, one_of_each(order.numpy(), places.owner))


def activations(code: Sparse, latent: int) -> Tensor:
    """float[n]: how active a latent is in each row of a code."""
    return (code.values * (code.indices == latent)).sum(1)


def ablate(latent: Latent, *, factors: Sequence[float] = (0.0,), rows: int = 50, seed: int = 0) -> list[pa.Table]:
    """The edit of a latent to each factor times its activation where it is strongest: a row for each of so many users.

    h' = h + (factor - 1) z_j W_dec,j, so that 0 takes the latent out and 1 changes nothing. Columns row, user,
    activation, those of `edited`, and random_after: the share after an edit of equal length in a random direction. No
    rows where the latent is silent.
    """
    chosen = latent.strongest[:rows]
    return _edits(latent, chosen, [(factor - 1) * latent.active[chosen] for factor in factors], seed)


def tune(latent: Latent, *, rows: int = 50, seed: int = 0) -> pa.Table:
    """The edit that raises a concept for users in whom its latent is silent at their last place, drawn by chance.

    h' = h + level W_dec,j, where level is the latent's mean activation in the users of whom `ablate` takes it out.
    Columns are those of `ablate`. No rows where the latent is silent in all users, or in none.
    """
    active = latent.active[latent.strongest[:rows]]
    last = one_of_each(np.argsort(-latent.places.ends, kind="stable"), latent.places.owner)
    quiet = last[(latent.active[last] == 0).numpy()] if len(active) else last[:0]
    generator = numpy_generator(seed, "tuned users", str(latent.number))
    chosen = np.sort(generator.permutation(quiet)[:rows])
    return _edits(latent, chosen, [active.mean().expand(len(chosen))], seed)[0]


def _edits(latent: Latent, chosen: np.ndarray, sizes: Sequence[Tensor], seed: int) -> list[pa.Table]:
    """What adding each size float[r] times a latent's direction does at the chosen places int64[r]: see `ablate`."""
    model, places, having = latent.model, latent.places, latent.having
    states, seen = places.states[chosen], places.seen(chosen)
    random = torch.randn(states.shape, generator=torch_generator(seed, "random edit", str(latent.number)))
    before = offers_of(model, states, seen, having)
    tables = []
    for size in sizes:
        changed = states + size[:, None] * latent.dictionary.W_dec[latent.number]
        elsewhere = states + size[:, None] * random / random.norm(dim=1, keepdim=True)
        told = edited(before, offers_of(model, changed, seen, having), having)
        columns = {
            "row": chosen,
            "user": places.owner[chosen],
            "activation": latent.active[chosen].double().numpy(),
            **told,
            "random_after": having[offered(model, elsewhere, seen)[1]].mean(1),
        }
        tables.append(pa.table(columns))
    return tables
