"""Shared keys and values beside a model that repeats them, and decoding beside reading at once."""

import pytest
import torch

from winnow.compress.staircase_kv import FullCache, KIVICache
from winnow.models import build


@pytest.fixture(scope="module")
def model():
    net = build("multi_query_transformer", vocabulary=30, width=32, layers=2, heads=4, seed=1)
    return net.eval()


@pytest.fixture(scope="module")
def x():
    return torch.randint(0, 30, (3, 20), generator=torch.Generator().manual_seed(0))


def test_it_is_a_transformer_whose_heads_have_equal_keys_and_values(model, x):
    plain = build("transformer", vocabulary=30, width=32, layers=2, heads=4)
    weights = {
        name: weight.repeat(4, 1) if name.endswith(("attention.key.weight", "attention.value.weight")) else weight
        for name, weight in model.state_dict().items()
    }
    plain.load_state_dict(weights)
    with torch.no_grad():
        assert torch.allclose(model(x), plain(x), atol=1e-5)


def test_decoding_token_by_token_is_reading_at_once(model, x):
    caches = [FullCache(32) for _ in model.blocks]
    with torch.no_grad():
        expected = model(x)
    found = torch.stack([model.decode(x[:, place], place, caches) for place in range(20)], dim=1)
    assert torch.allclose(found, expected, atol=1e-4)


def test_decoding_goes_on_from_keys_and_values_that_were_read_at_once(model, x):
    caches = [FullCache(32) for _ in model.blocks]
    for cache, (keys, values) in zip(caches, model.keys_and_values(x[:, :19]), strict=True):
        assert keys.shape == values.shape == (3, 1, 19, 8)
        cache.prefill(keys, values)
    with torch.no_grad():
        expected = model(x)[:, -1]
    assert torch.allclose(model.decode(x[:, 19], 19, caches), expected, atol=1e-4)
    few = [KIVICache(1, segment=4, group=4) for _ in model.blocks]
    for cache, parts in zip(few, model.keys_and_values(x[:, :19]), strict=True):
        cache.prefill(*parts)
    assert not torch.allclose(model.decode(x[:, 19], 19, few), expected, atol=1e-2)


def test_weights_begin_as_those_of_a_transformer():
    model = build("multi_query_transformer", vocabulary=30, width=64, layers=8, heads=4)
    attention = model.blocks[3].attention
    assert attention.key.weight.shape == attention.value.weight.shape == (16, 64)
    for part in (attention.query, attention.key, attention.value):
        assert part.weight.std().item() == pytest.approx(0.0693, rel=0.1)
    assert attention.output.weight.std().item() == pytest.approx(0.0693 / 4, rel=0.1)


def test_a_width_that_does_not_fit_the_heads_is_refused():
    with pytest.raises(ValueError, match="no multiple of twice the 3 heads"):
        build("multi_query_transformer", vocabulary=30, width=32, heads=3)
