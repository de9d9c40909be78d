"""Sparse autoencoders of what a recommender knows of a user: the states, and the loss of the published code.

Wang, Zhang, Ma and Zhang, "Interpret the Internal States of Recommendation Model with Sparse Autoencoder", 2024
(RecSAE). The core's TopK autoencoder is the default; `fit_published` is what the authors' code does instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.harvest import Corpus
from winnow.errors import InputError
from winnow.randomness import torch_generator
from winnow.workloads.interactions import Interactions, Sequences, consecutive, padded
from winnow.workloads.ranking import gains, ranks

History = list[tuple[str, float, int]]
AUX_WEIGHT = 1 / 32


def group_events(workload: Interactions, users: Collection[int]) -> Sequences:
    """The training events of some users. Raises InputError if none of them has one."""
    found = workload.sequences("train")
    own = np.isin(found.users, np.fromiter(users, np.int64))
    if not own.any():
        raise InputError(f"users: none of the {len(users)} has events to train on; name others")
    return Sequences(*(column[own] for column in found))


def group_windows(events: Sequences, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Consecutive windows over all events: int64[w], where the run of its user begins and where the window ends."""
    _, starts, counts = events.runs()
    owner, ends = consecutive(counts, window)
    return starts[owner], starts[owner] + ends


def group_corpus(workload: Interactions, users: Collection[int]) -> Corpus:
    """The training events of some users as consecutive windows, of which every event is kept.

    next_tokens is 0 after the last event of a user. Raises InputError if none of them has an event.
    """
    found, window = group_events(workload, users), workload.meta.window
    starts, ends = group_windows(found, window)
    x = padded(found.items, ends, ends - starts, window)
    # After the last event of a run comes nothing that may be learned from.
    after = np.minimum(ends, len(found.items) - 1)
    last = np.where((ends < len(found.items)) & (found.users[after] == found.users[starts]), found.items[after], 0)
    y = torch.cat([x[:, 1:], torch.from_numpy(last)[:, None]], 1)
    return Corpus(x, torch.where(x > 0, y, 0), x > 0, "padding")


def members(users: pa.Table, group: str) -> list[int]:
    """The numbers of the users of a group, of curated `user, group`."""
    pairs = zip(users["user"].to_pylist(), users["group"].to_pylist(), strict=True)
    return [user for user, own in pairs if own == group]


def ranking_with(workload: Interactions, model: Any, split: str) -> Callable[[Callable[[Tensor], Tensor]], np.ndarray]:
    """Of an edit, float64[u]: each user's target's rank where edit(states) stands in for the states float[u, d]."""
    asked = workload.asked(split)
    with torch.no_grad():
        last = model.last_states(asked.histories)

    @torch.no_grad()
    def ranking(edit: Callable[[Tensor], Tensor]) -> np.ndarray:
        return ranks(model.scores(edit(last)), asked.targets, asked.seen)

    return ranking


class Published(NamedTuple):
    """Parameters of the published autoencoder: encoder, decoder float[m, d], b_enc[m], b_dec[d]."""

    encoder: Tensor
    decoder: Tensor
    b_enc: Tensor
    b_dec: Tensor


def published_losses(parameters: Published, x: Tensor, k: int, silent: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Unexplained share and auxiliary loss of rows x float[n, d], and int64[n, k]: the latents that are active.

    silent: bool[m], latents to revive; None where nothing is known of any. As published: the auxiliary part adds the
    decoder's bias, and aims at the reconstruction minus the row, through which gradients flow.
    """
    pre = torch.relu((x - parameters.b_dec) @ parameters.encoder.T + parameters.b_enc)
    values, indices = pre.topk(k, dim=1)
    code = torch.zeros_like(pre).scatter(1, indices, values)
    error = code @ parameters.decoder + parameters.b_dec - x
    variance = (x - x.mean(0)).square().sum()
    fvu = error.square().sum() / variance
    if silent is None or not bool(silent.any()):
        return fvu, torch.zeros(()), indices
    count, aim = int(silent.sum()), x.shape[1] // 2
    taken, places = pre.masked_fill(~silent, float("-inf")).topk(min(aim, count), dim=1)
    revived = torch.zeros_like(pre).scatter(1, places, taken) @ parameters.decoder + parameters.b_dec
    return fvu, min(count / aim, 1.0) * (revived - error).square().sum() / variance, indices


def fit_published(
    rows: Tensor,
    *,
    width: int,
    k: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    judge: Callable[[Dictionary], float],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Dictionary, History]:
    """The published fit on rows float[n, d], by Adam: the best epoch as a dictionary, and the history of all.

    Decoder rows are brought to unit norm at the start of each epoch, and before it is judged. The first epoch has no
    auxiliary loss; later ones revive what was silent in the one before. judge: what the best epoch is chosen by, larger
    being better. Raises InputError for k >= width, no epoch and a loss that is not finite.
    """
    if not 0 < k < width:
        raise InputError(f"k: {k} of {width} latents; it must be at least 1 and below")
    generator = torch_generator(seed, "published autoencoder")
    bound = rows.shape[1] ** -0.5
    start = (2 * torch.rand(width, rows.shape[1], generator=generator) - 1) * bound
    free = Published(start, start.clone(), torch.zeros(width), torch.zeros(rows.shape[1]))
    for parameter in free:
        parameter.requires_grad_(True)
    updater = torch.optim.Adam(free, lr=learning_rate)
    silent: Tensor | None = None
    history: History = []
    best, chosen = -np.inf, None
    for epoch in range(epochs):
        with torch.no_grad():
            free.decoder.div_(free.decoder.norm(dim=1, keepdim=True) + torch.finfo(rows.dtype).eps)
        fired = torch.zeros(width, dtype=torch.bool)
        for part in rows[torch.randperm(len(rows), generator=generator)].split(batch_size):
            fvu, aux, active = published_losses(free, part, k, silent)
            loss = fvu + AUX_WEIGHT * aux
            if not torch.isfinite(loss):
                raise InputError(f"learning_rate: {learning_rate:g} diverges in epoch {epoch + 1}; lower it")
            updater.zero_grad()
            loss.backward()
            updater.step()
            fired[active.flatten()] = True
        silent = ~fired
        found = _dictionary(free, k)
        score = judge(found)
        step = (epoch + 1) * -(-len(rows) // batch_size)
        told = {"fvu": float(fvu.detach()), "dead_fraction": float(silent.float().mean()), "judged": score}
        history += [(metric, value, step) for metric, value in told.items()]
        if score > best:
            best, chosen = score, found
        if progress:
            progress(epoch + 1, epochs)
    if chosen is None:
        raise InputError(f"epochs: {epochs}; train for one or more")
    return chosen, history


def _dictionary(parameters: Published, k: int) -> Dictionary:
    encoder, decoder, b_enc, b_dec = (parameter.detach().clone() for parameter in parameters)
    return Dictionary(
        W_enc=encoder.T.contiguous(),
        b_enc=b_enc,
        W_dec=decoder / decoder.norm(dim=1, keepdim=True),
        b_dec_in=b_dec,
        b_dec_out=b_dec,
        threshold=torch.zeros(len(b_enc)),
        architecture="topk",
        activation="topk",
        k=k,
    )


def ranking_of(workload: Interactions, model: Any, split: str) -> Callable[[Dictionary], float]:
    """NDCG@10 on a split with reconstructions in place of the states: what an epoch is chosen by."""
    ranking = ranking_with(workload, model, split)
    return lambda dictionary: float(gains(ranking(dictionary.reconstruct)).mean())
