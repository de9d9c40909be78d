"""Autoencoders of a task's nodes whose penalty is weighted by what their latents do to the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from winnow.dictionaries.attribution_l1 import fit_attribution_l1
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.sae import SaeConfig
from winnow.evaluate.dictionary_toys import closest_in_l0
from winnow.evaluate.supervised_dictionaries import Features
from winnow.evaluate.task_dictionaries import of_dictionary
from winnow.evaluate.task_scene import Scene

UNEXPLAINED = 1.0
"""Weight of the attribution that is left unexplained, in the second kind."""


def answer_gradients(scene: Scene) -> Tensor:
    """float32[n, nodes, d]: the gradient of each fit prompt's logit difference, answer above other, at every node."""
    fit, hooks = scene.fit, sorted({node.hook for node in scene.nodes})
    with torch.enable_grad():
        logits, saved = scene.model.run(fit.tokens, save=hooks, last=True)
        found = torch.autograd.grad(fit.difference(logits).sum(), [saved[hook] for hook in hooks])
    at = dict(zip(hooks, found, strict=True))
    return torch.stack([at[node.hook][:, node.position, node.head] for node in scene.nodes], 1)


def attribution_features(scene: Scene, settings: Any, seed: int) -> tuple[list[Features], list[Features]]:
    """One dictionary for each node, of the penalty whose L0 comes nearest to `k`; without and with the second term.

    The second term, on attribution that is left unexplained, is added at the same penalty. settings: width, k, steps,
    batch_size and penalties, as params.yaml has them.
    """
    plain = SaeConfig(
        "relu_l1", m=settings.width, steps=settings.steps, batch=settings.batch_size, seed=seed, revive="none"
    )
    rows, slopes, configs = scene.seen, answer_gradients(scene), [replace(plain, l1=p) for p in settings.penalties]
    fitted = list(zip(*[fit_attribution_l1(rows, slopes, config) for config in configs], strict=True))
    best = [closest_in_l0(own, part, settings.k) for own, part in zip(fitted, rows.unbind(1), strict=True)]
    whole: dict[int, Dictionary] = {}
    for number, config in enumerate(configs):
        nodes = [i for i, own in enumerate(fitted) if own[number] is best[i]]
        if nodes:
            made = fit_attribution_l1(rows[:, nodes], slopes[:, nodes], config, UNEXPLAINED)
            whole |= dict(zip(nodes, made, strict=True))
    return [of_dictionary(own) for own in best], [of_dictionary(whole[i]) for i in range(len(best))]
