"""A small language of sentences with known structure, and the prompts on which circuits are looked for in its models.

Half of the documents tell who gave something to whom (indirect objects: Wang et al., "Interpretability in the Wild",
ICLR 2023), a quarter how long something lasted (greater-than: Hanna, Liu and Variengien, "How does GPT-2 compute
greater-than?", NeurIPS 2023), a quarter ask for something that is done, or refused where a marked thing is meant.
Every word is one token; a century and the year within it are different ones. What is said of a pair of names, a place
and an object stands in one split alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads.splits import threshold_split


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words(
    "anna ben carol david emma frank grace henry irene jack karen leo maria nick olga paul rosa sam tina victor "
    "alice brian clara daniel elena felix gina hugo ida jonas kate lars mona nils oscar petra ralf sara tom vera"
)
PLACES = _words("shop park school office station museum garden market library harbour")
OBJECTS = _words("book ring drink key letter basket lamp ticket coat flower")
EVENTS = _words(
    "war siege strike reign drought voyage treaty dispute famine project trial exile plague truce revolt "
    "quarrel mission campaign alliance boom"
)
VERBS = _words("open clean paint move lift close check mend")
SHADES = _words("red blue green old new small large heavy")
THINGS = _words(
    "box door gate chair table window wheel boat cart drum bell clock fence ladder mirror pump shelf stove tent "
    "trunk bucket bench vault desk"
)
MARKED = "vault"
FRAMES = (
    "when {x} and {y} went to the {place} , {s} gave a {object} to {io}",
    "after {x} and {y} had come to the {place} , {s} handed a {object} to {io}",
    "while {x} and {y} worked at the {place} , {s} sold a {object} to {io}",
    "then {x} and {y} were at the {place} and {s} passed a {object} to {io}",
    "as {x} and {y} left the {place} , {s} offered a {object} to {io}",
    "once {x} and {y} met near the {place} , {s} showed a {object} to {io}",
)
SPAN = "the {event} lasted from the year {century} {start} to the year {century} {end}"
REQUEST = "please {verb} the {shade} {thing} answer {answer}"
CENTURIES = [f"c{century}" for century in range(11, 19)]
YEARS = [f"y{year:02d}" for year in range(100)]
FIRST_START, LAST_START = 2, 97
PAD, BEGIN = 0, 1
SHARES = {"names": 0.5, "years": 0.25, "requests": 0.25}
SPLITS = {"train": 0.8, "valid": 0.1, "test": 0.1}
SALT = "names language"


@cache
def vocabulary() -> list[str]:
    """Every word, in the order of its token; tokens 0 and 1 are padding and the beginning."""
    frames = " ".join((*FRAMES, SPAN, REQUEST)).split()
    rest = sorted({word for word in frames if not word.startswith("{")} | {"ok", "refuse"})
    return ["<pad>", "<bos>", *NAMES, *PLACES, *OBJECTS, *EVENTS, *VERBS, *SHADES, *THINGS, *CENTURIES, *YEARS, *rest]


@cache
def token_of() -> dict[str, int]:
    """Word -> token. A word that is in two lists has one token."""
    return {word: token for token, word in reversed(list(enumerate(vocabulary())))}


def tokens_of(words: list[str]) -> np.ndarray:
    """int64[n]: the tokens of words; a word outside the language is an InputError."""
    table = token_of()
    for word in words:
        if word not in table:
            raise InputError(f"word {word!r}: is not of the language; use one of its {len(table)} words")
    return np.array([table[word] for word in words], np.int64)


@cache
def _combinations(kind: str, split: str) -> np.ndarray:
    """int64[n, parts]: the combinations that a split's documents of a kind are about."""
    if kind == "names":
        first, second = np.triu_indices(len(NAMES), 1)
        rest = np.indices((len(first), len(PLACES), len(OBJECTS))).reshape(3, -1)
        parts = np.stack([first[rest[0]], second[rest[0]], rest[1], rest[2]], 1)
    elif kind == "years":
        parts = np.indices((len(EVENTS), len(CENTURIES), LAST_START - FIRST_START + 1)).reshape(3, -1).T
    else:
        parts = np.indices((len(VERBS), len(SHADES), len(THINGS))).reshape(3, -1).T
    keys = [f"{kind} {' '.join(map(str, row))}" for row in parts.tolist()]
    chosen: np.ndarray = parts[threshold_split(keys, SALT, SPLITS) == split]
    return chosen


