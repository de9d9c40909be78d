"""k-means as a layer whose every weight has a meaning, by itself: shallow TELL.

X. Peng, Y. Li, I. W. Tsang, H. Zhu, J. Lv, J. T. Zhou, "XAI Beyond Classification: Interpretable Neural Clustering",
JMLR 23 (2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from winnow.errors import InputError
from winnow.randomness import torch_generator


class ClusterLayer(nn.Module):
    """A linear layer W = 2 alpha w whose outputs are alpha (|z|^2 - |z - w_j|^2), for each of the centres w_j.

    Softmax of the outputs is soft k-means with temperature 1 / alpha, their argmax its hard assignment. normalise:
    inputs and centres have unit length and the bias -alpha |w_j|^2, then the same for all, is left out. Without, the
    bias is there. Inputs and centres are float[n, features]; an input of length 0 cannot be normalised: InputError.
    """

    counts: Tensor

    def __init__(self, features: int, clusters: int, alpha: float = 1e-3, normalise: bool = True) -> None:
        super().__init__()
        self.alpha, self.normalise = alpha, normalise
        self.weight = nn.Parameter(torch.zeros(clusters, features))
        self.register_buffer("counts", torch.zeros(clusters))

    def centres(self) -> Tensor:
        """w[k, features]."""
        return self.weight / (2 * self.alpha)

    def set_centres(self, centres: Tensor) -> None:
        """Take over centres [k, features], made unit long where the layer normalises; the stream starts anew."""
        if self.normalise:
            centres = unit_rows(centres)
        with torch.no_grad():
            self.weight.copy_(2 * self.alpha * centres)
            self.counts.zero_()

    def forward(self, z: Tensor) -> Tensor:
        """Outputs [n, k]."""
        return self._outputs(self.prepare(z), self.weight)

    def prepare(self, z: Tensor) -> Tensor:
        """The inputs, of unit length where the layer normalises."""
        return unit_rows(z) if self.normalise else z

    def _outputs(self, z: Tensor, weight: Tensor) -> Tensor:
        outputs = z @ weight.T
        if not self.normalise:
            outputs = outputs - weight.square().sum(dim=1) / (4 * self.alpha)  # b_j = -alpha |w_j|^2
        return outputs

    @torch.no_grad()
    def assign(self, z: Tensor) -> Tensor:
        """The nearest centre of each input, int64[n]; ties go to the first."""
        return self.forward(z).argmax(dim=1)

    def distances(self, z: Tensor, fixed: bool = False) -> Tensor:
        """|z - w_j*|^2 of each input to its nearest centre [n], as |z|^2 - o_j* / alpha; fixed: no gradient to w."""
        z = self.prepare(z)
        outputs = self._outputs(z, self.weight.detach() if fixed else self.weight)
        # |z|^2 = |w|^2 = 1 where both are normalised; else the bias in the outputs holds |w|^2.
        length = 2.0 if self.normalise else z.square().sum(dim=1)
        return length - outputs.amax(dim=1) / self.alpha

    def loss(self, z: Tensor) -> Tensor:
        """The k-means objective of a batch: mean squared distance to the nearest centre."""
        return self.distances(z).mean()

    @torch.no_grad()
    def partial_fit(self, z: Tensor) -> None:
        """One step on a batch of a stream: the loss's gradient with the step 1 / (2 n_j), n_j inputs seen by centre j.

        On all data at once and from no history it is one step of Lloyd's algorithm; over a stream each centre is
        the running mean of its inputs. Raises InputError for a value that is not finite, which would stay for good.
        """
        check_finite(z)
        z = self.prepare(z)
        members = F.one_hot(self.assign(z), len(self.weight)).to(z.dtype)
        new = members.sum(dim=0)
        self.counts += new
        w = self.centres()
        gradient = 2 * (new[:, None] * w - members.T @ z)
        self.weight.sub_(2 * self.alpha * gradient / (2 * self.counts.clamp(min=1)[:, None]))
        self.renormalise()

    @torch.no_grad()
    def renormalise(self) -> None:
        """Bring the centres back to unit length, where the layer normalises."""
        if self.normalise:
            self.weight.copy_(F.normalize(self.weight, dim=1) * 2 * self.alpha)

    @torch.no_grad()
    def reseed_empty(self, z: Tensor) -> int:
        """Put each centre that has no input at the input farthest from its own; returns how many were moved."""
        empty = torch.bincount(self.assign(z), minlength=len(self.weight)) == 0
        for j in empty.nonzero().flatten().tolist():
            farthest = self.distances(z).argmax()
            self.weight[j] = 2 * self.alpha * self.prepare(z)[farthest]
            self.counts[j] = 0
        return int(empty.sum())


def fit_layer(layer: ClusterLayer, x: Tensor, epochs: int, batch: int, seed: int) -> list[float]:
    """Shallow TELL: passes of mini-batches over data as it is; returns the mean squared distance after each pass.

    x: float[n, features]. Centres must be set. What a centre has seen counts half with each pass, so that steps
    decay but early assignments are forgotten.
    """
    check_rows(x, len(layer.weight))
    objectives = []
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=torch_generator(seed, "tell", "layer", str(epoch)))
        for rows in order.split(batch):
            layer.partial_fit(x[rows])
        layer.reseed_empty(x)
        layer.counts /= 2
        objectives.append(float(layer.loss(x).detach()))
    return objectives


def unit_rows(z: Tensor) -> Tensor:
    """Rows of unit length; InputError where one has no length."""
    lengths = z.norm(dim=1, keepdim=True)
    if not (lengths > 0).all():
        raise InputError("a row has length 0 and cannot be normalised; leave it out, or set normalise to false")
    return z / lengths


def check_rows(x: Tensor, clusters: int) -> None:
    """Raise InputError where rows [n, d] cannot be clustered."""
    if len(x) < clusters:
        raise InputError(f"there are {len(x)} rows for {clusters} clusters; ask for fewer")
    check_finite(x)
    if (x == x[:1]).all():
        raise InputError("all columns are constant; there is nothing to cluster")


def check_finite(x: Tensor) -> None:
    """Raise InputError for a value that is NaN or infinite."""
    if not torch.isfinite(x).all():
        raise InputError("a value is NaN or infinite; leave its row out or mend it")
