"""Splits depend on content alone."""

from collections import Counter
from fractions import Fraction
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.workloads.splits import _exact_fractions, first_by_hash, hash_split, key_hashes, threshold_split

SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}
ROWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), max_size=80)


def by_hand_hash(key, salt):
    return int.from_bytes(blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest(), "big")


def by_hand_split(rows, salt, shares):
    """The definition, one key at a time: sort by hash inside each stratum, cut at rounded ends."""
    stratum = {key: min(s for k, s in rows if k == key) for key, _ in rows}
    place = {}
    for s in set(stratum.values()):
        keys = sorted((k for k in stratum if stratum[k] == s), key=lambda k: by_hand_hash(k, salt))
        train, valid = (
            int(len(keys) * Fraction(7, 10) + Fraction(1, 2)),
            int(len(keys) * Fraction(8, 10) + Fraction(1, 2)),
        )
        if len(keys) >= 3:  # each split has one at least
            train = min(train, len(keys) - 2)
            valid = min(max(valid, train + 1), len(keys) - 1)
        for i, key in enumerate(keys):
            place[key] = "train" if i < train else "valid" if i < valid else "test"
    return [place[key] for key, _ in rows]


def split(rows, salt="s"):
    return hash_split([key for key, _ in rows], [s for _, s in rows], salt, SHARES).tolist()


@given(ROWS, st.sampled_from(["s", "t", ""]))
def test_the_split_is_the_definition(rows, salt):
    assert split(rows, salt) == by_hand_split(rows, salt, SHARES)


@given(ROWS, st.randoms(use_true_random=False))
def test_row_order_and_repeated_rows_change_nothing(rows, random):
    place = dict(zip((k for k, _ in rows), split(rows), strict=True))
    again = rows + rows[: len(rows) // 2]
    random.shuffle(again)
    assert split(again) == [place[key] for key, _ in again]


@given(ROWS)
def test_no_key_straddles_splits(rows):
    place = {}
    for (key, _), name in zip(rows, split(rows), strict=True):
        assert place.setdefault(key, name) == name


@given(st.sets(st.integers(0, 10**6), min_size=3, max_size=80), st.integers(0, 10**6))
def test_an_added_key_moves_only_keys_at_the_cuts(keys, added):
    before = dict(zip(keys, split([(k, 0) for k in keys]), strict=True))
    more = keys | {added}
    after = dict(zip(more, split([(k, 0) for k in more]), strict=True))
    # Each of the two cuts passes at most one key that was there before.
    assert sum(before[k] != after[k] for k in keys) <= 2


def test_strata_are_cut_each_by_itself_at_exact_shares():
    rows = [(i, i % 2) for i in range(400)]
    counts = Counter(zip(split(rows), (s for _, s in rows), strict=True))
    assert counts == {(n, s): c for n, c in (("train", 140), ("valid", 20), ("test", 40)) for s in (0, 1)}


def test_digits_are_cut_as_published_for_this_data():
    rows = [(i, i % 10) for i in range(5000)]
    assert Counter(split(rows)) == {"train": 3500, "valid": 500, "test": 1000}


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1))]
)
def test_a_small_stratum_gives_each_split_one_while_keys_suffice(count, expected):
    counts = Counter(split([(i, 0) for i in range(count)]))
    if count >= 3:
        assert tuple(counts[name] for name in SHARES) == expected
    assert sum(counts.values()) == count


@pytest.mark.parametrize("shares", [(0.98, 0.01, 0.01), (0.01, 0.98, 0.01), (0.01, 0.01, 0.98)])
def test_each_split_gets_one_however_small_its_share(shares):
    names = hash_split(range(5), [0] * 5, "s", dict(zip(SHARES, shares, strict=True)))
    counts = Counter(names.tolist())
    assert [counts[name] for name in SHARES] == [3 if share == 0.98 else 1 for share in shares]


def test_a_share_of_zero_stays_empty_and_one_of_one_takes_all():
    names = hash_split(range(7), [0] * 7, "s", {"train": 0.5, "valid": 0.0, "test": 0.5})
    assert Counter(names.tolist()) == {"train": 4, "test": 3}
    assert set(hash_split(range(7), [0] * 7, "s", {"train": 1.0, "valid": 0, "test": 0})) == {"train"}


