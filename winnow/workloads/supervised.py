"""What workloads with inputs and targets share: batches, loss, probabilities and metrics.

Expected calibration error: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML
2017. Brier score: Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
Review, 1950.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.randomness import numpy_generator

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


class Classification:
    """Classification of the rows that `arrays` gives; a kind of workload says what these are."""

    classes: list[str]
    task = "classification"

    def arrays(self, split: str) -> Batch:
        """A split in stored order: inputs float32[n, ...] and labels int64[n]. Do not change them."""
        raise NotImplementedError

    def build(self, name: str, seed: int = 0, **arguments: Any) -> nn.Module:
        """A new model of the registry for this workload's inputs and classes, not yet trained."""
        raise NotImplementedError

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

    def outputs(self, model: nn.Module, split: str) -> Tensor:
        """What the model puts out over a split in stored order: float64[n, outputs].

        The model is evaluated in eval mode and left in the mode it had.
        """
        was_training = model.training
        model.eval()
        with torch.no_grad():
            outputs = torch.cat([model(x) for x, _ in self.batches(split, EVALUATION_BATCH)]).double()
        model.train(was_training)
        return outputs

    def probabilities(self, model: nn.Module, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float64[n, classes] over a split in stored order, and the labels int64[n].

        The model is evaluated in eval mode and left in the mode it had.
        """
        return self.outputs(model, split).softmax(dim=1).numpy(), self.arrays(split)[1].numpy()

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
        """The first n training inputs: float32[n, ...]."""
        return self.arrays("train")[0][:n]
