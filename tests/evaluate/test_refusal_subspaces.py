"""Probes, directions, heads and objectives beside scikit-learn, plain formulas and runs that patch the model."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tests.evaluate.refusal import random_model, random_questions
from winnow.errors import InputError
from winnow.evaluate.refusal_subspaces import (
    AnswerObjective,
    AttentionObjective,
    Combined,
    MonitorObjective,
    Probe,
    ProbeObjective,
    SteeringObjective,
    fit_probe,
    fit_subspaces,
    last_activations,
    residual,
    safety_heads,
)
from winnow.workloads.refusal_prompts import OK, REFUSE

TOKENS = torch.tensor([[1, 7, 9, 11, 2], [1, 8, 6, 20, 2]])
PROBES = {i: Probe(torch.linspace(-1, 1, 16) * (i + 1), torch.tensor(0.3 * i)) for i in range(3)}


def ran(model, objective, tokens=TOKENS):
    stream, saved = model.run(tokens, save=objective.reads, stop_at=objective.depth, last=objective.last)
    return objective.loss(saved, stream)


def everything(model, tokens=TOKENS):
    names = model.all_hook_points()
    logits, saved = model.run(tokens, save=names)
    return logits, saved


def test_last_activations_are_those_of_each_prompt_alone():
    model, asked = random_model(), random_questions(7)
    found, (tokens, places) = last_activations(model, asked), asked.prompts()
    for i, place in enumerate(places.tolist()):
        _, saved = everything(model, tokens[i : i + 1, : place + 1])
        alone = torch.stack([saved[residual(layer)][0, -1] for layer in range(3)])
        assert torch.allclose(found[i], alone, atol=1e-5)


def test_a_probe_says_what_scikit_learn_says():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 4, generator=generator), torch.arange(60) % 3 == 0
    x[y] += 1
    peer = LogisticRegression(max_iter=2000, class_weight="balanced").fit(x.numpy(), y.numpy())
    assert torch.allclose(
        fit_probe(x, y).log_odds(x).double(), torch.from_numpy(peer.decision_function(x.numpy())).double(), atol=1e-4
    )


def test_directions_join_the_means_and_probes_are_judged_on_other_prompts():
    model = random_model()
    refused, accepted = random_questions(40, seed=1), random_questions(40, seed=2)
    found = fit_subspaces(model, refused, accepted, seed=0)
    apart = last_activations(model, refused).mean(0) - last_activations(model, accepted).mean(0)
    for direction, difference in zip(found.directions, apart, strict=True):
        assert float(direction.norm()) == pytest.approx(1, abs=1e-5)
        assert torch.allclose(direction * difference.norm(), difference, atol=1e-5)
    # Both kinds are drawn alike, so nothing can be told of prompts that were not used.
    assert all(0.2 <= accuracy <= 0.8 for accuracy in found.accuracies)
    apart = fit_subspaces(model, refused, refused, seed=0).accuracies
    assert max(apart) <= 0.5 + 0.3


def test_effects_of_heads_are_the_slope_of_putting_their_means_in():
    model = random_model().double()
    refused, accepted = random_questions(20, seed=1), random_questions(20, seed=2)
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(3)]

    def saved(asked):
        tokens, places = asked.prompts()
        return model.run(tokens, save=names)[1], tokens, places, torch.arange(len(tokens))

    z, _, places, rows = saved(accepted)
    means = {name: z[name][rows, places].mean(0) for name in names}
    plain, tokens, places, rows = saved(refused)

    def difference(layer, head, share):
        name = names[layer]

        def moved(value):
            value = value.clone()
            value[rows, places, head] += share * (means[name][head] - plain[name][rows, places, head])
            return value

        logits = model.run(tokens, patch={name: moved})[0][rows, places]
        return float((logits[:, REFUSE] - logits[:, OK]).mean())

    found = safety_heads(model, refused, accepted)
    assert sorted((layer, head) for layer, head, _ in found) == [(i, j) for i in range(3) for j in range(2)]
    assert [effect for *_, effect in found] == sorted((effect for *_, effect in found), reverse=True)
    for layer, head, effect in found:
        drop = (difference(layer, head, -1e-4) - difference(layer, head, 1e-4)) / 2e-4
        assert effect == pytest.approx(drop, abs=1e-5)


def test_few_prompts_are_refused():
    with pytest.raises(InputError, match="9 refused, 20 accepted"):
        fit_subspaces(random_model(), random_questions(9), random_questions(20), seed=0)


def test_the_loss_of_probes_is_their_cross_entropy():
    model, (_, saved) = random_model(), everything(random_model())
    objective = ProbeObjective({0: PROBES[0], 2: PROBES[2]}, {0: 0.25, 2: 2.0})
    wished = [
        weight
        * binary_cross_entropy_with_logits(
            saved[residual(i)][:, -1] @ PROBES[i].weight + PROBES[i].bias, torch.ones(2), reduction="none"
        )
        for i, weight in ((0, 0.25), (2, 2.0))
    ]
    assert objective.depth == 3
    assert torch.allclose(ran(model, objective), sum(wished), atol=1e-5)


def test_the_loss_of_steering_is_the_square_of_the_shifted_cosine():
    model, (_, saved) = random_model(), everything(random_model())
    direction = torch.linspace(1, 2, 16) / torch.linspace(1, 2, 16).norm()
    e = saved[residual(1)][:, -1]
    cosine = (e @ direction) / e.norm(dim=-1)
    assert torch.allclose(ran(model, SteeringObjective({1: direction}, 0.4)), (cosine + 0.4) ** 2, atol=1e-5)
    both = SteeringObjective({0: direction, 1: direction}, 0.4)
    assert both.depth == 2
    first = saved[residual(0)][:, -1]
    other = ((first @ direction) / first.norm(dim=-1) + 0.4) ** 2
    assert torch.allclose(ran(model, both), (cosine + 0.4) ** 2 + other, atol=1e-5)


def test_losses_of_attention_are_of_the_last_row():
    model, (_, saved) = random_model(), everything(random_model())
    heads = [(0, 1), (1, 0)]
    seen = [saved[f"blocks.{i}.attn.hook_pattern"][:, j, -1] for i, j in heads]
    on = sum(row[:, [1, 3]].sum(-1) for row in seen)
    assert torch.allclose(ran(model, AttentionObjective(heads, "dazzle", [1, 3])), 2 - on, atol=1e-6)
    assert torch.allclose(ran(model, AttentionObjective(heads, "ablate", [1, 3])), on, atol=1e-6)
    size = sum(saved[f"blocks.{i}.attn.hook_z"][:, -1, j].square().sum(-1).sqrt() for i, j in heads)
    assert torch.allclose(ran(model, AttentionObjective(heads, "silence")), size, atol=1e-6)
    assert AttentionObjective(heads, "silence").depth == 2


def test_the_loss_of_the_answer_is_that_of_the_whole_model():
    model = random_model()
    logits = model(TOKENS)[:, -1]
    wished = cross_entropy(logits, torch.tensor([OK, OK]), reduction="none")
    assert torch.allclose(ran(model, AnswerObjective(model)), wished, atol=1e-5)
    other = cross_entropy(logits, torch.tensor([9, 9]), reduction="none")
    assert torch.allclose(ran(model, AnswerObjective(model, 9)), other, atol=1e-5)


def test_the_monitor_takes_the_largest_alarm_of_any_position():
    model, (_, saved) = random_model(), everything(random_model())
    objective = MonitorObjective({0: PROBES[0], 1: PROBES[1]})
    alarms = torch.stack([-PROBES[i].log_odds(saved[residual(i)]) for i in range(2)])
    worst = alarms.permute(1, 0, 2).flatten(1).max(1).values
    wished = binary_cross_entropy_with_logits(worst, torch.zeros(2), reduction="none")
    assert torch.allclose(ran(model, objective), wished, atol=1e-5)


def test_a_sum_of_objectives_is_weighted():
    model = random_model()
    parts = [(2.0, ProbeObjective({0: PROBES[0]}, {0: 1.0})), (0.5, MonitorObjective({2: PROBES[2]}))]
    both = Combined(parts)
    assert both.depth == 3
    assert torch.allclose(ran(model, both), 2 * ran(model, parts[0][1]) + 0.5 * ran(model, parts[1][1]), atol=1e-5)
