"""Contextual decomposition beside the published rules, runs of the model itself and the closed form of linear ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.circuits import random_encoder, random_transformer
from winnow.errors import InputError
from winnow.evaluate import decomposition_rules
from winnow.evaluate.contextual_decomposition import (
    MLP,
    Node,
    Tokens,
    explain,
    explain_phrases,
    node_hooks,
    propagate,
    reference_means,
)
from winnow.evaluate.decomposition_rules import Parts, attend

TOKENS = torch.tensor([[1, 4, 2, 7, 3], [1, 5, 9, 2, 8]])
REFERENCE = torch.tensor([[1, 6, 3, 7, 3], [1, 5, 4, 2, 10], [1, 2, 2, 9, 8]])


def recorded(text):
    return torch.tensor([float(number) for number in text.split()], dtype=torch.float64)


def check_parts_add_up(model, tokens, found, names, tolerance):
    """Every saved activation is the sum of its parts, within a share of its largest entry; all named ones are saved.

    Returns how far those of the logits may be apart.
    """
    with torch.no_grad():
        logits, plain = model.run(tokens, save=names)
    for name, parts in {**found.saved, "logits": found.logits}.items():
        whole = plain.get(name, logits)
        bound = tolerance * max(1.0, float(whole.abs().max()))
        torch.testing.assert_close(sum(parts), whole.expand_as(parts.rel), atol=bound, rtol=0)
    assert {*found.saved} == {*names}
    return bound


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99),
    split=st.booleans(),
    signs=st.booleans(),
    normalization=st.sampled_from(["ln", "none"]),
    activation=st.sampled_from(["gelu", "relu"]),
    single=st.booleans(),
)
def test_parts_add_up_to_the_activation_at_every_hook(seed, split, signs, normalization, activation, single):
    dtype, tolerance = (torch.float32, 1e-5) if single else (torch.float64, 1e-10)
    model = random_transformer(seed, normalization=normalization, activation=activation, dtype=dtype)
    if normalization == "none":  # activations would grow with each layer
        model.requires_grad_(False)
        for parameter in model.parameters():
            parameter.div_(2)
    names = [name for name in model.all_hook_points() if name not in ("hook_embed", "hook_pos_embed")]
    names = [name for name in names if not name.endswith(("hook_scale", "hook_attn_scores", "hook_pattern"))]
    sources = [Tokens({0, 2}), frozenset({Node(0, 3, 1), Node(1, 4, MLP)}), Tokens({4})]
    means = reference_means(model, REFERENCE)
    found = propagate(model, TOKENS, sources, None, means, "split" if split else "fixed", signs, save=names)
    check_parts_add_up(model, TOKENS, found, names, tolerance)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), split=st.booleans(), signs=st.booleans(), single=st.booleans())
def test_in_an_encoder_as_well_padded_texts_included(seed, split, signs, single):
    dtype, tolerance = (torch.float32, 1e-5) if single else (torch.float64, 1e-10)
    model = random_encoder(seed, dtype=dtype)
    texts = torch.tensor([[1, 4, 2, 7, 3], [1, 5, 9, 0, 0]])
    apart = ("hook_scale", "hook_attn_scores", "hook_pattern")
    names = [n for n in model.all_hook_points() if n.startswith(("blocks", "pooler")) and not n.endswith(apart)]
    sources = [Tokens({0, 2}), frozenset({Node(0, 1, 1), Node(1, 0, MLP)}), Tokens({1})]
    means = reference_means(model, REFERENCE)
    found = propagate(model, texts, sources, None, means, "split" if split else "fixed", signs, save=names)
    bound = check_parts_add_up(model, texts, found, names, tolerance)
    alone = propagate(model, texts[1:, :3], sources, None, {n: m[:3] for n, m in means.items()}).logits
    if not (split or signs):
        torch.testing.assert_close(alone.rel[:, 0], found.logits.rel[:, 1], atol=100 * bound, rtol=0)


@pytest.mark.parametrize("pattern", ["fixed", "split"])
def test_what_no_token_sees_gives_an_encoder_s_logits_nothing(pattern):
    model, texts = random_encoder(), torch.tensor([[1, 4, 2, 0]])
    seen, unseen = propagate(model, texts, [Tokens({2}), Tokens({3})], pattern=pattern).logits.rel
    assert seen.abs().min() > 1e-3
    # The leak of the 1e-8 in shares of biases.
    assert unseen.abs().max() < 1e-5


def test_explanations_of_an_encoder_are_weighted_parts_of_its_classes(monkeypatch):
    monkeypatch.setattr(decomposition_rules, "TOLERANCE", 0.0)
    model, texts = random_encoder(), TOKENS
    weights = torch.tensor([[1.0, -1, 0], [0, 1, 0]], dtype=torch.float64)
    logits = propagate(model, texts, [Tokens({2})]).logits.rel[0]
    expected = torch.stack([logits[0, 0] - logits[0, 1], logits[1, 1]])
    scores = explain(model, texts, weights)
    assert scores.shape == (2, 5)
    torch.testing.assert_close(scores[:, 2], expected)
    whole = explain_phrases(model, texts, [Tokens(range(5))], weights)[:, 0]
    torch.testing.assert_close(whole, (model(texts) * weights).sum(1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("pattern", ["fixed", "split"])
@pytest.mark.parametrize("make", [random_transformer, random_encoder])
def test_with_all_tokens_relevant_nothing_is_left(make, pattern, monkeypatch):
    # The 1e-8 that keeps shares of biases finite leaks, and later shares of small numbers make more of it.
    monkeypatch.setattr(decomposition_rules, "TOLERANCE", 0.0)
    model = make()
    logits = propagate(model, TOKENS, [Tokens(range(5))], pattern=pattern).logits
    assert not logits.irrel.any()
    torch.testing.assert_close(logits.rel[0], model(TOKENS), atol=1e-12, rtol=0)


def test_a_linear_network_gives_exact_contributions_in_any_order():
    model = random_transformer(normalization="none", activation="relu")
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.up.bias.fill_(0)
            block.mlp.down.weight.fill_(0)
            block.mlp.down.bias.fill_(0)
            for layer in (block.attn.value, block.attn.output):
                layer.bias.fill_(0)
    plain = model.run(TOKENS, save=[f"blocks.{i}.attn.hook_pattern" for i in range(2)])[1]
    one = propagate(model, TOKENS, [Tokens({position}) for position in range(5)]).logits.rel
    stream = model.embed(TOKENS) + model.pos_embed.weight[:5]
    for position in range(5):
        alone = torch.zeros_like(stream)
        alone[:, position] = stream[:, position]
        frozen = {name: lambda _, name=name: plain[name] for name in plain}
        frozen["hook_pos_embed"] = torch.zeros_like
        torch.testing.assert_close(one[position], model.run(alone, patch=frozen)[0], atol=1e-12, rtol=0)
    both = propagate(model, TOKENS, [Tokens({1, 3})]).logits.rel[0]
    torch.testing.assert_close(both, one[1] + one[3], atol=1e-12, rtol=0)


def test_stacked_sources_are_single_ones_and_nothing_is_relevant_before_them():
    model = random_transformer(layers=3)
    means = reference_means(model, REFERENCE)
    sources = [frozenset({Node(1, 2, 0)}), frozenset({Node(2, 4, 1)}), frozenset({Node(1, 3, MLP), Node(2, 1, 0)})]
    names = [f"blocks.{i}.hook_resid_{at}" for i in (1, 2) for at in ("pre", "mid", "post")]
    together = propagate(model, TOKENS, sources, None, means, save=names)
    for i, source in enumerate(sources):
        alone = propagate(model, TOKENS, [source], None, means)
        torch.testing.assert_close(together.logits.rel[i], alone.logits.rel[0], atol=1e-12, rtol=0)
    relevant = {name: parts.rel.abs().amax((1, 3)) > 0 for name, parts in together.saved.items()}
    assert not relevant["blocks.1.hook_resid_pre"].any()
    assert relevant["blocks.1.hook_resid_mid"].tolist()[0] == [False, False, True, False, False]
    assert relevant["blocks.1.hook_resid_post"].tolist()[2] == [False, False, False, True, False]
    assert not relevant["blocks.2.hook_resid_pre"][1].any() and relevant["blocks.2.hook_resid_mid"][1].any()


@pytest.mark.parametrize("make", [random_transformer, random_encoder])
def test_signs_are_cleaned_at_the_sums_of_the_stream_and_nowhere_unless_asked(make):
    model = make()
    names = [f"blocks.{i}.hook_resid_{at}" for i in (0, 1) for at in ("mid", "post")]
    for asked in (False, True):
        found = propagate(model, TOKENS, [Tokens({1, 2})], clean_signs=asked, save=[*names, "blocks.0.attn.hook_z"])
        opposed = {name: bool((parts.rel * parts.irrel < 0).any()) for name, parts in found.saved.items()}
        assert all(opposed[name] != asked for name in names) and opposed["blocks.0.attn.hook_z"]


def test_blocks_before_the_first_source_and_behind_the_last_target_do_not_run():
    model = random_transformer(layers=3)
    means = reference_means(model, REFERENCE)
    names = [f"blocks.{i}.hook_resid_post" for i in range(3)]
    source, target = frozenset({Node(1, 2, 0)}), Node(1, 4, MLP)
    run = propagate(model, TOKENS, [source], [target], means, save=names).saved
    assert {*run} == {names[1], "blocks.1.hook_mlp_out"}
    both = [source, Tokens({0})]
    assert {*propagate(model, TOKENS, both, None, means, save=names).saved} == {*names}


@pytest.mark.parametrize(("pattern", "signs"), [("fixed", False), ("split", False), ("fixed", True)])
def test_parts_of_the_last_logits_alone_are_those_of_all(pattern, signs):
    model = random_transformer(layers=3)
    tokens = torch.randint(1, 11, (3, 5), generator=torch.Generator().manual_seed(4))
    means = reference_means(model, tokens)
    for layer in range(3):
        sources = [frozenset({Node(layer, position, 1)}) for position in range(5)]
        asked = (model, tokens, sources, None, means, pattern, signs)
        found, whole = propagate(*asked, last=True).logits, propagate(*asked).logits
        for part, all_places in zip(found, whole, strict=True):
            torch.testing.assert_close(part, all_places[:, :, -1:])


@pytest.mark.parametrize("pattern", ["fixed", "split"])
@pytest.mark.parametrize("signs", [False, True])
def test_an_encoder_s_parts_at_its_first_place_alone_are_those_of_all(pattern, signs):
    model, tokens = random_encoder(), torch.tensor([[1, 4, 2, 7, 3], [1, 5, 9, 0, 0]])
    means = reference_means(model, REFERENCE)
    token, first, later = Tokens({0, 2}), frozenset({Node(0, 3, 1)}), frozenset({Node(1, 0, 1), Node(1, 2, 0)})
    for sources in ([token], [first, token], [later]):
        asked = (model, tokens, sources, None, means, pattern, signs)
        found, whole = propagate(*asked).logits, propagate(*asked, save=["blocks.1.hook_resid_post"]).logits
        for part, other in zip(found, whole, strict=True):
            torch.testing.assert_close(part, other, atol=1e-12, rtol=0)


def test_a_source_s_parts_are_its_difference_from_the_mean_and_targets_are_read_at_their_hooks():
    model = random_transformer(layers=3)
    means, plain = reference_means(model, REFERENCE), model.run(TOKENS, save=node_hooks(model))[1]
    own, later = Node(0, 2, 1), [Node(0, 2, 1), Node(1, 4, 0), Node(1, 3, MLP)]
    found = propagate(model, TOKENS, [frozenset({own})], later, means, save=["blocks.1.attn.hook_z"])
    assert found.logits is None and list(found.targets) == later
    mean = means["blocks.0.attn.hook_z"][2, 1]
    torch.testing.assert_close(found.targets[own].rel[0], plain["blocks.0.attn.hook_z"][:, 2, 1] - mean)
    torch.testing.assert_close(found.targets[own].irrel[0], mean.expand(2, -1))
    torch.testing.assert_close(found.targets[later[1]].rel, found.saved["blocks.1.attn.hook_z"].rel[:, :, 4, 0])
    torch.testing.assert_close(sum(found.targets[later[2]])[0], plain["blocks.1.hook_mlp_out"][:, 3])


def test_means_are_those_of_the_reference_and_one_like_the_prompt_leaves_nothing_relevant():
    model = random_transformer()
    means = reference_means(model, REFERENCE)
    saved = model.run(REFERENCE, save=node_hooks(model))[1]
    assert all(torch.equal(means[name], saved[name].mean(0)) for name in node_hooks(model))
    found = propagate(model, TOKENS[:1], [frozenset({Node(0, 1, 0)})], None, reference_means(model, TOKENS[:1]))
    # The model alone attends by another kernel, which rounds otherwise.
    assert found.logits.rel.abs().max() < 1e-10


def test_a_relevant_pattern_weighs_relevant_values_alone_and_sees_no_later_token():
    generator = torch.Generator().manual_seed(0)
    value = Parts(*torch.randn(2, 3, 2, 4, generator=generator).double())
    pattern, other = torch.rand(2, 2, 3, 3, generator=generator).double()
    fixed, split = attend(value, pattern), attend(value, pattern, other)
    by_hand = torch.stack([pattern[h] @ value.irrel[:, h] for h in range(2)], 1)
    torch.testing.assert_close(fixed.irrel, by_hand)
    torch.testing.assert_close(split.rel, torch.stack([other[h] @ value.rel[:, h] for h in range(2)], 1))
    torch.testing.assert_close(sum(split), sum(fixed))
    model = random_transformer()
    early = propagate(model, TOKENS, [Tokens({3})], pattern="split").logits.rel
    assert not early[:, :, :3].any() and early[:, :, 3:].all()


def test_explanations_are_weighted_parts_of_the_last_logits():
    model, weights = random_transformer(), torch.zeros(2, 11, dtype=torch.float64)
    weights[0, 3], weights[1, 5], weights[1, 6] = 1, 1, -1
    scores = explain(model, TOKENS, weights)
    logits = propagate(model, TOKENS, [Tokens({2})]).logits.rel[0, :, -1]
    assert scores.shape == (2, 5)
    torch.testing.assert_close(scores[:, 2], torch.stack([logits[0, 3], logits[1, 5] - logits[1, 6]]))
    split = propagate(model, TOKENS, [Tokens({2})], pattern="split").logits.rel[0, 0, -1, 3]
    torch.testing.assert_close(explain_phrases(model, TOKENS, [Tokens({2})], weights, "split")[0, 0], split)


BAD = {
    "sources: none": {"sources": []},
    "sources: none, or an empty one": {"sources": [Tokens()]},
    "targets: an empty list": {"targets": []},
    "layer=2": {"sources": [frozenset({Node(2, 0, 0)})]},
    "position=5": {"targets": [Node(1, 5, 0)]},
    "head=2": {"sources": [frozenset({Node(0, 0, 2)})]},
    "head=-2": {"sources": [frozenset({Node(0, 0, -2)})]},
    "token 5": {"sources": [Tokens({5})]},
    "token -1": {"sources": [Tokens({-1})]},
    "before every source": {"sources": [frozenset({Node(1, 0, 0)})], "targets": [Node(0, 0, 0)]},
    "pattern 'soft'": {"pattern": "soft"},
    "means: missing": {"sources": [frozenset({Node(0, 0, 0)})], "means": None},
    "another length than 5": {"sources": [frozenset({Node(0, 0, 0)})], "means": "short"},
}


@pytest.mark.parametrize("told", BAD)
def test_impossible_questions_are_refused(told):
    model = random_transformer()
    means = reference_means(model, REFERENCE)
    asked = {"sources": [Tokens({0})], "means": means} | BAD[told]
    if asked["means"] == "short":
        asked["means"] = reference_means(model, REFERENCE[:, :4])
    with pytest.raises(InputError, match=told.replace("(", r"\(")):
        propagate(model, TOKENS, **asked)


def test_one_empty_source_among_others_is_refused():
    for empty in (Tokens(), frozenset()):
        with pytest.raises(InputError, match="sources: none, or an empty one; give at least one token or node each"):
            propagate(random_transformer(), TOKENS, [Tokens({0}), empty])


def test_references_of_several_lengths_are_refused():
    for reference in (REFERENCE[:0], torch.tensor([[1, 2, 3], [1, 2, 0]])):
        with pytest.raises(InputError, match="reference"):
            reference_means(random_transformer(), reference)
