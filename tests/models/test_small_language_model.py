"""What is this back end's own: the registry's models under it, digests, the end of a text, broken models.

What it shares with others is tested in test_language_backends.py.
"""

import numpy as np
import pytest
import torch

from tests.models.language_backends import CONTEXT, TEXTS, net, of_net, small
from winnow.curate.byte_pairs import train_byte_pairs
from winnow.errors import InputError
from winnow.models import build
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import byte_level


def test_a_transformer_is_read_as_it_computes():
    plain, model = net("transformer").eval(), small("transformer")
    tokens = np.array([5, 17, 200, 3, 3, 9])
    with torch.no_grad():
        expected = plain(torch.tensor([[0, *tokens]])).log_softmax(-1)[0, -1]
    assert model.next(model.start([tokens]))[0] == pytest.approx(expected.numpy(), abs=1e-4)
    assert (model.vocab_size, model.eos_id, model.context_length, model.name) == (300, 0, CONTEXT, "small")


def test_scores_of_many_tokens_are_computed_in_pieces_to_the_same_numbers(monkeypatch):
    model = small()
    (whole,) = model.score([TEXTS[1] * 2], top=2)
    monkeypatch.setattr("winnow.models.small_language_model.ROWS", 5)
    (pieces,) = model.score([TEXTS[1] * 2], top=2)
    assert len(whole.token_ids) > 10
    assert pieces.logprobs == pytest.approx(whole.logprobs, rel=1e-5)
    assert np.array_equal(pieces.top_ids, whole.top_ids)
    assert pieces.top_logprobs == pytest.approx(whole.top_logprobs, rel=1e-5, abs=1e-9)


def test_the_token_that_ends_a_text_ends_it_and_is_no_letter_of_it():
    ends = net()
    with torch.no_grad():
        ends.embedding.weight[0] += 50 * ends.norm.weight.sign()
    model = of_net(lambda: ends)
    sample = model.sample([model.encode("x")], max_tokens=400, temperature=0)[0][0]
    if sample.finish == "stop":
        assert sample.token_ids[-1] == 0 and sample.text == model.decode(sample.token_ids[:-1])


def test_a_context_that_is_full_takes_one_token_more():
    """The last token need not be read."""
    sample = small().sample([np.arange(1, CONTEXT - 4)], max_tokens=30, seed=11)[0][0]
    assert sample.finish == "length" and len(sample.token_ids) == 5


def test_digests_tell_models_and_tokenizers_apart():
    digests = [small().digest, small(seed=1).digest, small(vocabulary=290).digest, small("transformer").digest]
    assert len(set(digests)) == 4 and small().digest == digests[0]


def test_what_does_not_fit_together_is_refused():
    vocabulary = byte_level(train_byte_pairs(TEXTS, 300))
    with pytest.raises(InputError, match="small: the tokenizer has 300 tokens where the model has 299"):
        SmallLanguageModel(net(vocabulary=299), vocabulary, CONTEXT)
    with pytest.raises(InputError, match="reads no texts"):
        SmallLanguageModel(build("table_linear", levels=[0], outputs=2), vocabulary, CONTEXT)
    padded = SmallLanguageModel(net(vocabulary=310), vocabulary, CONTEXT)
    assert padded.token_bytes(305) == b"" and padded.decode([305]) == ""


def test_chances_that_are_not_numbers_are_an_error():
    broken = net()
    with torch.no_grad():
        broken.norm.weight.fill_(float("nan"))
    model = of_net(lambda: broken)
    for call in (lambda: model.start([np.array([1])]), lambda: model.score(["x"])):
        with pytest.raises(InputError, match="small: gives log-probabilities that are not numbers; train it again"):
            call()
