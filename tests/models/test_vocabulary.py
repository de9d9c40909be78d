"""Texts come back from tokens, tokens stand for bytes, and spans tile a text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from winnow.curate.byte_pairs import train_byte_pairs
from winnow.models.vocabulary import Vocabulary, byte_level, letters_of_bytes

TEXTS = ["def add(a, b):\n    return a + b\n", "größer = 'Äpfel 🍏 und Birnen'\n"] * 20


@pytest.fixture(scope="module")
def vocabulary():
    return byte_level(train_byte_pairs(TEXTS, 300))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_texts_come_back_and_spans_tile_them(vocabulary, text):
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text and b"".join(map(vocabulary.bytes_of, ids)) == text.encode()
    spans = vocabulary.spans(ids)
    assert spans.shape == (len(ids), 2) and spans.dtype == np.int32
    if len(ids):
        assert spans[0, 0] == 0 and spans[-1, 1] == len(text) and (spans[1:, 0] == spans[:-1, 1]).all()
    for (first, last), end in zip(spans, np.arange(1, len(ids) + 1), strict=True):
        whole = b"".join(vocabulary.bytes_of(int(token)) for token in ids[:end]).decode("utf-8", "ignore")
        assert last == len(whole) and first <= last


def test_letters_are_those_of_the_library():
    letters = letters_of_bytes()
    assert sorted(letters) == sorted(ByteLevel.alphabet()) and sorted(letters.values()) == list(range(256))
    for word in ("a b", "größer\n", "🍏"):
        ((split, _),) = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)
        assert bytes(letters[letter] for letter in split) == word.encode()


def test_the_end_stands_for_nothing_and_is_spelt_by_letters(vocabulary):
    assert (vocabulary.begin, vocabulary.ends, len(vocabulary)) == (0, (0,), 300)
    spelt = vocabulary.encode("<|end|>")
    assert 0 not in spelt and vocabulary.decode([0, *spelt, 0, 300]) == "<|end|>"
    assert vocabulary.bytes_of(0) == b"" == vocabulary.bytes_of(300)
    assert vocabulary.decode([vocabulary.pieces.index(b"\xf0")]) == "\ufffd"


def test_the_token_before_a_text_is_not_a_token_of_it():
    tokenizer = train_byte_pairs(TEXTS, 300)
    assert Vocabulary(tokenizer, [b"x"] * 300, begin=5, ends=[7, 5]).ends == (7, 5)
    assert byte_level(tokenizer).encode("").tolist() == []


def test_a_character_belongs_to_the_last_of_the_tokens_it_is_cut_into():
    # A token for each byte, and one that stands for none between them.
    single = Vocabulary(train_byte_pairs(TEXTS, 300), [bytes([byte]) for byte in range(256)])
    # The last two begin with the largest bytes that two and three bytes can begin with.
    for text in ("ab", "aé€𝄞b", "𝄞𝄞", "€", "\u07ff\u07ff", "\uff01\uff01"):
        ids, ends = [], []
        for at, letter in enumerate(text):
            content = letter.encode()
            ids += [number for byte in content for number in (byte, 999)]
            ends += [at] * (2 * len(content) - 2) + [at + 1] * 2
        spans = single.spans(np.array(ids))
        assert spans[:, 1].tolist() == ends and spans[:, 0].tolist() == [0, *ends[:-1]]
    assert single.spans(np.array([], np.int64)).shape == (0, 2)
