"""Pruning by relevance on points in a plane: accuracy, and whether criteria rank units alike from other samples.

The toy experiment of Yeom et al., "Pruning by Explaining", Pattern Recognition 115, 2021: three hidden layers of 1,000
neurons, of which the 1,000 lowest go at once; moons, circles and several classes of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn import datasets
from torch import Tensor

from winnow.compress.relevance import Criterion, criterion_scores, prune_iteratively
from winnow.evaluate.relevance_pruning import Split, accuracy
from winnow.models.mlp import MLP
from winnow.randomness import numpy_generator, stream_seed
from winnow.train.transfer import fit_scratch

TOYS = ("moons", "circles", "blobs")
NOISE = 0.1
CLASSES = {"moons": 2, "circles": 2, "blobs": 4}
LAYERS = 3


class Run(NamedTuple):
    """One draw of reference samples: accuracy after pruning, and the score of every unit."""

    accuracy: float
    scores: np.ndarray


def points(name: str, count: int, seed: int) -> Split:
    """Points float32[count, 2, 1, 1], standardised by their own moments, and classes int64[count]."""
    drawn: dict[str, Any] = {"n_samples": count, "random_state": stream_seed(seed, "toy", name) % 2**32}
    if name == "moons":
        x, y = datasets.make_moons(noise=NOISE, **drawn)
    elif name == "circles":
        x, y = datasets.make_circles(noise=NOISE, factor=0.4, **drawn)
    else:
        # Four corners: centres that stay, so that a second draw is of the same classes.
        corners = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
        x, y = datasets.make_blobs(centers=corners, cluster_std=0.35, **drawn)
    x = (x - x.mean(0)) / x.std(0)
    return torch.from_numpy(x).float()[:, :, None, None], torch.from_numpy(y).long()


def toy_network(name: str, train: Split, width: int, epochs: int, learning_rate: float, seed: int) -> MLP:
    """A perceptron of three hidden layers, trained by Adam in batches of 100."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "toy network", name))
        model = MLP(2, 1, 1, CLASSES[name], [width] * LAYERS)
    fit_scratch(model, *train, "none", epochs=epochs, learning_rate=learning_rate, batch_size=100, seed=seed)
    return model.eval()


def runs(
    model: MLP, train: Split, test: Split, kind: Criterion, samples: int, draws: int, share: float, seed: int
) -> Iterator[Run]:
    """Prune by a criterion from `samples` reference samples of each class, drawn anew each time.

    share: of all hidden units, which goes at once. Draws are the same for every criterion.
    """
    labels = train[1].numpy()
    for draw in range(draws):
        rng = numpy_generator(seed, "toy draw", str(samples), str(draw))
        rows = [rng.permutation(np.flatnonzero(labels == c))[:samples] for c in np.unique(labels)]
        own = torch.from_numpy(np.concatenate(rows))
        reference: tuple[Tensor, Tensor] = train[0][own], train[1][own]
        found = criterion_scores(model, *reference, kind, seed=draw)
        *_, last = prune_iteratively(model, *reference, kind, step=share, target=share, seed=draw)
        scores = torch.cat([found[name].double().flatten() for name in found]).numpy()
        yield Run(accuracy(last.model, *test), scores)


def rank_agreement(scores: np.ndarray) -> float | None:
    """Mean Spearman correlation over pairs of rows float[draws, units]; None where a row is constant."""
    if (scores.max(axis=1) == scores.min(axis=1)).any():
        return None
    ranks = stats.rankdata(scores, axis=1)
    found = np.corrcoef(ranks)
    return float(found[np.triu_indices(len(found), 1)].mean())
