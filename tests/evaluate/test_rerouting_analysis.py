"""Moved activations, probes, words and metrics beside plain formulas, on a small model that learned an easy rule."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.evaluate.refusal import CONFIG, SETTINGS
from winnow.evaluate import rerouting_analysis as analysis
from winnow.evaluate.refusal_subspaces import last_activations
from winnow.evaluate.rerouting_attacks import compared
from winnow.evaluate.subspace_rerouting import SearchConfig
from winnow.train.refusal_model import answers
from winnow.workloads.refusal_prompts import SPECIAL


@pytest.fixture(scope="module")
def attacked(scene):
    return compared(scene, scene.attacked, SETTINGS, CONFIG, seed=0)


def test_work_is_a_share_of_that_of_the_search_through_all_blocks(scene, attacked):
    best, rows, suffixes = attacked
    measured = analysis.measures(rows, *_moved(scene, suffixes), analysis.probe_accuracies(scene))
    gcg, first = measured["gcg", "slots2"], measured["probe_first", "slots2"]
    assert first["work_share"] == pytest.approx(first["work"] / gcg["work"])
    assert measured["best", "slots2"] == measured[best, "slots2"]
    assert {"accepted", "plain"} - {name for name, _ in measured} == {"accepted"}


def _moved(scene, suffixes):
    moved, _ = analysis.moved(scene, suffixes, 1, seed=0)
    return moved, [{"rank": 0.5}]


def test_steering_reaches_the_cosine_along_the_direction_only():
    activations = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    direction = torch.tensor([1.0, 2, 0, 0, 1]) / 6**0.5
    wished = torch.linspace(-0.9, 0.9, 7)
    steered = analysis.steer_to(activations, direction, wished)
    assert torch.allclose(cosine_similarity(steered, direction, dim=-1), wished, atol=1e-4)
    shift = steered - activations
    assert torch.allclose(shift, (shift @ direction)[:, None] * direction, atol=1e-5)


def test_moved_prompts_have_the_cosines_of_their_streams(scene):
    suffixes = torch.full((6, 2), 9)
    rows, points = analysis.moved(scene, suffixes, 1, seed=0)
    told = {(row["way"], row["layer"]): row["cosine"] for row in rows if row["prompt"] == 0}
    # Steered at that block to the cosine of the rerouted prompt.
    assert told["steered", 1] == pytest.approx(told["rerouted", 1], abs=1e-4)
    # Of the prompt with a drawn suffix, as the accepted prompts have that distances are taken from.
    assert told["steered", 0] == pytest.approx(told["random", 0], abs=1e-6)
    assert told["steered", 0] != pytest.approx(told["plain", 0], abs=1e-6)
    assert {point["way"] for point in points} == {"accepted", "plain", "random", "rerouted", "steered"}


def test_what_is_steered_at_run_time_is_the_prompt_with_the_drawn_suffix(scene):
    """Put back where it came from, a stream of the first block gives the plain answer of the same prompt."""
    suffixes = torch.full((6, 2), 9)
    streams = last_activations(scene.model, scene.attacked, suffixes)[:, 0]
    assert torch.equal(
        analysis._answers_with(scene, suffixes, 0, streams), answers(scene.model, scene.attacked, suffixes)
    )


def test_probes_are_judged_on_test_prompts_of_both_kinds_alike(scene):
    found = analysis.probe_accuracies(scene)
    for layer, probe in enumerate(scene.subspaces.probes):
        no, yes = (
            (last_activations(scene.model, asked)[:, layer] @ probe.weight + probe.bias > 0).double().mean()
            for asked in (scene.attacked, scene.benign)
        )
        assert found[layer]["accuracy"] == pytest.approx(float(1 - no + yes) / 2)
    assert [row["held_out_accuracy"] for row in found] == scene.subspaces.accuracies
    # On prompts of which one kind is told wrongly throughout, half is left.
    wrong = scene._replace(attacked=scene.benign, benign=scene.benign)
    assert [row["accuracy"] for row in analysis.probe_accuracies(wrong)] == pytest.approx([0.5] * len(found))


def test_every_prompt_has_its_own_step_from_which_the_means_follow(scene, attacked):
    rows = attacked[1]
    moved, lens = _moved(scene, torch.full((6, 2), 9))
    means = analysis.measures(rows, moved, lens, [])
    told = analysis.by_prompt(rows, moved, 40)
    assert {key for key in means if key[1] != "words"} == set(told)
    for key, values in told.items():
        for metric in {name for name, *_ in values}:
            own = {step: value for name, value, step in values if name == metric}
            assert len(own) == sum(name == metric for name, *_ in values) and min(own) == 40
            assert sum(own.values()) / len(own) == pytest.approx(means[key][metric])


def test_the_reverse_lens_finds_words_of_marked_questions(scene, asked):
    words = [f"w{i}" for i in range(30)]
    config = SearchConfig(width=64, topk=24, iterations=10, banned=tuple(range(len(SPECIAL))))
    rows = analysis.reverse_lens(scene, words, asked["train"], 2, 4, config, seed=0)
    assert len(rows) == 8
    assert sum(row["rank"] for row in rows) / len(rows) > 0.5
    assert all(row["log_odds"] > 0 for row in rows if int(row["word"][1:]) % 2 == 0)
