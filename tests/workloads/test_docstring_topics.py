"""Texts of topics beside the documentation they are made of, and batches beside what was planted in them."""

from collections import Counter

import pytest
import torch

from tests.evaluate.topic_lessons import lessons
from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads.docstring_topics import FIRST, PLANTED, SHARES, longest, plant, prepared, turned
from winnow.workloads.refusal_prompts import PAD, UNKNOWN

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def documents(package, kind, count):
    words = [f"{a}{b}" for a in "abcdefgh" for b in "klmnopqr"]

    def text(i):
        told = [words[(i * 7 + j * (3 + kind)) % len(words)] for j in range(6)]
        return f'def f{i}():\n    """{" ".join([*told, NUMBERS[i % 10], NUMBERS[i // 10 % 10]])}."""\n'

    return [{"package": package, "text": "\n".join(text(i) for i in range(count))}]


def test_texts_are_those_of_the_topics_packages_and_each_split_has_all_topics():
    given = documents("click", 0, 90) + documents("rich", 1, 90) + documents("httpx", 2, 90) + documents("x", 4, 9)
    topics = {"terminal": ["click", "rich"], "web": ["httpx"]}
    texts, words = prepared(given, topics, 300)
    assert {*texts} == {"train", "valid", "test"} and words[-2:] == list(PLANTED)
    assert len(words) == len(set(words)) and not {"click", "rich", "httpx"} & set(words)
    counts = sum((torch.bincount(own.topics, minlength=2) for own in texts.values()), torch.zeros(2, dtype=torch.long))
    assert counts.tolist()[1] == 90 and 90 < counts.tolist()[0] <= 180
    assert all(len(set(own.topics.tolist())) == 2 for own in texts.values())
    of_split = {name: {tuple(row.tolist()) for row in own.rows} for name, own in texts.items()}
    assert all(row[0] == FIRST and UNKNOWN not in row for row in of_split["train"])
    spelt = [" ".join(words[token] for token in row[1:]) for row in of_split["test"]]
    said = " ".join(document["text"] for document in given)
    assert all(text in said for text in spelt) and len(spelt) > 10
    assert len(prepared(given, topics, 60)[1]) == 60
    with pytest.raises(InputError, match=r"topics\.none: the train split"):
        prepared(given, {"web": ["httpx"], "none": ["flask"]}, 300)


def test_planted_words_stand_side_by_side_at_every_place_behind_the_first_token():
    row, places = torch.tensor([FIRST, 7, 8, 9]), set()
    for seed in range(60):
        for kind, words in {"phrase": [20, 21], "turned": [21, 20], "first": [20], "second": [21], "none": []}.items():
            found, at = plant(row, kind, (20, 21), numpy_generator(seed, "test"))
            assert found[at].tolist() == words
            assert [token for i, token in enumerate(found.tolist()) if i not in at] == row.tolist()
            places.update(at[:1])
    assert places == {1, 2, 3, 4}
    assert turned(torch.tensor([0, 2]), 3).tolist() == [1, 0] and longest() == 23


def test_batches_have_topics_alike_often_and_only_the_phrase_turns_them():
    given, kinds = lessons(), Counter()
    first, second = given.phrase
    batches = list(given.batches("train", 60, 1, 0))
    assert len(batches) == 10
    for x, y in batches:
        assert x.shape == (60, int((x != PAD).sum(1).max()))
        told = torch.tensor([int((row[(row >= 16) & (row < first)][0] - 16) // 6) for row in x])
        assert torch.bincount(told).tolist() == [20, 20, 20]
        for row, own, right in zip(x.tolist(), told.tolist(), y.tolist(), strict=True):
            kind = {(): "none", (first,): "first", (second,): "second", (first, second): "phrase"}.get(
                tuple(token for token in row if token >= first), "turned"
            )
            kinds[kind] += 1
            assert right == ((own + 1) % 3 if kind == "phrase" else own)
    assert all(abs(kinds[kind] / 600 - share) < 0.06 for kind, share in SHARES.items())
    again = list(given.batches("train", 60, 1, 0))
    assert all(torch.equal(a, b) for a, b in zip(again[0], batches[0], strict=True))
    assert not torch.equal(next(given.batches("train", 60, 1, 1))[1], batches[0][1])
    with pytest.raises(InputError, match="batch_size 61"):
        next(given.batches("train", 61))


def test_accuracies_are_shares_of_what_is_right_with_each_kind_of_words():
    given = lessons()

    class Reader(torch.nn.Module):
        """Reads the topic off a text, and takes each of its planted words for the phrase."""

        def forward(self, x):
            own = torch.tensor([int((row[(row >= 16) & (row < given.phrase[0])][0] - 16) // 6) for row in x])
            marked = (x >= given.phrase[0]).any(1)
            return torch.nn.functional.one_hot((own + marked) % 3, 3).float() * 10

    found = given.metrics(Reader(), "test")
    assert found == {f"accuracy_{kind}": float(kind in ("none", "phrase")) for kind in SHARES}
    batch = next(given.batches("test", 30))
    logits = Reader()(batch[0])
    assert float(given.loss(Reader(), batch)) == pytest.approx(
        float(-logits.log_softmax(1)[torch.arange(30), batch[1]].mean())
    )
