"""Classes of tokens are first letters or lists of words, those of few rows left out; absorption is a mean over them."""

from types import SimpleNamespace

import pytest
import torch

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.metrics import absorption
from winnow.evaluate import language_dictionaries as study
from winnow.workloads import names_language
from winnow.workloads.sequences import SequenceMeta, Sequences


def pieces(words, monkeypatch):
    """A workload of pieces of text, of which token i is words[i]."""
    monkeypatch.setattr(study, "words_of", lambda workload: (words, False))
    return SimpleNamespace()


def test_first_letters_are_told_whatever_their_case_and_the_blanks_before(monkeypatch):
    words = ["end", " Apple", "ant", "\tbee", "7", "", "  ", "Élan", "{x"]
    monkeypatch.setattr(study, "FEWEST", 1)
    found = study.token_classes(pieces(words, monkeypatch), torch.tensor([1, 2, 3, 0, 4, 5, 6, 7, 8]))
    assert {name: of.tolist() for name, of in found.items()} == {
        "a": [True, True] + [False] * 7,
        "b": [False, False, True] + [False] * 6,
        "e": [False, False, False, True] + [False] * 5,
    }


def test_the_six_letters_that_most_tokens_have_are_told_in_order_of_the_alphabet(monkeypatch):
    counts = {"z": 44, "a": 45, "h": 43, "b": 41, "c": 40, "d": 41, "e": 39, "f": 50}
    words = [*counts]
    tokens = torch.cat([torch.full((n,), i) for i, n in enumerate(counts.values())])
    found = study.token_classes(pieces(words, monkeypatch), tokens)
    assert list(found) == ["a", "b", "d", "f", "h", "z"] and study.FEWEST == 40
    assert {name: int(of.sum()) for name, of in found.items()} == {n: counts[n] for n in found}
    # Of letters with as many the first of the alphabet stay: not c, which has one fewer, and e has too few at all.
    few = torch.cat([torch.full((n,), i) for i, n in enumerate((40, 39))])
    assert list(study.token_classes(pieces(["x", "y"], monkeypatch), few)) == ["x"]
    same = torch.arange(8).repeat_interleave(40)
    assert list(study.token_classes(pieces([*"hgfedcba"], monkeypatch), same)) == [*"abcdef"]


def test_words_of_the_language_of_names_are_told_by_their_lists(monkeypatch):
    words = names_language.vocabulary()
    workload = object.__new__(Sequences)
    workload.__dict__["meta"] = SequenceMeta(words, 32)
    name, place = words.index(names_language.NAMES[0]), words.index(names_language.PLACES[0])
    tokens = torch.tensor([name] * 40 + [place] * 39 + [words.index(names_language.YEARS[0])] * 50)
    found = study.token_classes(workload, tokens)
    assert {kind: int(of.sum()) for kind, of in found.items()} == {"names": 40, "years": 50}
    assert found["names"][:40].all() and found["years"][79:].all()
    monkeypatch.setattr(study, "FEWEST", 1)
    every = torch.arange(len(words))
    lists = study.token_classes(workload, every)
    assert list(lists) == [kind.lower() for kind in study.LISTS]  # more than the six of letters
    for kind in study.LISTS:
        assert {words[i] for i in lists[kind.lower()].nonzero()[:, 0].tolist()} == set(getattr(names_language, kind))


def test_rows_are_drawn_by_seed_without_repetition_up_to_4000():
    few = study.probed_rows(50, 1)
    assert sorted(few.tolist()) == list(range(50)) != few.tolist()
    many = study.probed_rows(5000, 1)
    assert len(many) == len(set(many.tolist())) == 4000 and int(many.max()) > 4000
    assert torch.equal(many, study.probed_rows(5000, 1)) and not torch.equal(many, study.probed_rows(5000, 2))


def axes(d):
    """A latent for each axis."""
    zero = torch.zeros(d)
    return Dictionary(torch.eye(d), zero, torch.eye(d), zero, zero.clone(), zero.clone(), "relu_l1", "jumprelu")


def rows_and_classes():
    """Two classes along axes of their own, the second of which is often silent beside a third axis."""
    generator = torch.Generator().manual_seed(0)
    rows = 0.02 * torch.rand(400, 4, generator=generator)
    labels = {"a": torch.arange(400) % 4 == 0, "b": torch.arange(400) % 4 == 1}
    rows[labels["a"], 0] += 1
    rows[labels["b"], 1] += 1
    return rows, labels


def test_absorption_is_the_mean_rate_over_classes_with_probes_of_the_first_half(monkeypatch):
    rows, labels = rows_and_classes()
    dictionary, train = axes(4), torch.arange(400) < 200
    taken = labels["b"] & (torch.arange(400) % 3 == 0)
    rows[taken, 1], rows[taken, 2] = 0.0, 1.0  # another latent stands for these rows of b
    rates = [absorption(dictionary, rows, of, train=train).rate for of in labels.values()]
    found = study.mean_absorption(dictionary, rows, labels, study.probes_of(rows, labels))
    assert found == {"absorption": pytest.approx(sum(rates) / 2), "absorption_classes": 2.0}
    assert study.mean_absorption(dictionary, rows, {}, {}) == {"absorption": None, "absorption_classes": 0.0}


def test_classes_of_which_a_probe_gets_no_row_right_do_not_count(monkeypatch):
    asked = []

    def rate(dictionary, rows, labels, train, **told):
        asked.append(train)
        return SimpleNamespace(rate=labels)

    monkeypatch.setattr(study, "absorption", rate)
    rows, dictionary = torch.zeros(5, 2), axes(2)
    probes = dict.fromkeys("abc")
    found = study.mean_absorption(dictionary, rows, {"a": 0.5, "b": None, "c": 0.0}, probes)
    assert found == {"absorption": 0.25, "absorption_classes": 2.0}
    assert [part.tolist() for part in asked] == [[True, True, False, False, False]] * 3
    assert study.mean_absorption(dictionary, rows, {"b": None}, probes)["absorption"] is None
