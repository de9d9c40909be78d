"""The kind `images`: classification of small images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet
from winnow.workloads.image_tables import SPLITS, image_meta, pixel_array
from winnow.workloads.supervised import Batch, Classification


class Images(Classification):
    """A workload of images read from a folder of curated tables; splits are read when first used.

    shape is (channels, height, width). Pixels are scaled to [0, 1], then standardised by the mean and the
    standard deviation that each channel has over the training split.
    """

    kind = "images"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pixels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._arrays: dict[str, Batch] = {}
        path = folder / "train.parquet"
        self._meta = image_meta(read_parquet(path, ["label"]), str(path))
        self.name = self._meta.workload
        self.classes = list(self._meta.classes)
        self.shape = (self._meta.channels, self._meta.height, self._meta.width)

    def _read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        if split not in SPLITS:
            raise InputError(f"split {split!r} is unknown; the splits are {', '.join(SPLITS)}")
        if split not in self._pixels:
            path = self._folder / f"{split}.parquet"
            table = read_parquet(path, [self._meta.column, "label"])
            meta = image_meta(table, str(path))
            if meta != self._meta or table.schema.field(meta.column).type != meta.type:
                raise InputError(f"{path}: describes other images than train.parquet; run its curate stage again")
            labels = table["label"].to_numpy()
            if (
                not table.num_rows
                or table["label"].null_count
                or not 0 <= labels.min() <= labels.max() < len(self.classes)
            ):
                raise InputError(f"{path}: has no rows, or labels outside its classes; run its curate stage again")
            self._pixels[split] = pixel_array(table, meta, str(path)), labels.astype(np.int64)
        return self._pixels[split]

    def standardisation(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 mean and standard deviation of each channel over train, from exact integer sums."""
        values = self._read("train")[0].reshape(-1, self._meta.channels)
        histograms = [np.bincount(values[:, c], minlength=256) for c in range(self._meta.channels)]
        grey = np.arange(256) / 255
        mean = np.array([(h * grey).sum() / h.sum() for h in histograms])
        variance = np.array([(h * (grey - m) ** 2).sum() / h.sum() for h, m in zip(histograms, mean, strict=True)])
        # By counting values: rounding can leave a channel that never varies a variance of 1e-34.
        varies = [np.count_nonzero(h) > 1 for h in histograms]
        return mean, np.where(varies, np.sqrt(variance), 1.0)

    def arrays(self, split: str) -> Batch:
        """A split in stored order: float32[n, channels, height, width], int64[n]. Do not change them."""
        if split not in self._arrays:
            self._arrays[split] = self.standardise(self.pixels(split)), torch.from_numpy(self._read(split)[1])
        return self._arrays[split]

    def pixels(self, split: str) -> np.ndarray:
        """A split in stored order as it is on disk: uint8[n, height, width, channels]."""
        return self._read(split)[0].reshape(-1, self._meta.height, self._meta.width, self._meta.channels)

    def standardise(self, pixels: np.ndarray) -> Tensor:
        """Images uint8[n, height, width, channels] as a model of this workload takes them: float32[n, c, h, w]."""
        mean, deviation = self.standardisation()
        # One lookup per channel: no float copy of all images but the result.
        table = ((np.arange(256)[:, None] / 255 - mean) / deviation).astype(np.float32)
        return torch.from_numpy(np.stack([table[pixels[..., c], c] for c in range(self._meta.channels)], axis=1))

    def annotations(self, split: str) -> pa.Table:
        """The annotations of a split in stored order: image_id, group where there is one, and what else is known.

        `winnow.workloads.annotations` reads its columns parts and concepts.
        """
        self._read(split)  # it refuses a split that does not belong to the others
        table = read_parquet(self._folder / f"{split}.parquet")
        return table.drop_columns([self._meta.column, "label", "quality"])

    def build(self, name: str, seed: int = 0, **arguments: Any) -> nn.Module:
        """A new model of the registry for images of this shape and these classes, not yet trained."""
        from winnow.models import build

        channels, height, width = self.shape
        shape = {"in_channels": channels, "height": height, "width": width, "classes": len(self.classes)}
        return build(name, seed=seed, **shape, **arguments)
