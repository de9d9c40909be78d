"""The task that dictionaries are judged on, read word by word, and the pairs of names that its splits have."""

import torch

from winnow.evaluate import supervised_task as study
from winnow.workloads.names_language import NAMES, vocabulary


def words(row):
    return [vocabulary()[token] for token in row.tolist()]


def test_attributes_and_counterfactuals_are_what_the_sentences_say():
    task = study.giving_task("test", 40, 3)
    for i in range(40):
        sentence, who = words(task.tokens[i]), {n: int(v[i]) for n, v in task.attributes.items()}
        first, second, giver = (sentence[at] for at in (study.FIRST_NAME, study.SECOND_NAME, study.GIVER))
        receiver = second if giver == first else first
        assert (NAMES[who["subject"]], NAMES[who["indirect"]]) == (giver, receiver) and who["order"] == (first == giver)
        other, giving = (NAMES[int(task.new[name][i])] for name in ("indirect", "subject"))
        assert not {other, giving} & {giver, receiver} and task.new["order"][i] == 1 - who["order"]
        changed = {name: words(tokens[i]) for name, tokens in task.counterfactual.items()}
        assert changed["indirect"] == [other if word == receiver else word for word in sentence]
        assert changed["subject"] == [giving if word == giver else word for word in sentence]
        swapped = list(sentence)
        swapped[study.FIRST_NAME], swapped[study.SECOND_NAME] = second, first
        assert changed["order"] == swapped


def test_no_pair_of_names_is_in_both_splits_nor_in_their_counterfactuals():
    pairs = {}
    for split, count in (("train", 3000), ("test", 400)):
        task = study.giving_task(split, count, 0)
        assert len(task.tokens) == count
        who = task.attributes
        told = [(who["indirect"], who["subject"]), (task.new["indirect"], who["subject"]),
                (who["indirect"], task.new["subject"])]  # fmt: skip
        pairs[split] = {frozenset(pair) for a, b in told for pair in zip(a.tolist(), b.tolist(), strict=True)}
        assert all(len(pair) == 2 for pair in pairs[split])
        assert set(who["indirect"].tolist()) == set(range(len(NAMES)))
    assert not pairs["train"] & pairs["test"]
    assert 0.15 < len(pairs["test"]) / (len(NAMES) * (len(NAMES) - 1) / 2) < 0.25
    own = [study.giving_frame().pairs(split) for split in ("train", "test")]
    assert torch.equal(own[0] ^ own[1], ~torch.eye(len(NAMES), dtype=torch.bool)) and torch.equal(own[1], own[1].T)


def test_joined_attributes_tell_the_name_and_the_order():
    attributes = study.giving_task("test", 30, 1).attributes
    joint = study.joined(attributes)
    assert list(joint) == ["indirect_order", "subject_order"]
    for name in ("indirect", "subject"):
        assert torch.equal(joint[f"{name}_order"] // 2, attributes[name])
        assert torch.equal(joint[f"{name}_order"] % 2, attributes["order"])
