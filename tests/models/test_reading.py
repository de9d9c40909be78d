"""A model that reads on computes what the model of the registry computes at once."""

import pytest
import torch

from tests.models.language_backends import CONTEXT, VOCABULARY, exact_caches, hooked, net, streamed, thin
from winnow.errors import InputError
from winnow.models import build
from winnow.models.positions import MODES
from winnow.models.reading import HookedReader, Reader, readable


def tokens(n, t, seed=0):
    return torch.randint(0, VOCABULARY, (n, t), generator=torch.Generator().manual_seed(seed))


KINDS = {
    "transformer": lambda: net("transformer"),
    "multi_query": lambda: net("multi_query_transformer"),
    **{mode: lambda mode=mode: net("positional_transformer", position=mode, learned=True) for mode in MODES},
    "experts": lambda: net("moe_x_transformer", experts=4, hidden=16, router="learned"),
    "quiet experts": lambda: net("moe_x_transformer", experts=4, hidden=16),
    "thin": thin,
    "no attention": lambda: net("thin_transformer", attention=[], mlp=[0, 1]),
    "hooked": hooked,
    "hooked, bare": lambda: net(
        "hooked_transformer", scale=1.5, context=CONTEXT, normalization="none", activation="relu"
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 5]])
def test_reading_in_pieces_gives_the_logits_of_the_model_itself(kind, pieces):
    model, x, cache, found = KINDS[kind]().eval(), tokens(3, 9), None, []
    reader = readable(model)
    for piece in x.split(pieces, dim=1):
        hidden, cache = reader.read(piece, cache)
        found.append(reader.logits(hidden))
    expected = model(x)
    assert expected.std() > 0.1
    assert torch.allclose(torch.cat(found, 1), expected, atol=2e-5 * expected.abs().max().item())
    assert cache.lengths.tolist() == [9, 9, 9]


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_several_lengths_are_selected_and_go_on_as_if_alone(kind):
    model, x = KINDS[kind]().eval(), tokens(2, 6)
    reader = readable(model)
    _, cache = reader.read(x, blank=torch.tensor([2, 0]))
    assert cache.lengths.tolist() == [4, 6]
    chosen = cache.select(torch.tensor([1, 0, 1]))
    hidden, longer = reader.read(tokens(3, 1, seed=5), chosen)
    for row, (source, blank) in enumerate(((1, 0), (0, 2), (1, 0))):
        alone = torch.cat([x[source, blank:], tokens(3, 1, seed=5)[row]])[None]
        assert torch.allclose(reader.logits(hidden)[row, 0], model(alone)[0, -1], atol=1e-4)
    assert longer.lengths.tolist() == [7, 5, 7] and cache.lengths.tolist() == [4, 6]


def test_what_reads_on_is_taken_as_it_is_and_what_does_not_is_refused():
    llama, stream = net(), streamed(exact_caches)
    assert readable(llama) is llama and readable(stream) is stream
    assert isinstance(readable(hooked()), HookedReader) and isinstance(llama, Reader)
    with pytest.raises(InputError, match="model: a TableLinear reads no texts; use a transformer or a llama"):
        readable(build("table_linear", levels=[0], outputs=2))
    with pytest.raises(InputError, match=f"tokens: {CONTEXT + 1} in a row, the model's context is {CONTEXT}"):
        readable(hooked()).read(tokens(1, CONTEXT + 1))
