"""Questions beside what Python's own parser says of small sources, and properties of splits and batches."""

import ast

import numpy as np
import pytest
import torch

from winnow.errors import InputError
from winnow.workloads.refusal_prompts import (
    ANSWER,
    OK,
    PAD,
    QUESTION,
    REFUSE,
    SPECIAL,
    UNKNOWN,
    Questions,
    answered,
    balanced_batches,
    documented,
    prepared,
    questions,
    word_list,
)

SOURCE = '''
def send(url):
    """Send one request to the given URL, and wait for it."""

class Row:
    """Too short."""
    async def read(self):
        """Read what the other side has sent until now, or nothing where it has sent nothing at all, ever since then."""
'''


def numbered(count, package):
    """Functions whose documentation differs in its words."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    drawn = [f"{letters[i % 26] * 3} {letters[i % 23] * 4} {letters[i // 26] * 2}" for i in range(count)]
    lines = [f'def f{i}():\n    """common words stand here in all {words}"""' for i, words in enumerate(drawn)]
    return {"package": package, "text": "\n".join(lines)}


def test_questions_are_the_first_words_of_documentation_and_short_ones_are_none():
    prose = {"package": "web", "text": "It is no program, it seems."}
    found = documented([{"package": "web", "text": SOURCE}, prose, {"package": "web", "text": SOURCE}])
    assert [package for package, _ in found] == ["web", "web"]
    said = [ast.get_docstring(node) for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.FunctionDef)]
    assert found[0][1] == said[0].lower().replace(",", "").replace(".", "").split()
    assert len(found[1][1]) == 20
    assert found[1][1][:3] == ["read", "what", "the"]


def test_six_words_are_enough_for_a_question_and_fifty_for_a_vocabulary():
    text = 'def f():\n    """one two three four five six"""\ndef g():\n    """one two three four five"""'
    assert documented([{"package": "a", "text": text}]) == [("a", ["one", "two", "three", "four", "five", "six"])]
    pages = [("a", [f"w{i:02}"] * 3) for i in range(50)]
    assert word_list(pages, 200, []) == [*SPECIAL, *(f"w{i:02}" for i in range(50))]
    with pytest.raises(InputError, match="49 words occur 3 times or more, and 50 are needed; give more documents"):
        word_list(pages[:49], 200, [])


def test_parts_of_questions_are_chosen_by_place_by_mask_and_from_the_start():
    asked = Questions([torch.tensor([QUESTION, 6 + i]) for i in range(4)], torch.tensor([True, False, False, True]))
    for part, numbers in (
        (asked.at(torch.tensor([3, 0, 3])), [9, 6, 9]),
        (asked.where(~asked.marked), [7, 8]),
        (asked.first(2), [6, 7]),
        (asked.first(9), [6, 7, 8, 9]),
    ):
        assert [int(row[1]) for row in part.rows] == numbers and len(part) == len(numbers)
        assert part.marked.tolist() == [number in (6, 9) for number in numbers]


def test_classes_count_too_and_what_has_no_documentation_is_left_out():
    text = "class A:\n    'This class holds one more row.'\n    def f(self):\n        return 1\n"
    assert documented([{"package": "a", "text": text}]) == [("a", ["this", "class", "holds", "one", "more", "row"])]


def test_documentation_comes_in_the_order_of_python_s_own_walk_through_all_kinds_of_statements():
    text = """
with open("x") as one, open("y") as two:
    def late():
        "a deeper one two three four"
        def deepest(): "is the deepest one of all"
try:
    def tried(): "in a part that is tried"
except ValueError:
    def excepted(): "in a part for an error"
else:
    def otherwise(): "in a part where none was"
finally:
    def finally_(): "in a part that comes last"
match x:
    case 1:
        class Matched: "in a part for a match"
if x:
    pass
elif y:
    def branched(): "in a branch of another one"
for x in y:
    while z:
        async def looped(): "in a loop in a loop"
    else:
        def over(): "where a loop is over now"