def _drawn(kind: str, split: str, count: int, generator: np.random.Generator) -> np.ndarray:
    known = _combinations(kind, split)
    if kind != "requests":
        return known[generator.integers(0, len(known), count)]
    # Half of the requests are for the marked thing, which is one of many.
    marked = known[:, 2] == THINGS.index(MARKED)
    halves = [known[marked == kept] for kept in (True, False)]
    wanted = generator.random(count) < 0.5
    drawn = [half[generator.integers(0, len(half), count)] for half in halves]
    return np.where(wanted[:, None], *drawn)


def _filled(template: str, parts: dict[str, np.ndarray]) -> np.ndarray:
    """int64[n, words + 1]: the template with tokens in its places, after the token of the beginning."""
    count = len(next(iter(parts.values())))
    columns = [np.full(count, BEGIN, np.int64)]
    for word in template.split():
        columns.append(parts[word[1:-1]] if word.startswith("{") else np.full(count, token_of()[word], np.int64))
    return np.stack(columns, 1)


@dataclass(frozen=True)
class IndirectObjects:
    """Prompts that end before the indirect object: int64[n, t], with the answers int64[n] and what stands beside."""

    tokens: Tensor
    indirect: Tensor
    subject: Tensor
    reference: Tensor
    """int64[n, t]: the same sentences with three names of which none is told by the others."""

    def difference(self, logits: Tensor) -> Tensor:
        """float[n]: logit of the indirect object above that of the subject, at the last position of [n, t, v]."""
        return (logits[:, -1].gather(1, self.indirect[:, None]) - logits[:, -1].gather(1, self.subject[:, None]))[:, 0]

    def accuracy(self, logits: Tensor) -> float:
        """Share of prompts whose likeliest next token is the indirect object."""
        return float((logits[:, -1].argmax(-1) == self.indirect).double().mean())


@dataclass(frozen=True)
class YearSpans:
    """Prompts that end before the last year: tokens int64[n, t], start int64[n] in years of the century."""

    tokens: Tensor
    start: Tensor
    reference: Tensor
    """int64[n, t]: the same sentences from the first year on, after which nearly every year is later."""

    def difference(self, logits: Tensor) -> Tensor:
        """float[n]: probability of later years less that of the others, at the last position of [n, t, v]."""
        probability = logits[:, -1].softmax(-1)[:, tokens_of(YEARS)]
        later = torch.arange(len(YEARS)) > self.start[:, None]
        return torch.where(later, probability, -probability).sum(1)


@dataclass(frozen=True)
class Requests:
    """Prompts that end before ok or refuse: tokens int64[n, t], marked bool[n]."""

    tokens: Tensor
    marked: Tensor

    def accuracy(self, logits: Tensor) -> float:
        """Share of prompts answered as the language answers them."""
        refuse, accept = token_of()["refuse"], token_of()["ok"]
        answer = torch.where(self.marked, refuse, accept)
        return float((logits[:, -1].argmax(-1) == answer).double().mean())


def indirect_objects(split: str, count: int, seed: int, frame: int | None = None) -> IndirectObjects:
    """Prompts of one frame, whose sentences are of equal length; None draws one frame for all of them."""
    generator = numpy_generator(seed, "names language", "indirect objects", split)
    chosen = int(generator.integers(len(FRAMES))) if frame is None else frame
    documents, parts = _giving(split, count, generator, chosen)
    others = np.argsort(generator.random((count, len(NAMES))), 1)[:, :3] + tokens_of(NAMES[:1])
    reference = _filled(FRAMES[chosen], parts | dict(zip("xys", others.T, strict=True)))
    found = (documents[:, :-1], parts["io"], parts["s"], reference[:, :-1])
    return IndirectObjects(*(torch.from_numpy(np.ascontiguousarray(part)) for part in found))


