"""A hooked transformer of the small language of names, trained until it can do what circuits are looked for in.

Loss hides whether a model has found the indirect object: half of the answer is a name that the sentence has, and the
step to the right one of the two comes late and at once. Hence the gates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from winnow.errors import InputError
from winnow.models.fitting import History, fit
from winnow.models.hooked_transformer import HookedTransformer
from winnow.train.adamw import warmup_cosine
from winnow.workloads.names_language import indirect_objects, requests, year_spans
from winnow.workloads.sequences import Sequences

GATES = {"indirect_object_accuracy": 0.97, "later_year_difference": 0.75, "request_accuracy": 0.97}
PROMPTS = 300


@torch.no_grad()
def abilities(model: HookedTransformer, split: str, seed: int = 0, count: int = PROMPTS) -> dict[str, float]:
    """indirect_object_accuracy and indirect_object_difference (logits), later_year_difference, request_accuracy.

    Measured on `count` prompts of a split for each kind; those of indirect objects are of all frames in turn.
    """
    names = [indirect_objects(split, count // 6, seed, frame) for frame in range(6)]
    logits = [model(prompts.tokens) for prompts in names]
    told = [prompts.difference(found).mean() for prompts, found in zip(names, logits, strict=True)]
    right = [prompts.accuracy(found) for prompts, found in zip(names, logits, strict=True)]
    spans, asked = year_spans(split, count, seed), requests(split, count, seed)
    return {
        "indirect_object_accuracy": sum(right) / len(right),
        "indirect_object_difference": float(torch.stack(told).mean()),
        "later_year_difference": float(spans.difference(model(spans.tokens)).mean()),
        "request_accuracy": asked.accuracy(model(asked.tokens)),
    }


def train_names_language(
    workload: Sequences,
    *,
    arguments: dict[str, Any],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    gated: bool = True,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[HookedTransformer, History, dict[str, float]]:
    """The model, the history of its training and its abilities on the valid split.

    AdamW with betas .9 and .98, a rise over a tenth of the steps and a cosine to zero. A model that misses a gate is
    trained once more from the next seed; raises InputError if that one misses it too, and unless `gated` neither is
    done.
    """

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay)

    missed: list[str] = []
    for attempt in range(2):
        model = workload.build("hooked_transformer", seed=seed + attempt, **arguments)
        assert isinstance(model, HookedTransformer)
        history = fit(
            model,
            workload,
            epochs=epochs,
            optimizer=optimizer,
            schedule=warmup_cosine(0.1),
            batch_size=batch_size,
            seed=seed + attempt,
            checkpoint=checkpoint,
            progress=progress,
        )
        found = abilities(model, "valid")
        missed = [f"{name} {found[name]:.2f} < {least}" for name, least in GATES.items() if found[name] < least]
        if not (missed and gated):
            return model, history, found
    raise InputError(f"train: {', '.join(missed)} after seeds {seed} and {seed + 1}; raise epochs or change the seed")
