"""Contributions against the model itself: sums, and runs in which one thing is taken away and the rest kept."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from tests.evaluate.transcoders import HEADS, LATENTS, LAYERS, WIDTH, model_of, transcoder, transcoders
from winnow.dictionaries.dictionary import Dictionary
from winnow.errors import InputError
from winnow.evaluate import transcoder_circuits as circuits
from winnow.workloads.names_language import YEARS, tokens_of, vocabulary, year_spans

TOKENS = year_spans("train", 5, 0).tokens
LAST = TOKENS.shape[1] - 1


@pytest.fixture(scope="module")
def run():
    return circuits.trace(model_of(), transcoders(), TOKENS)


def pre_activation(run, layer, latent, token, saved=None):
    of = run.transcoders[layer]
    read = (saved or run.saved)[f"blocks.{layer}.ln2.hook_normalized"][:, token]
    return (read - of.b_dec_in.double()) @ of.W_enc[:, latent].double() + of.b_enc[latent].double()


def frozen(run, changed):
    """Tensors of a run in which some hook points are changed and all other patterns, scales and outputs are kept."""
    kept = ("hook_pattern", "hook_scale", "hook_attn_out", "hook_mlp_out")
    names = run.model.all_hook_points()
    with torch.no_grad():
        plain = run.model.run(run.tokens, save=names)[1]
    patch = {name: (lambda _, value=value: value) for name, value in plain.items() if name.endswith(kept)}
    for name in [*changed]:
        # What is changed within attention is seen in what the layer adds.
        patch.pop(name.replace("attn.hook_pattern", "hook_attn_out"), None)
    with torch.no_grad():
        return run.model.run(run.tokens, patch=patch | changed, save=names)[1]


@pytest.mark.parametrize("normalization", ["ln", "none"])
@pytest.mark.parametrize("layers", [(0, 1, 2), (0, 2), (2,)])
@pytest.mark.parametrize("activation", ["topk", "jumprelu"])
def test_all_that_is_given_to_a_latent_adds_up_to_its_pre_activation(normalization, layers, activation):
    run = circuits.trace(model_of(3, normalization), transcoders(layers, activation=activation), TOKENS)
    for layer in layers:
        for latent, token in ((0, 0), (7, 4), (LATENTS - 1, -1)):
            found = circuits.contributions(run, circuits.latent_vector(run, layer, latent, token)).total
            torch.testing.assert_close(found, pre_activation(run, layer, latent, token), atol=1e-9, rtol=0)


def test_all_that_is_given_to_logits_adds_up_to_them(run):
    weights = torch.randn(len(vocabulary()), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = run.model(run.tokens) @ weights.double()
    for token in (0, 5, -1):
        found = circuits.contributions(run, circuits.logits_vector(run, weights, token)).total
        torch.testing.assert_close(found, logits[:, token], atol=1e-9, rtol=0)


def test_a_head_gives_what_is_lost_where_it_does_not_look_at_a_token(run):
    vector = circuits.latent_vector(run, 2, 3, 6)
    terms = {term.layer: term for term in circuits.contributions(run, vector).terms if term.kind == "head"}
    assert set(terms) == {0, 1, 2}
    for layer, head, source in ((0, 0, 0), (1, 1, 6), (2, 1, 3), (0, 1, 5)):
        name = f"blocks.{layer}.attn.hook_pattern"
        pattern = run.saved[name].clone()
        pattern[:, head, 6, source] = 0
        without = frozen(run, {name: lambda _, pattern=pattern: pattern})
        lost = pre_activation(run, 2, 3, 6) - pre_activation(run, 2, 3, 6, without)
        place = ((terms[layer].unit == head) & (terms[layer].token == source)).nonzero()[0, 0]
        torch.testing.assert_close(terms[layer].value[:, place], lost, atol=1e-6, rtol=0)
        assert lost.abs().max() > 1e-3
    later = terms[1].value[:, terms[1].token > 6]
    assert (later == 0).all()


def test_a_latent_gives_what_is_lost_without_it(run):
    """Down to later latents that stay active, and to logits."""
    weights = torch.zeros(len(vocabulary()))
    weights[int(tokens_of(YEARS[40:41])[0])] = 1
    vectors = {"latent": circuits.latent_vector(run, 2, 11, -1), "logits": circuits.logits_vector(run, weights, -1)}
    for layer in (0, 1):
        name = f"blocks.{layer}.hook_mlp_out"
        latent = int(run.codes[layer][:, -1].sum(0).argmax())
        code = run.codes[layer][:, -1, latent]
        changed = run.saved[name].clone()
        changed[:, -1] -= code[:, None] * run.writes[layer][latent]
        without = frozen(run, {name: lambda _, changed=changed: changed})
        scale = run.saved["ln_final.hook_scale"][:, -1]
        final = without["blocks.2.hook_resid_post"][:, -1]
        read = weights.double() @ run.model.unembed.weight
        normal = (final - final.mean(1, keepdim=True)) / scale * run.model.ln_final.weight + run.model.ln_final.bias
        lost = {
            "latent": pre_activation(run, 2, 11, -1) - pre_activation(run, 2, 11, -1, without),
            "logits": (run.saved["ln_final.hook_normalized"][:, -1] - normal) @ read,
        }
        for kind, vector in vectors.items():
            terms = circuits.contributions(run, vector).terms
            term = next(term for term in terms if term.kind == "latent" and term.layer == layer)
            torch.testing.assert_close(term.value[:, latent], lost[kind], atol=1e-9, rtol=0)
            assert lost[kind].abs().max() > 1e-3


def test_contributions_factorise_into_what_inputs_decide_and_what_they_do_not(run):
    """The invariant factor of the same pair of latents is the same on other prompts, and is that of the weights."""
    other = circuits.trace(model_of(), run.transcoders, year_spans("train", 5, 9).tokens)
    found = []
    for which in (run, other):
        vector = circuits.latent_vector(which, 2, 5, -1)
        terms = circuits.contributions(which, vector).terms
        for term in terms:
            if term.invariant is not None:
                torch.testing.assert_close(term.invariant * term.dependent, term.value, atol=1e-12, rtol=0)
        assert {term.kind for term in terms if term.invariant is None} == {"head", "error"}
        found.append(next(term for term in terms if term.kind == "latent" and term.layer == 0))
    assert torch.equal(found[0].invariant, found[1].invariant) and not torch.equal(found[0].value, found[1].value)
    row = run.transcoders[2].W_enc[:, 5].double() * run.model.blocks[2].ln2.weight.double()
    expected = run.writes[0] @ (row - row.mean())
    torch.testing.assert_close(found[0].invariant[0], expected, atol=1e-6, rtol=1e-6)


def test_of_an_embedding_the_token_alone_decides_the_invariant_factor(run):
    terms = circuits.contributions(run, circuits.latent_vector(run, 1, 2, 8)).terms
    term = next(term for term in terms if term.kind == "embedding")
    years = run.tokens[:, 8]
    assert len(set(years.tolist())) > 1
    expected = run.model.embed.weight[years] @ circuits.latent_vector(run, 1, 2, 8).direction
    torch.testing.assert_close(term.invariant[:, 0], expected, atol=1e-12, rtol=0)


def test_scaling_a_latent_and_its_reader_against_each_other_changes_nothing():
    """Not with a fixed number of latents, where it changes which are the largest."""
    model, plain = model_of(), transcoders(activation="jumprelu")
    before = circuits.trace(model, plain, TOKENS)
    latent = int((before.codes[0] > 0).sum((0, 1)).argmax())
    scaled = copy.copy(plain[0])
    for name, factor in (("W_enc", 1 / 3), ("b_enc", 1 / 3), ("threshold", 1 / 3)):
        changed = getattr(scaled, name).clone()
        changed[..., latent] *= factor
        object.__setattr__(scaled, name, changed)
    written = scaled.W_dec.clone()
    written[latent] *= 3
    object.__setattr__(scaled, "W_dec", written)
    after = circuits.trace(model, {**plain, 0: scaled}, TOKENS)
    assert not torch.equal(before.codes[0][..., latent], after.codes[0][..., latent])
    for layer, latent in ((1, 4), (2, 9)):
        pairs = [circuits.contributions(r, circuits.latent_vector(r, layer, latent, -1)).terms for r in (before, after)]
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one.value, other.value, atol=1e-6, rtol=1e-5)


def test_a_layer_without_a_transcoder_is_one_error(run):
    alone = circuits.trace(model_of(), {2: run.transcoders[2]}, TOKENS)
    terms = circuits.contributions(alone, circuits.latent_vector(alone, 2, 3, -1)).terms
    errors = {term.layer: term for term in terms if term.kind == "error"}
    assert set(errors) == {0, 1} and not [term for term in terms if term.kind == "latent"]
    vector = circuits.latent_vector(alone, 2, 3, -1)
    added = alone.saved["blocks.1.hook_mlp_out"][:, -1] @ vector.direction * vector.factor
    torch.testing.assert_close(errors[1].value[:, 0], added)


def test_a_linear_layer_is_transcoded_without_a_rest_and_circuits_are_products_of_weights():
    """All latents active by a large bias; the decoder solved by least squares."""
    generator = torch.Generator().manual_seed(0)
    model = model_of(4)
    read = circuits.trace(model, {}, TOKENS).saved["blocks.0.ln2.hook_normalized"].flatten(0, 1)
    weight, bias = (
        torch.randn(WIDTH, WIDTH, generator=generator).double(),
        torch.randn(WIDTH, generator=generator).double(),
    )
    encoder = torch.randn(WIDTH, LATENTS, generator=generator).double()
    floor = 1 - (read @ encoder).min(0).values
    decoder = torch.linalg.lstsq(encoder, weight).solution
    norms = decoder.norm(dim=1)
    encoder, floor, decoder = encoder * norms, floor * norms, decoder / norms[:, None]
    parts = (encoder, floor, decoder, torch.zeros(WIDTH), bias - floor @ decoder, torch.zeros(LATENTS))
    of = Dictionary(*(part.float() for part in parts), "topk", "topk", LATENTS)
    target = read @ weight + bias
    rest = (of.reconstruct(read.float()).double() - target).square().sum()
    assert float(rest / (target - target.mean(0)).square().sum()) < 1e-8
    run = circuits.trace(model, {0: of, 1: transcoder(1)}, TOKENS)
    written = next(
        term
        for term in circuits.contributions(run, circuits.latent_vector(run, 1, 2, -1)).terms
        if term.kind == "latent"
    )
    row = run.transcoders[1].W_enc[:, 2].double() * run.model.blocks[1].ln2.weight
    folded = row - row.mean()
    # What all latents give is what the linear layer maps its input to, read by the later latent.
    scale = run.saved["blocks.1.ln2.hook_scale"][:, -1, 0]
    x = run.saved["blocks.0.ln2.hook_normalized"][:, -1]
    expected = (x @ weight + floor @ decoder) @ folded / scale
    torch.testing.assert_close(written.value.sum(1), expected, atol=1e-5, rtol=1e-5)


def test_reading_through_a_latent_is_reading_what_it_reads(run):
    """Pulled back, the sum of what gives to it is what it gave, where it is active, and 0 where it is not."""
    vector = circuits.latent_vector(run, 2, 1, -1)
    term = next(t for t in circuits.contributions(run, vector).terms if t.kind == "latent" and t.layer == 1)
    for latent in range(LATENTS):
        behind = circuits.through_latent(run, vector, 1, latent)
        assert (behind.place, behind.token) == (3, LAST)
        total = circuits.contributions(run, behind).total
        torch.testing.assert_close(total, term.value[:, latent], atol=1e-6, rtol=1e-5)
    assert bool((term.value != 0).any()) and bool((term.value == 0).any())


def test_reading_through_a_head_is_reading_the_token_it_looks_at(run):
    vector = circuits.latent_vector(run, 1, 4, -1)
    terms = {t.layer: t for t in circuits.contributions(run, vector).terms if t.kind == "head"}
    for layer, head, source in ((0, 0, 8), (1, 1, 0), (1, 0, LAST)):
        behind = circuits.through_head(run, vector, layer, head, source)
        assert (behind.place, behind.token) == (2 * layer, source)
        value = terms[layer].value.unflatten(1, (HEADS, -1))[:, head, source]
        torch.testing.assert_close(circuits.contributions(run, behind).total, value, atol=1e-9, rtol=0)


def test_rows_tell_each_node_with_its_factors(run):
    found = circuits.contributions(run, circuits.latent_vector(run, 2, 0, -1))
    rows = list(found.rows(1))
    assert sum(row["value"] for row in rows) == pytest.approx(float(found.total[1]), abs=1e-9)
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in {row["kind"] for row in rows}}
    assert counts["latent"] == int((run.codes[0][1, -1] > 0).sum() + (run.codes[1][1, -1] > 0).sum())
    assert counts["head"] == LAYERS * HEADS * (LAST + 1) and counts["error"] == 2
    assert counts["embedding"] == counts["position"] == 1
    assert counts["bias"] == LAYERS + 2 + 1  # of attention, of transcoders, and what LayerNorm and the latent add
    for row in rows:
        if row["invariant"] is not None:
            assert row["invariant"] * row["dependent"] == pytest.approx(row["value"], abs=1e-12)
        assert (row["invariant"] is None) == (row["kind"] in ("head", "error") or row["layer"] == row["unit"] == -1
                                              and row["kind"] == "bias")  # fmt: skip
        assert row["token"] == LAST or row["kind"] == "head"


def test_a_negative_token_counts_from_the_end(run):
    one, other = (circuits.latent_vector(run, 1, 2, token) for token in (-3, LAST - 2))
    assert one.token == other.token == LAST - 2 and torch.equal(one.constant, other.constant)
    assert [circuits.token_at(token, 5) for token in (0, 4, -1, -5)] == [0, 4, 4, 0]


@pytest.mark.parametrize("token", [LAST + 1, -LAST - 2])
def test_a_token_outside_the_prompt_is_named(run, token):
    for make in (lambda: circuits.latent_vector(run, 1, 2, token),
                 lambda: circuits.logits_vector(run, torch.zeros(len(vocabulary())), token)):  # fmt: skip
        with pytest.raises(InputError, match=f"token {token}: outside the prompt's {LAST + 1}; name one inside"):
            make()


def test_what_does_not_fit_is_named(run):
    for layer, latent in ((0, LATENTS), (0, -1), (5, 0)):
        with pytest.raises(InputError, match=f"latent {latent} of layer {layer}: there is no such"):
            circuits.latent_vector(run, layer, latent, 0)
    with pytest.raises(InputError, match="transcoder of layer 3: the model has layers 0 to 2"):
        circuits.trace(model_of(), {3: transcoder(0)}, TOKENS)
    with pytest.raises(InputError, match="transcoder of layer 1: maps 9 to 9 dimensions, the model has 8"):
        circuits.trace(model_of(), {1: transcoder(0, width=9)}, TOKENS)
    wide = transcoder(0, width=9)
    mixed = replace(transcoder(0), W_enc=wide.W_enc, b_dec_in=wide.b_dec_in)
    with pytest.raises(InputError, match="transcoder of layer 1: maps 9 to 8 dimensions, the model has 8"):
        circuits.trace(model_of(), {1: mixed}, TOKENS)


@pytest.mark.parametrize("normalization", ["ln", "none"])
def test_de_embedding_is_what_tokens_give_without_any_input(normalization):
    """Against contributions: an embedding's invariant factor, directly and through a head."""
    model = model_of(5, normalization)
    run = circuits.trace(model, transcoders(), TOKENS)
    direct = circuits.deembed(model, run.transcoders[1], 1, 3)
    vector = circuits.latent_vector(run, 1, 3, 8)
    term = next(term for term in circuits.contributions(run, vector).terms if term.kind == "embedding")
    torch.testing.assert_close(direct[run.tokens[:, 8]].double(), term.invariant[:, 0], atol=1e-5, rtol=1e-4)
    behind = circuits.through_head(run, circuits.latent_vector(run, 1, 3, -1), 0, 1, 8)
    term = next(term for term in circuits.contributions(run, behind).terms if term.kind == "embedding")
    through = circuits.deembed(model, run.transcoders[1], 1, 3, [(0, 1)])
    torch.testing.assert_close(through[run.tokens[:, 8]].double(), term.invariant[:, 0], atol=1e-5, rtol=1e-4)
    assert direct.shape == (len(vocabulary()),) and direct.dtype == torch.float32


