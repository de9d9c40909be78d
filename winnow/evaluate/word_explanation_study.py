"""Explanations of a topic classifier held against what is known: joined texts, planted phrases, a better model.

Joined texts have one half of each of two topics, so words of one half should score above those of the other. A
planted phrase turns the topic, so its score should point to where the model goes. And a fixed rule that sees nothing
but explanations has to say which of two models is the better one; it stands in for people, of whom none were asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.evaluate.word_explanations import METHODS, phrase_scores
from winnow.models.text_encoder import TextEncoder
from winnow.randomness import numpy_generator
from winnow.train.topic_classifier import Pair
from winnow.workloads.docstring_topics import PlantedTopics, TopicTexts, plant, turned

Rows = list[dict[str, Any]]
HALF = 10
"""Words of each half of a joined text, so that both fit into the places a model was trained at."""
SHOWN = 5
"""Words of an explanation that the rule looks at."""
Progress = Callable[[int, int], None]


def auc(scores: Tensor, above: Tensor) -> float:
    """Chance that a score of the entries `above`, bool[n], exceeds another's, ties counted half."""
    differences = scores[above][:, None] - scores[~above]
    return float(((differences > 0).double() + (differences == 0).double() / 2).mean())


def _told(model: TextEncoder, texts: TopicTexts) -> Tensor:
    with torch.no_grad():
        return model(texts.padded()).argmax(1)


def contrast(first: int, second: int, classes: int) -> Tensor:
    """float[classes] that weigh logits to the first above the second."""
    weights = torch.zeros(classes)
    weights[first], weights[second] = 1.0, -1.0
    return weights


def joined(model: TextEncoder, texts: TopicTexts, count: int, seed: int) -> list[tuple[Tensor, Tensor, int, int]]:
    """(text, bool[words] of its first topic's half, first topic, second topic), halves in drawn order.

    Halves are the first words of texts of which the model tells the topic by these words alone. Raises InputError
    where it does of one topic at most.
    """
    halves = TopicTexts([row[: 1 + HALF] for row in texts.rows], texts.topics)
    known = (_told(model, halves) == texts.topics).nonzero()[:, 0].numpy()
    if len(set(texts.topics[known].tolist())) < 2:
        raise InputError("joined texts: the model tells one topic at most; train it longer")
    generator = numpy_generator(seed, "joined texts")
    made: list[tuple[Tensor, Tensor, int, int]] = []
    while len(made) < count:
        one, other = generator.choice(known, 2, replace=False)
        topics = int(texts.topics[one]), int(texts.topics[other])
        if topics[0] == topics[1]:
            continue
        # The first topic's half comes second in half of the texts.
        order = [(one, True), (other, False)][:: 1 if generator.random() < 0.5 else -1]
        words = [halves.rows[i][1:] for i, _ in order]
        own = torch.tensor([mine for (_, mine), part in zip(order, words, strict=True) for _ in part])
        made.append((torch.cat([texts.rows[0][:1], *words]), own, *topics))
    return made


def of_joined(model: TextEncoder, texts: TopicTexts, classes: int, count: int, seed: int) -> tuple[Rows, Rows]:
    """Rows `method, text, auc` of scores for one topic's logit above the other's, and scores of the first words."""
    rows, words = [], []
    for i, (row, own, first, second) in enumerate(joined(model, texts, count, seed)):
        for name, method in METHODS.items():
            scores = method(model, row, contrast(first, second, classes), i)
            rows.append({"method": name, "text": i, "auc": auc(scores, own)})
            if i < SHOWN:
                told = zip(row[1:].tolist(), scores.tolist(), own.tolist(), strict=True)
                words += [
                    {"method": name, "text": i, "place": place, "token": token, "score": score, "own": mine}
                    | {"first": first, "second": second}
                    for place, (token, score, mine) in enumerate(told)
                ]
    return rows, words


def of_phrases(model: TextEncoder, lessons: PlantedTopics, count: int, seed: int) -> Rows:
    """Rows `method, text, sum, phrase, effect` of phrases in texts that they turn from one topic to the next.

    Of these, either word alone at the same place turns none. Scores are those for the next topic's logit above the
    text's own: the sum of both words' scores, and where a method has it that of the phrase as one. effect: what
    planting it adds. No rows where no phrase is such.
    """
    texts, classes = lessons.texts["test"], lessons.classes
    generator = numpy_generator(seed, "planted phrases")
    planted = [plant(row, "phrase", lessons.phrase, generator) for row in texts.rows]
    after = _told(model, TopicTexts([row for row, _ in planted], texts.topics))
    known = (_told(model, texts) == texts.topics) & (after == turned(texts.topics, classes))
    for left_out in (0, 1):
        alone = [torch.cat([row[: at[left_out]], row[at[left_out] + 1 :]]) for row, at in planted]
        known &= _told(model, TopicTexts(alone, texts.topics)) == texts.topics
    rows: Rows = []
    for i in generator.permutation(known.nonzero()[:, 0].numpy())[:count]:
        (row, places), own = planted[i], int(texts.topics[i])
        weights = contrast((own + 1) % classes, own, classes)
        whole = phrase_scores(model, row, weights, places)
        with torch.no_grad():
            effect = float(((model(row[None]) - model(texts.rows[i][None])) * weights).sum())
        for name, method in METHODS.items():
            scores = method(model, row, weights, int(i))
            found = float(scores[[place - 1 for place in places]].sum())
            rows.append({"method": name, "text": int(i), "sum": found, "phrase": whole.get(name), "effect": effect})
    return rows


