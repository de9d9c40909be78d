"""Fitting sparse autoencoders to any rows of activations: no language model, no tracker, no autograd graph.

Training follows Gao et al., "Scaling and evaluating sparse autoencoders", 2024, for all five architectures
(their losses and sources are in architectures.py): rows scaled to mean norm sqrt(d), decoder rows of unit
norm, Adam. The dead window is a share of the training, so that reviving dead latents begins in short runs
too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import torch
from torch import Tensor

from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.store import Store, batches, digest, in_memory, statistics
from winnow.dictionaries.trainer import History, Trainer
from winnow.errors import InputError

__all__ = ["SaeConfig", "fit", "fit_many"]

Progress = Callable[[int, int], None]

STATISTICS_ROWS = 20_000


def fit(
    store: Store,
    config: SaeConfig,
    *,
    inputs: int | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 100,
    progress: Progress | None = None,
) -> tuple[Dictionary, History]:
    """Fit one dictionary to rows of activations.

    store: float[n, d] as torch tensor or numpy array (read in an order shuffled by seed), or an iterable of
    such pieces (read in its own order). inputs: the first so many dimensions are read and the others decoded;
    None reads and decodes all of them. Returns the dictionary, which takes raw rows, and (metric, value,
    step) for loss, fvu and l0 of each batch and dead_fraction (silent for the dead window). checkpoint: file
    written every `checkpoint_every` steps and at the end; if it exists, training goes on from there and ends
    with the same bits as a run without a break; rows are known again by the first
    batch. progress is called with (steps done, steps).
    Raises InputError for a bad store (see store.batches), a checkpoint of other settings or rows, a loss
    that diverges.
    """
    if checkpoint is not None and checkpoint.exists():
        trainer = Trainer.load(checkpoint, config)
        reading = batches(store, config.batch, config.seed)
        first = next(reading)
        if trainer.data != digest(first):
            raise InputError(f"{checkpoint}: was made with other rows; delete it to start again")
        reading = _from(trainer.done, store, config, chain([first], reading))
    else:
        head, reading = _opened(store, config, config.steps)
        trainer = _started(config, head, inputs)
        trainer.data = digest(head[0]) if checkpoint is not None else ""

    def after_step(step: int) -> None:
        if checkpoint is not None and (step % checkpoint_every == 0 or step == config.steps):
            trainer.save(checkpoint)
        if progress is not None:
            progress(step, config.steps)

    with _threads(config.threads):
        _train([trainer], [reading], after_step)
    return trainer.dictionary(), trainer.history


def fit_many(
    store: Store, configs: Sequence[SaeConfig], *, inputs: int | None = None, progress: Progress | None = None
) -> list[tuple[Dictionary, History]]:
    """Fit several dictionaries while reading the store once; each equals that of its own `fit`.

    Configs of equal batch and seed share their reading; those of an iterable store must share the batch.
    """
    if not configs:
        raise InputError("configs: none given; pass at least one SaeConfig")
    if not in_memory(store) and len({config.batch for config in configs}) > 1:
        raise InputError("configs: differ in batch; an iterable store is read once, so give all the same batch")
    total = max(config.steps for config in configs)
    opened: dict[tuple[int, int], tuple[list[Tensor], Iterator[Tensor]]] = {}
    for config in configs:
        key = (config.batch, config.seed if in_memory(store) else 0)
        opened[key] = opened.get(key) or _opened(store, config, total)
    shared = [opened[config.batch, config.seed if in_memory(store) else 0] for config in configs]
    trainers = [_started(config, head, inputs) for config, (head, _) in zip(configs, shared, strict=True)]
    with _threads(max(config.threads for config in configs)):
        _train(trainers, [reading for _, reading in shared], lambda step: progress and progress(step, total))
    return [(trainer.dictionary(), trainer.history) for trainer in trainers]


def _from(start: int, store: Store, config: SaeConfig, reading: Iterator[Tensor]) -> Iterator[Tensor]:
    """The batches from number `start` on; of an iterable store, which is being read, the others are thrown away."""
    return batches(store, config.batch, config.seed, start) if in_memory(store) else islice(reading, start, None)


def _opened(store: Store, config: SaeConfig, steps: int) -> tuple[list[Tensor], Iterator[Tensor]]:
    """The first batches, as many as the statistics need and the steps read, and all batches with them."""
    reading = batches(store, config.batch, config.seed)
    head = list(islice(reading, min(steps, math.ceil(STATISTICS_ROWS / config.batch))))
    return head, chain(head, reading)


def _started(config: SaeConfig, head: list[Tensor], inputs: int | None) -> Trainer:
    rows = torch.cat(head[: config.steps])[:STATISTICS_ROWS]
    with _threads(config.threads):
        if inputs is None:
            return Trainer(config, rows.shape[1], statistics(rows))
        if not 0 < inputs < rows.shape[1]:
            raise InputError(f"inputs: {inputs} of {rows.shape[1]} dimensions; leave some to be decoded")
        return Trainer(config, inputs, statistics(rows[:, :inputs]), statistics(rows[:, inputs:]))


def _train(
    trainers: Sequence[Trainer], readings: Sequence[Iterator[Tensor]], after_step: Callable[[int], object]
) -> None:
    """Steps of all trainers side by side; each reading gives one batch to all that share it."""
    for step in range(trainers[0].done, max(trainer.config.steps for trainer in trainers)):
        drawn: dict[int, Tensor] = {}
        for trainer, reading in zip(trainers, readings, strict=True):
            if step < trainer.config.steps:
                if id(reading) not in drawn:
                    drawn[id(reading)] = next(reading)
                trainer.step(drawn[id(reading)])
        after_step(step + 1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch's own threads, so that results do not depend on the environment."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