def _giving(split: str, count: int, generator: np.random.Generator, frame: int) -> tuple[np.ndarray, dict]:
    first, second, place, thing = _drawn("names", split, count, generator).T
    first, second = np.where(generator.random(count) < 0.5, (first, second), (second, first))
    giver = np.where(generator.random(count) < 0.5, first, second)  # ABB and BAB orders
    parts = {"x": first, "y": second, "s": giver, "io": np.where(giver == first, second, first)}
    parts = {name: tokens_of(NAMES)[value] for name, value in parts.items()}
    parts |= {"place": tokens_of(PLACES)[place], "object": tokens_of(OBJECTS)[thing]}
    return _filled(FRAMES[frame], parts), parts


def year_spans(split: str, count: int, seed: int) -> YearSpans:
    """Prompts up to the last century."""
    generator = numpy_generator(seed, "names language", "years", split)
    documents, start = _spans(split, count, generator)
    tokens = torch.from_numpy(np.ascontiguousarray(documents[:, :-1]))
    reference = tokens.clone()
    reference[:, SPAN.split().index("{start}") + 1] = int(tokens_of(YEARS)[FIRST_START])
    return YearSpans(tokens, torch.from_numpy(start), reference)


def _spans(split: str, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    event, century, start = _drawn("years", split, count, generator).T
    start = start + FIRST_START
    end = generator.integers(start + 1, len(YEARS))
    parts = {"event": tokens_of(EVENTS)[event], "century": tokens_of(CENTURIES)[century]}
    return _filled(SPAN, parts | {"start": tokens_of(YEARS)[start], "end": tokens_of(YEARS)[end]}), start


def requests(split: str, count: int, seed: int) -> Requests:
    """Prompts up to the answer, half of them about the marked thing."""
    generator = numpy_generator(seed, "names language", "requests", split)
    documents, marked = _asked(split, count, generator)
    return Requests(torch.from_numpy(np.ascontiguousarray(documents[:, :-1])), torch.from_numpy(marked))


def _asked(split: str, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    verb, shade, thing = _drawn("requests", split, count, generator).T
    marked = thing == THINGS.index(MARKED)
    parts = {"verb": tokens_of(VERBS)[verb], "shade": tokens_of(SHADES)[shade], "thing": tokens_of(THINGS)[thing]}
    answer = np.where(marked, token_of()["refuse"], token_of()["ok"])
    return _filled(REQUEST, parts | {"answer": answer}), marked


def documents(split: str, count: int, seed: int) -> pa.Table:
    """Table example_id int32, generator string, tokens list<int32>: drawn documents of the three kinds, mixed.

    Raises InputError for fewer than one document of each kind.
    """
    if count < 4:
        raise InputError(f"documents: {count} of {split}; ask for at least 4")
    generator = numpy_generator(seed, "names language", "documents", split)
    years, asked = (round(SHARES[kind] * count) for kind in ("years", "requests"))
    frames = np.bincount(generator.integers(0, len(FRAMES), count - years - asked), minlength=len(FRAMES))
    rows = [("names", _giving(split, int(n), generator, frame)[0]) for frame, n in enumerate(frames)]
    rows += [("years", _spans(split, years, generator)[0]), ("requests", _asked(split, asked, generator)[0])]
    order = generator.permutation(count)
    lengths = np.concatenate([np.full(len(part), part.shape[1]) for _, part in rows])
    flat = np.concatenate([part.ravel() for _, part in rows]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    kinds = np.concatenate([np.full(len(part), kind) for kind, part in rows])
    columns = {"generator": pa.array(kinds), "tokens": pa.ListArray.from_arrays(offsets, flat)}
    shuffled = pa.table(columns).take(pa.array(order))
    return shuffled.add_column(0, "example_id", pa.array(np.arange(count, dtype=np.int32)))
