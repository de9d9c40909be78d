"""Clusterers side by side: TELL and what it is compared with, from the same starts and over as many epochs.

Peng et al., "XAI Beyond Classification: Interpretable Neural Clustering", JMLR 23 (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.evaluate.clustering import clustering_scores, kmeans_objective
from winnow.models.autoencoder import mlp_autoencoder
from winnow.models.fitting import History
from winnow.randomness import stream_seed
from winnow.train.cluster_layer import ClusterLayer, fit_layer, unit_rows
from winnow.train.idec import Idec
from winnow.train.tell import Tell

MOST_SPECTRAL = 2000  # rows; spectral clustering takes the cube of them


@dataclass(frozen=True)
class Plan:
    """What every clusterer gets."""

    clusters: int
    warm_epochs: int
    epochs: int
    batch: int
    learning_rate: float
    hidden: list[int]
    latent: int
    dropout: float
    weight: float
    weights: list[float]
    passes: int
    stream_batch: int
    seed: int


@dataclass
class Clustering:
    """Clusters of the rows that were fitted and of others, what else was measured, and how the fit went."""

    system: str
    variant: str
    train: np.ndarray
    test: np.ndarray | None = None
    measured: dict[str, float] = field(default_factory=dict)
    history: History = field(default_factory=list)
    model: Any = None


def shallow(x: Tensor, other: Tensor, plan: Plan) -> Iterator[Clustering]:
    """Clusterers of rows as they are; layers and Lloyd's algorithm start from the same k-means++ seeds."""
    from sklearn.cluster import KMeans, MiniBatchKMeans, SpectralClustering, kmeans_plusplus

    k, state = plan.clusters, stream_seed(plan.seed, "clusterers") % 2**32
    for variant, rows, others in (("raw", x, other), ("sphere", unit_rows(x), unit_rows(other))):
        seeds = kmeans_plusplus(rows.numpy(), k, random_state=state)[0]
        best = KMeans(k, n_init=10, random_state=state).fit(rows.numpy())
        lloyd = KMeans(k, init=seeds, n_init=1).fit(rows.numpy())
        small = MiniBatchKMeans(
            k, init=seeds, n_init=1, max_iter=1, batch_size=plan.stream_batch, random_state=state, reassignment_ratio=0
        ).fit(rows.numpy())
        for system, found in (("kmeans", best), ("lloyd", lloyd), ("minibatch_kmeans", small)):
            measured = {"objective": objective(rows, torch.from_numpy(found.cluster_centers_), variant)}
            measured["rows"] = len(rows)
            yield Clustering(system, variant, found.labels_, found.predict(others.numpy()), measured)
        for system, passes, batch in (("tell_layer", plan.passes, plan.batch), ("tell_stream", 1, plan.stream_batch)):
            layer = ClusterLayer(rows.shape[1], k, normalise=variant == "sphere")
            layer.set_centres(torch.from_numpy(seeds))
            objectives = fit_layer(layer, rows, passes, batch, plan.seed)
            labels = layer.assign(rows).numpy()
            measured = {"objective": objective(rows, layer.centres().detach(), variant)}
            measured["ari_with_lloyd"] = clustering_scores(lloyd.labels_, labels)["ari"]
            history = [("objective", value, step + 1) for step, value in enumerate(objectives)]
            yield Clustering(system, variant, labels, layer.assign(others).numpy(), measured, history)
    if len(x) <= MOST_SPECTRAL:
        graph = SpectralClustering(k, affinity="nearest_neighbors", random_state=state, assign_labels="kmeans")
        yield Clustering("spectral", "raw", graph.fit_predict(x.numpy()))


def deep(x: Tensor, other: Tensor, plan: Plan, look: Callable[[Tensor], dict[str, float]]) -> Iterator[Clustering]:
    """Clusterers of learnt features: `warm_epochs` of reconstruction in common, then `epochs` for each of them."""
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    state = stream_seed(plan.seed, "clusterers") % 2**32
    warm = {name: _warm(x, plan, normalise=name == "sphere") for name in ("sphere", "plain")}
    for name, start in warm.items():
        still = deepcopy(start)
        still.start(x, "kmeans", plan.seed)
        yield Clustering("warm_start", name, still.predict(x).numpy(), still.predict(other).numpy())
        alone = deepcopy(start)
        _fit(alone, x, plan, clustering=False)
        z, others = alone.features(x).numpy(), alone.features(other).numpy()
        means = KMeans(plan.clusters, n_init=10, random_state=state).fit(z)
        yield Clustering("ae_kmeans", name, means.labels_, means.predict(others))
        if name == "plain":
            mixture = GaussianMixture(plan.clusters, n_init=3, random_state=state, reg_covar=1e-4).fit(z)
            yield Clustering("ae_gmm", name, mixture.predict(z), mixture.predict(others))
    soft = Idec(deepcopy(warm["plain"].encoder), deepcopy(warm["plain"].decoder), plan.latent, plan.clusters)
    soft.start(x, plan.seed)
    soft.fit(x, plan.epochs, plan.batch, plan.learning_rate, plan.seed)
    yield Clustering("idec", "plain", soft.predict(x).numpy(), soft.predict(other).numpy())
    arms: dict[str, tuple[str, dict[str, Any]]] = {"main": ("sphere", {"weight": plan.weight})}
    arms |= {f"weight{w:g}": ("sphere", {"weight": w}) for w in plan.weights}
    arms["no_alternation"] = ("sphere", {"weight": plan.weight, "alternate": "none"})
    arms["no_normalisation"] = ("plain", {"weight": plan.weight})
    for variant, (name, changes) in arms.items():
        model = deepcopy(warm[name])
        for setting, value in changes.items():
            setattr(model, setting, value)
        model.start(x, "kmeans", plan.seed)
        history = _fit(model, x, plan, clustering=True, look=look)
        labels, learnt = model.predict(x), model.features(x)
        measured = {
            "empty": sum(value for metric, value, _ in history if metric == "empty"),
            "entropy": entropy(labels.numpy(), plan.clusters),
            "clustering": float(model.layer.loss(learnt).detach()),
        }
        yield Clustering("tell", variant, labels.numpy(), model.predict(other).numpy(), measured, history, model)


def objective(rows: Tensor, centres: Tensor, variant: str) -> float:
    """Sum of squared distances to the nearest centre; on the sphere, to its direction."""
    return kmeans_objective(rows.numpy(), (unit_rows(centres) if variant == "sphere" else centres).numpy())


def entropy(labels: np.ndarray, clusters: int) -> float:
    """Entropy of the clusters' sizes over that of equal ones, in [0, 1]; 0 where all rows are in one."""
    share = np.bincount(labels, minlength=clusters) / len(labels)
    return float(-(share[share > 0] * np.log(share[share > 0])).sum() / np.log(clusters))


def _warm(x: Tensor, plan: Plan, normalise: bool) -> Tell:
    halves = mlp_autoencoder(x.shape[1], plan.hidden, plan.latent, plan.dropout, plan.seed)
    model = Tell(*halves, latent=plan.latent, clusters=plan.clusters, normalise=normalise)
    model.start(x, "random", plan.seed)
    if plan.warm_epochs:
        _fit(model, x, plan, clustering=False, epochs=plan.warm_epochs)
    return model


def _fit(model: Tell, x: Tensor, plan: Plan, epochs: int | None = None, **options: Any) -> History:
    return model.fit(
        x,
        plan.epochs if epochs is None else epochs,
        plan.batch,
        optimiser="adam",
        learning_rate=plan.learning_rate,
        seed=stream_seed(plan.seed, "clusterers", "warm" if epochs else "joint"),
        **options,
    )
