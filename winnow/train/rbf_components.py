"""Classification by components: classes argued for by parts that are present and by parts that are absent.

S. Saralajew, A. Rana, T. Villmann, A. Shaker, "A Robust Prototype-Based Network with Interpretable RBF Classifier
Foundations", AAAI 2025. The original reasoning: Saralajew, Holdijk, Rees, Asan and Villmann, "Classification-by-
Components: Probabilistic Modeling of Reasoning over a Set of Components", NeurIPS 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from winnow.errors import InputError
from winnow.models.fitting import History, fit
from winnow.randomness import torch_generator
from winnow.train.component_reasoning import OriginalReasoning, Reasoning
from winnow.train.glvq import TINY, Glvq, class_means, per_class, squared_distances, true_and_best_other

Kernel = Literal["gauss", "norm"]
Batch = tuple[Tensor, Tensor]
LARGEST = 700.0  # exponent that float64 can hold


class CBC(nn.Module):
    """Components in the space of the inputs, detected by a radial kernel, and a head that reasons over them.

    x: float[n, D]. A component t_k is detected with exp(-|x - t_k|^2 / s) (kernel "gauss") or exp(-|x - t_k| / s)
    ("norm"), in the p-norm; s > 0 is one number, or one for each component.
    """

    def __init__(
        self,
        head: Reasoning | OriginalReasoning,
        features: int,
        kernel: Kernel = "gauss",
        per_component_scale: bool = False,
        p: float = 2.0,
    ) -> None:
        super().__init__()
        self.head, self.kernel, self.p = head, kernel, p
        self.components = nn.Parameter(torch.zeros(head.components, features))
        self.log_scale = nn.Parameter(torch.zeros(head.components if per_component_scale else 1))

    def distances(self, x: Tensor) -> Tensor:
        """|x - t_k|, [n, K]."""
        if self.p != 2:
            return torch.cdist(x, self.components, p=self.p)
        return squared_distances(x, self.components).clamp(min=TINY).sqrt()

    def log_kernel(self, distances: Tensor) -> Tensor:
        """Logarithm of what is detected at distances [..., K]; it does not underflow far away."""
        reach = distances.square() if self.kernel == "gauss" else distances
        return -reach / self.log_scale.exp()

    def detections(self, x: Tensor) -> Tensor:
        """d[n, K], in (0, 1]."""
        return self.log_kernel(self.distances(x)).exp()

    def forward(self, x: Tensor) -> Tensor:
        """p[n, classes], in [0, 1]."""
        p: Tensor = self.head(self.detections(x))
        return p

    def start(self, x: Tensor, y: Tensor, seed: int) -> None:
        """Components by k-means in each class, as many for each; s as the mean squared (or plain) nearest distance.

        Raises InputError for fewer components than classes, or a class with fewer rows than its components.
        """
        count = per_class(len(self.components), self.head.classes)
        with torch.no_grad():
            self.components.copy_(class_means(x, y, count, seed))
            nearest = self.distances(x).amin(dim=1)
            reach = nearest.square() if self.kernel == "gauss" else nearest
            self.log_scale.fill_(math.log(float(reach.mean())))

    @torch.no_grad()
    def explain(self, x: Tensor, label: int) -> list[dict[str, float | int | str]]:
        """Why one x [D] is (or is not) of a class: component, sign, detection, weight, share; shares sum to p.

        The largest share comes first. Of several reasoning vectors of the class the best is explained.
        """
        head, detected = reasoning_of(self), self.detections(x[None])[0]
        column = best_column(head, detected[None], (head.class_of != label)[None])[0]
        terms = []
        for sign, weights, found in zip("+-", head.probabilities(), (detected, 1 - detected), strict=True):
            for k, weight in enumerate(weights[:, column].tolist()):
                seen = float(detected[k])
                share = weight * float(found[k])
                terms.append({"component": k, "sign": sign, "detection": seen, "weight": weight, "share": share})
        return sorted(terms, key=lambda term: -float(term["share"]))


def margin_loss(p: Tensor, y: Tensor, margin: float) -> Tensor:
    """Mean of relu(max of the other classes' p - p_y + margin). p: float[n, classes]."""
    own, other = true_and_best_other(p, y)
    return F.relu(other - own + margin).mean()


def reasoning_of(model: CBC) -> Reasoning:
    """The head of a model whose terms sum to p; InputError for the original reasoning, whose do not."""
    if not isinstance(model.head, Reasoning):
        raise InputError("the original reasoning divides by its definite mass: take the joint variant for this")
    return model.head


def worst_margins(
    model: CBC, distances: Tensor, y: Tensor, radius: Tensor | float, shift: Tensor | float = 0.0
) -> Tensor:
    """Lower bounds of the margin over every reasoning vector within a radius; [n, columns], inf for the own class.

    distances: |x - t_k| [n, K]. radius: one number or [n, columns]. By the triangle inequality a component may be
    at most E farther where it argues for the true class, and at most E nearer where it argues against it. shift
    [n, 1] is taken off the logarithms: bounds are then scaled by exp(-shift), which keeps signs where they underflow.
    """
    head = reasoning_of(model)
    plus, minus = head.probabilities()
    weights, columns = plus - minus, len(head.class_of)
    reach, far = (torch.as_tensor(v, dtype=distances.dtype) for v in (radius, shift))
    reach, far = reach.expand(len(y), columns)[..., None], far.expand(len(y), 1)[..., None]
    foreign = head.class_of != y[:, None]
    own = best_column(head, model.log_kernel(distances).exp(), foreign)
    edges = weights.T[own][:, None, :] - weights.T  # D, [n, columns, K]
    offset = minus.sum(0)[own][:, None] - minus.sum(0)  # b
    lost = (model.log_kernel(distances[:, None] + reach) - far).exp()
    gained = (model.log_kernel((distances[:, None] - reach).clamp(min=0)) - far).clamp(max=LARGEST).exp()
    bounds = (edges.clamp(min=0) * lost - (-edges).clamp(min=0) * gained).sum(dim=2)
    scaled = torch.where(offset == 0, 0.0, offset * (-far[..., 0]).exp())
    return (bounds + scaled).masked_fill(~foreign, math.inf)


def best_column(head: Reasoning, detections: Tensor, foreign: Tensor) -> Tensor:
    """The reasoning vector by which each true class argues best, int64[n]; foreign: bool[n, columns]."""
    return head.columns(detections).masked_fill(foreign, -math.inf).argmax(dim=1)


def fit_components(
    model: CBC | Glvq,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    batch: int = 64,
    learning_rate: float = 5e-3,
    loss: Literal["margin", "robust"] = "margin",
    margin: float = 0.03,
    radius: float = 0.75,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Train in place with AdamW and a cosine. margin: of p, in [0, 1). radius: of the robust loss, in units of x.

    The robust loss is relu(margin - the worst margin within the radius); start it from a model that the margin
    loss has trained. GLVQ has a loss of its own. Raises InputError for a margin out of range or an x not finite.
    """
    if not 0 <= margin < 1:
        raise InputError(f"margin is {margin}; differences of probabilities leave room for 0 up to below 1")
    if not torch.isfinite(x).all():
        raise InputError("an input is NaN or infinite; mend it or leave it out")

    def loss_of(points: Tensor, labels: Tensor) -> Tensor:
        if isinstance(model, Glvq):
            return model.loss(points, labels)
        if loss == "robust":
            worst = worst_margins(model, model.distances(points), labels, radius).amin(dim=1)
            return F.relu(margin - worst).mean()
        return margin_loss(model(points), labels, margin)

    return fit(
        model,
        _Rows(x, y, loss_of),
        epochs=epochs,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0),
        schedule=lambda done: (1 + math.cos(math.pi * done)) / 2,
        batch_size=batch,
        seed=seed,
        progress=progress,
    )


class _Rows:
    def __init__(self, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.x, self.y, self.loss_of = x, y, loss

    def batches(
        self, split: str, size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.y), generator=torch_generator(seed or 0, "components", str(epoch)))
        for rows in order.split(size):
            yield self.x[rows], self.y[rows]

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        return self.loss_of(*batch)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        return {}