def test_another_salt_is_another_split():
    rows = [(i, 0) for i in range(200)]
    assert split(rows, "a") != split(rows, "b")
    assert threshold_split(range(200), "a", SHARES).tolist() != threshold_split(range(200), "b", SHARES).tolist()


def test_hashes_are_those_of_blake2b_for_text_and_numbers():
    assert key_hashes(["ä", "b"], "s").tolist() == [by_hand_hash("ä", "s"), by_hand_hash("b", "s")]
    assert key_hashes(np.array([7, -1]), "s").tolist() == [by_hand_hash(7, "s"), by_hand_hash(-1, "s")]
    assert key_hashes([], "s").shape == (0,)


@given(st.sets(st.text(max_size=5)), st.sets(st.text(max_size=5)))
def test_with_thresholds_no_key_ever_moves(first, second):
    both = sorted(first | second)
    place = dict(zip(both, threshold_split(both, "s", SHARES), strict=True))
    alone = sorted(first)
    assert threshold_split(alone, "s", SHARES).tolist() == [place[key] for key in alone]


def test_thresholds_are_the_definition_and_meet_the_shares():
    keys = list(range(20_000))
    names = threshold_split(keys, "s", SHARES)
    for key, name in zip(keys[:2000], names, strict=False):
        share = by_hand_hash(key, "s") / 2**64
        assert name == ("train" if share < 0.7 else "valid" if share < 0.8 else "test")
    counts = Counter(names.tolist())
    # Five standard deviations of a binomial count.
    assert all(abs(counts[n] - 20_000 * s) < 5 * (20_000 * s * (1 - s)) ** 0.5 for n, s in SHARES.items())
    assert set(threshold_split(keys[:9], "s", {"a": 0.0, "b": 1.0, "c": 0.0})) == {"b"}


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 60), st.integers(1, 60))
def test_a_smaller_limit_keeps_a_subset_and_whole_keys(keys, a, b):
    few, many = (first_by_hash(keys, "s", count) for count in sorted((a, b)))
    assert not (few & ~many).any()
    expected = sorted(set(keys), key=lambda k: by_hand_hash(k, "s"))[: min(a, b)]
    assert few.tolist() == [key in expected for key in keys]


@pytest.mark.parametrize(
    "shares",
    [
        {},
        {"a": 0.5},
        {"a": 1.2, "b": -0.2},
        {"a": 0.6, "b": 0.6, "c": -0.2},
        {"a": float("nan"), "b": 1},
        {"a": 0.7, "b": 0.31},
    ],
)
def test_shares_that_do_not_add_up_are_refused(shares):
    with pytest.raises(InputError, match="split fractions"):
        hash_split([1], [0], "s", shares)
    with pytest.raises(InputError, match="split fractions"):
        threshold_split([1], "s", shares)


def test_thirds_written_as_floats_add_up():
    shares = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    assert Counter(hash_split(range(9), [0] * 9, "s", shares).tolist()) == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize("excess", [-1e-9, -5e-10, 5e-10, 1e-9])
def test_shares_that_add_up_to_nine_digits_are_scaled_to_add_up_exactly(excess):
    shares = _exact_fractions({"a": 0.25, "b": 0.75 + excess})
    assert sum(shares) == 1
    assert float(shares[0]) == pytest.approx(0.25 / (1 + excess), rel=1e-15)


@pytest.mark.parametrize("excess", [-1.5e-9, 1.5e-9])
def test_shares_that_are_off_in_the_ninth_digit_are_refused(excess):
    with pytest.raises(InputError, match="split fractions"):
        threshold_split([1], "s", {"a": 0.25, "b": 0.75 + excess})


def test_other_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="2 keys and 1 strata"):
        hash_split([1, 2], [0], "s", SHARES)
    with pytest.raises(InputError, match="limit: 0 keys"):
        first_by_hash([1], "s", 0)
    assert hash_split([], [], "s", SHARES).tolist() == []
