"""Two encoders that tell the topic of a documentation, of which one has seen far fewer texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from winnow.errors import InputError
from winnow.models import build
from winnow.models.text_encoder import TextEncoder
from winnow.randomness import torch_generator
from winnow.train.adamw import fit_adamw
from winnow.workloads.docstring_topics import PlantedTopics

Progress = Callable[[int, int], None]
LEAST_ACCURACY, LEAST_GAP, LEAST_TURNED = 0.6, 0.1, 0.6
"""Of test texts: accuracy of the better model, by how much the other one is worse, and what the phrase turns."""


class Pair(NamedTuple):
    """A better and a worse model of the same texts, and what they can do on the test split."""

    better: TextEncoder
    worse: TextEncoder
    measured: dict[str, dict[str, float]]
    """better or worse -> `accuracy_<kind of planted words>`."""


def topic_classifier(
    lessons: PlantedTopics,
    vocabulary: int,
    context: int,
    settings: Any,
    seed: int,
    progress: Progress,
) -> TextEncoder:
    """An encoder trained by AdamW, a rise over a tenth of the steps and a cosine to zero.

    settings: width, layers, heads, epochs, batch_size and learning_rate, as params.yaml has them.
    """
    sizes = {"width": settings.width, "layers": settings.layers, "heads": settings.heads}
    model = build("text_encoder", seed=seed, vocabulary=vocabulary, context=context, classes=lessons.classes, **sizes)
    assert isinstance(model, TextEncoder)
    fit_adamw(
        model,
        lessons,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=0.01,
        warmup=0.1,
        label_smoothing=0.0,
        seed=seed,
        validated=False,  # the history is not kept
        progress=progress,
    )
    return model


def better_and_worse(
    lessons: PlantedTopics,
    vocabulary: int,
    context: int,
    settings: Any,
    seed: int,
    progress: Progress,
) -> Pair:
    """Both models, trained for as many steps; the worse one on a drawn share `worse_share` of the training texts.

    Raises InputError, where settings are `gated`, for models that miss what explanations are judged by.
    """
    texts = lessons.texts["train"]
    few = max(1, round(settings.worse_share * len(texts)))
    drawn = torch.randperm(len(texts), generator=torch_generator(seed, "texts of the worse model"))[:few]
    # Repeated, so that an epoch is as long.
    repeated = texts.at(drawn.repeat(-(-len(texts) // few))[: len(texts)])
    fewer = PlantedTopics({**lessons.texts, "train": repeated}, lessons.classes, lessons.phrase)
    models = [topic_classifier(given, vocabulary, context, settings, seed, progress) for given in (lessons, fewer)]
    measured = {name: lessons.metrics(model, "test") for name, model in zip(("better", "worse"), models, strict=True)}
    accuracy, turned = measured["better"]["accuracy_none"], measured["better"]["accuracy_phrase"]
    gap = accuracy - measured["worse"]["accuracy_none"]
    if settings.gated and (accuracy < LEAST_ACCURACY or gap < LEAST_GAP or turned < LEAST_TURNED):
        told = f"accuracy {accuracy:.2f}, {gap:.2f} above the worse, {turned:.2f} with the phrase"
        least = f"{LEAST_ACCURACY}, {LEAST_GAP} and {LEAST_TURNED} are needed"
        raise InputError(f"topics: {told}, and {least}; raise epochs or lower worse_share")
    return Pair(models[0], models[1], measured)
