"""Curves whose ends are known, thresholds by brute force, and correlations from what each pair gives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluate.transcoders import LATENTS, LAYERS, model_of, transcoders
from winnow.evaluate import transcoder_circuits as circuits
from winnow.evaluate import transcoder_study as study
from winnow.evaluate.circuit_discovery import later_weights
from winnow.workloads.names_language import vocabulary, year_spans

SETTINGS = SimpleNamespace(
    prompts=30,
    patched=4,
    references=6,
    latents=5,
    area_to=3,
    sizes=[8],
    depth=2,
    branches=5,
    coverage=0.9,
    documents=5,
    cap=False,
    firing=3,
)


@pytest.fixture(scope="module")
def scene():
    return study.scene_of(model_of(4), transcoders(k=8), SETTINGS, 0)


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
    units, scored = study.neurons(scene)
    whole = study.curve(scene, units, study.order_of(scene, units, scored), [units.values.shape[1]])[0]
    logits = scene.run.model.run(scene.prompts.tokens)[0]
    torch.testing.assert_close(whole, scene.prompts.difference(logits), atol=1e-10, rtol=0)

    units, scored = study.latents(scene)
    read = scene.run.saved[f"blocks.{scene.layer}.ln2.hook_normalized"][:, -1]
    of = scene.run.transcoders[scene.layer]
    made = of.reconstruct(read.float()).double()
    torch.testing.assert_close(units.added(torch.arange(LATENTS)), made, atol=1e-5, rtol=0)


def test_units_that_are_not_kept_are_at_their_mean_over_the_scoring_prompts(scene):
    units, scored = study.latents(scene)
    kept = torch.tensor([3, 1])
    by_hand = scored.mean(0).repeat(len(units.values), 1)
    by_hand[:, [1, 3]] = units.values[:, [1, 3]]
    torch.testing.assert_close(units.added(kept), by_hand @ units.writes + units.bias)


def test_units_are_ordered_by_what_they_add_to_later_years(scene):
    units, scored = study.latents(scene)
    order = study.order_of(scene, units, scored).tolist()
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


@pytest.mark.parametrize("seed", range(3))
def test_one_threshold_explains_what_the_best_of_all_does(seed):
    read = np.random.default_rng(seed).normal(size=20) + (np.arange(20) > 12)
    shares = []
    for cut in range(1, 20):
        rest = sum(((part - part.mean()) ** 2).sum() for part in (read[:cut], read[cut:]))
        shares.append(1 - rest / ((read - read.mean()) ** 2).sum())
    assert study.orders_years(read)[1] == pytest.approx(max(shares), abs=1e-12)


def test_a_latent_that_reads_late_years_orders_them_and_one_of_noise_does_not():
    noise = np.random.default_rng(0).normal(size=100)
    rows = [
        {"latent": latent, "year": year, "read": value, "active": max(value, 0.0) if year % 2 else None}
        for latent, values in ((7, np.arange(100) - 50.0), (2, np.where(np.arange(100) > 40, 3.0, 0.1)), (4, noise))
        for year, value in enumerate(values)
    ]
    found = study.read_before_seen(rows)
    assert found["orders_years"] == pytest.approx(2 / 3)
    assert 0.6 < found["read_before_seen"] <= 1
    assert study.read_before_seen(rows[:200])["read_before_seen"] > 0.85


def test_sources_add_up_and_a_silent_latent_counts_against(scene):
    found = study.sources(scene, range(5))
    assert found["missed"] < 1e-9 and 0 <= found["head_first"] <= found["head_first_of_heads"] <= 1
    codes = {layer: torch.zeros_like(code) for layer, code in scene.run.codes.items()}
    silent = scene._replace(run=scene.run._replace(codes=codes))
    assert study.sources(silent, range(5)) == {"missed": 0.0, "head_first": 0.0, "head_first_of_heads": 0.0}


def test_the_invariant_factor_is_correlated_with_what_pairs_give_in_the_mean(monkeypatch):
    monkeypatch.setattr(study, "SHARE", 0.05)
    tokens = year_spans("train", 4, 0).tokens
    run, kept = circuits.trace(model_of(2), transcoders((0, 2)), tokens), torch.ones_like(tokens, dtype=torch.bool)
    kept[0, :5] = False
    rates = {layer: (run.codes[layer][kept] > 0).double().mean(0) for layer in (0, 2)}
    factors, everywhere, where = [], [], []
    for reader in (rates[2] >= 0.05).nonzero()[:, 0].tolist():
        given, factor = [], None
        for token in range(tokens.shape[1]):
            terms = circuits.contributions(run, circuits.latent_vector(run, 2, reader, token)).terms
            mine = next(term for term in terms if term.kind == "latent" and term.layer == 0)
            given.append(mine.value)
            factor = mine.invariant[0]
        value = torch.stack(given, 1)[kept]
        fires = run.codes[2][..., reader][kept] > 0
        chosen = rates[0] >= 0.05
        factors += factor[chosen].tolist()
        everywhere += value.mean(0)[chosen].tolist()
        where += value[fires].mean(0)[chosen].tolist()
    found = study.invariant_correlations(run, kept)
    assert found["invariant_correlation"] == pytest.approx(np.corrcoef(factors, everywhere)[0, 1], abs=1e-6)
    assert found["invariant_correlation_where_it_fires"] == pytest.approx(np.corrcoef(factors, where)[0, 1], abs=1e-6)


def test_edges_are_of_the_first_prompt_and_hang_on_later_years(scene):
    edges = study.circuit(scene, SETTINGS)
    assert {edge["to_kind"] for edge in edges} >= {"logits"} and len({edge["prompt"] for edge in edges}) == 1
    one = circuits.trace(scene.run.model, scene.run.transcoders, scene.prompts.tokens[:1])
    target = circuits.logits_vector(one, later_weights(scene.prompts.start[:1])[0], -1)
    rows = list(circuits.contributions(one, target).rows())
    given = {(row["kind"], row["layer"], row["unit"], row["token"]): row["value"] for row in rows}
    for edge in (edge for edge in edges if edge["to_kind"] == "logits"):
        node = tuple(edge[f"from_{field}"] for field in ("kind", "layer", "unit", "token"))
        assert edge["value"] == pytest.approx(given[node], abs=1e-9)


def test_curves_tell_both_kinds_all_of_each_and_the_model(scene):
    rows, area, order = study.curves(scene, SETTINGS, 0)
    found = {(row["units"], row["size"]): row["value"] for row in rows}
    for units in ("latents", "neurons"):
        assert {size for name, size in found if name == units} == {0, 1, 2, 3, 8}
    assert found["all neurons", 32] == pytest.approx(found["model", 0], abs=1e-6)
    above = [found["latents", size] - found["neurons", size] for size in (1, 2, 3)]
    assert area["area"] == pytest.approx(np.mean(above)) and area["area_low"] <= area["area"] <= area["area_high"]
    assert sorted(order.tolist()) == list(range(LATENTS))


def test_graphs_of_latents_have_the_strongest_that_gives_to_them_first(scene):
    found = study.path_graphs(scene, range(6), SETTINGS)
    fired = [j for j in range(6) if bool((scene.run.codes[scene.layer][:, -1, j] > 0).any())]
    assert fired and list(dict.fromkeys(row["latent"] for row in found.edges)) == fired
    first = []
    for latent in range(6):
        if latent not in fired:
            first.append(False)
            continue
        prompt = int(scene.run.codes[scene.layer][:, -1, latent].argmax())
        rows = [row for row in found.given if row["latent"] == latent]
        vector = circuits.latent_vector(scene.run, scene.layer, latent, -1)
        assert sum(row["value"] for row in rows) == pytest.approx(
            float(circuits.contributions(scene.run, vector).total[prompt]), abs=1e-9
        )
        named = [row for row in rows if row["kind"] not in ("bias", "error")]
        best = max(named, key=lambda row: abs(row["value"]))
        first.append((best["kind"], best["layer"], best["unit"], best["token"]) == ("head", *scene.head, study.START))
    assert found.head_first_in_graph == pytest.approx(np.mean(first))


def test_capped_paths_give_no_more_than_their_weakest_latent(scene):
    capped = study.path_graphs(scene, range(6), SimpleNamespace(**vars(SETTINGS) | {"cap": True, "coverage": 1.0}))
    for latent in dict.fromkeys(row["latent"] for row in capped.edges):
        active = float(scene.run.codes[scene.layer][:, -1, latent].max())
        into = [row for row in capped.edges if row["latent"] == latent and row["to_unit"] == latent]
        assert all(abs(row["value"]) <= active + 1e-9 for row in into if row["to_layer"] == scene.layer)


def test_places_where_latents_fire_most_are_told_with_the_words_up_to_them(scene):
    tokens = scene.prompts.tokens[:4]
    run, kept = (
        circuits.trace(scene.run.model, scene.run.transcoders, tokens),
        torch.ones_like(tokens, dtype=torch.bool),
    )
    kept[:, 0] = False
    rows = study.strongest_places(run, kept, scene.layer, [2, 5], 3)
    words = vocabulary()
    for row in rows:
        values = run.codes[scene.layer][:, 1:, row["latent"]]
        assert row["active"] == sorted(values.flatten().tolist(), reverse=True)[row["place"]]
        document, token = divmod(int((values == row["active"]).flatten().nonzero()[0]), values.shape[1])
        assert row["words"] == " ".join(words[t] for t in tokens[document, : token + 2].tolist())
    assert {row["latent"] for row in rows} <= {2, 5} and rows
