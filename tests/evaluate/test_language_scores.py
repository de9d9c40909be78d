"""Bits a byte where they are known: even chances, windows that do not see one another, a server that tells less."""

import numpy as np
import pytest

from tests.models.language_backends import CONTEXT, small
from tests.models.serving import serving
from winnow.errors import InputError
from winnow.evaluate.language_scores import text_scores
from winnow.models.endpoint import EndpointLanguageModel
from winnow.models.language_model import Unsupported

HELD_OUT = ["def mul(a, b):\n    return a * b\n", "größte = ['🍏', 3]\n" * 20]


@pytest.mark.parametrize("size", [257, 280, 300])
def test_bits_a_byte_of_even_chances_are_known_whatever_the_vocabulary(size):
    """All tokens alike, so that a text costs the logarithm of the vocabulary for each of its tokens."""
    model = small("transformer", vocabulary=size, scale=0)
    tokens = sum(len(model.encode(text)) for text in HELD_OUT)
    bytes_ = sum(len(text.encode()) for text in HELD_OUT)
    found = text_scores(model, HELD_OUT)
    assert found["bits_per_byte"] == pytest.approx(tokens * np.log2(size) / bytes_)
    assert found["cross_entropy"] == pytest.approx(np.log(size))
    assert found["bytes_per_token"] == pytest.approx(bytes_ / tokens)


def test_a_text_is_cut_into_windows_of_the_context():
    model, text = small(), HELD_OUT[1]
    tokens, size = model.encode(text), CONTEXT - 1
    assert len(tokens) > 2 * size
    windows = [tokens[first : first + size] for first in range(0, len(tokens), size)]
    nats = -sum(scores.logprobs.sum() for scores in model.score(windows))
    found = text_scores(model, [text])
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / len(text.encode()))


def test_an_endpoint_is_scored_on_the_bytes_that_it_tells_of():
    behind, text = small("transformer"), HELD_OUT[0]
    with serving(behind) as server:
        found = text_scores(EndpointLanguageModel(server.url, "tiny"), [text])
        with pytest.raises(InputError, match="scores none of 1 texts; give texts of several tokens"):
            text_scores(EndpointLanguageModel(server.url, "tiny"), ["x"])
    (scores,) = behind.score([text])
    size = len(text.encode()) - len(behind.token_bytes(int(scores.token_ids[0])))
    assert found["bits_per_byte"] == pytest.approx(-scores.logprobs[1:].sum() / np.log(2) / size)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(InputError, match="scores none of 0 texts"):
        text_scores(small(), [])
    with serving(small(), echoes=False) as server, pytest.raises(Unsupported, match="cannot 'score'"):
        text_scores(EndpointLanguageModel(server.url, "tiny"), HELD_OUT)
