"""Reading from caches beside decoding from the same, and beside the net itself where caches lose nothing."""

import pytest
import torch

from tests.models.language_backends import VOCABULARY, caches_of_few_bits, exact_caches, streamed


def tokens(n, t, seed=0):
    return torch.randint(0, VOCABULARY, (n, t), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_with_caches_that_lose_nothing_it_is_the_net():
    model, x = streamed(exact_caches), tokens(2, 11)
    hidden, streams = model.read(x)
    assert torch.allclose(model.logits(hidden), model.net(x), atol=1e-4)
    assert streams.lengths.tolist() == [11, 11]
    assert streams.bytes() == 2 * 2 * 2 * 11 * 8 * 4  # rows, layers, keys and values, tokens, channels, bytes


@torch.no_grad()
def test_a_row_is_decoded_token_by_token_from_its_own_caches():
    model, x = streamed(caches_of_few_bits), tokens(2, 13)
    hidden, streams = model.read(x, blank=torch.tensor([0, 3]))
    assert not torch.allclose(model.logits(hidden)[0], model.net(x)[0], atol=1e-2)
    for row, first in ((0, 0), (1, 3)):
        caches = [caches_of_few_bits() for _ in model.net.blocks]
        for place, token in enumerate(x[row, first:]):
            expected = model.net.decode(token[None], place, caches)[0]
            assert torch.allclose(model.logits(hidden[row, first + place]), expected, atol=1e-5)
        assert sum(cache.bytes() for cache in caches) == sum(cache.bytes() for cache in streams.rows[row])
    assert hidden[1, :3].abs().max() == 0 and streams.lengths.tolist() == [13, 10]


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 4, 7, 8])
def test_streams_that_go_on_leave_what_they_came_from(length):
    model, x = streamed(caches_of_few_bits), tokens(1, length)
    _, streams = model.read(x)
    size, bits = streams.bytes(), [cache.bit_map().tolist() for cache in streams.rows[0]]
    twice = streams.select(torch.tensor([0, 0]))
    more = tokens(2, 6, seed=1)
    hidden, _ = model.read(more, twice)
    for row in range(2):
        whole, _ = model.read(torch.cat([x, more[row : row + 1]], 1))
        assert torch.allclose(hidden[row], whole[0, length:], atol=1e-5)
    assert streams.bytes() == size and [cache.bit_map().tolist() for cache in streams.rows[0]] == bits
