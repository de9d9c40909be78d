"""Dictionaries of a language model side by side: sparsity against the loss kept, absorption, agreement of two fits.

Absorption: Chanin et al., "A is for Absorption", 2024, on classes of tokens: first letters, as there, where tokens are
pieces of text; in the language of names, whose words are tokens, the lists that its words come from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.metrics import absorption, class_probe
from winnow.evaluate.feature_browser import words_of
from winnow.randomness import torch_generator
from winnow.workloads import names_language
from winnow.workloads.sequences import Sequences

LISTS = ("NAMES", "PLACES", "OBJECTS", "EVENTS", "VERBS", "SHADES", "THINGS", "CENTURIES", "YEARS")
LETTERS = 6
FEWEST = 40
"""Rows of a class below which it is not probed."""
PROBED = 4000


def token_classes(workload: Any, tokens: Tensor) -> dict[str, Tensor]:
    """Class -> bool[n], which of the tokens int64[n] are of it; the six first letters that most tokens have."""
    words = words_of(workload)[0]
    if isinstance(workload, Sequences):
        classes = {name.lower(): set(getattr(names_language, name)) for name in LISTS}
        member = {name: torch.tensor([word in chosen for word in words]) for name, chosen in classes.items()}
    else:
        first = [word.strip()[:1].lower() for word in words]
        letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
        member = {letter: torch.tensor([start == letter for start in first]) for letter in letters}
    found = {name: of[tokens] for name, of in member.items()}
    found = {name: labels for name, labels in found.items() if int(labels.sum()) >= FEWEST}
    if isinstance(workload, Sequences):
        return found
    often = sorted(found, key=lambda name: (-int(found[name].sum()), name))[:LETTERS]
    return {name: found[name] for name in sorted(often)}


def probed_rows(count: int, seed: int) -> Tensor:
    """int64[n]: rows that absorption is looked for in, drawn by seed."""
    return torch.randperm(count, generator=torch_generator(seed, "absorption", "rows"))[:PROBED]


def probes_of(rows: Tensor, classes: dict[str, Tensor]) -> dict[str, Any]:
    """Class -> its probe, fitted on the first half of the rows float[n, d], for all dictionaries."""
    return {name: class_probe(rows, labels, _first_half(rows)) for name, labels in classes.items()}


def mean_absorption(
    dictionary: Dictionary, rows: Tensor, classes: dict[str, Tensor], probes: dict[str, Any]
) -> dict[str, float | None]:
    """absorption: mean rate over classes of the rows float[n, d]; probes: what `probes_of` gives of them.

    None where there is no class, or no row of one that its probe gets right.
    """
    train, codes = _first_half(rows), dictionary.dense(rows)
    rates = [
        absorption(dictionary, rows, labels, train=train, probe=probes[name], codes=codes).rate
        for name, labels in classes.items()
    ]
    known = [rate for rate in rates if rate is not None]
    return {"absorption": sum(known) / len(known) if known else None, "absorption_classes": float(len(known))}


def _first_half(rows: Tensor) -> Tensor:
    return torch.arange(len(rows)) < len(rows) // 2
