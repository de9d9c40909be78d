"""Rows are scattered one to one and read once a pass in another order; no store of another model or shape is opened."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.dictionaries.harvesting import harvested
from winnow.dictionaries.activations import _mixed, open_store, scattered
from winnow.dictionaries.harvest import corpus_of
from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.randomness import numpy_generator


@given(st.integers(1, 3000), st.integers(0, 50))
def test_every_row_has_a_place_of_its_own(count, seed):
    assert sorted(scattered(np.arange(count), count, seed)) == list(range(count))


def test_neighbours_part_and_places_are_spread_evenly():
    places = scattered(np.arange(100_000), 100_000, 0)
    # Differences of neighbours of a random permutation are a third of the count apart on average.
    assert np.abs(np.diff(places)).mean() == pytest.approx(100_000 / 3, rel=0.02)
    assert (np.bincount(places[:10_000] // 12_500, minlength=8) > 1100).all()  # 1,250 expected in each shard
    assert not np.array_equal(places, scattered(np.arange(100_000), 100_000, 1))


def test_a_store_of_another_model_or_with_a_foreign_shard_is_refused(tmp_path, store, model, workload):
    assert open_store(store.rows.parent / "meta.json", "aa").meta["model_sha256"] == "aa"
    with pytest.raises(InputError, match="of another model"):
        open_store(store.rows.parent / "meta.json", "cc")
    other = harvested(tmp_path, model, corpus_of(workload, "train"), model_sha256="cc")
    other.shards[1].write_bytes(store.shards[1].read_bytes())
    with pytest.raises(InputError, match=r"shard-00001.safetensors: is of another model"):
        open_store(tmp_path / "meta.json")
    other.shards[1].write_bytes(other.shards[0].read_bytes()[:-8])
    with pytest.raises(InputError, match=r"shard-00001.safetensors: cannot be read"):
        open_store(tmp_path / "meta.json")
    other.shards[1].write_bytes(other.shards[0].read_bytes())
    other.shards[2].write_bytes(other.shards[0].read_bytes())
    with pytest.raises(InputError, match=r"shard-00002.safetensors: has tensors of shapes .* harvest the activations"):
        open_store(tmp_path / "meta.json")


def test_each_pass_reads_every_row_once_in_another_order(store, monkeypatch):
    monkeypatch.setattr("winnow.dictionaries.activations.BLOCK", 64)
    all_rows = torch.cat(list(store.pieces()))
    reading, again = store.reading(1), store.reading(1)
    first, second = torch.cat(list(reading)), torch.cat(list(reading))
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(0).values, all_rows.sort(0).values)
    assert torch.equal(second.sort(0).values, all_rows.sort(0).values)
    assert torch.equal(torch.cat(list(again)), first)
    assert not torch.equal(torch.cat(list(store.reading(2))), first)


def test_one_row_and_none_have_their_places():
    assert scattered(np.array([0]), 1, 0).tolist() == [0] and scattered(np.zeros(0, np.int64), 5, 0).tolist() == []
    rows = np.array([7, 7, 3])
    found = scattered(rows, 10, 2)
    # A place is the row's own, whatever else is asked for; places are not the rows themselves.
    assert found[0] == found[1] and found.tolist() == scattered(np.arange(10), 10, 2)[rows].tolist()
    assert found.dtype == np.int64 and scattered(np.arange(64), 64, 0).tolist() != list(range(64))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9))
def test_the_finaliser_is_that_of_splitmix64(numbers):
    def by_hand(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    assert _mixed(np.array(numbers, np.uint64)).tolist() == [by_hand(number) for number in numbers]


def test_places_are_those_of_four_rounds_of_a_feistel_network_walked_into_the_count():
    """The network on pairs of halves of bits, number by number."""
    for count, half in ((12, 2), (16, 2), (17, 3), (100, 4), (3, 1)):
        keys = numpy_generator(9, "activations", "places").integers(0, 2**63, 4, dtype=np.uint64)

        def once(place, half=half, keys=keys):
            left, right = place >> half, place % 2**half
            for key in keys:
                mixed = int(_mixed(np.array([right ^ int(key)], np.uint64))[0])
                left, right = right, left ^ (mixed % 2**half)
            return left * 2**half + right

        expected = []
        for row in range(count):
            place = once(row)
            while place >= count:
                place = once(place)
            expected.append(place)
        assert scattered(np.arange(count), count, 9).tolist() == expected


@pytest.fixture
def small(tmp_path):
    """A store of two shards of 5 and 3 rows, x of width 3 and y of width 2, that says where each number stands."""
    x, y = torch.arange(24.0).view(8, 3), 100 + torch.arange(16.0).view(8, 2)
    meta = {"format": 1, "model_sha256": "a" * 20, "corpus_sha256": "bb", "hooks": ["in", "out"], "widths": [3, 2]}
    meta |= {"count": 8, "shards": ["s0.safetensors", "s1.safetensors"], "shard_rows": [5, 3]}
    told = {"winnow": json.dumps({"model_sha256": "a" * 20, "hooks": ["in", "out"]})}
    for name, rows in zip(meta["shards"], (slice(0, 5), slice(5, 8)), strict=True):
        save_file({"x": x[rows].half(), "y": y[rows].half()}, tmp_path / name, told)
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    order = pa.table({"shard": [1, 0, 1], "offset": [0, 4, 1], "doc": [6, 5, 7]})
    write_parquet(order, tmp_path / "rows.parquet")
    return tmp_path, meta, x, y


def test_pieces_are_all_rows_in_stored_order_in_blocks_of_a_shard(small):
    folder, _, x, y = small
    store = open_store(folder / "meta.json", "a" * 20)
    assert len(store) == 8 and store.rows == folder / "rows.parquet"
    assert store.shards == (folder / "s0.safetensors", folder / "s1.safetensors")
    pieces = list(store.pieces(size=2))
    assert [len(piece) for piece in pieces] == [2, 2, 1, 2, 1] and torch.equal(torch.cat(pieces), x)
    assert pieces[0].dtype == torch.float32
    assert torch.equal(torch.cat(list(store.pieces(("y", "x"), 4))), torch.cat([y, x], 1))
    assert [len(piece) for piece in store.pieces()] == [5, 3]
    assert store.table()["doc"].to_pylist() == [5, 6, 7]


def test_unless_told_a_block_has_4096_rows(tmp_path):
    told = {"winnow": json.dumps({"model_sha256": "aa", "hooks": ["in"]})}
    save_file({"x": torch.arange(5000.0)[:, None]}, tmp_path / "s.safetensors", told)
    meta = {"format": 1, "model_sha256": "aa", "hooks": ["in"], "widths": [1], "count": 5000}
    (tmp_path / "meta.json").write_text(json.dumps(meta | {"shards": ["s.safetensors"], "shard_rows": [5000]}))
    store = open_store(tmp_path / "meta.json")
    assert [len(piece) for piece in store.pieces()] == [4096, 904]
    assert sorted(len(block) for block in store.reading(0)) == [904, 4096]


def test_a_path_may_be_a_text_and_any_model_is_opened_unless_one_is_asked_for(small):
    folder, meta, *_ = small
    assert open_store(str(folder / "meta.json")).meta == meta


@pytest.mark.parametrize("block", [2, 3])
def test_a_pass_goes_through_shards_in_turn_block_by_block(small, monkeypatch, block):
    folder, _, x, y = small
    monkeypatch.setattr("winnow.dictionaries.activations.BLOCK", block)
    reading = open_store(folder / "meta.json").reading(3, ("x", "y"))
    orders = set()
    for _ in range(6):
        blocks = list(reading)
        rows = torch.cat(blocks)
        numbers = (rows[:, 0] / 3).int().tolist()
        assert sorted(numbers) == list(range(8)) and torch.equal(rows, torch.cat([x, y], 1)[numbers])
        first = [part[0, 0].item() / 3 < 5 for part in blocks]
        assert first in (sorted(first), sorted(first, reverse=True))  # a shard is read to its end
        for part in blocks:
            place = part[:, 0] / 3
            assert torch.equal(place.diff(), torch.ones(len(part) - 1))
        orders.add(tuple(numbers))
    assert len(orders) > 2


def test_a_pass_has_the_order_of_its_number_and_seed(small, monkeypatch):
    folder, *_ = small
    monkeypatch.setattr("winnow.dictionaries.activations.BLOCK", 1)
    store = open_store(folder / "meta.json")
    reading = store.reading(3)
    first, second = torch.cat(list(reading)), torch.cat(list(reading))
    again, other = store.reading(3), store.reading(4)
    assert torch.equal(torch.cat(list(again)), first) and torch.equal(torch.cat(list(again)), second)
    assert not torch.equal(first, second) and not torch.equal(torch.cat(list(other)), first)
    assert reading.passes == 2 and first.shape == (8, 3)


def test_a_part_that_was_not_harvested_is_refused(small):
    folder, meta, *_ = small
    (folder / "meta.json").write_text(json.dumps(meta | {"hooks": ["in"], "widths": [3]}))
    told = {"winnow": json.dumps({"model_sha256": "a" * 20, "hooks": ["in"]})}
    for name, rows in zip(meta["shards"], (5, 3), strict=True):
        save_file({"x": torch.zeros(rows, 3)}, folder / name, told)
    store = open_store(folder / "meta.json")
    assert len(list(store.reading(0))) == 2
    with pytest.raises(InputError, match="activations of in: have no part 'y'; harvest a pair of hook points"):
        store.reading(0, ("x", "y"))
    with pytest.raises(InputError, match="have no part 'z'"):
        store.reading(0, ("z",))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, r"meta.json: is not of format 1; harvest the activations again"),
        ({"widths": [3, 3]}, r"s0.safetensors: has tensors of shapes \[\[5, 3\], \[5, 2\]\], not 5 rows of \[3, 3\]"),
        ({"shard_rows": [5, 4]}, r"s1.safetensors: has tensors of shapes \[\[3, 3\], \[3, 2\]\], not 4 rows"),
        ({"hooks": ["in", "other"]}, r"s0.safetensors: is of another model or hook point than meta.json says"),
        ({"model_sha256": "c" * 20}, r"s0.safetensors: is of another model or hook point"),
        (
            {"shards": ["s0.safetensors", "s9.safetensors"]},
            r"s9.safetensors: cannot be read .*; harvest the activations",
        ),
    ],
)
def test_what_meta_says_must_be_so(small, changed, message):
    folder, meta, *_ = small
    (folder / "meta.json").write_text(json.dumps(meta | changed))
    with pytest.raises(InputError, match=message):
        open_store(folder / "meta.json")


@pytest.mark.parametrize("text", ["{", "[1]", "7"])
def test_a_damaged_or_foreign_meta_is_refused(small, text):
    folder, *_ = small
    (folder / "meta.json").write_text(text)
    with pytest.raises(InputError, match="meta.json: (cannot be read|is not of format 1)"):
        open_store(folder / "meta.json")
    (folder / "meta.json").unlink()
    with pytest.raises(InputError, match="meta.json: cannot be read"):
        open_store(folder / "meta.json")


def test_another_model_than_asked_for_is_told_by_its_digest(small):
    folder, *_ = small
    with pytest.raises(InputError, match=r"meta.json: the activations are of another model \(aaaaaaaaaaaa\); harvest"):
        open_store(folder / "meta.json", "bb")


def test_a_shard_without_a_description_or_lost_since_is_named(small):
    folder, meta, x, y = small
    store = open_store(folder / "meta.json")
    save_file({"x": x[:5], "y": y[:5]}, folder / "s0.safetensors")
    with pytest.raises(InputError, match="s0.safetensors: is of another model"):
        open_store(folder / "meta.json")
    (folder / "s0.safetensors").unlink()
    with pytest.raises(InputError, match="s0.safetensors: cannot be read"):
        next(store.pieces())
