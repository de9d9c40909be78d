"""The join on disk finds the components that the join in memory finds, whatever the shards."""

import json

import numpy as np
import pytest

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads import shard_join
from winnow.workloads.minhash import near_duplicates, shingles, words
from winnow.workloads.shard_join import join_shards, write_shard


def corpus(count, seed=0):
    """Texts of 60 words, of which many are edits of earlier ones, and a few are short, empty or equal."""
    generator = numpy_generator(seed, "corpus")
    texts = ["", "", "one word", "same", "same"]
    while len(texts) < count:
        new = generator.integers(0, 500, 60)
        if generator.random() < 0.6 and len(texts) > 5:
            new = np.array(texts[int(generator.integers(5, len(texts)))].split(), int)
            at = generator.integers(0, 60, int(generator.integers(0, 6)))
            new[at] = generator.integers(0, 500, len(at))
        texts.append(" ".join(map(str, new)))
    return texts


TEXTS = corpus(300)


def shards_of(texts, cuts, folder, **settings):
    paths = []
    for number, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(texts)], strict=True)):
        paths.append(folder / f"shard{number}")
        write_shard(texts[first:last], paths[-1], **settings)
    return paths


@pytest.mark.parametrize("cuts", [[], [150], [1, 7, 7, 299]])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_components_are_those_of_the_join_in_memory(tmp_path, cuts, threshold, monkeypatch):
    monkeypatch.setattr(shard_join, "BATCH", 3)
    expected = near_duplicates(shingles([words(text) for text in TEXTS]), threshold)
    (found,) = join_shards(shards_of(TEXTS, cuts, tmp_path, partitions=5), [threshold])
    np.testing.assert_array_equal(found, expected)
    assert 1 < len(set(found.tolist())) < len(TEXTS)


def test_partitions_bands_and_seed_are_those_asked_for(tmp_path):
    found = shingles([words(text) for text in TEXTS])
    for bands, rows, seed in ((4, 8, 1), (8, 2, 0)):
        expected = near_duplicates(found, 0.6, bands=bands, rows=rows, seed=seed)
        settings = {"bands": bands, "rows": rows, "seed": seed}
        paths = shards_of(TEXTS, [100], tmp_path, partitions=3, **settings)
        np.testing.assert_array_equal(join_shards(paths, [0.6])[0], expected)
    steps = []
    join_shards(paths, [0.6], progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_what_cannot_be_joined_is_refused(tmp_path):
    first, second = shards_of(TEXTS[:20], [10], tmp_path, partitions=3)
    with pytest.raises(InputError, match="threshold: is 0; give more than 0 and at most 1"):
        join_shards([first], [0])
    with pytest.raises(InputError, match="threshold: is 1.5"):
        join_shards([first], [0.5, 1.5])
    with pytest.raises(InputError, match="there are none"):
        join_shards([], [0.5])
    with pytest.raises(InputError, match="partitions 0; give 1 or more"):
        write_shard(["a"], tmp_path / "x", partitions=0)
    write_shard(TEXTS[:5], tmp_path / "other", partitions=4)
    with pytest.raises(InputError, match=r"other: was written in another way than .*shard0"):
        join_shards([first, second, tmp_path / "other"], [0.5])
    (tmp_path / "shard1.shingles").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r"shard1: is no whole shard \(shingles has another size\); write it again"):
        join_shards([first, second], [0.5])
    (tmp_path / "shard1.ends").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r"shard1: is no whole shard \(ends has another size\)"):
        join_shards([first, second], [0.5])
    for damaged in ("{", json.dumps({"bands": 1})):
        (tmp_path / "shard0.json").write_text(damaged)
        with pytest.raises(InputError, match="shard0: is no whole shard"):
            join_shards([first], [0.5])
    with pytest.raises(InputError, match="absent: is no whole shard"):
        join_shards([tmp_path / "absent"], [0.5])


@pytest.mark.parametrize("batch", [1, 3, 2048])
def test_several_thresholds_are_joined_at_once_among_the_texts_that_are_looked_at(tmp_path, batch, monkeypatch):
    monkeypatch.setattr(shard_join, "BATCH", batch)
    among = np.arange(len(TEXTS)) % 7 > 0
    paths = shards_of(TEXTS, [120, 200], tmp_path, partitions=3)
    chosen = np.flatnonzero(among)
    hashed = shingles([words(TEXTS[i]) for i in chosen])
    for thresholds in ((0.9, 0.4), (0.4, 0.9), (0.7,)):
        found = join_shards(paths, thresholds, among)
        assert found.shape == (len(thresholds), len(TEXTS))
        for components, threshold in zip(found, thresholds, strict=True):
            np.testing.assert_array_equal(components[~among], np.flatnonzero(~among))
            np.testing.assert_array_equal(components[chosen], chosen[near_duplicates(hashed, threshold)])


def test_many_texts_of_one_key_are_looked_at_some_pairs_at_a_time(tmp_path, monkeypatch):
    """A group of n texts has n (n - 1) / 2 pairs, which must never be in memory together."""
    monkeypatch.setattr(shard_join, "BATCH", 10)
    sizes, similarities = [], shard_join._similarities

    def noted(shards, starts, pairs):
        sizes.append(len(pairs))
        return similarities(shards, starts, pairs)

    monkeypatch.setattr(shard_join, "_similarities", noted)
    paths = shards_of(["a b c d e f g"] * 50 + ["h i j k l m n"] * 40, [30], tmp_path, partitions=1)
    (found,) = join_shards(paths, [0.5])
    assert found.tolist() == [0] * 50 + [50] * 40
    assert 0 < max(sizes) <= 10
    # Of a key whose texts are one already there is nothing left to compare.
    assert sum(sizes) < 200


@pytest.mark.parametrize(("characters", "batch"), [(1, 2048), (500, 2048), (1 << 20, 7), (1 << 20, 2048)])
def test_a_shard_is_the_same_however_many_texts_are_hashed_at_once(tmp_path, characters, batch, monkeypatch):
    write_shard(TEXTS, tmp_path / "expected", partitions=5)
    monkeypatch.setattr(shard_join, "CHARACTERS", characters)
    monkeypatch.setattr(shard_join, "BATCH", batch)
    write_shard(iter(TEXTS), tmp_path / "found", partitions=5)
    for suffix in ("bands", "owners", "shingles", "ends", "json"):
        assert (tmp_path / f"found.{suffix}").read_bytes() == (tmp_path / f"expected.{suffix}").read_bytes()


def test_texts_are_taken_as_they_are_hashed(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_join, "CHARACTERS", 30)
    taken, hashed, shingles_of = [], [], shard_join.shingles

    def noted(documents):
        hashed.append(len(taken))
        return shingles_of(documents)

    monkeypatch.setattr(shard_join, "shingles", noted)
    write_shard((taken.append(i) or "ten chars." for i in range(7)), tmp_path / "x")
    assert hashed == [3, 6, 7]


def test_a_shard_without_texts_adds_nothing(tmp_path):
    write_shard([], tmp_path / "none", partitions=5)
    paths = shards_of(TEXTS[:40], [20], tmp_path, partitions=5)
    with_empty = join_shards([paths[0], tmp_path / "none", paths[1]], [0.5])
    np.testing.assert_array_equal(with_empty, join_shards(paths, [0.5]))
    assert join_shards([tmp_path / "none"], [0.5]).shape == (1, 0)
