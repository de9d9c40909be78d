"""What a clustering leaves for the eye: a row for each image, and the centres as images."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from winnow.models.modes import evaluating
from winnow.train.tell import Tell


@torch.no_grad()
def label_rows(model: Tell, x: Tensor, y: np.ndarray, classes: list[str]) -> pa.Table:
    """image_id, cluster, class, distance to the own centre and margin to the next one, a row for each x in order."""
    far = torch.cdist(model.features(x).double(), model.layer.centres().double())
    nearest = far.sort(dim=1).values
    return pa.table(
        {
            "image_id": pa.array(np.arange(len(x)), pa.int64()),
            "cluster": pa.array(model.predict(x).numpy(), pa.int32()),
            "class": pa.array([classes[label] for label in y]),
            "distance": nearest[:, 0].numpy(),
            "margin": (nearest[:, 1] - nearest[:, 0]).numpy(),
        }
    )


@torch.no_grad()
def centre_rows(model: Tell, x: Tensor, shape: tuple[int, int, int]) -> pa.Table:
    """cluster, kind ("centre" decoded, or the "nearest" x), height, width, channels, pixels [h, w, c] of 0 to 255."""
    centres = model.layer.centres()
    with evaluating(model):
        decoded = model.decoder(centres)
    nearest = x[torch.cdist(model.features(x), centres).argmin(dim=0)]
    rows = []
    for kind, found in (("centre", decoded), ("nearest", nearest)):
        grey = (255 * found.view(-1, *shape)).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
        for cluster, image in enumerate(grey):
            height, width, channels = image.shape
            sizes = {"height": height, "width": width, "channels": channels}
            rows.append({"cluster": cluster, "kind": kind, **sizes, "pixels": image.flatten().tolist()})
    return pa.Table.from_pylist(rows)
