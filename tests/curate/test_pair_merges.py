"""Merges are those of tokenizers and of scores by hand."""

import math
import os

import pytest

from tests.curate.identifiers import identifiers
from winnow.curate.pair_merges import apply_merges, train_merges
from winnow.curate.subword_lattice import (
    pack,
)
from winnow.errors import InputError

COUNTS = identifiers(0)
WORDS = pack(COUNTS)


def test_merges_are_those_of_tokenizers():
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = [chr(c) for c in range(33, 127)]
    peer.train_from_iterator(
        (" ".join([word.decode()] * count) for word, count in COUNTS.items()),
        trainers.BpeTrainer(vocab_size=94 + 200, initial_alphabet=letters, special_tokens=[], show_progress=False),
    )
    merges = train_merges(WORDS, 256 + 200)
    named = sorted(peer.get_vocab().items(), key=lambda item: item[1])
    assert merges.pieces[256:] == [name.encode() for name, _ in named[94:]]
    tokens, ends = apply_merges(WORDS, merges.rules)
    for w, word in enumerate(COUNTS):
        assert [merges.pieces[t].decode() for t in tokens[ends[w] : ends[w + 1]]] == peer.encode(word.decode()).tokens


@pytest.mark.parametrize("score", ["gain", "ratio"])
def test_wordpiece_merges_the_pair_of_the_highest_score(score):
    counts = {b"abab": 5, b"abc": 3, b"cab": 4, b"xyz": 2, b"xy": 1}
    merges = train_merges(pack(counts), 260, score)
    cuts = {word: [bytes([b]) for b in word] for word in counts}
    for piece in merges.pieces[256:]:
        n, pairs = {}, {}
        for word, cut in cuts.items():
            for p in cut:
                n[p] = n.get(p, 0) + counts[word]
            for pair in zip(cut, cut[1:], strict=False):
                pairs[pair] = pairs.get(pair, 0) + counts[word]

        def value(pair, n=n, pairs=pairs):
            total = sum(n.values())
            expected = n[pair[0]] * n[pair[1]]
            return pairs[pair] * math.log(pairs[pair] * total / expected) if score == "gain" else pairs[pair] / expected

        (a, b) = next(p for p in pairs if b"".join(p) == piece)
        assert value((a, b)) == pytest.approx(max(map(value, pairs)))
        for word, cut in cuts.items():
            cuts[word] = b"\0".join(cut).replace(a + b"\0" + b, a + b).split(b"\0")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: train_merges(WORDS, 255), "size: is 255; give 256 or more"),
        (lambda: train_merges(pack({b"ab": 1}), 258), "no more than 257 pieces"),
    ],
)
def test_impossible_requests_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
