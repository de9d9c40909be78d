"""A taxonomy without words that stand twice, and values that count steps up the tree."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow import sandbox
from winnow.errors import InputError
from winnow.workloads import find_concepts as concepts
from winnow.workloads.find_functions import Function, entity_functions

RECORDS = entity_functions(60, 0)
BIRDS, ANIMALS, NATURE = ("nature", "animals", "birds"), ("nature", "animals"), ("nature",)


def test_every_word_stands_once_and_every_category_has_sixteen():
    words = [word for line in concepts.TAXONOMY.splitlines() if not line.endswith(":") for word in line.split()]
    assert len(words) == len(set(words)) == len(concepts.places()) == 800
    assert set(Counter(concepts.places().values()).values()) == {16}
    assert all(len(place) == 3 for place in concepts.places().values()) and BIRDS in concepts.nodes()


def test_nodes_are_all_places_that_hold_more_than_one_thing():
    by_depth = {depth: [node for node in concepts.nodes() if len(node) == depth] for depth in (1, 2, 3)}
    lines = [line[:-1].split(" > ") for line in concepts.TAXONOMY.splitlines() if line.endswith(":")]
    assert [list(node) for node in by_depth[3]] == lines
    groups = Counter((a, b) for a, b, _ in lines)
    assert by_depth[2] == [group for group, count in groups.items() if count > 1]
    domains = Counter(domain for domain, _ in groups)
    assert by_depth[1] == [(domain,) for domain, count in domains.items() if count > 1]
    assert concepts.parse("answers of nature") is None


def test_values_fall_with_every_step_up_the_tree():
    assert [concepts.value((BIRDS,), word) for word in ("crow", "dog", "oak", "chair")] == [1, 0.7, 0.3, 0]
    assert [concepts.value((ANIMALS,), word) for word in ("crow", "oak", "chair")] == [1, 0.7, 0]
    assert [concepts.value((NATURE,), word) for word in ("crow", "oak", "chair")] == [1, 1, 0]
    assert concepts.value((BIRDS,), "no such word") == 0


@given(st.sampled_from(concepts.nodes()), st.sampled_from(concepts.nodes()), st.sampled_from(list(concepts.places())))
def test_of_two_concepts_the_nearer_counts_and_words_are_read_back(first, second, word):
    both = (first, second)
    assert concepts.value(both, word) == max(concepts.value((first,), word), concepts.value((second,), word))
    assert concepts.parse(concepts.describe(both)) == both and concepts.parse(concepts.describe((first,))) == (first,)
    inside = concepts.places()[word][: len(first)] == first
    assert (concepts.value((first,), word) == 1) == inside


@pytest.mark.parametrize(
    "words", ["answers to", "answers to nothing", "answers to nature > animals > dragons", "birds"]
)
def test_other_words_are_no_concepts(words):
    assert concepts.parse(words) is None


def test_words_that_may_be_asked_and_that_judge_are_halves_of_every_category():
    shown, kept = concepts.shown_words(True), concepts.shown_words(False)
    assert not set(shown) & set(kept) and len(shown) == len(kept) == 400
    assert set(Counter(concepts.places()[word] for word in shown).values()) == {8}


def test_records_code_and_answers_agree():
    words = list(concepts.places())
    outcomes = sandbox.run([sandbox.Case(record["code"], "f", words) for record in RECORDS[:8]])
    for record, outcome in zip(RECORDS, outcomes, strict=False):
        said = concepts.parse(record["description"])
        assert [list(node) for node in said] == json.loads(record["spec"])
        assert outcome.values == [concepts.value(said, word) for word in words]
        assert Function(record, 0, 800).query(words) == outcome.values
    assert entity_functions(60, 0) == RECORDS and entity_functions(2, 1) != RECORDS[:2]
    assert np.mean([r["composed"] for r in RECORDS]) == pytest.approx(0.3, abs=5 * (0.21 / 60) ** 0.5)
    assert all(len({node[0] for node in json.loads(r["spec"])}) == 1 + r["composed"] for r in RECORDS)
    with pytest.raises(InputError, match="find_benchmark.entities: 0 functions; ask for 1 at least"):
        entity_functions(0, 0)