def test_de_embedding_goes_through_heads_from_the_last_to_the_first(run):
    model, of = model_of(), run.transcoders[2]
    twice = circuits.deembed(model, of, 2, 0, [(2, 1), (0, 0)])
    row = of.W_enc[:, 0] * model.blocks[2].ln2.weight
    row = row - row.mean()
    for layer, head in ((2, 1), (0, 0)):
        attention, own = model.blocks[layer].attn, slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        row = attention.value.weight[own].T @ (attention.output.weight[:, own].T @ row) * model.blocks[layer].ln1.weight
        row = row - row.mean()
    torch.testing.assert_close(twice, (model.embed.weight @ row).detach(), atol=1e-6, rtol=1e-5)
    for via in ([(0, 1), (0, 0)], [(1, 0), (1, 1)], [(-1, 0)]):
        with pytest.raises(InputError, match="does not come before what is to read from it"):
            circuits.deembed(model, of, 2, 0, via)
    with pytest.raises(InputError, match=r"head 2\.0: does not come before"):
        circuits.deembed(model, run.transcoders[1], 1, 0, [(2, 0)])


@pytest.mark.parametrize("normalization", ["ln", "none"])
def test_direct_logits_are_what_the_last_layer_makes_of_a_row(normalization):
    """By the model: at a scale of one, what a row adds to the logits."""
    model = model_of(6, normalization)
    rows = normalize(torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(2)), dim=1)
    one = {"ln_final.hook_scale": torch.ones_like} if normalization == "ln" else {}

    def logits(added):
        with torch.no_grad():
            return model.run(TOKENS[:1], patch={"blocks.2.hook_resid_post": lambda x: x + added} | one)[0][0, 0]

    found = circuits.direct_logits(model, rows)
    for row, expected in zip(rows, found, strict=True):
        torch.testing.assert_close(logits(row) - logits(0 * row), expected, atol=1e-5, rtol=1e-4)
