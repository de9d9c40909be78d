"""Caches judged while a model decodes: what is full loses nothing, bytes by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.compress.staircase_kv import KIVICache
from winnow.errors import InputError
from winnow.evaluate import kv_quantise_study as study
from winnow.models import build

CUT = SimpleNamespace(segment=4, group=2, segments=3)
STAIRCASES = [[8, 4, 2], [4, 2]]


class Corpus:
    def tokens(self, split):
        assert split == "test"
        return np.random.default_rng(0).integers(0, 30, 200).astype(np.uint16)


@pytest.fixture(scope="module")
def model():
    net = build("multi_query_transformer", vocabulary=30, width=32, layers=2, heads=4, seed=1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    return net.eval()


@pytest.fixture(scope="module")
def those(model):
    return study.told(model, Corpus(), CUT, 5)


@pytest.fixture(scope="module")
def found(model, those):
    policies = study.policies(CUT, [8, 2], STAIRCASES, STAIRCASES)
    return {(p.system, p.levels): study.decoded(model, p, CUT, those) for p in policies}


def test_every_order_of_every_staircase_is_judged(found):
    orders = {
        (system, tuple(s)) for system in ("staircase", "direct", "spread", "reverse", "mixed") for s in STAIRCASES
    }
    assert found.keys() == orders | {("full", (16,)), ("uniform", (8,)), ("uniform", (2,))}
    assert found["staircase", (8, 4, 2)]["bits"] == pytest.approx(14 / 3)
    assert found["reverse", (4, 2)]["bits"] == pytest.approx(8 / 3)


def test_a_full_cache_loses_nothing_and_few_bits_lose_more(model, those, found):
    full = found["full", (16,)]
    assert full["divergence"] < 1e-4 and full["share"] == 1
    assert full["divergence"] < found["uniform", (8,)]["divergence"] < found["uniform", (2,)]["divergence"]
    with torch.no_grad():
        logits = model(those.x)[:, 11:15]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), those.y[:, 11:15].flatten())
    assert full["cross_entropy"] == pytest.approx(float(loss), abs=1e-2)


def test_eight_bits_for_all_older_tokens_change_next_to_nothing():
    """Of a model as it is initialised, at 16 tokens a group."""
    net = build("multi_query_transformer", vocabulary=30, width=32, layers=2, heads=4, seed=1)
    cut = SimpleNamespace(segment=16, group=16, segments=3)
    those = study.told(net.eval(), Long(), cut, 4)
    few, eight = (study.decoded(net, p, cut, those) for p in study.policies(cut, [2, 8], [], []) if p.system != "full")
    assert 0 < eight["divergence"] < 1e-4 and eight["divergence"] < few["divergence"] / 100


class Long(Corpus):
    def tokens(self, split):
        return np.random.default_rng(1).integers(0, 30, 600).astype(np.uint16)


def test_bytes_are_the_mean_over_the_tokens_that_are_decoded(found):
    layers, channels, kept = 2, 8, 12
    full = [layers * 2 * channels * tokens * 2 for tokens in range(12, 16)]
    assert found["full", (16,)]["bytes"] == np.mean(full)
    payload = layers * 2 * channels * kept * 2 // 8
    scales = layers * 2 * channels * kept // CUT.group * 4
    newest = np.mean([layers * 2 * channels * tokens * 2 for tokens in range(4)])
    uniform = found["uniform", (2,)]
    assert uniform["bytes"] == payload + scales + newest
    assert uniform["share"] == pytest.approx(uniform["bytes"] / np.mean(full))
    assert {found[s, (4, 2)]["bytes"] for s in ("direct", "reverse", "spread", "mixed")} == {
        found["staircase", (4, 2)]["bytes"]
    }


def test_divergence_is_by_hand_where_a_prompt_is_all_there_is(model, those):
    # The last of the first segment's tokens is decoded at 1 bit, and no other.
    cut = SimpleNamespace(segment=4, group=2, segments=1)
    policy = study.Policy("uniform", (1,), lambda: KIVICache(1, segment=4, group=2))
    caches = [policy.make() for _ in model.blocks]
    for cache, (keys, values) in zip(caches, those.keys_and_values, strict=True):
        for token in range(3):
            cache.append(keys[:, :, token : token + 1], values[:, :, token : token + 1])
    expected = []
    for place in range(3, 7):
        logs = model.decode(those.x[:, place], place, caches).double().log_softmax(-1)
        expected.append(torch.nn.functional.kl_div(logs, those.logs[:, place], reduction="batchmean", log_target=True))
    assert study.decoded(model, policy, cut, those)["divergence"] == pytest.approx(float(np.mean(expected)), rel=1e-6)
    assert study.tokens_per_second(model, policy, cut, those) > 0


def test_streams_are_stretches_of_the_tokens_that_do_not_overlap():
    tokens = torch.arange(50)
    corpus = SimpleNamespace(tokens=lambda split: tokens.numpy().astype(np.uint16))
    x, y = study.streams(corpus, "test", 4, 12)
    assert torch.equal(y, x + 1) and (x[:, 0] % 12 == 0).all() and len(x[:, 0].unique()) == 4
    assert torch.equal(x, study.streams(corpus, "test", 4, 12)[0])
    with pytest.raises(InputError, match="test: has 4 streams of 12 tokens, 5 are asked for"):
        study.streams(corpus, "test", 5, 12)


def test_sizes_grow_with_the_tokens():
    policy = next(p for p in study.policies(CUT, [2], STAIRCASES, []) if p.system == "uniform")
    rows = study.sizes(policy, 8, range(2, 9, 2))
    segment = 2 * 8 * 4 * 2 // 8 + 2 * 8 * 4 // 2 * 4
    assert [row["bytes"] for row in rows] == [64, segment, segment + 64, 2 * segment]
    assert [row["tokens"] for row in rows] == [2, 4, 6, 8] and rows[0]["levels"] == "2"
