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
    found = join_shards(shards_of(TEXTS, cuts, tmp_path, partitions=5), threshold)
    np.testing.assert_array_equal(found, expected)
    assert 1 < len(set(found.tolist())) < len(TEXTS)


def test_partitions_bands_and_seed_are_those_asked_for(tmp_path):
    found = shingles([words(text) for text in TEXTS])
    for bands, rows, seed in ((4, 8, 1), (8, 2, 0)):
        expected = near_duplicates(found, 0.6, bands=bands, rows=rows, seed=seed)
        settings = {"bands": bands, "rows": rows, "seed": seed}
        paths = shards_of(TEXTS, [100], tmp_path, partitions=3, **settings)
        np.testing.assert_array_equal(join_shards(paths, 0.6), expected)
    steps = []
    join_shards(paths, 0.6, lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_what_cannot_be_joined_is_refused(tmp_path):
    first, second = shards_of(TEXTS[:20], [10], tmp_path, partitions=3)
    with pytest.raises(InputError, match="threshold: is 0; give more than 0 and at most 1"):
        join_shards([first], 0)
    with pytest.raises(InputError, match="threshold: is 1.5"):
        join_shards([first], 1.5)
    with pytest.raises(InputError, match="there are none"):
        join_shards([], 0.5)
    with pytest.raises(InputError, match="partitions 0; give 1 or more"):
        write_shard(["a"], tmp_path / "x", partitions=0)
    write_shard(TEXTS[:5], tmp_path / "other", partitions=4)
    with pytest.raises(InputError, match=r"other: was written in another way than .*shard0"):
        join_shards([first, second, tmp_path / "other"], 0.5)
    (tmp_path / "shard1.values").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r"shard1: is no whole shard \(values has another size\); write it again"):
        join_shards([first, second], 0.5)
    (tmp_path / "shard1.ends").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r"shard1: is no whole shard \(ends has another size\)"):
        join_shards([first, second], 0.5)
    for damaged in ("{", json.dumps({"bands": 1})):
        (tmp_path / "shard0.json").write_text(damaged)
        with pytest.raises(InputError, match="shard0: is no whole shard"):
            join_shards([first], 0.5)
    with pytest.raises(InputError, match="absent: is no whole shard"):
        join_shards([tmp_path / "absent"], 0.5)
