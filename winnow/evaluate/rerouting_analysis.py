"""How attacks reroute a small model that declines: activations they move, words it refuses, and metrics of a study."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from winnow.evaluate import refusal_defence as defence
from winnow.evaluate.chart_parts import grouped
from winnow.evaluate.refusal_subspaces import Probe, ProbeObjective, last_activations, residual
from winnow.evaluate.rerouting_attacks import SEARCHES, Rows, Scene
from winnow.evaluate.subspace_rerouting import SearchConfig, reroute
from winnow.randomness import torch_generator
from winnow.workloads.refusal_prompts import ANSWER, OK, QUESTION, UNKNOWN, Questions

SETTLED = 1e-6


@torch.no_grad()
def moved(scene: Scene, suffixes: Tensor, layer: int, seed: int) -> tuple[Rows, Rows]:
    """(a row a prompt and way of moving it, points of the plane) where a search stays beside steering at run time.

    Steering adds the direction of refusal to the stream of the prompt with a drawn suffix until its cosine with it is
    that of the rerouted one. distance: Mahalanobis, from accepted prompts with drawn suffixes.
    """
    model, direction = scene.model, scene.subspaces.directions[layer]
    generator = torch_generator(seed, "rerouting", "moved")
    vocabulary, slots = model.embed.num_embeddings, suffixes.shape[1]
    drawn = defence.random_suffixes(len(scene.accepted), slots, vocabulary, generator)
    accepted = last_activations(model, scene.accepted, drawn)
    centre, precision = defence.fit_gaussians(accepted)
    some = defence.random_suffixes(len(scene.attacked), slots, vocabulary, generator)
    ways = {
        "plain": last_activations(model, scene.attacked),
        "random": last_activations(model, scene.attacked, some),
        "rerouted": last_activations(model, scene.attacked, suffixes),
    }
    # Of prompts without a suffix the length alone would be out of the distribution.
    steered = ways["random"].clone()
    wished = cosine_similarity(ways["rerouted"][:, layer], direction, dim=-1)
    steered[:, layer] = steer_to(steered[:, layer], direction, wished)
    ways["steered"] = steered
    said = _answers_with(scene, some, layer, steered[:, layer])
    rows = []
    for way, activations in ways.items():
        distance = defence.mahalanobis(activations, centre, precision)
        cosines = cosine_similarity(activations, scene.subspaces.directions, dim=-1)
        for i in range(len(activations)):
            told = {"way": way, "prompt": i, "distance": float(distance[i, layer])}
            rows += [told | {"layer": k, "cosine": float(cosines[i, k])} for k in range(activations.shape[1])]
    rows.append({"way": "steered", "prompt": -1, "success": float((said == OK).double().mean())})
    return rows, _plane({"accepted": accepted[:200]} | ways, layer)


def steer_to(activations: Tensor, direction: Tensor, cosine: Tensor) -> Tensor:
    """Activations float[n, d] moved along a unit direction until their cosines with it are float[n]."""
    rest = activations - (activations @ direction)[:, None] * direction
    along = rest.norm(dim=-1) * cosine / (1 - cosine.square()).clamp_min(SETTLED).sqrt()
    return rest + along[:, None] * direction


def _answers_with(scene: Scene, suffixes: Tensor, layer: int, streams: Tensor) -> Tensor:
    tokens, places = scene.attacked.prompts(suffixes)
    rows = torch.arange(len(tokens))

    def put(value: Tensor) -> Tensor:
        value = value.clone()
        value[rows, places] = streams
        return value

    return scene.model.run(tokens, patch={residual(layer): put})[0][rows, places].argmax(-1)


def _plane(ways: dict[str, Tensor], layer: int) -> Rows:
    """First two principal components of accepted and plain prompts, of all."""
    base = torch.cat([ways["accepted"][:, layer], ways["plain"][:, layer]]).double()
    centre = base.mean(0)
    axes = torch.linalg.svd(base - centre, full_matrices=False).Vh[:2]
    # A component's sign is arbitrary; the largest entry decides it.
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return [
        {"way": way, "x": float(x), "y": float(y)}
        for way, activations in ways.items()
        for x, y in ((activations[:, layer].double() - centre) @ axes.T).tolist()
    ]


def reverse_lens(
    scene: Scene, words: Sequence[str], asked: Questions, slots: int, runs: int, config: SearchConfig, seed: int
) -> Rows:
    """Words that a search from nothing finds to be refused: each with its log-odds of being in marked questions.

    `rank` is the share of words with lower log-odds, which are smoothed by one count; that of words drawn by chance is
    a half on average.
    """
    layer = len(scene.model.blocks) - 1
    probe = scene.subspaces.probes[layer]
    objective = ProbeObjective({layer: Probe(-probe.weight, -probe.bias)}, {layer: 1.0})
    counts = torch.ones(2, len(words))
    for row, marked in zip(asked.rows, asked.marked.tolist(), strict=True):
        counts[int(marked)].index_add_(0, row, torch.ones(len(row)))
    odds = (counts[1] / counts[1].sum()).log() - (counts[0] / counts[0].sum()).log()
    ranks = odds.argsort().argsort().double() / (len(words) - 1)
    prompt = torch.tensor([QUESTION, *[UNKNOWN] * slots, ANSWER])
    rows = []
    for run in range(runs):
        generator = torch_generator(seed, "rerouting", "reverse", str(run))
        found = reroute(scene.model, prompt, range(1, slots + 1), objective, config, generator).slot_ids
        rows += [
            {"run": run, "word": words[i], "log_odds": float(odds[i]), "rank": float(ranks[i])} for i in found.tolist()
        ]
    return rows


def probe_accuracies(scene: Scene) -> list[dict[str, float]]:
    """What share each layer's probe tells: of test prompts, and of those like the ones that it was fitted on.

    accuracy: the mean of the refused and the accepted test prompts. held_out_accuracy: of `Subspaces`.
    """
    kinds = [
        (last_activations(scene.model, scene.attacked), False),
        (last_activations(scene.model, scene.benign), True),
    ]
    found = []
    for i, (probe, held_out) in enumerate(zip(scene.subspaces.probes, scene.subspaces.accuracies, strict=True)):
        right = [float(((probe.log_odds(rows[:, i]) > 0) == yes).double().mean()) for rows, yes in kinds]
        found.append({"accuracy": sum(right) / len(kinds), "held_out_accuracy": held_out})
    return found


def by_prompt(attacks: Rows, moved: Rows, first: int) -> dict[tuple[str, str], list[tuple[str, float, int]]]:
    """(system, variant) -> (metric, value, first + number of the prompt) of success, work and distance."""
    told: dict[tuple[str, str], list[tuple[str, float, int]]] = {}
    for row in attacks:
        values = {"success": row["success"], "work": row["layer_forwards"]}
        own = told.setdefault((row["objective"], f"slots{row['slots']}"), [])
        own += [(name, float(value), first + row["prompt"]) for name, value in values.items()]
    for row in moved:
        if row["prompt"] >= 0 and row["layer"] == 0:  # a distance is the same in the rows of all layers
            told.setdefault((row["way"], "moved"), []).append(("distance", row["distance"], first + row["prompt"]))
    return told


def measures(
    attacks: Rows, moved: Rows, lens: Rows, accuracies: Sequence[dict[str, float]]
) -> dict[tuple[str, str], dict[str, float]]:
    """(system, variant) -> metrics, of the rows of a study.

    work: blocks run on one sequence, a prompt; work_share: as a share of those of the search through all blocks.
    """
    told: dict[tuple[str, str], dict[str, float]] = {}
    for (name, slots), rows in grouped(attacks, ["objective", "slots"]).items():
        work = sum(row["layer_forwards"] for row in rows) / len(rows)
        told[name, f"slots{slots}"] = {"success": sum(row["success"] for row in rows) / len(rows), "work": work}
    for (name, variant), row in told.items():
        if name in (*SEARCHES, "best"):
            row["work_share"] = row["work"] / told["gcg", variant]["work"]
    for layer, accuracy in enumerate(accuracies):
        told["probes", f"layer{layer}"] = dict(accuracy)
    for (way,), rows in grouped([row for row in moved if row["prompt"] >= 0], ["way"]).items():
        told[way, "moved"] = {"distance": sum(row["distance"] for row in rows) / len(rows)}
    told["steered", "moved"]["success"] = next(row["success"] for row in moved if row["prompt"] < 0)
    told["reverse_lens", "words"] = {"rank": sum(row["rank"] for row in lens) / len(lens)}
    return told
