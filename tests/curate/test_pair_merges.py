"""Merges are those of tokenizers and of scores by hand."""

import itertools
import os
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def by_hand(counts, size, score):
    """Pieces, merges, and the pieces of each word, by counting all pairs anew before each merge."""
    pieces = [bytes([b]) for b in range(256)]
    cuts, rules = {word: list(word) for word in counts}, []
    while len(pieces) < size:
        single, pairs = Counter(), Counter()
        for word, cut in cuts.items():
            for piece in cut:
                single[piece] += counts[word]
            for pair in itertools.pairwise(cut):
                pairs[pair] += counts[word]
        total = sum(single.values())

        def value(pair, n=single, pairs=pairs, total=total):
            expected = float(n[pair[0]]) * float(n[pair[1]])
            scores = {"count": pairs[pair], "gain": pairs[pair] * np.log(pairs[pair] * float(total) / expected)}
            return (scores | {"ratio": pairs[pair] / expected})[score]

        a, b = min(pairs, key=lambda pair: (-value(pair), pair))
        spelled = pieces[a] + pieces[b]
        if spelled not in pieces:
            pieces.append(spelled)
        rules.append([a, b, pieces.index(spelled)])
        for cut in cuts.values():
            at = 0
            while at + 1 < len(cut):
                if (cut[at], cut[at + 1]) == (a, b):
                    cut[at : at + 2] = [rules[-1][2]]
                at += 1
    return pieces, rules, list(cuts.values())


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.lists(st.sampled_from([0, 1, 98, 255]), min_size=1, max_size=8).map(bytes),
        st.integers(1, 9),
        min_size=1,
        max_size=5,
    ),
    st.integers(256, 264),
    st.sampled_from(["count", "gain", "ratio"]),
)
def test_merges_are_those_by_hand(counts, size, score):
    words = pack(counts)
    try:
        merges = train_merges(words, size, score)
    except InputError:
        with pytest.raises(ValueError, match="empty"):  # no pair is left
            by_hand(counts, size, score)
        return
    pieces, rules, cuts = by_hand(counts, size, score)
    assert (merges.pieces, merges.rules.tolist()) == (pieces, rules)
    tokens, ends = apply_merges(words, merges.rules)
    assert [tokens[a:b].tolist() for a, b in itertools.pairwise(ends)] == cuts


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
