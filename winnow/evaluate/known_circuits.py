"""A transformer whose circuit is planted, and what methods that look for circuits say of its heads.

Heads of three layers hand something on: those of the circuit read what those of the layer before have written and no
other head writes, and logits read what the last ones write. All other heads are as large, read everything, and write
where nothing of the circuit reads. So a head of an early layer does all it does by way of later ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from winnow.evaluate import circuit_discovery as discovery
from winnow.evaluate import circuit_search as search
from winnow.evaluate.contextual_decomposition import reference_means
from winnow.evaluate.known_answers import Answer, ranking
from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import torch_generator

LAYERS, HEADS, WIDTH, ROOM, VOCABULARY, LENGTH, PROMPTS = 3, 4, 40, 8, 24, 5, 40
IN_CIRCUIT = 2
"""Heads of each layer that are of the circuit."""


@torch.no_grad()
def planted_circuit(seed: int) -> tuple[HookedTransformer, Tensor]:
    """The model, and bool[layer, head] of its circuit.

    The stream has rooms of dimensions, turned at random: what tokens write, what the circuit's heads of each layer
    write, and what all other heads do. Heads look at all tokens alike, and feed-forward layers add nothing.
    """
    generator = torch_generator(seed, "known answers", "circuit")

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    model = HookedTransformer(
        VOCABULARY, LENGTH, width=WIDTH, layers=LAYERS, heads=HEADS, hidden=4, normalization="none"
    ).eval()
    for parameter in model.parameters():
        parameter.zero_()
    rooms = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator)).Q.split(ROOM, dim=1)
    model.embed.weight.copy_(3 * normal(VOCABULARY, ROOM) @ rooms[0].T)
    circuit = torch.zeros(LAYERS, HEADS, dtype=torch.bool)
    for layer, block in enumerate(model.blocks):
        circuit[layer, torch.randperm(HEADS, generator=generator)[:IN_CIRCUIT]] = True
        for head in range(HEADS):
            part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            of_circuit = bool(circuit[layer, head])
            read = rooms[layer] if of_circuit else torch.cat(rooms, 1)
            write = rooms[layer + 1] if of_circuit else rooms[-1]
            size = WIDTH // HEADS
            block.attn.value.weight[part] = 3 * normal(size, read.shape[1]) @ read.T  # type: ignore[operator,union-attr]
            block.attn.output.weight[:, part] = 3 * write @ normal(ROOM, size)  # type: ignore[operator,union-attr]
    model.unembed.weight.copy_(3 * normal(VOCABULARY, ROOM) @ rooms[LAYERS].T)
    return model, circuit


def circuits(seed: int) -> Answer:
    """Which heads are of a circuit, by what several methods say of them, over all tokens."""
    model, circuit = planted_circuit(seed)
    generator = torch_generator(seed, "known answers", "prompts")
    tokens, reference = (torch.randint(1, VOCABULARY, (PROMPTS, LENGTH), generator=generator) for _ in range(2))
    means = reference_means(model, reference)
    best = model(tokens)[:, -1].detach()
    # How far the model's first choice lies above the mean: what it does with the prompt, and not without.
    weights = torch.nn.functional.one_hot(best.argmax(1), VOCABULARY) - 1 / VOCABULARY
    task = discovery.Task(tokens, weights, means)
    found = {
        "circuit: activation patching": discovery.activation_patching(model, task),
        "circuit: attribution patching": discovery.attribution_patching(model, task),
        "circuit: contextual decomposition": discovery.decomposition(model, task),
        "circuit: path patching in rounds": search.in_rounds(model, task, "path", LAYERS, IN_CIRCUIT * LENGTH)[0],
        "circuit: direct paths": discovery.path_patching(model, task),
    }
    return Answer({name: scores.detach().abs().sum(1) for name, scores in found.items()}, ranking(circuit))
