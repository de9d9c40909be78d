"""Autoencoders of several nodes, of one configuration, trained side by side.

A step of a small autoencoder is bound by the number of its tensor operations. Here the parameters of all have one more
dimension in front, so that one operation serves all of them; each autoencoder equals that of its own `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice

import torch
from torch import Tensor

from winnow.dictionaries.adam import Adam, clip_each
from winnow.dictionaries.architectures import ARCHITECTURES, Parameters, Settings, Step, gated
from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.sae import STATISTICS_ROWS
from winnow.dictionaries.store import Statistics, batches, statistics
from winnow.dictionaries.trainer import Trainer

Joint = Callable[[Parameters, Tensor, Settings], Step]
"""A loss of several autoencoders at once."""


class SideBySide:
    """A trainer for each of several nodes; their parameters and moments are parts of common ones."""

    def __init__(self, config: SaeConfig, found: Sequence[Statistics]) -> None:
        self.trainers = [Trainer(config, len(one.centre), one) for one in found]
        names = self.trainers[0].parameters
        self.parameters = {name: torch.stack([own.parameters[name] for own in self.trainers]) for name in names}
        self.adam = Adam(self.parameters)
        for i, own in enumerate(self.trainers):
            own.parameters = {name: whole[i] for name, whole in self.parameters.items()}
            own.adam.first = {name: whole[i] for name, whole in self.adam.first.items()}
            own.adam.second = {name: whole[i] for name, whole in self.adam.second.items()}
        self.scale = torch.tensor([one.scale for one in found])[:, None, None]

    def step(self, rows: Tensor, loss: Joint | None = None) -> None:
        """One step on raw rows float32[s, batch, d]; loss: where it is not that of the architecture."""
        rows, first = rows * self.scale, self.trainers[0]
        if loss is not None:
            result = loss(self.parameters, rows, first.settings())
            first.check(result)
            first.update(self.parameters, result.gradients, self.adam, clip_each)
        else:
            architecture, results = ARCHITECTURES[first.config.architecture], []
            for own, part in zip(self.trainers, rows, strict=True):
                results.append(architecture(own.parameters, part, own.settings()))
                own.check(results[-1])
            gradients = {name: torch.stack([one.gradients[name] for one in results]) for name in self.parameters}
            first.update(self.parameters, gradients, self.adam, clip_each)
            for own, one, part in zip(self.trainers, results, rows, strict=True):
                own.note(one, part)
        for own in self.trainers:
            own.done += 1

    def dictionaries(self) -> list[Dictionary]:
        """Those of the nodes so far."""
        return [own.dictionary() for own in self.trainers]


def fit_side_by_side(rows: Tensor, config: SaeConfig) -> list[Dictionary]:
    """A dictionary of each of s nodes, of rows float32[n, s, d]; errors as `fit`."""
    nodes = rows.shape[1]
    reading = batches(rows.flatten(1), config.batch, config.seed)
    head = list(islice(reading, min(config.steps, -(-STATISTICS_ROWS // config.batch))))
    seen = torch.cat(head)[:STATISTICS_ROWS].unflatten(1, (nodes, -1))
    trainers = SideBySide(config, [statistics(part.contiguous()) for part in seen.unbind(1)])
    # Gated autoencoders wake no latents, so that nothing is to be noted of each.
    loss = gated if config.architecture == "gated" else None
    for batch in islice(chain(head, reading), config.steps):
        trainers.step(batch.unflatten(1, (nodes, -1)).transpose(0, 1).contiguous(), loss)
    return trainers.dictionaries()
