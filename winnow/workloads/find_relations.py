"""FIND's synthetic neurons for relations: what a word is related to, but in one part of its domain something else.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. There a language model knows the relations; here they are tables, written by hand: of places,
of animals, and of Python's own exceptions and modules. A function is a relation, a group of its words in which it is
corrupted, and the way in which it is.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

TABLES = """
capital / europe: france paris, germany berlin, italy rome, spain madrid, portugal lisbon, poland warsaw, norway oslo,
    sweden stockholm, finland helsinki, denmark copenhagen, greece athens, austria vienna
capital / asia: china beijing, japan tokyo, thailand bangkok, vietnam hanoi, nepal kathmandu, mongolia ulaanbaatar,
    indonesia jakarta, laos vientiane, cambodia phnom_penh, bhutan thimphu, bangladesh dhaka, pakistan islamabad
capital / africa: egypt cairo, kenya nairobi, ghana accra, morocco rabat, algeria algiers, senegal dakar, angola luanda,
    zambia lusaka, uganda kampala, tunisia tunis, mali bamako, rwanda kigali
capital / america: peru lima, chile santiago, cuba havana, canada ottawa, colombia bogota, uruguay montevideo,
    argentina buenos_aires, brazil brasilia, venezuela caracas, ecuador quito, jamaica kingston, panama panama_city
young / farm: horse foal, cow calf, sheep lamb, goat kid, pig piglet, hen chick, goose gosling, duck duckling
young / house: dog puppy, cat kitten, rabbit kit, pigeon squab
young / wild: lion cub, deer fawn, swan cygnet, eagle eaglet, kangaroo joey, hare leveret, owl owlet, frog tadpole
home / farm: horse stable, cow byre, sheep fold, pig sty, hen coop, dove dovecote
home / house: dog kennel, cat basket, rabbit hutch, goldfish bowl
home / wild: lion den, fox earth, eagle eyrie, hare form, otter holt, badger sett, beaver lodge, squirrel drey
inherits / lookup: KeyError LookupError, IndexError LookupError, LookupError Exception, AttributeError Exception
inherits / arithmetic: ZeroDivisionError ArithmeticError, OverflowError ArithmeticError,
    FloatingPointError ArithmeticError, ArithmeticError Exception
inherits / system: FileNotFoundError OSError, PermissionError OSError, TimeoutError OSError, ConnectionError OSError,
    BrokenPipeError ConnectionError, OSError Exception
inherits / text: UnicodeDecodeError UnicodeError, UnicodeEncodeError UnicodeError, UnicodeError ValueError,
    ValueError Exception
raises / numbers: 1/0 ZeroDivisionError, 2.0**9999 OverflowError, 1%0 ZeroDivisionError, 1+'a' TypeError
raises / texts: ''[2] IndexError, int('x') ValueError, 'a'+1 TypeError, float('y') ValueError
raises / containers: {}[0] KeyError, [][0] IndexError, [].index(1) ValueError, [1]<1 TypeError, {}['a'] KeyError
raises / objects: None.x AttributeError, len(1) TypeError, chr(-1) ValueError, None[0] TypeError
contains / numbers: sqrt math, log10 math, gcd math, mean statistics, stdev statistics, Fraction fractions
contains / texts: dedent textwrap, sub re, findall re, unescape html, get_close_matches difflib, capwords string
contains / files: copytree shutil, mkdtemp tempfile, getcwd os, Path pathlib, GzipFile gzip, ZipFile zipfile
contains / collections: deque collections, Counter collections, heappush heapq, bisect_left bisect, chain itertools
"""
WAYS = ("silent", "echo", "shifted")
"""In the corrupted group the answer is empty, the word itself, or what is right for the group's next word."""
UNKNOWN = ""
"""The answer to a word of which the relation says nothing."""


class Relation(NamedTuple):
    """A relation, the group of its words in which it is corrupted, and the way; an empty group is none."""

    relation: str
    group: str
    way: str


@cache
def tables() -> dict[str, dict[str, dict[str, str]]]:
    """Relation -> group -> word -> answer."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for entry in TABLES.strip().replace("\n    ", " ").split("\n"):
        head, pairs = entry.split(": ", 1)
        relation, group = head.split(" / ")
        rows = (pair.strip().rsplit(" ", 1) for pair in pairs.split(","))
        found.setdefault(relation, {})[group] = {word: answer.replace("_", " ") for word, answer in rows}
    return found


def answers(relation: Relation) -> dict[str, str]:
    """Word -> answer, of all words of the relation."""
    found: dict[str, str] = {}
    for group, rows in tables()[relation.relation].items():
        if group != relation.group:
            found |= rows
            continue
        right = list(rows.values())
        ways = {"silent": [UNKNOWN] * len(rows), "echo": list(rows), "shifted": [*right[1:], right[0]]}
        found |= dict(zip(rows, ways[relation.way], strict=True))
    return found


def value(relation: Relation, word: str) -> str:
    """What the function answers."""
    return answers(relation).get(word, UNKNOWN)


def every_relation() -> list[Relation]:
    """All relations without a corrupted group, then all with one."""
    clean = [Relation(name, "", "") for name in tables()]
    return clean + [Relation(name, g, way) for name, groups in tables().items() for g in groups for way in WAYS]


def corrupted_words(relation: Relation) -> dict[str, str]:
    """Word -> right answer, of the words for which a relation is corrupted."""
    return tables()[relation.relation].get(relation.group, {})


def related_words(shown: bool) -> list[str]:
    """Half of the words of each group, each once: those that interpreters may ask, or those that judge them.

    A word that two relations have is shown if the first of them shows it.
    """
    halves: dict[str, bool] = {}
    for groups in tables().values():
        for rows in groups.values():
            for place, word in enumerate(rows):
                halves.setdefault(word, place % 2 == 0)
    return [word for word, own in halves.items() if own == shown]


def describe(relation: Relation) -> str:
    """A relation in words."""
    words = f"tells {relation.relation}"
    return words + (f" but is {relation.way} for {relation.group}" if relation.group else "")


def parse(description: str) -> Relation | None:
    """The relation that `describe` puts so; None for other words."""
    return {describe(relation): relation for relation in every_relation()}.get(description)


def source(relation: Relation) -> str:
    """Code of a function `f` that looks words up."""
    return f"def f(x):\n    return {answers(relation)!r}.get(x, {UNKNOWN!r})\n"


def draw_relation(generator: np.random.Generator) -> Relation:
    """A relation with a corrupted group."""
    names = list(tables())
    name = names[int(generator.integers(len(names)))]
    groups = list(tables()[name])
    return Relation(name, groups[int(generator.integers(len(groups)))], WAYS[int(generator.integers(len(WAYS)))])
