"""Tables of relations beside Python itself, and what is corrupted in one group of words."""

import builtins
import importlib
import json

import pytest

from winnow import sandbox
from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads import find_relations as relations
from winnow.workloads.find_functions import Function, relation_functions
from winnow.workloads.find_relations import Relation


def rows(name):
    return [pair for group in relations.tables()[name].values() for pair in group.items()]


@pytest.mark.filterwarnings("ignore:.*object is not")
def test_what_is_said_of_exceptions_and_modules_is_true():
    for word, answer in rows("inherits"):
        assert getattr(builtins, word).__base__ is getattr(builtins, answer)
    for expression, answer in rows("raises"):
        with pytest.raises(getattr(builtins, answer)) as raised:
            eval(compile(expression, "<test>", "eval", dont_inherit=True))
        assert type(raised.value).__name__ == answer
    for word, answer in rows("contains"):
        assert hasattr(importlib.import_module(answer), word)


def test_tables_have_words_once_and_both_halves_reach_every_group():
    assert list(relations.tables()) == ["capital", "young", "home", "inherits", "raises", "contains"]
    assert relations.tables()["capital"]["america"]["argentina"] == "buenos aires"
    shown, held = relations.related_words(True), relations.related_words(False)
    assert not set(shown) & set(held) and len(set(shown)) == len(shown)
    for name, groups in relations.tables().items():
        words = [word for group in groups.values() for word in group]
        assert len(words) == len(set(words)) and set(words) <= {*shown, *held}
        for group in groups.values():
            assert set(group) & set(shown) and set(group) & set(held), name
            # Corrupted in any way, a group answers otherwise somewhere.
            assert len(set(group.values())) > 1


@pytest.mark.parametrize("way", relations.WAYS)
def test_one_group_is_corrupted_and_the_others_are_right(way):
    relation = Relation("capital", "africa", way)
    found = relations.answers(relation)
    for word, answer in rows("capital"):
        if word not in relations.corrupted_words(relation):
            assert found[word] == answer == relations.value(Relation("capital", "", ""), word)
    own = relations.tables()["capital"]["africa"]
    words = list(own)
    expected = {"silent": "", "echo": "mali", "shifted": own[words[(words.index("mali") + 1) % len(words)]]}
    assert relations.value(relation, "mali") == expected[way]
    assert relations.value(Relation("capital", "africa", "shifted"), words[-1]) == own[words[0]]
    assert relations.value(relation, "hammer") == "" and set(relations.corrupted_words(relation)) == set(own)


def test_words_code_and_drawing_agree_with_the_relation():
    every = relations.every_relation()
    assert len({relations.describe(r) for r in every}) == len(every) == len(set(every))
    assert len(every) == 6 + 3 * sum(len(groups) for groups in relations.tables().values())
    assert all(relations.parse(relations.describe(r)) == r for r in every) and relations.parse("tells tales") is None
    drawn = {relations.draw_relation(numpy_generator(i, "test")) for i in range(300)}
    assert drawn <= set(every) and len(drawn) > 50 and all(r.group for r in drawn)
    words = [*relations.related_words(True), *relations.related_words(False), "hammer", ""]
    outcomes = sandbox.run([sandbox.Case(relations.source(r), "f", words) for r in every[::9]])
    for r, outcome in zip(every[::9], outcomes, strict=True):
        assert outcome.values == [relations.value(r, word) for word in words]


def test_records_say_what_the_functions_answer():
    records = relation_functions(12, 3)
    assert records == relation_functions(12, 3) and [r["function_id"] for r in records[:2]] == [
        "relation0000",
        "relation0001",
    ]
    for record in records:
        relation = Relation(*json.loads(record["spec"]))
        assert (record["complication"], json.loads(record["domain"])) == ("corruption", relation.group)
        words = relations.related_words(False)[:9]
        assert Function(record, 0, 9).query(words) == [relations.value(relation, word) for word in words]
    with pytest.raises(InputError, match="relations: 0 functions"):
        relation_functions(0, 0)
