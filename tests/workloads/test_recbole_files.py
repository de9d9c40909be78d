"""Atomic files become the events and items that stand in them."""

import pytest

from winnow.errors import InputError
from winnow.pipeline.acquire import default_cache, find_source
from winnow.pipeline.readers import read_interactions
from winnow.workloads.recbole_files import atomic_files

FILES = {
    "d/d.inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t2\t3\t11\n7\t1\t5\t10\n",
    "d/d.item": b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b'1\tA "B" (C)\t1995\tDrama Sci-Fi\n2\tD\tV\tDrama\n3\tE\t1990\tWar\n',
    "d/d.link": b"item_id:token\tentity_id:token\n1\tm.one\n2\tm.two\n",
    "d/d.kg": b"head_id:token\trelation_id:token\ttail_id:token\n"
    b"m.one\tfilm.film.directed_by\tm.ann\nm.ann\tfilm.director.film\tm.one\nm.bob\tfilm.actor.film\tm.two\n"
    b"m.one\tfilm.film.sequel\tm.two\nm.ann\tfilm.director.film\tm.nowhere\n",
}


def test_events_and_items_are_those_of_the_files():
    events, items = atomic_files(FILES, "src")
    assert [tuple(row.values()) for row in events.to_pylist()] == [
        (0, "src", "7", "2", 3, 11),
        (1, "src", "7", "1", 5, 10),
    ]
    assert items["title"].to_pylist() == ['A "B" (C)', "D", "E"]
    assert items["year"].to_pylist() == [1995, None, 1990]
    assert items["genres"].to_pylist() == [["Drama", "Sci-Fi"], ["Drama"], ["War"]]


def test_a_relation_and_its_inverse_say_the_same_once():
    assert atomic_files(FILES, "src")[1]["properties"].to_pylist() == [["director: m.ann"], ["actor: m.bob"], []]


def test_a_graph_is_not_needed_and_the_other_files_are():
    without = {name: data for name, data in FILES.items() if not name.endswith((".kg", ".link"))}
    assert atomic_files(without, "src")[1]["properties"].to_pylist() == [[], [], []]
    for suffix in (".inter", ".item"):
        with pytest.raises(InputError, match=rf"src: no file \*\{suffix} in the archive; correct `member`"):
            atomic_files({name: data for name, data in FILES.items() if not name.endswith(suffix)}, "src")


def test_the_pinned_archive_holds_what_is_said_of_it():
    pin = find_source("ml_100k", "data/sources.yaml")
    if not (default_cache() / "archives" / pin.sha256).is_dir():
        pytest.skip("the archive is not in the cache")
    events, items = read_interactions("ml_100k", "data/sources.yaml")
    assert (events.num_rows, items.num_rows) == (100_000, 1682)
    assert len(set(events["user"].to_pylist())) == 943 and set(events["rating"].to_pylist()) == {1, 2, 3, 4, 5}
    assert sum(bool(told) for told in items["properties"].to_pylist()) == 1598
    star_wars = items.to_pylist()[49]
    assert star_wars["title"] == "Star Wars" and star_wars["year"] == 1977 and "Sci-Fi" in star_wars["genres"]
