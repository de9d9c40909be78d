"""What compression does to a model's dictionary: fidelity, features, and the features that the loss hangs on.

The dense model's dictionary is put into the compressed model as it is, and beside one that is fitted there. Features
are matched one to one (`feature_survival`). How much the loss hangs on a feature is told as S. Marks, C. Rager, E. J.
Michaud, Y. Belinkov, D. Bau, A. Mueller do, "Sparse Feature Circuits", ICLR 2025: activation times the gradient along
the decoder direction. Yardstick: a dictionary of the dense model that differs in its seed alone; those of compressed
models have that seed too, so that none of them is nearer to the dense one by its start.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.on_language import BATCH, HeldOut
from winnow.evaluate.feature_survival import survival

SHOWN = ("fvu", "ce_recovered", "ce_recovered_mean")


class Fitted:
    """A dictionary on the held-out sequences of the model that it was fitted to."""

    def __init__(self, dictionary: Dictionary, held_out: HeldOut) -> None:
        self.dictionary, self.held_out = dictionary, held_out

    @cached_property
    def codes(self) -> np.ndarray:
        """float32[n, m]."""
        return self.dictionary.dense(self.held_out.rows).numpy()

    @cached_property
    def attributions(self) -> np.ndarray:
        """float64[m], nats: mean over rows of |activation x gradient of the loss along the decoder direction|.

        The gradient is that of the summed loss at the rows themselves, not at their reconstructions.
        """
        total = torch.zeros(self.dictionary.m, dtype=torch.float64)
        for first in range(0, len(self.held_out.corpus.tokens), BATCH):
            rows, gradient = row_gradients(self.held_out, first)
            effects = self.dictionary.dense(rows) * (gradient.float() @ self.dictionary.W_dec.T)
            total += effects.abs().double().sum(0)
        return (total / len(self.held_out.rows)).numpy()


def row_gradients(held_out: HeldOut, first: int) -> tuple[Tensor, Tensor]:
    """The kept rows float[n, d] of a batch of sequences, and the gradient of its summed loss at them."""
    leaves: list[Tensor] = []

    def edit(rows: Tensor) -> Tensor:
        leaves.append(rows.detach().requires_grad_())
        return leaves[0]

    with torch.enable_grad():
        loss = held_out.summed_loss(first, edit)
        (gradient,) = torch.autograd.grad(loss, leaves)
    return leaves[0].detach(), gradient


def fidelity(fitted: Fitted) -> dict[str, float | None]:
    """fvu, ce_recovered, ce_recovered_mean, silent_fraction of a dictionary, and cross_entropy (nats) of its model."""
    found = fitted.held_out.judge(fitted.dictionary)
    return {"cross_entropy": found["ce_clean"], **{name: found[name] for name in (*SHOWN, "silent_fraction")}}


def compared(dense: Fitted, other: Fitted, *, strongest: int, chance_quantile: float, seed: int) -> dict:
    """What becomes of the dense model's dictionary in another model, on the same sequences.

    transferred_*: the dense dictionary's fidelity in the other model. survival, chance_survival: shares of its live
    features found again by activation. circuit_overlap: share of its `strongest` features by attribution whose matches
    are among the other's strongest. chance_overlap: what it would be if features were matched at random.
    """
    moved = fidelity(Fitted(dense.dictionary, other.held_out))
    found = survival(
        dense.dictionary.W_dec.numpy(),
        other.dictionary.W_dec.numpy(),
        dense.codes,
        other.codes,
        by="activation",
        chance_quantile=chance_quantile,
        seed=seed,
    )
    matched = found.features["match"].to_pylist()
    first, second = (set(leading(fitted.attributions, strongest)) for fitted in (dense, other))
    shared = sum(matched[feature] in second for feature in first)
    return {
        **{f"transferred_{name}": moved[name] for name in SHOWN},
        **{name: found.summary[name] for name in ("survival", "chance_survival")},
        "circuit_overlap": shared / strongest,
        "chance_overlap": strongest / dense.dictionary.m,
    }


def leading(attributions: np.ndarray, count: int) -> list[int]:
    """The features of the largest attributions, ties to the lower number."""
    return np.argsort(-attributions, kind="stable")[:count].tolist()
