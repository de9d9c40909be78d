"""What follows the training of a prototype network: prototypes become patches, the last layer is fitted, some go.

Chen, Li, Tao, Barnett, Su and Rudin, "This Looks Like That: Deep Learning for Interpretable Image Recognition",
NeurIPS 2019. The last layer is solved by FISTA: Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm
for Linear Inverse Problems", SIAM Journal on Imaging Sciences, 2009.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from winnow.errors import InputError
from winnow.models.protopnet import ProtoPNet
from winnow.train.protopnet import EVALUATION_BATCH, Fronts, outputs_of


class Projection(NamedTuple):
    """Where each of J prototypes was found."""

    image: Tensor
    """int64[J]: row of the split."""
    y: Tensor
    """int64[J]: row of the grid."""
    x: Tensor
    """int64[J]: column of the grid."""
    distance: Tensor
    """float32[J]: distance to the patch before the prototype was replaced, as the network measures it."""


@torch.no_grad()
def nearest_patches(model: ProtoPNet, front: Fronts) -> tuple[Projection, Tensor]:
    """The patch of the own class that is nearest to each prototype, and its features float32[J, D].

    Of equally near patches the first counts, by image, then row, then column. Raises InputError for a class without
    an image.
    """
    absent = sorted(set(range(model.classes)) - set(front.labels.tolist()))
    if absent:
        raise InputError(f"push: class {absent[0]} has no training image; add some or drop the class")
    features = torch.cat([model.add_on(model.blocks_after(m)) for m in front.middle.split(EVALUATION_BATCH)])
    height, width = features.shape[2:]
    patches = features.flatten(2).mT.reshape(-1, features.shape[1])
    of_image = front.labels.repeat_interleave(height * width)
    if model.similarity == "projection":
        patches = functional.normalize(patches)
    found = torch.full((len(model.prototypes),), -1)
    least = torch.full((len(model.prototypes),), torch.inf)
    for label in range(model.classes):
        rows, mine = (of_image == label).nonzero()[:, 0], (model.class_of() == label).nonzero()[:, 0]
        distances = model.distances_to(patches[rows])[:, mine]
        least[mine], nearest = distances.min(0)
        found[mine] = rows[nearest]
    position = found % (height * width)
    image = found // (height * width)
    return Projection(image, position // width, position % width, least), patches[found]


@torch.no_grad()
def push(model: ProtoPNet, front: Fronts) -> Projection:
    """Replace each prototype by the nearest training patch of its class, in place.

    Projection similarity takes the patch at unit length. Raises InputError for a class without an image.
    """
    projection, patches = nearest_patches(model, front)
    model.prototypes.copy_(patches)
    return projection


@torch.no_grad()
def last_layer(model: ProtoPNet, scores: Tensor, labels: Tensor, l1: float = 1e-4, iterations: int = 20) -> list[float]:
    """Fit the linear head on fixed scores, in place; returns the objective before and after each iteration.

    scores: float32[n, J]. Minimises mean cross-entropy + l1 * sum of |weights of other classes' prototypes|, which is
    convex. Raises InputError where the network has no linear head.
    """
    if not hasattr(model, "head"):
        raise InputError("last_layer: the head aggregates own prototypes and has no weights to fit; use head linear")
    scores = scores.double()
    other = model.class_of()[None] != torch.arange(model.classes)[:, None]
    penalty = l1 * other.double()
    target = functional.one_hot(labels, model.classes).double()

    def objective(weights: Tensor) -> float:
        loss = functional.cross_entropy(scores @ weights.T, labels)
        return float(loss + (penalty * weights.abs()).sum())

    # The Hessian of softmax cross-entropy is at most half the scores' second moment.
    step = 1 / (0.5 * float(torch.linalg.matrix_norm(scores, 2)) ** 2 / len(scores))
    weights = ahead = model.head.double()
    momentum, history = 1.0, [objective(weights)]
    for _ in range(iterations):
        gradient = ((scores @ ahead.T).softmax(1) - target).T @ scores / len(scores)
        moved = ahead - step * gradient
        nearer = moved.sign() * (moved.abs() - step * penalty).clamp_min(0)
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        value = objective(nearer)
        if value > history[-1]:  # monotone form: the momentum is given up where it would climb
            ahead, momentum = weights, 1.0
            history.append(history[-1])
            continue
        ahead = nearer + (momentum - 1) / grown * (nearer - weights)
        weights, momentum = nearer, grown
        history.append(value)
    model.head.copy_(weights)
    return history


@torch.no_grad()
def prune(model: ProtoPNet, front: Fronts, k: int = 6, keep: int = 3) -> Tensor:
    """Switch off prototypes whose k nearest training images hold fewer than `keep` of their class, in place.

    Returns bool[J], True where a prototype stays. Raises InputError for k beyond the images, or where a class would be
    left without a prototype.
    """
    if not 1 <= keep <= k <= len(front.labels):
        raise InputError(f"prune: k is {k} and keep {keep}; give 1 <= keep <= k <= {len(front.labels)} images")
    nearest = outputs_of(model, front).distances.sort(dim=0, stable=True).indices[:k]
    stays = (front.labels[nearest] == model.class_of()[None]).sum(0) >= keep
    bare = [c for c in range(model.classes) if not stays[model.class_of() == c].any()]
    if bare:
        raise InputError(f"prune: class {bare[0]} would keep no prototype; lower keep, which is {keep}")
    model.active.copy_(stays.to(model.active.dtype))
    return stays


def _boxes(maps: Tensor, size: tuple[int, int], quantile: float) -> list[list[int]]:
    """Left, top, right, bottom of what exceeds the quantile of maps float[k, h, w] brought to the image's size."""
    large = functional.interpolate(maps[:, None], size=size, mode="bicubic", align_corners=False)[:, 0].numpy()
    boxes = []
    for mask in large >= np.quantile(large, quantile, axis=(1, 2), keepdims=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
    return boxes


@torch.no_grad()
def evidence_table(
    model: ProtoPNet, front: Fronts, workload: Any, split: str, row: int = 0, quantile: float = 0.95
) -> pa.Table:
    """Why the network gives one image its class: what each prototype adds to that class's logit, the most first.

    Columns split, row, predicted, logit, prototype, class, similarity, weight, contribution (their product, which sums
    to the logit), box (as in `prototype_table`, of the prototype's response in this image).
    """
    out = model.from_front(front.middle[row : row + 1])
    predicted = int(out.logits[0].argmax())
    scores, weights = out.scores[0], model.evidence_weights()[predicted]
    order = (scores * weights).argsort(descending=True, stable=True)
    boxes = _boxes(out.maps[0], workload.shape[1:], quantile)
    return pa.Table.from_pylist(
        [
            {"split": split, "row": row, "predicted": predicted, "logit": float(out.logits[0, predicted])}
            | {"prototype": j, "class": int(model.class_of()[j]), "similarity": float(scores[j])}
            | {"weight": float(weights[j]), "contribution": float(scores[j] * weights[j]), "box": boxes[j]}
            for j in order.tolist()
        ]
    )


@torch.no_grad()
def score_table(model: ProtoPNet, front: Fronts, workload: Any, split: str) -> pa.Table:
    """How much each image of a split looks like each prototype, a row for each image and prototype.

    Columns image_id, label, predicted, prototype, class, score; an image's logits are its scores times
    `ProtoPNet.evidence_weights`.
    """
    out, classes = outputs_of(model, front), model.class_of()
    count = len(classes)
    of_image = {
        "image_id": workload.annotations(split)["image_id"].to_numpy(),
        "label": front.labels.int().numpy(),
        "predicted": out.logits.argmax(1).int().numpy(),
    }
    table = {name: np.repeat(values, count) for name, values in of_image.items()}
    table["prototype"] = np.tile(np.arange(count, dtype=np.int32), len(front.labels))
    table["class"] = np.tile(classes.int().numpy(), len(front.labels))
    return pa.table(table | {"score": out.scores.flatten().numpy()})


@torch.no_grad()
def prototype_table(model: ProtoPNet, front: Fronts, workload: Any, quantile: float = 0.95) -> pa.Table:
    """Where each prototype is found in the training split, and what it counts for its class.

    Columns prototype, class, image_id, row (of the split), y and x (of the grid), box (left, top, right, bottom in
    pixels, the last two outside: what exceeds the quantile of the map brought to the image's size), distance, weight,
    active.
    """
    projection, _ = nearest_patches(model, front)
    maps = model.from_front(front.middle[projection.image]).maps
    own = maps[torch.arange(len(maps)), torch.arange(len(maps))]
    boxes = _boxes(own, workload.shape[1:], quantile)
    classes = model.class_of()
    weights = model.evidence_weights()[classes, torch.arange(len(classes))]
    return pa.table(
        {
            "prototype": pa.array(range(len(classes)), pa.int32()),
            "class": pa.array(classes.numpy(), pa.int32()),
            "image_id": pa.array(
                workload.annotations("train")["image_id"].to_numpy()[projection.image.numpy()], pa.int64()
            ),
            "row": pa.array(projection.image.numpy(), pa.int64()),
            "y": pa.array(projection.y.numpy(), pa.int32()),
            "x": pa.array(projection.x.numpy(), pa.int32()),
            "box": pa.array(boxes, pa.list_(pa.int32(), 4)),
            "distance": pa.array(projection.distance.numpy(), pa.float32()),
            "weight": pa.array(weights.numpy(), pa.float32()),
            "active": pa.array(model.active.bool().numpy()),
        }
    )
