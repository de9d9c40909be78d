"""Identifiers and small corpora for tests of sub-words."""

from winnow.randomness import numpy_generator

STEMS = ["read", "write", "file", "line", "value", "index", "count", "name", "list", "path", "set", "get", "is", "to"]


def identifiers(seed, number=300):
    generator = numpy_generator(seed, "identifiers")
    names = {"_".join(generator.choice(STEMS, int(generator.integers(1, 4)))) for _ in range(number)}
    return {name.encode(): int(generator.integers(1, 40)) for name in sorted(names)}


def small_words(seed):
    """A few words of a, b and c that have stems in common."""
    generator = numpy_generator(seed, "small words")
    stems = [bytes(generator.choice(list(b"abc"), int(generator.integers(1, 4))).tolist()) for _ in range(4)]
    found = {}
    for _ in range(40):
        word = b"".join(stems[i] for i in generator.integers(0, 4, int(generator.integers(1, 4))))
        if len(found) < 6 and 2 <= len(word) <= 6:
            found[word] = int(generator.integers(1, 30))
    return dict(sorted(found.items()))
