"""The kind `images`: classification of small images, with calibration measured beside accuracy.

Expected calibration error: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML
2017. Brier score: Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
Review, 1950.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet
from winnow.randomness import numpy_generator
from winnow.workloads.image_tables import SPLITS, image_meta, pixel_array

EVALUATION_BATCH = 512
Batch = tuple[Tensor, Tensor]


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by rows, in [0,
    1].

    probabilities: float[n, classes], rows summing to 1. labels: int[n]. Bins are open below and closed above.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_of = np.searchsorted(inner_edges, confidence, side="left")
    gap = np.bincount(bin_of, weights=correct - confidence, minlength=bins)  # |B_m| (acc(B_m) - conf(B_m))
    return float(np.abs(gap).sum() / len(labels))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Squared distance of the predicted distribution from the true class, summed over classes: in [0, 2].

    probabilities: float[n, classes]. labels: int[n].
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


class Images:
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

    def _standardisation(self) -> tuple[np.ndarray, np.ndarray]:
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
        mean, deviation = self._standardisation()
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

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Batches (x, y) of a split; the last one may be smaller.

        seed None keeps the stored order; otherwise the order is drawn from (seed, epoch) alone, so that a
        resumed run needs no generator state. Raises InputError for a size below 1.
        """
        if size < 1:
            raise InputError(f"batch size is {size}; it must be at least 1")
        x, y = self.arrays(split)
        if seed is None:
            order = torch.arange(len(y))
        else:
            order = torch.from_numpy(numpy_generator(seed, "batches", split, str(epoch)).permutation(len(y)))
        for rows in order.split(size):
            yield x[rows], y[rows]

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of a batch, in nats."""
        x, y = batch
        return nn.functional.cross_entropy(model(x), y, label_smoothing=label_smoothing)

    def probabilities(self, model: nn.Module, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float64[n, classes] over a split in stored order, and the labels int64[n].

        The model is evaluated in eval mode and left in the mode it had.
        """
        was_training = model.training
        model.eval()
        with torch.no_grad():
            logits = torch.cat([model(x) for x, _ in self.batches(split, EVALUATION_BATCH)]).double()
        model.train(was_training)
        return logits.softmax(dim=1).numpy(), self.arrays(split)[1].numpy()

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """accuracy, cross_entropy (nats, at most 708), expected_calibration_error (15 bins), brier (0 to 2)."""
        probabilities, labels = self.probabilities(model, split)
        of_truth = probabilities[np.arange(len(labels)), labels]
        return {
            "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
            "cross_entropy": float(-np.log(np.maximum(of_truth, np.finfo(float).tiny)).mean()),
            "expected_calibration_error": expected_calibration_error(probabilities, labels),
            "brier": brier_score(probabilities, labels),
        }

    def hook_points(self, model: Any) -> list[str]:
        """Names of the model's activations that are worth a dictionary."""
        return list(model.hook_points())

    def example_inputs(self, n: int = 1) -> Tensor:
        """The first n training images: float32[n, channels, height, width]."""
        return self.arrays("train")[0][:n]
