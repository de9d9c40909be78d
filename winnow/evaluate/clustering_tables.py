"""What a clustering leaves for the eye: a row for each input, and the centres as images or as rows of a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from winnow.models.modes import evaluating
from winnow.train.tell import Tell
from winnow.workloads.unit_interval import Show


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
def centre_rows(model: Tell, x: Tensor, show: Show) -> pa.Table:
    """cluster, kind ("centre" decoded, or the "nearest" x), and the columns by which `show` shows a point."""
    centres = model.layer.centres()
    with evaluating(model):
        decoded = model.decoder(centres)
    nearest = x[torch.cdist(model.features(x), centres).argmin(dim=0)]
    return pa.Table.from_pylist(
        [
            {"cluster": cluster, "kind": kind} | row
            for kind, found in (("centre", decoded), ("nearest", nearest))
            for cluster, point in enumerate(show(found))
            for row in point
        ]
    )
