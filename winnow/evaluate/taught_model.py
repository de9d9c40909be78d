"""A copy of a model that is taught the task of dictionaries, where the model itself cannot do it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.evaluate.supervised_task import Task
from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import torch_generator
from winnow.train.adamw import fit_adamw

ABLE = 0.95
"""Share of prompts that a model answers which needs no teaching."""


@torch.no_grad()
def ability(model: HookedTransformer, task: Task) -> dict[str, float]:
    """Of the prompts: accuracy among all tokens, among the names, and logit difference of the two names."""
    logits, _ = model.run(task.tokens, last=True)
    last, right = logits[:, -1], task.attributes["indirect"]
    return {
        "accuracy": float((last.argmax(-1) == task.answer).double().mean()),
        "accuracy_among_names": float((last[:, task.frame.answers].argmax(-1) == right).double().mean()),
        "logit_difference": float(task.difference(logits).mean()),
    }


class Lessons:
    """Prompts of the train split as a workload: the loss is that of the answer alone."""

    def __init__(self, train: Task, valid: Task) -> None:
        self._tasks = {"train": train, "valid": valid}

    def batches(
        self, split: str, size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Prompts int64[n, t] and answers int64[n]; in stored order without a seed. The last batch may be smaller."""
        task = self._tasks[split]
        order = torch.arange(len(task.tokens))
        if seed is not None:
            order = torch.randperm(len(order), generator=torch_generator(seed, "lessons", split, str(epoch)))
        for part in order.split(size):
            yield task.tokens[part], task.answer[part]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of the answers, in nats."""
        tokens, answer = batch
        assert isinstance(model, HookedTransformer)
        # What other positions foretell does not count.
        stream, _ = model.run(tokens, stop_at=len(model.blocks), last=True)
        return nn.functional.cross_entropy(model.foretold(stream[:, -1]), answer, label_smoothing=label_smoothing)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """What `ability` says of a split."""
        assert isinstance(model, HookedTransformer)
        return ability(model, self._tasks[split])


def taught(
    model: HookedTransformer, lessons: Lessons, settings: Any, seed: int, progress: Callable[[int, int], None]
) -> HookedTransformer:
    """The model itself where it answers nearly all valid prompts; else a copy trained on those of the train split.

    settings: lesson_size, learning_rate and least_accuracy, as params.yaml has them. Raises InputError for a copy that
    answers fewer than `least_accuracy` of the valid prompts.
    """
    if lessons.metrics(model, "valid")["accuracy"] >= ABLE:
        return model
    pupil = copy.deepcopy(model)
    fit_adamw(
        pupil,
        lessons,
        epochs=1,
        batch_size=settings.lesson_size,
        learning_rate=settings.learning_rate,
        weight_decay=0.01,
        warmup=0.1,
        label_smoothing=0.0,
        seed=seed,
        validated=False,  # the history is not kept
        progress=progress,
    )
    if (found := lessons.metrics(pupil, "valid")["accuracy"]) < settings.least_accuracy:
        raise InputError(f"names: of the valid prompts {found:.2f} are answered after all lessons, and "
                         f"{settings.least_accuracy:g} are needed; raise lessons")  # fmt: skip
    return pupil


class Ready(NamedTuple):
    """A model that can do a task, prompts to fit and to judge on, and what it can do with the latter.

    abilities: as_trained or judged -> `ability`.
    """

    model: HookedTransformer
    fit: Task
    test: Task
    abilities: dict[str, dict[str, float]]


def made_ready(
    model: HookedTransformer,
    ask: Callable[[str, int, int], Task],
    settings: Any,
    seed: int,
    progress: Callable[[int, int], None],
) -> Ready:
    """The model, or a copy that `taught` gives, for a task whose prompts `ask(split, count, seed)` draws.

    settings: fit_prompts, prompts and lessons beside those of `taught`, as params.yaml has them.
    """
    valid, test = (ask(split, settings.prompts, seed) for split in ("valid", "test"))
    lessons = Lessons(ask("train", settings.lessons * settings.lesson_size, seed), valid)
    able = taught(model, lessons, settings, seed, progress)
    abilities = {"as_trained": ability(model, test), "judged": ability(able, test)}
    return Ready(able, ask("train", settings.fit_prompts, seed), test, abilities)
