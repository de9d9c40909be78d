"""The optimum is likelier than its rivals, and any bytes come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curate.identifiers import identifiers, small_words
from winnow.curate import subword
from winnow.curate.subword import Subwords, likeliest, load_subwords, refit, search_swe, train_pairs, train_unigram
from winnow.curate.subword_exact import exact_swe
from winnow.curate.subword_lattice import BYTES, pack
from winnow.curate.subword_search import SINGLES, Exchange, likelihood
from winnow.errors import InputError

COUNTS = identifiers(0)
WORDS = pack(COUNTS)
RIVALS = [train_pairs(WORDS, 300, score) for score in ("count", "gain")]


def train_swe(words, size, rivals=(), **options):
    """The likeliest of what is found, with the rivals' pieces among the candidates, and of the rivals refitted."""
    best = search_swe(words, size, more=[piece for rival in rivals for piece in rival.pieces], **options)
    return likeliest([best, *(refit(words, rival) for rival in rivals)])


SWE = train_swe(WORDS, 300, rivals=RIVALS, tries=600)


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=40))
def test_any_bytes_come_back_from_their_pieces(content):
    for subwords in (RIVALS[0], SWE):
        tokens = subwords.encode(content)
        assert subwords.decode(tokens) == content
    assert len(SWE.encode(b"")) == 0


def test_every_vocabulary_holds_all_bytes_once_and_has_the_size_that_was_asked_for():
    for subwords in (*RIVALS, SWE, train_unigram(WORDS, 300)):
        assert subwords.pieces[:BYTES] == SINGLES and len(set(subwords.pieces)) == len(subwords.pieces) == 300
        assert np.exp(subwords.log_probabilities).sum() == pytest.approx(1)


def test_the_optimum_is_likelier_than_its_rivals_and_says_so_of_the_counts_of_its_own_cuts():
    values = [likelihood(subwords.counts) for subwords in (*RIVALS, *(refit(WORDS, rival) for rival in RIVALS))]
    assert likelihood(SWE.counts) > max(values)
    tokens, ends = Subwords(SWE.pieces, SWE.counts, alpha=1e-9).cut(WORDS)
    weights = np.repeat(WORDS.counts, np.diff(ends))
    np.testing.assert_allclose(np.bincount(tokens, weights, 300), SWE.counts)


def test_a_rival_that_is_likelier_is_the_answer():
    exact = exact_swe({b"abab": 9, b"abc": 3}, 258)
    pieces = sorted({piece for cut in exact.cuts.values() for piece in cut if len(piece) > 1})
    words = pack({b"abab": 9, b"abc": 3})
    rival = refit(words, Subwords((*SINGLES, *pieces), np.ones(BYTES + len(pieces))))
    found = train_swe(words, 258, rivals=[rival], tries=0)
    alone = search_swe(words, 258, tries=0, longest=2, share=0.9)
    assert likelihood(alone.counts) < likelihood(rival.counts) - 1  # the search by itself may lose
    assert likelihood(found.counts) >= likelihood(rival.counts) - 1e-12


def test_the_search_never_exceeds_the_optimum_and_mostly_reaches_it():
    ratios = []
    for seed in range(20):
        counts = small_words(seed)
        words = pack(counts)
        swe = train_swe(words, 259, rivals=[train_pairs(words, 259, score) for score in ("count", "gain")])
        ratios.append(likelihood(swe.counts) / exact_swe(counts, 259).value)
    assert min(ratios) > 1 - 1e-9 and np.median(ratios) < 1.0001


def test_the_unigram_model_is_as_likely_as_that_of_tokenizers():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    counts = identifiers(1, 600)
    words = pack(counts)
    peer = Tokenizer(models.Unigram())
    peer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = sorted({chr(b) for word in counts for b in word})
    peer.train_from_iterator(
        (" ".join([word.decode()] * count) for word, count in counts.items()),
        trainers.UnigramTrainer(vocab_size=80, initial_alphabet=letters, special_tokens=[], show_progress=False),
    )
    longer = [name.encode() for name in peer.get_vocab() if len(name) > 1]
    theirs = refit(words, Subwords((*SINGLES, *longer), np.ones(BYTES + len(longer))))
    ours = train_unigram(words, BYTES + len(longer))
    # Both prune by heuristics; ours has the longer code here, by 1.3 %.
    assert likelihood(ours.counts) / likelihood(theirs.counts) == pytest.approx(1, abs=0.015)


