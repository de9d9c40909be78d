"""Rotations and biases beside their published values, naive softmax, exact fractions, and what must not change."""

import copy
from fractions import Fraction

import pytest
import torch

from winnow.errors import InputError
from winnow.models import build
from winnow.models.positions import (
    MODES,
    ROTATED,
    PositionalAttention,
    PositionalTransformer,
    by_distance,
    harmonic_numbers,
    position_bias,
    slopes,
    with_positions,
)
from winnow.models.rotary import rotated


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def attention(mode, heads=4, width=16, seed=0, **changes):
    torch.manual_seed(seed)
    return PositionalAttention(width, heads, mode, **changes)


def test_geometric_slopes_are_the_published_ones():
    assert slopes(8).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert torch.allclose(slopes(16)[:2], torch.tensor([2**-0.5, 2**-1], dtype=torch.float64))
    # Twelve heads: those of eight, then every second of sixteen.
    assert torch.allclose(slopes(12), torch.cat([slopes(8), slopes(16)[[0, 2, 4, 6]]]))
    assert slopes(3).tolist() == [2**-4, 2**-8, 2**-2]
    assert slopes(1).tolist() == [2**-8]
    assert torch.allclose(slopes(4, "harmonic"), torch.tensor([1, 1 / 2, 1 / 3, 1 / 4], dtype=torch.float64))


def test_harmonic_numbers_are_sums_of_fractions():
    found = harmonic_numbers(10_000)
    assert found[:4].tolist() == [0, 1, 1.5, pytest.approx(11 / 6, abs=1e-15)]
    assert abs(found[10_000].item() - float(sum(Fraction(1, i) for i in range(1, 10_001)))) < 1e-12


EXPECTED = {
    "additive_harmonic": [[0, -0.25, -0.5, -0.75], [0, -0.125, -0.25, -0.375]],
    "harmonic_number": [[0, -1 / 16, -1.5 / 16, -11 / 96], [0, -1 / 256, -1.5 / 256, -11 / 6 / 256]],
    "factored": [[1, 16 / 17, 16 / 18, 16 / 19], [1, 256 / 257, 256 / 258, 256 / 259]],
    "geometric": [[0, -1 / 16, -2 / 16, -3 / 16], [0, -1 / 256, -2 / 256, -3 / 256]],
    "split": [[0, 0, 0, 0], [0, -1 / 256, -2 / 256, -3 / 256]],
    "rope": [[0] * 4] * 2,
    "alibi": [[0, -1 / 16, -2 / 16, -3 / 16], [0, -1 / 256, -2 / 256, -3 / 256]],
    "none": [[0] * 4] * 2,
}


@pytest.mark.parametrize("mode", MODES)
def test_two_heads_up_to_distance_three(mode):
    found = by_distance(mode, 2, 3)
    assert torch.allclose(found, torch.tensor(EXPECTED[mode], dtype=torch.float64), atol=1e-15)
    own = 0.25 if mode == "additive_harmonic" else 1.0
    doubled = by_distance(mode, 2, 3, 2 * own)
    if mode == "factored":
        assert torch.allclose(1 / doubled - 1, 2 * (1 / found - 1), atol=1e-12)
    else:
        assert torch.allclose(doubled, 2 * found)


@pytest.mark.parametrize("mode", MODES)
def test_a_bias_is_causal_and_depends_on_distance(mode):
    places = torch.arange(6)
    bias = position_bias(mode, 3, places, places)
    assert bias.shape == (3, 6, 6) and bias.dtype == torch.float32
    assert torch.equal(position_bias(mode, 3, places + 1000, places + 1000), bias)
    for query in range(6):
        for key in range(6):
            if key <= query:
                assert torch.allclose(bias[:, query, key].double(), by_distance(mode, 3, 5)[:, query - key])
            else:
                assert torch.all(bias[:, query, key] == (1 if mode == "factored" else -torch.inf))
    assert torch.equal(position_bias(mode, 3, places[4:], places), bias[:, 4:])
    assert torch.isfinite(position_bias(mode, 3, places, places, causal=False)).all()


