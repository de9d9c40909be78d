"""Relations are found from few words, and who has no eye for groups is wrong inside of them alone."""

import numpy as np
import pytest
from scipy import stats

from winnow.evaluate import find_study
from winnow.evaluate.find_benchmark import interpret, scored
from winnow.evaluate.find_related import RandomRelation, RelationMemoriser, RelationSearch, _entropies, candidates
from winnow.workloads import find_relations
from winnow.workloads.find_functions import Function, relation_functions

RECORDS = relation_functions(14, 1)


def test_candidates_are_relations_with_and_without_groups_and_their_answers():
    relations, table = candidates(True)
    assert relations == find_relations.every_relation() and table.shape == (
        len(relations),
        len(find_relations.related_words(True)),
    )
    assert table[20].tolist() == [find_relations.value(relations[20], w) for w in find_relations.related_words(True)]
    assert [r.group for r in candidates(False)[0]] == [""] * 6


def test_entropies_are_those_of_scipy():
    table = np.array([["a", "x"], ["a", "y"], ["b", "y"], ["c", "y"]])
    assert _entropies(table) == pytest.approx([stats.entropy([2, 1, 1], base=2), stats.entropy([1, 3], base=2)])


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r["description"])
def test_search_finds_the_relation_and_its_group(record):
    said, calls = interpret(record, RelationSearch(), 64, 0)
    # A way that no shown word tells from another is not to be known.
    true, found = (find_relations.parse(words) for words in (record["description"], said.description))
    words = find_relations.related_words(True)
    assert [find_relations.value(found, w) for w in words] == [find_relations.value(true, w) for w in words]
    assert calls <= 64 and said.confidence > 0


def test_without_groups_the_relation_is_found_and_its_group_missed():
    arms = [(i, 64) for i, budget in find_study.arms([64], 64) if i.kinds == ("relation",)]
    names = ["relations", "relations_random", "relations_global", "relation_memoriser", "random_relation"]
    assert [i.name for i, _ in arms] == names
    rows = scored(RECORDS, arms, 64, 0, lambda done, total: None)
    metrics = find_study.summaries(rows)
    blind, seeing = (metrics[f"{name}-relation-64"] for name in ("relations_global", "relations"))
    assert blind["inside"] < 0.3 and blind["outside"] > 0.9 and blind["family_right"] > 0.9 and blind["success"] < 0.3
    # Who misses the group is told from who knows it.
    assert blind["unit_test"] < 0.5 < seeing["unit_test"]
    assert seeing["success"] > 0.6 and seeing["match"] > blind["match"]
    assert metrics["relation_memoriser-relation-64"]["success"] == 0
    assert metrics["random_relation-relation-64"]["match"] < blind["match"]
    assert find_study.confirmed(RECORDS, 0) == [True] * 14
    assert find_study.confirmed([RECORDS[0] | {"description": RECORDS[1]["description"]}], 0) == [False]


def test_queries_are_of_shown_words_and_baselines_remember_or_guess():
    for record in RECORDS[:4]:
        asked = []
        function = Function(record, 0, 20)
        query = function.query
        function.query = lambda words, query=query, asked=asked: asked.extend(words) or query(words)
        RelationSearch(adaptive=False).interpret(function, np.random.default_rng(0))
        assert len(asked) == 20 == len(set(asked)) and set(asked) <= set(find_relations.related_words(True))
    said, calls = interpret(RECORDS[0], RelationMemoriser(), 16, 0)
    assert calls == 16 and find_relations.parse(said.description) is None
    said, calls = interpret(RECORDS[0], RandomRelation(), 16, 0)
    assert calls == 0 and find_relations.parse(said.description).group
