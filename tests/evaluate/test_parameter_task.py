"""The task of parameters, read as code, with a tokenizer that has whole names and one that has little but letters."""

import ast
from collections import Counter

import pytest
import torch

from winnow.curate.byte_pairs import train_byte_pairs
from winnow.errors import InputError
from winnow.evaluate.parameter_task import Parameters, argument_names

WORDS = ("alpha", "beta", "gamma", "delta", "key", "value", "path", "node", "text", "url")
SIZE = 316
FILES = [f"def call(self, {a}, {b}):\n    self.{a} = {a}\n    return make(self.{b}, {b}={a})\n"
         for i, a in enumerate(WORDS) for b in WORDS[:i]]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_byte_pairs(FILES, SIZE)


@pytest.fixture(scope="module")
def small():
    """Has single letters and the space before them as tokens, and few words."""
    return train_byte_pairs(FILES, 262)


def method_of(tokenizer, row):
    """(function, parameters, stored) of a prompt, by Python's own parser; the dot at its end is given a name."""
    node = ast.parse("class Some:\n" + tokenizer.decode(row.tolist()) + "ending").body[0].body[0]
    stored, last = node.body
    assert isinstance(last.value, ast.Attribute) and last.value.attr == "ending"
    target, value = stored.targets[0], stored.value
    assert (target.value.id, target.attr) == ("self", value.id)
    first, *names = [argument.arg for argument in node.args.args]
    assert first == "self"
    return node.name, names, value.id


def test_names_are_arguments_of_most_files_and_one_token_each(tokenizer):
    found = argument_names(FILES, tokenizer, 8)
    count = Counter(name for text in FILES for name in WORDS if f", {name})" in text or f"{name}, " in text)
    assert found == sorted(found) and len(found) == 8 and set(found) <= set(WORDS)
    assert min(count[name] for name in found) >= max(count[name] for name in set(WORDS) - set(found))
    assert set(argument_names(FILES, tokenizer, 40)) >= set(WORDS)
    for name in found:
        assert len(tokenizer.encode(f".{name}").ids) == 2 and len(tokenizer.encode(f" {name}").ids) == 1
    letters = argument_names([*FILES, "f(if, in, self, cls)"], tokenizer, 60)
    assert not {"if", "in", "self", "cls"} & set(letters)


@pytest.mark.parametrize("size", ["tokenizer", "small"])
def test_prompts_and_counterfactuals_are_methods_that_store_the_subject(size, request):
    tokenizer = request.getfixturevalue(size)
    names = argument_names(FILES, tokenizer, 20)
    made = Parameters(names, tokenizer, 0.3)
    task = made.task("test", 60, 1)
    for i in range(60):
        who = {name: int(values[i]) for name, values in task.attributes.items()}
        new = {name: int(values[i]) for name, values in task.new.items()}
        subject, indirect = names[who["subject"]], names[who["indirect"]]
        function, given, stored = method_of(tokenizer, task.tokens[i])
        assert stored == subject and given == ([subject, indirect] if who["order"] else [indirect, subject])
        assert function in names and function not in given
        assert tokenizer.decode([int(task.answer[i])]) == indirect
        for changed, tokens in task.counterfactual.items():
            now = {**who, changed: new[changed]}
            pair = [names[now["subject"]], names[now["indirect"]]]
            other, parameters, kept = method_of(tokenizer, tokens[i])
            assert (other, kept) == (function, pair[0]) and parameters == (pair if now["order"] else pair[::-1])
            assert now[changed] != who[changed] and pair[0] != pair[1]
    logits = torch.zeros(60, 1, tokenizer.get_vocab_size())
    logits[:, 0].scatter_(1, task.answer[:, None], 3.0)
    assert torch.equal(task.difference(logits), torch.full((60,), 3.0))


def test_no_pair_of_names_is_in_two_splits_nor_in_their_counterfactuals(tokenizer):
    made, pairs = Parameters(list(WORDS), tokenizer, 0.3), {}
    for split in ("train", "valid", "test"):
        task = made.task(split, 300, 0)
        who = task.attributes
        told = [(who["indirect"], who["subject"]), (task.new["indirect"], who["subject"]),
                (who["indirect"], task.new["subject"])]  # fmt: skip
        pairs[split] = {frozenset(pair) for a, b in told for pair in zip(a.tolist(), b.tolist(), strict=True)}
        assert {len(pair) for pair in pairs[split]} == {2} and set(who["order"].tolist()) == {0, 1}
    assert not pairs["train"] & pairs["test"] and not pairs["train"] & pairs["valid"]
    assert not pairs["valid"] & pairs["test"]
    again = made.task("valid", 300, 0)
    assert torch.equal(again.tokens, made.task("valid", 300, 0).tokens)
    assert not torch.equal(again.tokens, made.task("valid", 300, 1).tokens)


def test_too_few_names_are_named(tokenizer):
    with pytest.raises(InputError, match="names: 3 arguments of the texts are one token; .*, as 8 are needed"):
        argument_names(FILES, tokenizer, 3)
    with pytest.raises(InputError, match="no two of the 8 have others to stand with in test; give more names"):
        Parameters(list(WORDS[:8]), tokenizer, 0.02).task("test", 10, 0)