def lexicon(texts: TopicTexts, vocabulary: int, classes: int, size: int) -> Tensor:
    """bool[classes, vocabulary]: the words whose presence tells a topic from others by the largest chi-squared.

    Of the 2 x 2 table of texts with and without a word, of the topic and of others; words that are rarer in the topic
    than elsewhere do not count.
    """
    present = torch.zeros(len(texts), vocabulary, dtype=torch.float64)
    for i, row in enumerate(texts.rows):
        present[i, row[1:]] = 1
    chosen = torch.zeros(classes, vocabulary, dtype=torch.bool)
    for topic in range(classes):
        own = (texts.topics == topic).double()
        both, total = own @ present, float(len(texts))
        with_word, of_topic = present.sum(0), own.sum()
        surplus = total * both - with_word * of_topic
        scale = with_word * (total - with_word) * of_topic * (total - of_topic)
        squared = torch.where((surplus > 0) & (scale > 0), total * surplus**2 / scale.clamp_min(1), -1.0)
        order = squared.argsort(descending=True, stable=True)[:size]
        chosen[topic, order[squared[order] > 0]] = True
    return chosen


def of_user(pair: Pair, lessons: PlantedTopics, words: Tensor, count: int, seed: int) -> Rows:
    """Rows `method, text, better`: whether a rule finds the better of two models by their explanations of a text.

    Both models tell the same topic of the text, and the rule takes the one of whose SHOWN highest-scored words more
    are in the topic's lexicon, bool[classes, vocabulary]; one half where it cannot decide. Raises InputError where the
    models agree on no text.
    """
    texts = lessons.texts["test"]
    told = _told(pair.better, texts)
    agreed = (told == _told(pair.worse, texts)).nonzero()[:, 0].numpy()
    if not len(agreed):
        raise InputError("better model: the two agree on no text; train them longer")
    rows: Rows = []
    for i in numpy_generator(seed, "texts of the user").permutation(agreed)[:count]:
        row, topic = texts.rows[i], int(told[i])
        weights = torch.full((lessons.classes,), -1 / (lessons.classes - 1))
        weights[topic] = 1.0
        for name, method in METHODS.items():
            hits = [
                int(words[topic, row[1:][method(model, row, weights, int(i)).argsort(descending=True)[:SHOWN]]].sum())
                for model in (pair.better, pair.worse)
            ]
            rows.append({"method": name, "text": int(i), "better": (np.sign(hits[0] - hits[1]) + 1) / 2})
    return rows


def study(
    pair: Pair, lessons: PlantedTopics, vocabulary: int, settings: Any, seed: int, progress: Progress
) -> tuple[Rows, Rows, Rows, Rows]:
    """Rows of joined texts, words of some, rows of phrases and of the user, of test texts.

    settings: joined, phrases, compared and lexicon, as params.yaml has them.
    """
    test, classes = lessons.texts["test"], lessons.classes
    halves, words = of_joined(pair.better, test, classes, settings.joined, seed)
    progress(1, 3)
    phrases = of_phrases(pair.better, lessons, settings.phrases, seed)
    progress(2, 3)
    known = lexicon(lessons.texts["train"], vocabulary, classes, settings.lexicon)
    found = of_user(pair, lessons, known, settings.compared, seed)
    progress(3, 3)
    return halves, words, phrases, found


def measures(halves: Rows, phrases: Rows, found: Rows) -> dict[str, dict[str, float]]:
    """Method -> auc, better, sum_right, and of methods that score phrases as one five measures more.

    Without phrases there is nothing but auc and better.
    A score of a phrase is right where it is above zero, as the phrase is known to turn its text: phrase_right, and of
    it in texts where the sum of its words is not, phrase_right_where_sum_wrong, of which there are sum_wrong.
    phrase_error and sum_error: mean distance of either from the effect, as a share of the mean effect.
    """
    told: dict[str, dict[str, float]] = {}
    for name in METHODS:
        mine = [row for row in phrases if row["method"] == name]
        told[name] = {
            "auc": float(np.mean([row["auc"] for row in halves if row["method"] == name])),
            "better": float(np.mean([row["better"] for row in found if row["method"] == name])),
        }
        if mine:
            told[name]["sum_right"] = float(np.mean([row["sum"] > 0 for row in mine]))
        if mine and mine[0]["phrase"] is not None:
            wrong = [row["phrase"] > 0 for row in mine if row["sum"] <= 0]
            told[name] |= {"phrase_right": float(np.mean([row["phrase"] > 0 for row in mine]))}
            effect = float(np.mean([abs(row["effect"]) for row in mine]))
            for field in ("phrase", "sum"):
                missed = float(np.mean([abs(row[field] - row["effect"]) for row in mine]))
                told[name][f"{field}_error"] = missed / effect
            told[name] |= {"sum_wrong": float(len(wrong))}
            told[name] |= {"phrase_right_where_sum_wrong": float(np.mean(wrong))} if wrong else {}
    return told
