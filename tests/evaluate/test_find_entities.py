"""Concepts are found from few words, and what is said of them is judged on words that nobody may ask."""

import numpy as np
import pytest
from scipy import stats

from winnow.evaluate import find_study
from winnow.evaluate.find_benchmark import interpret, scored
from winnow.evaluate.find_entities import ConceptSearch, RandomConcept, WordMemoriser, _entropies, candidates
from winnow.workloads.find_concepts import nodes, parse, shown_words, value
from winnow.workloads.find_functions import Function, entity_functions

RECORDS = entity_functions(14, 2)


def test_candidates_are_all_concepts_and_pairs_of_domains_with_their_values():
    concepts, table = candidates()
    single = [c for c in concepts if len(c) == 1]
    assert len(single) == len(nodes()) and len(set(concepts)) == len(concepts)
    assert len(concepts) - len(single) == sum(a[0] != b[0] for i, a in enumerate(nodes()) for b in nodes()[:i])
    for row in (0, len(single), len(concepts) - 1):
        assert table[row].tolist() == [value(concepts[row], word) for word in shown_words(True)]


def test_entropies_are_those_of_scipy():
    table = np.array([[0, 0.3], [0, 0.7], [0, 0.7], [1, 1.0]])
    assert _entropies(table) == pytest.approx([stats.entropy([3, 1], base=2), stats.entropy([1, 2, 1], base=2)])


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r["family"])
def test_search_finds_the_concepts_with_few_words(record):
    said, calls = interpret(record, ConceptSearch(), 16, 0)
    assert calls <= 16
    if said.confidence == 1:
        assert set(parse(said.description)) == set(parse(record["description"]))
    more, _ = interpret(record, ConceptSearch(), 64, 0)
    of, true = parse(more.description), parse(record["description"])
    assert all(value(of, word) == value(true, word) for word in shown_words(True))


def test_random_words_use_the_budget_and_baselines_remember_or_guess():
    for record in RECORDS[:6]:
        asked = []
        function = Function(record, 0, 24)
        query = function.query
        function.query = lambda words, query=query, asked=asked: asked.extend(words) or query(words)
        said = ConceptSearch(adaptive=False).interpret(function, np.random.default_rng(0))
        assert len(asked) == 24 == len(set(asked)) and set(asked) <= set(shown_words(True))
        answers = Function(record, 0, 24).query(asked)
        agree = [c for c in candidates()[0] if [value(c, word) for word in asked] == answers]
        assert parse(said.description) == agree[0] and said.confidence == pytest.approx(1 / len(agree))
    said, calls = interpret(RECORDS[0], WordMemoriser(), 16, 0)
    assert calls == 16 and parse(said.description) is None
    said, calls = interpret(RECORDS[0], RandomConcept(), 16, 0)
    assert calls == 0 and len(parse(said.description)) == 1 and said.confidence == 0


def test_scores_are_of_words_that_nobody_may_ask():
    arms = [(i, 32) for i, budget in find_study.arms([32], 32) if i.kinds == ("entity",)]
    assert [i.name for i, _ in arms] == ["concepts", "concepts_random", "word_memoriser", "random_concept"]
    rows = scored(RECORDS, arms, 32, 0, lambda done, total: None)
    metrics = find_study.summaries(rows)
    assert metrics["concepts-entity-32"]["success"] > 0.9 == 0.9 > metrics["word_memoriser-entity-32"]["success"]
    assert metrics["concepts-entity-32"]["match"] > metrics["random_concept-entity-32"]["match"]
    assert find_study.confirmed(RECORDS, 0) == [True] * 14
    wrong = RECORDS[0] | {"description": RECORDS[1]["description"]}
    assert find_study.confirmed([wrong], 0) == [False]
