"""IDEC: clustering with soft assignments that sharpen themselves, beside reconstruction; a baseline of TELL.

X. Guo, L. Gao, X. Liu, J. Yin, "Improved Deep Embedded Clustering with Local Structure Preservation", IJCAI 2017; the
assignments are those of DEC: Xie, Girshick and Farhadi, "Unsupervised Deep Embedding for Clustering Analysis",
ICML 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from winnow.models.fitting import History, fit
from winnow.models.modes import evaluating
from winnow.randomness import stream_seed, torch_generator


def student_t(z: Tensor, centres: Tensor) -> Tensor:
    """q_ij, soft assignments [n, k] of rows z[n, d] to centres [k, d] by Student's t with one degree of freedom."""
    kernel = 1 / (1 + torch.cdist(z, centres).square())
    return kernel / kernel.sum(dim=1, keepdim=True)


def targets(q: Tensor) -> Tensor:
    """p_ij, proportional to q_ij^2 / sum_i q_ij: sharper assignments of clusters brought to one size; [n, k]."""
    sharp = q.square() / q.sum(dim=0)
    return sharp / sharp.sum(dim=1, keepdim=True)


class Idec(nn.Module):
    """An autoencoder with cluster centres among its features; weight: of the clustering loss (gamma)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent: int, clusters: int, weight: float = 0.1) -> None:
        super().__init__()
        self.encoder, self.decoder, self.weight = encoder, decoder, weight
        self.centres = nn.Parameter(torch.zeros(clusters, latent))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Features of all x [n, latent], in eval mode."""
        with evaluating(self):
            return torch.cat([self.encoder(part) for part in x.split(4096)])

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The cluster of each x, int64[n]."""
        return student_t(self.features(x), self.centres).argmax(dim=1)

    def start(self, x: Tensor, seed: int) -> None:
        """Set the centres by k-means on the features of x."""
        from sklearn.cluster import KMeans

        state = stream_seed(seed, "idec") % 2**32
        found = KMeans(len(self.centres), n_init=10, random_state=state).fit(self.features(x).numpy())
        with torch.no_grad():
            self.centres.copy_(torch.from_numpy(found.cluster_centers_))

    def fit(
        self,
        x: Tensor,
        epochs: int,
        batch: int,
        learning_rate: float,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> History:
        """Train in place with Adam; the targets are set anew before every epoch."""
        return fit(
            self,
            _Targets(self, x),
            epochs=epochs,
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=learning_rate),
            batch_size=batch,
            seed=seed,
            progress=progress,
        )


class _Targets:
    def __init__(self, model: Idec, x: Tensor) -> None:
        self.model, self.x = model, x

    def batches(
        self, split: str, size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        with torch.no_grad():
            p = targets(student_t(self.model.features(self.x), self.model.centres))
        order = torch.randperm(len(self.x), generator=torch_generator(seed or 0, "idec", "batches", str(epoch)))
        for rows in order.split(size):
            yield self.x[rows], p[rows]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0) -> Tensor:
        x, p = batch
        z = self.model.encoder(x)
        divergence = F.kl_div(student_t(z, self.model.centres).log(), p, reduction="batchmean")
        return F.mse_loss(self.model.decoder(z), x) + self.model.weight * divergence

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        return {}
