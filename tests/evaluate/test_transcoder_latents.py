"""Curves whose ends are known, orders of latents by hand, and thresholds by brute force."""

import numpy as np
import pytest
import torch

from tests.evaluate.transcoders import LATENTS, LAYERS, SETTINGS, years_scene
from winnow.evaluate import transcoder_latents as latents
from winnow.workloads.names_language import year_spans


@pytest.fixture(scope="module")
def scene():
    return years_scene()


def test_the_layer_is_the_one_that_does_most_and_the_head_comes_before_it(scene):
    # On prompts of the valid split; those of test only tell how much it does.
    for split, told in (("valid", scene.layer), ("test", None)):
        prompts = year_spans(split, SETTINGS.prompts, 0)
        left = {}
        for layer in range(LAYERS):
            name = f"blocks.{layer}.hook_mlp_out"
            mean = scene.scoring.saved[name][:, -1].mean(0)
            patched = torch.cat([scene.run.model.run(prompts.tokens, save=[name])[1][name][:, :-1],
                                 mean.expand(len(prompts.tokens), 1, -1)], 1)  # fmt: skip
            logits = scene.run.model.run(prompts.tokens, patch={name: lambda held, patched=patched: patched})[0]
            left[layer] = float(prompts.difference(logits).mean())
            if split == "test":
                assert scene.drops["difference"] - left[layer] == pytest.approx(
                    scene.drops[f"lost_layer{layer}"], abs=1e-5
                )
        assert told is None or left[told] == min(left.values())
    assert scene.head[0] <= scene.layer


def test_with_all_neurons_the_model_is_whole_and_with_all_latents_the_transcoder_stands_in(scene):
    units, scored = latents.neurons(scene)
    whole = latents.curve(scene, units, latents.order_of(scene, units, scored), [units.values.shape[1]])[0]
    logits = scene.run.model.run(scene.prompts.tokens)[0]
    torch.testing.assert_close(whole, scene.prompts.difference(logits), atol=1e-10, rtol=0)

    units, scored = latents.latents(scene)
    read = scene.run.saved[f"blocks.{scene.layer}.ln2.hook_normalized"][:, -1]
    of = scene.run.transcoders[scene.layer]
    made = of.reconstruct(read.float()).double()
    torch.testing.assert_close(units.added(torch.arange(LATENTS)), made, atol=1e-5, rtol=0)


def test_units_that_are_not_kept_are_at_their_mean_over_the_scoring_prompts(scene):
    units, scored = latents.latents(scene)
    kept = torch.tensor([3, 1])
    by_hand = scored.mean(0).repeat(len(units.values), 1)
    by_hand[:, [1, 3]] = units.values[:, [1, 3]]
    torch.testing.assert_close(units.added(kept), by_hand @ units.writes + units.bias)


def test_units_are_ordered_by_what_they_add_to_later_years(scene):
    units, scored = latents.latents(scene)
    order = latents.order_of(scene, units, scored).tolist()
    added = torch.zeros(LATENTS, dtype=torch.float64)
    scale = scene.scoring.saved["ln_final.hook_scale"][:, -1, 0]
    last = scene.scoring.model
    for prompt, weights in enumerate(scene.weights.double()):
        row = (weights @ last.unembed.weight) * last.ln_final.weight
        for latent in range(LATENTS):
            write = units.writes[latent] - units.writes[latent].mean()
            added[latent] += (scored[prompt, latent] - units.means[latent]) * (write @ row) / scale[prompt]
    assert sorted(order) == list(range(LATENTS))
    assert order == torch.argsort(added, descending=True, stable=True).tolist()


def test_curves_tell_both_kinds_all_of_each_and_the_model(scene):
    rows, area, order = latents.curves(scene, SETTINGS, 0)
    found = {(row["units"], row["size"]): row["value"] for row in rows}
    for units in ("latents", "neurons"):
        assert {size for name, size in found if name == units} == {0, 1, 2, 3, 8}
    assert found["all neurons", 32] == pytest.approx(found["model", 0], abs=1e-6)
    above = [found["latents", size] - found["neurons", size] for size in (1, 2, 3)]
    assert area["area"] == pytest.approx(np.mean(above)) and area["area_low"] <= area["area"] <= area["area_high"]
    assert sorted(order.tolist()) == list(range(LATENTS))


@pytest.mark.parametrize("seed", range(3))
def test_one_threshold_explains_what_the_best_of_all_does(seed):
    read = np.random.default_rng(seed).normal(size=20) + (np.arange(20) > 12)
    shares = []
    for cut in range(1, 20):
        rest = sum(((part - part.mean()) ** 2).sum() for part in (read[:cut], read[cut:]))
        shares.append(1 - rest / ((read - read.mean()) ** 2).sum())
    assert latents.orders_years(read)[1] == pytest.approx(max(shares), abs=1e-12)


def test_a_latent_that_reads_late_years_orders_them_and_one_of_noise_does_not():
    noise = np.random.default_rng(0).normal(size=100)
    rows = [
        {"latent": latent, "year": year, "read": value, "active": max(value, 0.0) if year % 2 else None}
        for latent, values in ((7, np.arange(100) - 50.0), (2, np.where(np.arange(100) > 40, 3.0, 0.1)), (4, noise))
        for year, value in enumerate(values)
    ]
    found = latents.read_before_seen(rows)
    assert found["orders_years"] == pytest.approx(2 / 3)
    assert 0.6 < found["read_before_seen"] <= 1
    assert latents.read_before_seen(rows[:200])["read_before_seen"] > 0.85
