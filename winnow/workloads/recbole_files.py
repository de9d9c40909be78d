"""RecBole's atomic files of a data set as raw tables: events, and what is known of items.

<name>.inter, .item, .link, .kg: tab-separated, with headers of `name:type` (Zhao et al., "RecBole: Towards a Unified,
Comprehensive and Efficient Framework for Recommendation Algorithms", CIKM 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from winnow.errors import InputError
from winnow.workloads.interaction_tables import parse_events, raw_events, raw_items

ITEM_COLUMNS = {"title": "movie_title", "year": "release_year", "genres": "class"}
RELATIONS = {
    "film.film.actor": "actor",
    "film.actor.film": "actor",
    "film.film.genre": "kind",
    "film.film_genre.films_in_this_genre": "kind",
    "film.film.award_nomination": "nomination",
    "film.film.award_won": "award",
    "film.film.produced_by": "producer",
    "film.producer.film": "producer",
    "film.film.written_by": "writer",
    "film.writer.film": "writer",
    "film.film.directed_by": "director",
    "film.director.film": "director",
    "film.film.cinematography": "camera",
    "film.cinematographer.film": "camera",
    "film.film.production_companies": "company",
    "film.production_company.films": "company",
    "film.film.language": "language",
    "film.film.country": "country",
    "film.film.rating": "rating",
    "film.content_rating.film": "rating",
    "film.film.subjects": "subject",
    "film.film_subject.films": "subject",
}
"""Relation of the graph -> what it says of a film; a relation and its inverse say the same. Sequels are left out."""


def atomic_files(members: Mapping[str, bytes], source_id: str) -> tuple[pa.Table, pa.Table]:
    """Events and items of a data set; items have what a graph beside them says, where there is one.

    Raises InputError for a file that is not there and for one that cannot be read.
    """
    by_suffix = {Path(name).suffix: (Path(name).name, data) for name, data in members.items()}
    missing = next((suffix for suffix in (".inter", ".item") if suffix not in by_suffix), None)
    if missing:
        raise InputError(f"{source_id}: no file *{missing} in the archive; correct `member`")

    def read(suffix: str, texts: tuple[str, ...]) -> pa.Table:
        name, data = by_suffix[suffix]
        return parse_events(data, f"{source_id}: {name}", texts, "\t")

    events = raw_events(read(".inter", ("user_id", "item_id")), source_id, None, source_id)
    known: dict[str, list[str]] = {}
    if ".kg" in by_suffix and ".link" in by_suffix:
        links = read(".link", ("item_id", "entity_id"))
        graph = read(".kg", ("head_id", "relation_id", "tail_id"))
        known = told_by_graph(links, graph)
    items = read(".item", ("item_id", "movie_title", "release_year", "class"))
    return events, raw_items(items, ITEM_COLUMNS, f"{source_id}: items", parted=" ", more=known)


def told_by_graph(links: pa.Table, graph: pa.Table) -> dict[str, list[str]]:
    """Item -> what the triples about its entity say of it, "<relation>: <entity>", each once, in order.

    links: item_id, entity_id. graph: head_id, relation_id, tail_id.
    """
    item_of = dict(zip(links["entity_id"].to_pylist(), links["item_id"].to_pylist(), strict=True))
    found: dict[str, set[str]] = {item: set() for item in item_of.values()}
    columns = (graph[name].to_pylist() for name in ("head_id", "relation_id", "tail_id"))
    for head, relation, tail in zip(*columns, strict=True):
        # A relation that is written from the film to the other starts with the film; its inverse ends with it.
        film, other = (head, tail) if head in item_of else (tail, head)
        if relation in RELATIONS and film in item_of:
            found[item_of[film]].add(f"{RELATIONS[relation]}: {other}")
    return {item: sorted(values) for item, values in found.items()}
