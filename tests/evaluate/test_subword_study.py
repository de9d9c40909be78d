"""Code lengths add up over words and files, and tokens come back as bytes."""

import numpy as np
import pytest

from winnow.curate.subword import train_pairs
from winnow.curate.subword_lattice import pack, word_counts
from winnow.evaluate import subword_study as study

CONTENTS = [b"def read_file(path):\n    return path\n" * 8, b"for line in read_lines(path):\n    print(line)\n" * 9]
WORDS = pack(word_counts(CONTENTS))
FOUND = study.vocabularies(WORDS, 270, longest=8, tries=100, alpha=0.1)


def test_the_optimum_is_the_likeliest_and_best_cuts_are_no_worse_than_greedy_ones():
    told = {name: study.measure(found, WORDS, [word_counts(CONTENTS)]) for name, found in FOUND.items()}
    assert set(told["swe"]) == {"train", "held_out", "files"}  # no word is unseen
    bits = {name: splits["train"]["bits_per_byte"] for name, splits in told.items()}
    assert bits["swe"] <= bits["swe_search"]
    assert bits["swe"] <= min(value for name, value in bits.items() if name != "unigram")
    assert all(bits[f"{name}_viterbi"] <= bits[name] for name in study.MERGES)


def test_the_optimum_is_the_best_of_its_candidates_whatever_the_search_finds(monkeypatch):
    poor = train_pairs(WORDS, 270, "ratio")
    asked = {}

    def search(words, size, **options):
        asked.update(options)
        return poor

    monkeypatch.setattr(study, "search_swe", search)
    found = study.vocabularies(WORDS, 270, longest=8, tries=100, alpha=0.1)
    assert found["swe_search"].pieces == poor.pieces and found["swe"].pieces != poor.pieces
    # The pieces of all three ways to merge are candidates.
    assert all(set(found[name].pieces) <= set(asked["more"]) for name in study.MERGES)


def test_bits_of_words_are_those_of_their_pieces():
    for subwords in (FOUND["bpe"], FOUND["swe"]):
        bits, pieces = study.code_bits(subwords, WORDS)
        for w, (a, b) in enumerate(zip(WORDS.ends, WORDS.ends[1:], strict=False)):
            tokens = subwords.encode(WORDS.values[a:b].tobytes())
            assert bits[w] == pytest.approx(-subwords.log_probabilities[tokens].sum() / np.log(2))
            assert pieces[w] == len(tokens)


def test_files_are_measured_one_by_one_and_together_and_unseen_words_apart():
    files = [word_counts([b"def read_file"]), word_counts([b"zebra zebra"])]
    told = study.measure(FOUND["bpe"], WORDS, files)
    coded = {
        word: -FOUND["bpe"].log_probabilities[FOUND["bpe"].encode(word)].sum() / np.log(2) for f in files for word in f
    }
    bits = [sum(coded[word] * n for word, n in file.items()) for file in files]
    assert told["files"] == pytest.approx([bits[0] / 13, bits[1] / 11])
    assert told["held_out"]["bits_per_byte"] == pytest.approx(sum(bits) / 24)
    assert told["unseen"]["bits_per_byte"] == pytest.approx(coded[b"zebra"] / 5)
    assert told["unseen"]["tokens_per_word"] == len(FOUND["bpe"].encode(b"zebra"))


def test_tokens_of_contents_are_the_pieces_one_higher_and_end_with_0():
    found = study.encoded(FOUND["swe"], CONTENTS)
    assert found.sizes == [len(content) for content in CONTENTS] and found.vocabulary == 271
    for part, content in zip(found.tokens, CONTENTS, strict=True):
        assert part[-1] == 0 and FOUND["swe"].decode(part[:-1] - 1) == content


def test_language_models_on_repeated_text_need_fewer_bits_than_on_other_text():
    seen, same, other, longer = (
        study.encoded(FOUND["swe"], contents)
        for contents in (CONTENTS, [CONTENTS[0]], [bytes(range(200))], CONTENTS * 8)
    )
    assert study.ngram_bits(seen, same, 3) < 1 < study.ngram_bits(seen, other, 3)
    budget = {"context_bytes": 32, "steps": 3, "seed": 0}
    bits = study.transformer_bits(longer, seen, **budget)
    assert bits == study.transformer_bits(longer, seen, **budget) and 0 < bits < 8


def test_optima_of_small_corpora_are_proved():
    told = study.against_optimum(4, 1)
    assert told["proved"] == 1 and 0 <= told["near_optimum"] <= 1 and told["mean_excess"] > -1e-9


def test_pieces_and_cuts_are_told():
    rows = study.pieces_rows({"bpe": train_pairs(WORDS, 258)}, 258, 3)
    assert [row["bytes"] for row in rows] == [2, 2] and all(row["method"] == "bpe" and row["seed"] == 3 for row in rows)
    words = pack({b"a_long_%d" % i + b"_name": 100 - i for i in range(10)})
    cuts = study.cut_rows({"bpe": train_pairs(words, 257)}, words, 1)
    assert [row["word"] for row in cuts] == ["a_long_5_name"]
    assert cuts[0]["pieces"].replace(" ", "") == "a_long_5_name"
