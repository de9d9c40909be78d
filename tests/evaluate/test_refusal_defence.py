"""Detectors beside scikit-learn, scipy and plain loops, and what training on does to rules that are easy to learn."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis as peer
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from tests.evaluate.refusal import random_model, random_questions
from winnow.errors import InputError
from winnow.evaluate.refusal_defence import (
    fit_detectors,
    fit_gaussians,
    harden,
    judged,
    keep_apart,
    mahalanobis,
    random_suffixes,
    surprise,
    suspicion,
    train_longer,
)
from winnow.evaluate.refusal_subspaces import Probe, fit_subspaces, last_activations, residual
from winnow.train.refusal_model import abilities
from winnow.workloads.refusal_prompts import Questions


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(targeted=frozenset({1})):
    model = random_model()
    refused, accepted = random_questions(30, seed=1), random_questions(30, seed=2)
    subspaces = fit_subspaces(model, refused, accepted, seed=0)
    return model, fit_detectors(model, refused, accepted, subspaces, targeted, 2, generator())


def test_drawn_suffixes_are_words():
    drawn = random_suffixes(200, 3, 9, generator())
    assert drawn.shape == (200, 3)
    assert set(drawn.unique().tolist()) == {6, 7, 8}


def test_distances_are_those_of_scipy_with_the_covariance_of_scikit_learn():
    activations = torch.randn(50, 2, 4, generator=generator())
    centre, precision = fit_gaussians(activations)
    found = mahalanobis(activations, centre, precision)
    for layer in range(2):
        own = LedoitWolf().fit(activations[:, layer].double().numpy())
        for i in (0, 7):
            told = peer(activations[i, layer].double().numpy(), own.location_, own.precision_)
            assert float(found[i, layer]) == pytest.approx(told, rel=1e-3)


def test_surprise_is_the_worst_window_of_a_plain_loop():
    model, asked = random_model(), random_questions(6)
    tokens, places = asked.prompts(random_suffixes(6, 4, 30, generator()))
    real = torch.arange(tokens.shape[1]) <= places[:, None]
    for row, place, found in zip(tokens, places.tolist(), surprise(model, tokens, real), strict=True):
        nats = -model(row[None, :place])[0].log_softmax(-1)
        told = [float(nats[i, row[i + 1]]) for i in range(place - 1)]  # the answer token is left out
        assert float(found) == pytest.approx(max(np.mean(told[i : i + 3]) for i in range(len(told) - 2)), abs=1e-4)


def test_short_prompts_have_no_surprise():
    tokens = torch.tensor([[1, 7, 2]])
    with pytest.raises(InputError, match="surprise needs 5 or more"):
        surprise(random_model(), tokens, torch.ones(1, 3, dtype=torch.bool))


def test_scores_are_those_of_each_prompt_alone():
    model, detectors = fitted()
    asked, suffixes = random_questions(5, seed=4), random_suffixes(5, 2, 30, generator(3))
    found = suspicion(model, detectors, asked, suffixes)
    tokens, places = asked.prompts(suffixes)
    assert set(detectors.monitored()) == {0, 2}
    for i, place in enumerate(places.tolist()):
        _, saved = model.run(tokens[i : i + 1, : place + 1], save=[residual(layer) for layer in range(3)])
        streams = [saved[residual(layer)][0] for layer in range(3)]
        alarm = max(float(-detectors.everywhere[layer].log_odds(streams[layer]).min()) for layer in (0, 2))
        assert float(found["monitor"][i]) == pytest.approx(alarm, abs=1e-4)
        odds = [float(detectors.last[layer].log_odds(streams[layer][-1])) for layer in range(3)]
        assert float(found["disagreement"][i]) == pytest.approx(odds[1] - (odds[0] + odds[2]) / 2, abs=1e-4)
        last = torch.stack([stream[-1] for stream in streams])
        distance = mahalanobis(last, detectors.centre, detectors.precision).max()
        assert float(found["distance"][i]) == pytest.approx(float(distance), abs=1e-3)


def test_where_all_layers_are_aimed_at_the_monitor_uses_them_all():
    model, detectors = fitted(frozenset({0, 1, 2}))
    assert set(detectors.monitored()) == {0, 1, 2}
    asked = random_questions(3)
    scores = suspicion(model, detectors, asked, random_suffixes(3, 2, 30, generator()))
    assert scores["disagreement"].abs().max() < 1e-6


def test_detectors_are_judged_by_scikit_learns_area_and_a_threshold_of_other_prompts():
    rng = np.random.default_rng(0)
    attacks, benign, others = rng.normal(1, 1, 50), rng.normal(0, 1, 200), rng.normal(0, 1, 300)
    found = judged(attacks, benign, others)
    label = [1] * 50 + [0] * 200
    assert found["auroc"] == pytest.approx(roc_auc_score(label, [*attacks, *benign]))
    threshold = sorted(others)[-3]  # of 300, three may lie at or above it and two above
    assert (others > threshold).mean() <= 0.01
    assert found["detected"] == pytest.approx((attacks > threshold).mean())
    assert found["false_alarms"] == pytest.approx((benign > threshold).mean())


def easy():
    words = torch.arange(80) % 12 + 6
    return Questions([torch.tensor([1, int(word)]) for word in words], words % 2 == 0)


def test_hardening_teaches_to_refuse_the_suffix_and_to_accept_others():
    asked, model = easy(), random_model().requires_grad_(True)
    train_longer(model, asked, steps=60, batch_size=16, learning_rate=1e-2, seed=0)
    attacked = asked.where(asked.marked)
    suffixes = torch.full((len(attacked), 2), 19)
    harden(model, asked, attacked, suffixes, steps=60, batch_size=16, learning_rate=1e-2, generator=generator(), seed=0)
    assert abilities(model, attacked.at(torch.arange(8)), suffixes[:8])["refused"] == 1
    told = abilities(model, asked, random_suffixes(len(asked), 2, 30, generator(5)))
    assert told["accepted"] >= 0.8


def test_the_penalty_keeps_probes_right_under_drawn_suffixes():
    asked, model = easy(), random_model().requires_grad_(True)
    train_longer(model, asked, steps=40, batch_size=16, learning_rate=1e-2, seed=0)
    probe = Probe(torch.linspace(-1, 1, 16), torch.tensor(0.0))
    suffixes = random_suffixes(len(asked), 2, 30, generator(7))

    def right():
        odds = probe.log_odds(last_activations(model, asked, suffixes)[:, 1])
        return float(((odds < 0) == asked.marked).double().mean())

    before = right()
    own = {"slots": 2, "draws": 2, "weight": 5.0, "generator": generator()}
    keep_apart(model, asked, {1: probe}, steps=200, batch_size=16, learning_rate=1e-2, seed=0, **own)
    assert right() > max(before, 0.9)