def test_the_unigram_model_is_at_least_as_likely_as_that_of_sentencepiece(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    counts = identifiers(1, 600)
    words, letters = pack(counts), "".join(sorted({chr(b) for word in counts for b in word}))
    (tmp_path / "words.tsv").write_text("".join(f"{word.decode()}\t{count}\n" for word, count in counts.items()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.tsv"),
        input_format="tsv",
        model_prefix=str(tmp_path / "model"),
        model_type="unigram",
        vocab_size=80,
        required_chars=letters,
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        split_by_number=False,
        split_by_unicode_script=False,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    peer = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "model.model"))
    found = {peer.id_to_piece(i).encode() for i in range(peer.get_piece_size())}
    longer = sorted(piece for piece in found if len(piece) > 1 and piece.isascii() and piece != b"<unk>")
    theirs = refit(words, Subwords((*SINGLES, *longer), np.ones(BYTES + len(longer))))
    ours = train_unigram(words, BYTES + len(longer))
    # Code lengths: ours is the shorter one, by 4 % here, and by 1 % on the identifiers of Python packages.
    assert likelihood(ours.counts) / likelihood(theirs.counts) < 1.01


def test_a_vocabulary_is_the_same_after_it_was_written(tmp_path):
    for number, subwords in enumerate((SWE, RIVALS[1])):
        path = tmp_path / f"{number}.json"
        subwords.save(path)
        again = load_subwords(path)
        assert again.pieces == subwords.pieces and again.alpha == subwords.alpha
        np.testing.assert_array_equal(again.counts, subwords.counts)
        assert again.encode(b"read_file\x00\xff").tolist() == subwords.encode(b"read_file\x00\xff").tolist()


@pytest.mark.parametrize(
    ("more", "counts"),
    [([b"ab"], 256), ([b"ab"], 258), ([b"ab", b"ab"], 258), ([b"a"], 257)],
    ids=["a count too few", "one too many", "a piece twice", "a byte twice"],
)
def test_pieces_must_differ_and_each_have_a_count(tmp_path, more, counts):
    path = tmp_path / "tokenizer.json"
    Subwords((*SINGLES, *more), np.ones(counts)).save(path)
    with pytest.raises(InputError, match="its pieces are not whole"):
        load_subwords(path)
    Subwords((*SINGLES, b"ab"), np.ones(257)).save(path)
    assert load_subwords(path).pieces[-1] == b"ab"


def test_bytes_alone_are_the_least_vocabulary():
    for found in (train_swe(pack({b"abab": 2}), 256), train_unigram(pack({b"abab": 2}), 256)):
        assert found.pieces == SINGLES and found.counts[list(b"ab")].tolist() == [4, 4] == [found.counts.sum() / 2] * 2


def test_steps_are_given_what_is_said_of_them(monkeypatch):
    given = {}

    def noting(name, positions):
        real = getattr(subword, name)

        def spy(*arguments, **options):
            given[name] = (*(arguments[i] for i in positions), *options.values())
            return real(*arguments, **options)

        monkeypatch.setattr(subword, name, spy)

    noting("candidates", (1, 2))
    noting("prune", (3, 4, 5))
    noting("hard_em", (2,))
    run = Exchange.run
    monkeypatch.setattr(Exchange, "run", lambda search, tries: given.update(tries=tries) or run(search, 10))
    words = pack(small_words(0))
    train_swe(words, 258)
    # As Kudo (2018) prunes: a fifth a turn, two rounds of counting before each.
    assert given == {"candidates": (16, 30_000), "prune": (258, 0.2, 2), "tries": 4000}
    train_swe(words, 257, longest=3, share=0.5, rounds=1, tries=7, limit=20)
    assert given == {"candidates": (3, 20), "prune": (257, 0.5, 1), "tries": 7}
    train_unigram(words, 258)
    assert given == {"candidates": (16, 30_000), "prune": (258, 0.2, 2, True), "tries": 7, "hard_em": (100,)}
    train_unigram(words, 257, longest=3, share=0.5, rounds=1, limit=20)
    assert given["candidates"] == (3, 20) and given["prune"] == (257, 0.5, 1, True)


def test_a_tenth_is_added_to_each_count_unless_told():
    counts = np.zeros(256)
    counts[97] = 4
    assert Subwords(SINGLES, counts).log_probabilities[[97, 98]] == pytest.approx(np.log([4.1 / 29.6, 0.1 / 29.6]))
    assert Subwords(SINGLES, counts, alpha=1.0).log_probabilities[98] == pytest.approx(np.log(1 / 260))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"pieces": ["a"], "counts": [1], "rules": null, "alpha": 0.1}'])
def test_a_damaged_vocabulary_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: is no sub-word vocabulary .*; make it again"):
        load_subwords(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: train_swe(WORDS, 255), "size: is 255; give 256 to 65536"),
        (lambda: train_swe(WORDS, 65_537), "size: is 65537; give 256 to 65536"),
        (lambda: train_swe(pack({b"ab": 2}), 300), "no more than 257 pieces"),
        (lambda: train_swe(pack({b"ab": 2}), 65_536), "size: is 65536, and the words have no more than 257 pieces"),
        (lambda: train_unigram(pack({b"ab": 2}), 255), "size: is 255; give 256 to 65536"),
        (lambda: train_swe(pack({}), 300), "words: there are none"),
    ],
)
def test_impossible_requests_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_a_word_of_many_bytes_is_cut_in_linear_time():
    word = b"read_file" * 3000
    assert SWE.decode(SWE.encode(word)) == word
