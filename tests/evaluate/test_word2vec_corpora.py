"""Lines are identifiers, or items in the order they were taken, and questions come from later ones or other files."""

import numpy as np
import pyarrow as pa
import pytest

from tests.workloads.interaction_log import walks, workload
from winnow.errors import InputError
from winnow.evaluate.word2vec_corpora import LATEST, corpus, corpus_of, identifier_lines, item_corpus
from winnow.pipeline.tables import write_parquet


def texts(count, seed):
    generator = np.random.default_rng(seed)
    topics = [[f"{topic}{i}" for i in range(12)] for topic in ("red", "blue")]
    lines = [", ".join(generator.choice(topics[generator.integers(2)], 5)) for _ in range(count)]
    return ["\n".join(lines[start : start + 10]) for start in range(0, count, 10)]


@pytest.fixture(scope="module")
def words():
    return corpus({"train": texts(300, 0), "valid": texts(60, 1), "held_out": texts(60, 2)}, 1200, 20, 40)


def test_lines_are_their_identifiers_without_keywords():
    text = "for item in items: total += item.size\nreturn x\n# a_b(c1, 'd e')\nif a: b"
    assert list(identifier_lines([text])) == [["item", "items", "total", "item", "size"], ["a_b", "c1", "d", "e"]]


def test_the_corpus_takes_so_many_identifiers_and_asks_about_other_files(words):
    assert len(words.words) == 20 and sum(map(len, words.lines)) <= 1200
    counts = np.bincount(np.concatenate(words.lines), minlength=20)
    assert (np.diff(counts) <= 2).all() and counts[0] >= counts[-1]  # the most frequent first
    for others, missing in (words.valid, words.test):
        assert len(others) == len(missing) == 40
        for row, word in zip(others, missing, strict=True):
            known = [words.words[i] for i in row[row >= 0]]
            assert known and words.words[word] not in known
            assert {name[0] for name in known} == {words.words[word][0]}  # of one topic, as the line is
    with pytest.raises(InputError, match="held_out: has no line with three identifiers"):
        corpus({"train": texts(300, 0), "valid": texts(60, 1), "held_out": ["a"]}, 1200, 20, 40)


def test_a_folder_of_texts_is_told_by_what_it_holds_out(tmp_path):
    splits = {"train": texts(300, 0), "valid": texts(60, 1), "held_out": texts(60, 2)}
    for name, found in splits.items():
        write_parquet(pa.table({"text": pa.array(found, pa.large_string())}), tmp_path / f"{name}.parquet")
    told, expected = corpus_of(tmp_path, 1200, 20, 40), corpus(splits, 1200, 20, 40)
    assert told.words == expected.words and np.array_equal(told.test[0], expected.test[0])


def test_items_are_words_and_the_next_one_of_each_user_is_asked_for(tmp_path):
    log = workload(tmp_path, walks(users=60, length=12, seed=3), window=8)
    found = item_corpus(log, 10_000, 11, 1000)
    train = log.sequences("train")
    counts = np.bincount(train.items, minlength=13)
    assert len(found.words) == 11 and sum(map(len, found.lines)) <= counts.sum()
    number = {name: i for i, name in enumerate(found.words)}
    told = sorted("".join(found.words[i] for i in line) for line in found.lines)
    by_hand = []
    for user in np.unique(train.users):
        taken = [log.meta.vocabulary[i] for i in train.items[train.users == user]]
        by_hand.append("".join(name for name in taken if name in number))
        assert sum(name in number for name in taken) > 1 or by_hand.pop() is not None
    assert told == sorted(by_hand)
    for split, (others, missing) in (("valid", found.valid), ("test", found.test)):
        asked = log.asked(split)
        expected = []
        for history, target in zip(asked.histories.tolist(), asked.targets.tolist(), strict=True):
            last = [log.meta.vocabulary[i] for i in history[-LATEST:] if i]
            target = log.meta.vocabulary[target]
            known = [name for name in last if name in number and name != target]
            if target in number and known:
                expected.append((known, target))
        rows = [
            ([found.words[i] for i in row if i >= 0], found.words[m]) for row, m in zip(others, missing, strict=True)
        ]
        assert sorted(rows) == sorted(expected) and len(rows) > 20
        assert (np.diff(others < 0, axis=1) >= 0).all() if others.shape[1] > 1 else True
    assert len(item_corpus(log, 10_000, 11, 5).test[1]) == 5
    assert sum(map(len, item_corpus(log, 30, 11, 5).lines)) <= 30 + 12
    again = corpus_of(tmp_path, 10_000, 11, 1000)
    assert again.words == found.words and all(map(np.array_equal, again.lines, found.lines))
    with pytest.raises(InputError, match="valid: asks for no item of the vocabulary; raise tokens or vocabulary"):
        item_corpus(log, 1, 1, 5)
