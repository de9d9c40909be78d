"""TELL: k-means as a layer, learnt together with an autoencoder.

X. Peng, Y. Li, I. W. Tsang, H. Zhu, J. Lv, J. T. Zhou, "XAI Beyond Classification: Interpretable Neural Clustering",
JMLR 23 (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from winnow.models.fitting import History, fit
from winnow.models.modes import evaluating
from winnow.randomness import stream_seed, torch_generator
from winnow.train.cluster_layer import ClusterLayer, check_rows

Alternate = Literal["epoch", "batch", "none"]
Init = Literal["random", "kmeans++", "kmeans"]
CENTRE_STEP = 0.2  # length of the gradient of each centre's weights, in units of alpha (the authors' code)
BLOCK = 4096


class Tell(nn.Module):
    """An autoencoder whose features are clustered by a layer, all learnt together; x: float[n, ...] in [0, 1].

    weight: of the clustering loss (mean squared distance) beside the reconstruction (mean squared error of x); the
    authors' code comes to .01 / k. alternate: centres move in even epochs (or batches) and the encoder toward fixed
    centres in odd ones, or both always.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        clusters: int,
        weight: float = 0.01,
        alternate: Alternate = "epoch",
        alpha: float = 1e-3,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.layer = ClusterLayer(latent, clusters, alpha, normalise)
        self.weight, self.alternate = weight, alternate

    def encode(self, x: Tensor) -> Tensor:
        """Features [n, latent], of unit length where the layer normalises."""
        return self.layer.prepare(self.encoder(x))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Features of all x in eval mode, in blocks."""
        with evaluating(self):
            return torch.cat([self.encode(part) for part in x.split(BLOCK)])

    def predict(self, x: Tensor) -> Tensor:
        """The cluster of each x, int64[n]."""
        return self.layer.assign(self.features(x))

    def soft(self, x: Tensor, alpha: float) -> Tensor:
        """Soft assignments [n, k] at a temperature 1 / alpha: softmax of -alpha |z - w_j|^2."""
        return (self.layer(self.features(x)) * (alpha / self.layer.alpha)).softmax(dim=1)

    def partial_fit(self, x: Tensor) -> None:
        """One step of the centres on a batch of a stream, features as they are."""
        self.layer.partial_fit(self.features(x))

    def start(self, x: Tensor, init: Init, seed: int) -> None:
        """Set the centres from the features of x: random directions, k-means++ seeds, or k-means itself."""
        z = self.features(x)
        k, d = self.layer.weight.shape
        if init == "random":
            drawn = torch.randn(k, d, generator=torch_generator(seed, "tell", "centres"))
            self.layer.set_centres(F.normalize(drawn, dim=1))
            return
        from sklearn.cluster import KMeans, kmeans_plusplus

        state = stream_seed(seed, "tell", init) % 2**32
        if init == "kmeans":
            found = KMeans(k, n_init=10, random_state=state).fit(z.numpy()).cluster_centers_
        else:
            found = kmeans_plusplus(z.numpy(), k, random_state=state)[0]
        self.layer.set_centres(torch.from_numpy(found).to(z.dtype))

    def fit(
        self,
        x: Tensor,
        epochs: int,
        batch: int = 256,
        optimiser: Literal["adadelta", "adam"] = "adadelta",
        learning_rate: float = 1.0,
        clustering: bool = True,
        seed: int = 0,
        look: Callable[[Tensor], dict[str, float]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> History:
        """Train in place; returns rows (metric, value, step), of each epoch reconstruction, clustering, moved, empty.

        clustering False trains the autoencoder alone, with the same batches. look: labels of all x -> scores that
        join the history; nothing is chosen by them. Raises InputError for fewer rows than clusters, values that
        are not finite, or columns that are all constant.
        """
        check_rows(x.flatten(1), len(self.layer.weight))
        task = _Clustering(self, x, clustering, look)
        hook = self.layer.weight.register_hook(self._rescaled)
        try:
            history = fit(
                self,
                task,
                epochs=epochs,
                optimizer=lambda parameters: self._optimizer(optimiser, learning_rate),
                batch_size=batch,
                seed=seed,
                after_step=lambda step: self.layer.renormalise() if clustering else None,
                progress=progress,
            )
        finally:
            hook.remove()
        return [(metric.removeprefix("valid_"), value, step) for metric, value, step in history]

    def _optimizer(self, name: Literal["adadelta", "adam"], rate: float) -> torch.optim.Optimizer:
        if name == "adadelta":
            return torch.optim.Adadelta(self.parameters(), lr=rate)
        others = [p for p in self.parameters() if p is not self.layer.weight]
        # Adam's steps do not scale with the parameter, and these weights are centres times 2 alpha.
        alpha = self.layer.alpha
        groups: list[dict[str, Any]] = [{"params": others}, {"params": [self.layer.weight], "lr": 2 * alpha * rate}]
        return torch.optim.Adam(groups, lr=rate)

    def _rescaled(self, gradient: Tensor) -> Tensor:
        """The gradient of the centres' weights; where they are normalised, a direction of constant length each."""
        return F.normalize(gradient, dim=1) * CENTRE_STEP * self.layer.alpha if self.layer.normalise else gradient


class _Clustering:
    """The data as the training loop sees them, and the losses of each epoch."""

    def __init__(
        self, model: Tell, x: Tensor, clustering: bool, look: Callable[[Tensor], dict[str, float]] | None
    ) -> None:
        self.model, self.x, self.clustering, self.look = model, x, clustering, look
        self.before = model.predict(x)

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Tensor]:
        order = torch.randperm(len(self.x), generator=torch_generator(seed or 0, "tell", "batches", str(epoch)))
        for number, rows in enumerate(order.split(size)):
            self.epoch, self.number = epoch, number
            yield self.x[rows]

    def loss(self, model: nn.Module, x: Tensor, label_smoothing: float = 0.0) -> Tensor:
        tell = self.model
        z = tell.encode(x)
        loss = F.mse_loss(tell.decoder(z), x)
        if not self.clustering:
            return loss
        if tell.alternate == "none":
            return loss + tell.weight * tell.layer.loss(z)
        turn = self.epoch if tell.alternate == "epoch" else self.number
        distances = tell.layer.distances(z.detach()) if turn % 2 == 0 else tell.layer.distances(z, fixed=True)
        return loss + tell.weight * distances.mean()

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        tell = self.model
        z = tell.features(self.x)
        empty = tell.layer.reseed_empty(z) if self.clustering else 0
        labels = tell.layer.assign(z)
        with evaluating(tell):
            pairs = zip(z.split(BLOCK), self.x.split(BLOCK), strict=True)
            errors = [F.mse_loss(tell.decoder(part), x, reduction="sum") for part, x in pairs]
        told = {
            "reconstruction": float(sum(errors)) / self.x.numel(),
            "clustering": float(tell.layer.loss(z)),
            "moved": float((labels != self.before).double().mean()),
            "empty": float(empty),
        }
        self.before = labels
        return told | (self.look(labels) if self.look else {})
