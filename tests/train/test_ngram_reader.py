"""Chances of all that may follow, beside those of single tokens, and an n-gram model as a language model."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.language_backends import CONTEXT, TEXTS, VOCABULARY
from winnow.curate.byte_pairs import train_byte_pairs
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import byte_level
from winnow.train.ngram import fit_ngram
from winnow.train.ngram_reader import NGramReader


def sequence(vocabulary=7, count=400, seed=0):
    """Of a sequence in which the sum of neighbours tells what follows, with noise."""
    draw, tokens = np.random.default_rng(seed), [1, 2]
    while len(tokens) < count:
        tokens.append((tokens[-1] + tokens[-2] + int(draw.random() < 0.3)) % vocabulary)
    return np.array(tokens)


def fitted(order):
    return fit_ngram(sequence(), order, 7)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@given(st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_chances_of_all_are_those_of_each(order, tokens):
    model, tokens = fitted(order), np.array(tokens)
    found = model.following(tokens[None], np.array([len(tokens)]))[0]
    assert found.sum() == pytest.approx(1)
    for token in range(7):
        assert found[token] == pytest.approx(model.probabilities(np.append(tokens, token))[-1])


@given(st.integers(0, 6))
def test_of_a_history_only_so_many_tokens_count_as_are_there(length):
    model, history = fitted(4), np.array([3, 1, 4, 1, 5, 2])
    found = model.following(history[None], np.array([length]))[0]
    assert found == pytest.approx(model.following(history[None, 6 - length :], np.array([length]))[0])


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 5], [2, 1, 6]])
def test_reading_in_pieces_gives_the_chances_of_each_token(order, pieces):
    model = fitted(order)
    reader, x, cache, found = NGramReader(model), torch.randint(0, 7, (2, 9)), None, []
    for piece in x.split(pieces, dim=1):
        logs, cache = reader.read(piece, cache)
        found.append(logs)
    logs = torch.cat(found, 1)[:, :-1].gather(2, x[:, 1:, None])[..., 0]
    for row in range(2):
        assert logs[row].exp().numpy() == pytest.approx(model.probabilities(x[row].numpy())[1:], rel=1e-5)
    assert cache.lengths.tolist() == [9, 9] and cache.tokens.shape[1] == max(order - 1, 1)


def test_what_fills_a_row_up_is_no_history():
    reader, run = NGramReader(fitted(4)), torch.from_numpy(sequence()[20:24])
    x = torch.stack([torch.cat([torch.zeros(2, dtype=torch.int64), run[2:]]), run])
    logs, cache = reader.read(x, blank=torch.tensor([2, 0]))
    alone, _ = reader.read(x[:1, 2:])
    assert torch.equal(logs[0, 2:], alone[0]) and not torch.equal(logs[0, 3], logs[1, 3])
    more, longer = reader.read(torch.tensor([[6], [6], [6]]), cache.select(torch.tensor([1, 0, 1])))
    assert torch.equal(more[1], reader.read(torch.tensor([[*run[2:].tolist(), 6]]))[0][:, -1])
    assert torch.equal(more[0], more[2]) and longer.lengths.tolist() == [5, 3, 5]


def test_it_is_a_language_model():
    vocabulary = byte_level(train_byte_pairs(TEXTS, VOCABULARY))
    tokens = np.concatenate([[0], *(np.append(vocabulary.encode(text), 0) for text in TEXTS)])
    model = SmallLanguageModel(NGramReader(fit_ngram(tokens, 4, VOCABULARY)), vocabulary, CONTEXT)
    assert model.sample([model.encode("def")], temperature=0, max_tokens=40)[0][0].text == TEXTS[0][3:]
    (scores,) = model.score([TEXTS[1]])
    assert scores.logprobs.mean() > -0.5 and model.vocab_size == VOCABULARY
    assert "score" in model.capabilities and "train" not in model.capabilities
    other = SmallLanguageModel(NGramReader(fit_ngram(tokens, 3, VOCABULARY)), vocabulary, CONTEXT)
    assert model.digest != other.digest
