"""Any text comes back from its tokens; merges are those of the textbook; equal texts give equal tokenizers."""

import os
import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.curate.byte_pairs import END, encode, load_tokenizer, train_byte_pairs
from winnow.errors import InputError

TEXTS = ["def f(x):\n    return x + 1\n" * 20, "for value in values:\n    print(value)\n" * 30, "ä ö ü €" * 40]
TOKENIZER = train_byte_pairs(TEXTS, 290)


@settings(deadline=None)
@given(st.lists(st.text(), max_size=4))
def test_tokens_tell_the_text(texts):
    tokens = encode(TOKENIZER, texts)
    assert len(tokens) == len(texts)
    for text, ids in zip(texts, tokens.to_pylist(), strict=True):
        assert ids[-1] == 0 and 0 not in ids[:-1]
        assert TOKENIZER.decode(ids[:-1]) == text


def test_the_end_spelled_out_is_letters():
    (ids,) = encode(TOKENIZER, [f"a{END}b"]).to_pylist()
    assert ids.count(0) == 1 and TOKENIZER.decode(ids[:-1]) == f"a{END}b"


def test_first_merges_are_the_most_frequent_pairs():
    word, count = "abab", 50
    found = train_byte_pairs([f"{word} " * count], 259)
    # Words of " abab": the pair (a, b) is twice in each, and then (ab, ab) once.
    assert Counter(zip(word, word[1:], strict=False)).most_common(1)[0][0] == ("a", "b")
    assert found.token_to_id("ab") == 257
    assert found.token_to_id("abab") == 258


def test_equal_texts_give_equal_tokenizers(tmp_path):
    again = train_byte_pairs(list(TEXTS), 290)
    assert again.to_str() == TOKENIZER.to_str()
    (tmp_path / "t.json").write_text(again.to_str())
    assert load_tokenizer(tmp_path / "t.json").to_str() == TOKENIZER.to_str()


@pytest.mark.parametrize(
    ("texts", "vocabulary", "words"),
    [
        (TEXTS, 256, "give 257 to 65536"),
        (TEXTS, 70_000, "give 257 to 65536"),
        (["ab"], 400, "no more than 258 tokens"),
        (["ab"], 65_536, "no more than 258 tokens"),
    ],
)
def test_impossible_vocabularies_are_refused(texts, vocabulary, words):
    with pytest.raises(InputError, match=words):
        train_byte_pairs(texts, vocabulary)


def test_a_damaged_tokenizer_is_named(tmp_path):
    for content in (None, "{", '{"model": 1}'):
        path = tmp_path / "tokenizer.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=r"tokenizer\.json: is no tokenizer .*; run the curate stage again"):
            load_tokenizer(path)


def test_the_least_vocabulary_is_the_bytes_and_the_end_and_runs_on_one_core(monkeypatch):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    least = train_byte_pairs(TEXTS, 257)
    assert least.get_vocab_size() == 257 and least.token_to_id(END) == 0
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    assert encode(least, ["aé"]).to_pylist()[0][-1] == 0 and len(encode(least, ["aé"])[0]) == 4
    none = encode(least, [])
    assert none.type == pa.large_list(pa.uint16()) and len(none) == len(none.values) == 0


def test_of_a_long_reason_the_first_120_characters_are_told(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "' + "x" * 300 + '"}')
    with pytest.raises(InputError) as told:
        load_tokenizer(path)
    (reason,) = re.findall(r"no tokenizer \((.*)\); run", str(told.value))
    assert len(reason) == 120 and reason.endswith("xxx")
