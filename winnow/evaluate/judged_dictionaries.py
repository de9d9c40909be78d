"""All dictionaries of a task's heads judged alike: supervised ones, autoencoders, and floors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from winnow.evaluate import supervised_study as study
from winnow.evaluate import task_dictionaries as kinds
from winnow.evaluate.attribution_features import attribution_features
from winnow.evaluate.occluded_nodes import node_occlusion
from winnow.evaluate.supervised_dictionaries import Features
from winnow.evaluate.supervised_task import Task
from winnow.evaluate.task_scene import Scene, edit_limits, queries_of, scene_of
from winnow.models.hooked_transformer import HookedTransformer

IN_QUERIES = ("sae_topk", "random", "components")
"""Of the unsupervised dictionaries, those that are fitted on queries as well."""


class Judged(NamedTuple):
    """System -> variant -> metrics, and what features of one node tell, a row each."""

    metrics: dict[str, dict[str, dict[str, float]]]
    features: list[dict[str, Any]]


def judge(
    model: HookedTransformer,
    fit: Task,
    test: Task,
    documents: Tensor,
    settings: Any,
    seed: int,
    progress: Callable[[int, int], None],
) -> Judged:
    """Dictionaries fitted on the prompts of `fit`, one on documents int64[n, t] instead, judged on those of `test`.

    settings: as params.yaml has them, of autoencoders, edits and the least ceiling. Raises
    InputError for nodes that are no cut of the task.
    """
    scene = scene_of(model, fit, test, settings.least_ceiling)
    queries, attending = queries_of(scene), study.attending(scene)
    edited = (scene, queries) if settings.queries else (scene,)
    found: dict[str, dict[str, dict[str, float]]] = {
        system: {"all": study.told_by_supervised(scene, system, attending)} for system in study.SYSTEMS
    }
    for part in edited:
        for system in study.SYSTEMS:
            found[system] |= study.edits_by_supervised(part, system)
    for part in (scene, queries):
        for system, variants in edit_limits(part).items():
            found.setdefault(system, {}).update(variants)
    makers, told = _makers(scene, documents, settings, seed), []
    for done, (name, make) in enumerate(makers.items()):
        features = make(scene.seen)
        found[name] = study.told_by_features(scene, features) | study.edits_by_features(scene, features, settings.sizes)
        found[name]["nodes"] = node_occlusion(scene, features)
        if name == "sae_topk":
            told = study.feature_rows(scene, features)
        if settings.queries and name in IN_QUERIES:
            found[name] |= study.edits_by_features(queries, make(queries.seen), settings.sizes)
        progress(done + 1, len(makers))
    return Judged(found, told)


def _makers(scene: Scene, documents: Tensor, settings: Any, seed: int) -> dict[str, Callable[[Tensor], list[Features]]]:
    """Unsupervised dictionary -> a function of rows float32[n, nodes, d] that fits one for each node."""

    def autoencoder(name: str) -> Callable[[Tensor], list[Features]]:
        return lambda rows: kinds.autoencoders(rows, name, settings, seed)

    made = {f"sae_{name}": autoencoder(name) for name in kinds.ARCHITECTURES if name in settings.arms}
    if "attribution" in settings.arms:
        both = attribution_features(scene, settings, seed)
        made |= {"sae_attribution": lambda rows: both[0], "sae_attribution_explained": lambda rows: both[1]}
    if "general" in settings.arms:
        general = kinds.general_rows(scene.model, documents, scene.nodes, seed)
        made["sae_general"] = lambda rows: autoencoder("topk")(general)
    made["random"] = lambda rows: kinds.random_features(rows, settings.width, settings.k, seed)
    made["components"] = lambda rows: kinds.components(rows, settings.k)
    return made
