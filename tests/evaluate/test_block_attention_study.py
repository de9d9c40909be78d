"""Ways of drawing cost the same, the probe says tokens again, masses are those of attention."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.loud_transformer import loud_transformer
from winnow.compress.probabilistic_attention import with_block_attention
from winnow.errors import InputError
from winnow.evaluate.block_attention_study import (
    COPIED,
    TOLD,
    attention_mass,
    copying,
    finetuned,
    judged_tuned,
    quality,
    requested_blocks,
    samplers,
    share_drawn,
    with_copies,
)


@pytest.fixture(scope="module")
def model():
    return loud_transformer(2, vocabulary=30)


@pytest.fixture(scope="module")
def x():
    return torch.randint(0, 30, (6, 48), generator=torch.Generator().manual_seed(0))


def test_ways_keep_as_many_blocks_as_a_window(model, x):
    for width in (2, 3):
        ways = list(samplers(width, 12, seed=0))
        names = [way.name for way in ways]
        assert ("bigbird" in names) == (width == 3) and names[-1] == "window"
        fractions = {way.fraction for way in ways if way.name != "geometric_exactly"}
        assert len(fractions) == 1
        for way in ways:
            found = quality(model, way, 4, x, x.roll(-1, 1), 40)
            assert found["kept"] == pytest.approx(way.fraction, abs=1e-9 if "window" in way.name else 0.02), way.name
            assert found["deviation"] == 0 if way.name == "window" else found["deviation"] > 0
    # rows 1 and 2 have fewer blocks than 1 + the width
    exact = next(way for way in samplers(3, 12, seed=0) if way.name == "geometric_exactly")
    assert exact.fraction == pytest.approx((1 + 2 + 3 + 9 * 4) / 78) and abs(exact.fraction - ways[0].fraction) < 0.05


def test_quality_is_the_mean_loss_of_the_draws(model, x):
    window = next(way for way in samplers(12, 12, seed=0) if way.name == "window")  # all blocks
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), x.roll(-1, 1).flatten())
    found = quality(model, window, 4, x, x.roll(-1, 1), 2)
    assert found["cross_entropy"] == pytest.approx(float(expected), abs=1e-5) and found["kept"] == pytest.approx(1)


def test_masses_are_shares_of_attention(model, x):
    mass = attention_mass(model, x, 4)
    assert mass.shape == (2, 12) and mass.sum(1) == pytest.approx(np.ones(2), abs=1e-5)
    # the first layer by hand, one window after another
    block = model.blocks[0]
    captured = {}
    handle = torch.nn.functional.scaled_dot_product_attention
    import winnow.models.transformer as module

    def spy(query, key, value, is_causal):
        captured.setdefault("weights", (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5))
        return handle(query, key, value, is_causal=is_causal)

    original = module.scaled_dot_product_attention
    module.scaled_dot_product_attention = spy
    try:
        with torch.no_grad():
            block(model.embedding(x))
    finally:
        module.scaled_dot_product_attention = original
    weights = captured["weights"].masked_fill(torch.ones(48, 48).triu(1).bool(), -torch.inf).softmax(-1)
    own = sum(float(weights[..., t, 4 * (t // 4) : 4 * (t // 4) + 4].sum()) for t in range(48)) / (6 * 2 * 48)
    assert mass[0, 0] == pytest.approx(own, abs=1e-4)


def test_the_probe_says_tokens_again_after_a_gap(x):
    copied, again = with_copies(x, (17, 20), np.random.default_rng(0))
    gaps = set()
    for row in range(6):
        at = int(again[row])
        found = [
            g for g in range(17, 21) if torch.equal(copied[row, at : at + COPIED], x[row, at - g : at - g + COPIED])
        ]
        assert found and at + COPIED <= 48
        gaps |= set(found)
        elsewhere = torch.ones(48, dtype=torch.bool)
        elsewhere[at : at + COPIED] = False
        assert torch.equal(copied[row][elsewhere], x[row][elsewhere])
    assert len(gaps) > 1
    with pytest.raises(InputError, match="do not fit a window of 48"):
        with_copies(x, (17, 33), np.random.default_rng(0))


def test_copying_counts_the_tokens_after_the_first_few(x):
    copied, again = with_copies(x, (17, 20), np.random.default_rng(0))

    class Oracle(torch.nn.Module):
        """Foresees the next token, but for the one place after the told tokens."""

        def forward(self, tokens):
            scores = torch.nn.functional.one_hot(tokens.roll(-1, 1), 30).float()
            for row, at in enumerate(again.tolist()):
                scores[row, at + TOLD - 1] = 0
                scores[row, : at + TOLD - 1] = 0
            return scores

    wrong = float((copied[torch.arange(6), again + TOLD] != 0).double().mean()) / (COPIED - TOLD)
    assert copying(Oracle(), copied, again) == pytest.approx(1 - wrong)


class Corpus:
    def batches(self, split, size, seed=None, epoch=0):
        tokens = torch.randint(0, 30, (2 * size, 49), generator=torch.Generator().manual_seed(epoch))
        for batch in tokens.split(size):
            yield batch[:, :-1], batch[:, 1:]


def test_fine_tuning_takes_its_steps_and_is_repeatable(model):
    params = SimpleNamespace(block=4, learning_rate=1e-3, batch_size=4, finetune_steps=5, gaps=[17, 20])
    way = next(iter(samplers(2, 12, seed=0)))
    steps = []
    tuned = [
        finetuned(model, Corpus(), params, way, 0, lambda step, total: steps.append((step, total))) for _ in range(2)
    ]
    full = finetuned(model, Corpus(), params, None, 0, lambda step, total: None)
    assert steps[:5] == [(i, 5) for i in range(1, 6)]
    a, b = (net.state_dict() for net in tuned)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["embedding.weight"], full.state_dict()["embedding.weight"])
    assert not torch.equal(a["embedding.weight"], model.state_dict()["embedding.weight"])
    assert not any(net.training for net in tuned)


def test_requested_blocks_are_those_drawn_row_by_row(model, x):
    window = next(way for way in samplers(2, 12, seed=0) if way.name == "window")
    asked = requested_blocks(model, window, 4, x)
    # each row asks the first block, the one before it and its own, in both layers, for two heads
    expected = []
    for row in range(12):
        for layer in range(2):
            expected += [(layer, column) for column in sorted({0, max(row - 1, 0), row})] * 2
    assert asked == expected


def test_every_way_draws_the_share_that_it_was_set_to():
    for width in (2, 3):
        for way in samplers(width, 8, seed=0):
            assert share_drawn(way, 8) == pytest.approx(way.fraction, abs=0.012), way.name
            if way.name == "window":
                assert share_drawn(way, 8) == pytest.approx(way.fraction, abs=1e-9)


def test_a_tuned_model_is_judged_over_several_draws(model, x):
    copied, again = with_copies(x, (17, 20), np.random.default_rng(0))
    way = next(iter(samplers(2, 12, seed=0)))

    def fresh():
        return with_block_attention(copy.deepcopy(model), way.sampler, 4).eval()

    single = fresh()  # each call draws anew
    with torch.no_grad():
        losses = [float(torch.nn.functional.cross_entropy(single(x).mT, x.roll(-1, 1))) for _ in range(3)]
    assert len(set(losses)) == 3
    found = judged_tuned(fresh(), 3, (x, x.roll(-1, 1)), copied, again)
    assert found["cross_entropy"] == pytest.approx(np.mean(losses), rel=1e-5) and 0 <= found["copied"] <= 1
