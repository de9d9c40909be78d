"""Decoding from a cache beside whole forwards, and samples beside the law they are drawn from."""

import pytest
import torch

from winnow.errors import InputError
from winnow.models import build
from winnow.models.decoding import Cache, generate, resume
from winnow.train.rope_alibi import with_positions


@pytest.fixture(scope="module")
def model():
    made = build("transformer", vocabulary=13, width=16, layers=2, heads=2, seed=4).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4)  # fresh weights hardly attend
    return made


def tokens(n, t, seed=0):
    return torch.randint(13, (n, t), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 5], [3, 1, 2, 3]])
def test_logits_from_a_cache_are_those_of_one_forward(model, pieces):
    x, cache, found = tokens(3, 9), None, []
    whole = model(x)
    for piece in x.split(pieces, dim=1):
        logits, cache = resume(model, piece, cache)
        found.append(logits)
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5 * whole.abs().max().item(), rtol=0)
    assert cache.length == 9 and len(cache.keys) == len(cache.values) == 2 and Cache().length == 0
    assert not found[0].requires_grad


def test_the_likeliest_tokens_are_the_same_with_and_without_a_cache(model):
    prompt = tokens(2, 4)
    found = generate(model, prompt, 12, temperature=0)
    assert found.shape == (2, 12)
    assert torch.equal(found, generate(model, prompt, 12, temperature=0, cached=False))
    x = prompt
    for step in range(12):
        assert torch.equal(model(x)[:, -1].argmax(-1), found[:, step])
        x = torch.cat([x, found[:, step : step + 1]], 1)


def test_samples_are_repeatable_and_follow_the_softmax(model):
    prompt = tokens(1, 3)
    draws = [
        generate(model, prompt, 6, temperature=0.7, generator=torch.Generator().manual_seed(1), cached=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*draws)
    many = generate(model, prompt.expand(4000, -1), 1, temperature=2.0, generator=torch.Generator().manual_seed(2))
    law = (model(prompt)[0, -1] / 2).softmax(0)
    shares = torch.bincount(many.flatten(), minlength=13) / 4000
    assert (shares - law).abs().max() < 4 * (law * (1 - law) / 4000).sqrt().max()  # four deviations
    assert law.max() > 1.2 / 13


def test_bad_input_is_named(model):
    for prompt, count, temperature in ((tokens(1, 0), 1, 1.0), (tokens(1, 2), 0, 1.0), (tokens(1, 2), 1, -1.0)):
        with pytest.raises(InputError, match="generate: .*; give a prompt, 1 or more tokens and a temperature"):
            generate(model, prompt, count, temperature=temperature)
    other = with_positions(build("transformer", vocabulary=13, width=16, heads=2), "alibi")
    with pytest.raises(InputError, match="block 0: has PositionalAttention"):
        resume(other, tokens(1, 2))
