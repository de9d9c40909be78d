"""Invented texts of three topics, whose words tell them, and a small encoder that has learned them."""

from types import SimpleNamespace

import torch

from winnow.randomness import numpy_generator
from winnow.workloads.docstring_topics import FIRST, PlantedTopics, TopicTexts, longest

CLASSES, COMMON, OWN = 3, 10, 6
START = 6
"""Of the tokens that are words: common ones, then those of each topic, then the two planted ones."""
VOCABULARY = START + COMMON + CLASSES * OWN + 2
SETTINGS = SimpleNamespace(
    width=24,
    layers=2,
    heads=2,
    epochs=12,
    batch_size=24,
    learning_rate=5e-3,
    worse_share=0.05,
    gated=False,
    joined=6,
    phrases=6,
    compared=6,
    lexicon=4,
)


def texts(count, seed):
    generator = numpy_generator(seed, "test topics")
    rows, topics = [], []
    for i in range(count):
        topic, words = i % CLASSES, generator.integers(START, START + COMMON, 8)
        own = generator.integers(0, OWN, 3) + START + COMMON + topic * OWN
        words[generator.choice(8, 3, replace=False)] = own
        rows.append(torch.tensor([FIRST, *words.tolist()]))
        topics.append(topic)
    return TopicTexts(rows, torch.tensor(topics))


def lessons():
    sizes = {"train": 600, "valid": 30, "test": 60}
    made = {split: texts(count, seed) for seed, (split, count) in enumerate(sizes.items())}
    return PlantedTopics(made, CLASSES, (VOCABULARY - 2, VOCABULARY - 1))


CONTEXT = longest()
