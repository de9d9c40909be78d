"""The reasons of one network's prototypes on train and test, and what the edits cost it.

Nauta, Jutte, Provoost and Seifert, "This Looks Like That, Because ... Explaining Prototypes for Interpretable Image
Recognition", XKDD workshop at ECML PKDD 2020. What edits cost the network's accuracy is an addition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from winnow.evaluate.prototype_reasons import Local, agreement, faithfulness, global_importance, local_importance


class Reasons(NamedTuple):
    """Of J prototypes and m edits: train and test, global importances float64[J, m]; error, of those on train; local,
    on train; accuracy on test; accuracy_drops float[m], what each edit costs there, in shares.
    """

    train: np.ndarray
    error: np.ndarray
    test: np.ndarray
    local: Local
    accuracy: float
    accuracy_drops: np.ndarray


class _Noting:
    """Maps of a network, with its predictions noted on the way: they cost no second pass."""

    def __init__(self, model: Any) -> None:
        self.model, self.predicted = model, []  # type: ignore[var-annotated]

    def class_of(self) -> Tensor:
        found: Tensor = self.model.class_of()
        return found

    def maps(self, x: Tensor) -> Tensor:
        out = self.model.outputs(x)
        self.predicted.append(out.logits.argmax(dim=1))
        maps: Tensor = out.maps
        return maps


def prepared(workload: Any) -> Callable[[Tensor], Tensor]:
    """What standardises images float32[n, 3, h, w] in [0, 1] as a workload does, which is linear in a channel."""
    ends = workload.standardise(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(workload.shape[0], axis=3))
    return lambda x: ends[0] + x * (ends[1] - ends[0])


def reasons_of_network(
    model: Any,
    images: Mapping[str, Tensor],
    edited: Mapping[str, Mapping[str, Tensor]],
    prepare: Callable[[Tensor], Tensor],
    labels: Tensor,
    seed: int = 0,
) -> Reasons:
    """Importances on the splits train and test, and the accuracy on test with and without each edit.

    model: has class_of() and outputs(x) with logits and maps. images: float32[n, 3, h, w] in [0, 1] by split; edited:
    by split and edit. labels: int64[n] of test.
    """
    edits = tuple(edited["train"])
    local = local_importance(model, images["train"], edits, prepare=prepare, edited=edited["train"])
    train, error = global_importance(local, seed=seed)
    noting = _Noting(model)
    on_test = local_importance(noting, images["test"], edits, prepare=prepare, edited=edited["test"])
    # A batch is seen as it is, then under each edit.
    seen = [torch.cat(noting.predicted[i :: 1 + len(edits)]) for i in range(1 + len(edits))]
    right = np.array([float((predicted == labels).double().mean()) for predicted in seen])
    test, _ = global_importance(on_test, seed=seed)
    return Reasons(train, error, test, local, right[0], right[0] - right[1:])


def metrics_of(found: Reasons, edits: Sequence[str]) -> dict[str, float | None]:
    """Agreement of train and test by edit, accuracy, what each edit costs of it, and faithfulness; None for NaN."""
    values: dict[str, float] = {}
    for result in agreement(found.train, found.test, edits):
        values |= {f"correlation_{result.edit}": result.correlation, f"gap_{result.edit}": result.gap}
        values |= {f"equivalence_p_{result.edit}": result.equivalence_p, f"welch_p_{result.edit}": result.welch_p}
    values |= {"accuracy": found.accuracy, "faithfulness": faithfulness(found.test, found.accuracy_drops.tolist())}
    values |= {f"accuracy_drop_{kind}": drop for kind, drop in zip(edits, found.accuracy_drops, strict=True)}
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