def naive(layer, x):
    """One query, one head, one key at a time, in float64."""
    layer, x = copy.deepcopy(layer).double(), x.double()
    parts = [part(x).unflatten(-1, (layer.heads, -1)) for part in (layer.query, layer.key, layer.value)]
    table = by_distance(layer.mode, layer.heads, x.shape[1], layer.strength)
    mixed = torch.zeros_like(parts[2])
    for n in range(len(x)):
        for h in range(layer.heads):
            turns = layer.mode in ROTATED and not (layer.mode == "split" and h >= layer.heads // 2)
            query, key, value = (part[n, :, h] for part in parts)
            if turns:
                query, key = (rotated(each, torch.arange(x.shape[1])) for each in (query, key))
            for q in range(x.shape[1]):
                scores = torch.stack([query[q] @ key[k] / query.shape[-1] ** 0.5 for k in range(q + 1)])
                falls = table[h, : q + 1].flip(0)
                scores = scores * falls if layer.mode == "factored" else scores + falls
                mixed[n, q, h] = scores.softmax(0) @ value[: q + 1]
    return layer.output(mixed.flatten(-2))


@pytest.mark.parametrize("mode", MODES)
def test_attention_is_the_naive_softmax(mode):
    layer, x = attention(mode, strength=0.7), normal(2, 9, 16, dtype=torch.float32)
    assert torch.allclose(layer(x).double(), naive(layer, x), atol=2e-6, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("learned", [False, True])
def test_going_on_from_a_cache_is_the_whole_forward(mode, learned):
    layer, x = attention(mode, learned=learned), normal(2, 12, 16, dtype=torch.float32)
    whole = layer(x)
    first, past = layer.resume(x[:, :5], None)
    found = [first]
    for t in range(5, 12):
        each, past = layer.resume(x[:, t : t + 1], past)
        found.append(each)
    assert past.seen == 12
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5, rtol=0)
    several, _ = layer.resume(x[:, 5:9], layer.resume(x[:, :5], None)[1])
    assert torch.allclose(several, whole[:, 5:9], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_positions_go_on_after_the_oldest_tokens_are_dropped(mode):
    layer, x = attention(mode), normal(1, 10, 16, dtype=torch.float32)
    past = layer.resume(x[:, :9], None)[1].latest(4)
    assert past.keys.shape[2] == past.values.shape[2] == 4 and past.seen == 9
    # Scores depend on distances alone: as if the four had been all there is.
    found = layer.resume(x[:, 9:], past)[0]
    assert torch.allclose(found, layer(x[:, 5:])[:, -1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["additive_harmonic", "factored"])
def test_learned_strengths_start_at_the_given_and_are_of_each_head(mode):
    plain, learned = attention(mode, strength=0.5), attention(mode, strength=0.5, learned=True)
    x = normal(2, 8, 16, dtype=torch.float32)
    assert torch.allclose(plain(x), learned(x), atol=1e-6)
    learned(x).sum().backward()
    assert learned.raw.grad.shape == (4, 1, 1) and torch.all(learned.raw.grad != 0)
    with torch.no_grad():
        learned.raw[:] = torch.tensor(2.0).exp().sub(1).log()  # softplus gives 2
    assert torch.allclose(attention(mode, strength=1.0)(x), learned(x), atol=1e-5)


def test_a_model_keeps_its_weights_and_with_rope_its_logits():
    model = build("transformer", vocabulary=11, width=16, layers=2, heads=2, seed=3).eval()
    x = torch.randint(11, (2, 10), generator=torch.Generator().manual_seed(0))
    before = model(x)
    changed = with_positions(copy.deepcopy(model), "rope")
    assert torch.allclose(changed(x), before, atol=1e-5)
    assert not torch.allclose(with_positions(copy.deepcopy(model), "alibi")(x), before, atol=1e-5)
    assert {n for n, _ in changed.named_parameters()} == {n for n, _ in model.named_parameters()}
    learned = with_positions(copy.deepcopy(model), "geometric", 0.5, learned=True)
    assert learned.blocks[0].attention.strength == 0.5 and learned.blocks[1].attention.raw is not None


def test_bad_input_is_named():
    with pytest.raises(InputError, match="heads: is 0"):
        slopes(0)
    with pytest.raises(InputError, match="strength: is -1"):
        by_distance("alibi", 2, 3, -1)
    with pytest.raises(InputError, match="strength: is nan"):
        attention("alibi", strength=float("nan"))
    with pytest.raises(InputError, match="unknown name 'sine'"):
        PositionalAttention(16, 4, "sine")
    with pytest.raises(InputError, match="width: is 18, no multiple of twice the 4 heads"):
        PositionalAttention(18, 4, "rope")
    with pytest.raises(InputError, match="the 0 heads"):
        PositionalAttention(16, 0, "rope")


@torch.no_grad()
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_the_model_of_the_registry_is_a_transformer_with_this_attention(mode, learned):
    shape = {"vocabulary": 11, "width": 16, "layers": 2, "heads": 2, "hidden": 24}
    study = with_positions(build("transformer", seed=3, **shape), mode, 0.5, learned)
    made = build("positional_transformer", position=mode, strength=0.5, learned=learned, **shape)
    made.load_state_dict(study.state_dict())
    x = torch.randint(11, (2, 10), generator=torch.Generator().manual_seed(0))
    assert torch.equal(made(x), study(x))


def test_a_model_of_the_registry_has_harmonic_biases_of_their_own_strength_unless_told():
    made = PositionalTransformer(11)
    assert made.embedding.weight.shape == (11, 64) and len(made.blocks) == 2
    attention = made.blocks[1].attention
    assert (attention.heads, attention.mode, attention.strength, attention.raw) == (4, "additive_harmonic", None, None)
    assert made.blocks[0].mlp.up.weight.shape == (176, 64)


@pytest.mark.parametrize("mode", MODES)
def test_places_that_fill_a_row_up_are_seen_by_no_token(mode):
    layer, x = attention(mode, learned=True), normal(2, 9, 16, dtype=torch.float32)
    found, past = layer.resume(x[:, :8], None, torch.tensor([3, 0]))
    last, _ = layer.resume(x[:, 8:], past, torch.tensor([3, 0]))
    assert torch.isfinite(found).all()
    for row, blank in ((0, 3), (1, 0)):
        alone = layer(x[row : row + 1, blank:])
        assert torch.allclose(torch.cat([found, last], 1)[row, blank:], alone[0], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES)
def test_a_model_that_reads_on_gives_the_logits_of_the_whole_text(mode):
    made = build("positional_transformer", vocabulary=11, width=16, layers=2, heads=2, position=mode, seed=1).eval()
    x = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(0))
    blank = torch.tensor([2, 0])  # the first row's text begins at its third place
    for told in (None, blank):
        first, cache = made.read(x[:, :4], blank=told)
        assert cache.length == 4 and len(cache.keys) == len(cache.values) == 2
        second, cache = made.read(x[:, 4:6], cache)
        third, cache = made.read(x[:, 6:], cache)
        assert cache.length == 9 and all(keys.shape == (2, 2, 9, 8) for keys in cache.keys)
        found = made.logits(torch.cat([first, second, third], dim=1))
        for row, begin in enumerate((blank if told is not None else torch.zeros(2)).int().tolist()):
            assert torch.allclose(found[row, begin:], made(x[row : row + 1, begin:])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"position": "sine"}, "position: unknown name 'sine'; use one of additive_harmonic, harmonic_number"),
        ({"strength": -1.0}, "strength: is -1.0; give 0 or more"),
        ({"strength": "much"}, "arguments .*'strength': 'much'.* do not make a model"),
        ({"width": 18}, "width 18 is no multiple of twice the 4 heads"),
        ({"heads": 0}, "arguments .*'heads': 0.* do not make a model"),
        ({"positions": "rope"}, "unknown argument 'positions'; did you mean position?"),
    ],
)
def test_bad_arguments_are_one_line(arguments, expected):
    with pytest.raises(InputError, match=f"model positional_transformer: .*{expected}") as error:
        build("positional_transformer", vocabulary=11, **arguments)
    assert "\n" not in str(error.value)