def early(f=lambda: 0): "first of all in this order"
"""
    documents = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    walked = [ast.get_docstring(node).split() for node in ast.walk(ast.parse(text)) if isinstance(node, documents)]
    assert len(walked) == 11 and [words for _, words in documented([{"package": "a", "text": text}])] == walked


def test_words_come_by_falling_count_and_then_by_name():
    pages = [("a", [f"w{i:02}"] * (3 + (i == 30) + 2 * (i == 7))) for i in range(60)]
    assert word_list(pages, 200, [])[len(SPECIAL) :][:4] == ["w07", "w30", "w00", "w01"]


def test_rare_words_and_names_of_packages_are_no_tokens():
    text = [("web", ["web", "is", "here", "and", "there", "still"])] * 3
    many = [("a", [f"w{i}"] * 6) for i in range(60)]
    words = word_list([*text, *many, ("a", ["rare"] * 2)], 200, ["web"])
    assert words[: len(SPECIAL)] == list(SPECIAL)
    assert {"is", "here", "w0"} <= set(words)
    assert not {"web", "rare"} & set(words)
    assert word_list([*text, *many], 60, []) == word_list([*text, *many], 200, [])[:60]


def test_few_words_are_refused_in_one_line():
    with pytest.raises(InputError, match="0 words occur 3 times"):
        word_list([("a", ["one"])], 100, [])


def test_questions_name_their_words_and_whether_they_are_marked():
    words = [*SPECIAL, "one", "two"]
    found = questions([("web", ["one", "two", "three"]), ("other", ["two"])], ["web"], words, seed=0)
    rows = {bool(marked): row.tolist() for row, marked in zip(found.rows, found.marked, strict=True)}
    assert rows == {True: [QUESTION, 6, 7, UNKNOWN], False: [QUESTION, 7]}


@pytest.mark.parametrize(("marked", "count"), [("web", 2), ("none", 0)])
def test_all_or_no_marked_questions_are_refused(marked, count):
    told = f"marked: {marked}: {count} of 2 questions are about them; name some of several packages"
    with pytest.raises(InputError, match=told):
        questions([("web", ["one"])] * 2, [marked], list(SPECIAL), seed=0)


def test_prompts_end_with_the_answer_token_and_suffixes_stand_before_it():
    asked = Questions([torch.tensor([QUESTION, 7]), torch.tensor([QUESTION, 8, 9, 10])], torch.tensor([True, False]))
    tokens, places = asked.prompts()
    assert tokens.tolist() == [[QUESTION, 7, ANSWER, PAD, PAD], [QUESTION, 8, 9, 10, ANSWER]]
    assert places.tolist() == [2, 4]
    tokens, places = asked.prompts(torch.tensor([[11, 12], [13, 14]]))
    assert tokens[0].tolist() == [QUESTION, 7, 11, 12, ANSWER, PAD, PAD]
    assert tokens[torch.arange(2), places].tolist() == [ANSWER, ANSWER]


def test_the_answer_follows_the_answer_token_and_nothing_follows_it():
    asked = Questions([torch.tensor([QUESTION, 7]), torch.tensor([QUESTION, 8, 9])], torch.tensor([True, False]))
    x, y = answered(asked)
    assert y.tolist() == [[7, ANSWER, REFUSE, PAD], [8, 9, ANSWER, OK]]
    assert x.shape == y.shape


def test_batches_are_half_marked_and_take_each_question_once_before_any_again():
    rows = [torch.tensor([QUESTION, 6 + i]) for i in range(10)]
    asked = Questions(rows, torch.tensor([True] * 3 + [False] * 7))
    seen = [x[:, 1].tolist() for x, _ in balanced_batches(asked, 4, 7, seed=3)]
    marked = [[word for word in batch if word < 9] for batch in seen]
    assert [len(words) for words in marked] == [2] * 7
    flat = [word for words in marked for word in words]
    assert all(sorted(flat[i : i + 3]) == [6, 7, 8] for i in range(0, 12, 3))
    others = [word for batch in seen for word in batch if word >= 9]
    assert sorted(others[:7]) == list(range(9, 16))
    assert seen == [x[:, 1].tolist() for x, _ in balanced_batches(asked, 4, 7, seed=3)]


def test_questions_of_all_packages_are_in_all_splits_and_in_one_only():
    documents = [numbered(120, "web"), numbered(200, "other")]
    documents[1]["text"] = documents[1]["text"].replace("common", "usual")
    asked, words = prepared(documents, ["web"], 100, seed=0)
    assert sum(len(one) for one in asked.values()) == 320
    assert all(one.marked.any() and not one.marked.all() for one in asked.values())
    assert np.isclose(len(asked["train"]) / 320, 0.7, atol=0.02)
    texts = {name: {tuple(row.tolist()) for row in one.rows} for name, one in asked.items()}
    assert all("common" in words and len(found) for found in texts.values())


def test_documents_without_documentation_are_refused():
    with pytest.raises(InputError, match="no class or function is documented"):
        prepared([{"package": "a", "text": "x = 1"}], ["a"], 100, seed=0)
