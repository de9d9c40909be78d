"""Sums of what gives to latents, graphs beside the contributions, and correlations from what each pair gives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluate.transcoders import SETTINGS, model_of, transcoders, years_scene
from winnow.evaluate import transcoder_circuits as circuits
from winnow.evaluate import transcoder_graphs as graphs
from winnow.evaluate.circuit_discovery import later_weights
from winnow.workloads.names_language import vocabulary, year_spans


@pytest.fixture(scope="module")
def scene():
    return years_scene()


def test_sources_add_up_and_a_silent_latent_counts_against(scene):
    found = graphs.sources(scene, range(5))
    assert found["missed"] < 1e-9 and 0 <= found["head_first"] <= found["head_first_of_heads"] <= 1
    codes = {layer: torch.zeros_like(code) for layer, code in scene.run.codes.items()}
    silent = scene._replace(run=scene.run._replace(codes=codes))
    assert graphs.sources(silent, range(5)) == {"missed": 0.0, "head_first": 0.0, "head_first_of_heads": 0.0}


def test_the_invariant_factor_is_correlated_with_what_pairs_give_in_the_mean(monkeypatch):
    monkeypatch.setattr(graphs, "SHARE", 0.05)
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
    found = graphs.invariant_correlations(run, kept)
    assert found["invariant_correlation"] == pytest.approx(np.corrcoef(factors, everywhere)[0, 1], abs=1e-6)
    assert found["invariant_correlation_where_it_fires"] == pytest.approx(np.corrcoef(factors, where)[0, 1], abs=1e-6)


def test_edges_are_of_the_first_prompt_and_hang_on_later_years(scene):
    edges = graphs.circuit(scene, SETTINGS)
    assert {edge["to_kind"] for edge in edges} >= {"logits"} and len({edge["prompt"] for edge in edges}) == 1
    one = circuits.trace(scene.run.model, scene.run.transcoders, scene.prompts.tokens[:1])
    target = circuits.logits_vector(one, later_weights(scene.prompts.start[:1])[0], -1)
    rows = list(circuits.contributions(one, target).rows())
    given = {(row["kind"], row["layer"], row["unit"], row["token"]): row["value"] for row in rows}
    for edge in (edge for edge in edges if edge["to_kind"] == "logits"):
        node = tuple(edge[f"from_{field}"] for field in ("kind", "layer", "unit", "token"))
        assert edge["value"] == pytest.approx(given[node], abs=1e-9)


def test_graphs_of_latents_have_the_strongest_that_gives_to_them_first(scene):
    found = graphs.path_graphs(scene, range(6), SETTINGS)
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
        first.append((best["kind"], best["layer"], best["unit"], best["token"]) == ("head", *scene.head, graphs.START))
    assert found.head_first_in_graph == pytest.approx(np.mean(first))


def test_capped_paths_give_no_more_than_their_weakest_latent(scene):
    capped = graphs.path_graphs(scene, range(6), SimpleNamespace(**vars(SETTINGS) | {"cap": True, "coverage": 1.0}))
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
    rows = graphs.strongest_places(run, kept, scene.layer, [2, 5], 3)
    words = vocabulary()
    for row in rows:
        values = run.codes[scene.layer][:, 1:, row["latent"]]
        assert row["active"] == sorted(values.flatten().tolist(), reverse=True)[row["place"]]
        document, token = divmod(int((values == row["active"]).flatten().nonzero()[0]), values.shape[1])
        assert row["words"] == " ".join(words[t] for t in tokens[document, : token + 2].tolist())
    assert {row["latent"] for row in rows} <= {2, 5} and rows
