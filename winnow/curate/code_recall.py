"""Recall of pages about a subject from a pool, in rounds: a classifier, domains it points to, and their pages.

Huang et al., "OpenCoder: The Open Cookbook for Top-Tier Code Large Language Models", ACL 2025, as DeepSeekMath (Shao et
al., 2024) does it: a classifier on the words of a seed scores all pages; domains of which more than a tenth is recalled
are looked through by people, and the parts of them that are about the subject join the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from winnow.errors import InputError
from winnow.randomness import numpy_generator

BUCKETS = 1 << 16


class RecallClassifier:
    """Logistic regression on which runs of one and two tokens a page holds, hashed into 65,536 columns."""

    def __init__(self, buckets: int = BUCKETS) -> None:
        self.buckets = buckets

    def fit(self, pages: Sequence[np.ndarray], labels: np.ndarray) -> RecallClassifier:
        """pages: tokens int64 of each; labels: bool[pages]. Raises InputError where all labels are one."""
        from sklearn.linear_model import LogisticRegression

        if np.all(labels == labels[0]):
            raise InputError(f"labels: all {len(labels)} are {bool(labels[0])}; give pages of both kinds")
        self.model = LogisticRegression(class_weight="balanced", solver="liblinear", random_state=0)
        self.model.fit(self._bags(pages), labels)
        return self

    def score(self, pages: Sequence[np.ndarray]) -> np.ndarray:
        """float64[pages]: the probability that each is about the subject."""
        return np.asarray(self.model.predict_proba(self._bags(pages))[:, 1])

    def _bags(self, pages: Sequence[np.ndarray]) -> csr_array:
        rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for row, tokens in enumerate(pages):
            pairs = (tokens[:-1] + 1) * np.int64(1_000_003) + tokens[1:]
            found = np.unique(np.concatenate([tokens, pairs]) % self.buckets)
            rows.append(np.full(len(found), row))
            columns.append(found)
        at = (np.concatenate(rows).astype(np.int32), np.concatenate(columns).astype(np.int32))
        return csr_array((np.ones(len(at[0])), at), shape=(len(pages), self.buckets))


def recall_rounds(
    pages: Sequence[np.ndarray],
    domains: Sequence[str],
    prefixes: Sequence[str],
    seed_pages: Sequence[int],
    about: Callable[[str], bool],
    *,
    rounds: int = 3,
    domain_share: float = 0.1,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """What each round recalls: round, seed (pages it learned from), recalled bool[pages], domains looked through.

    Recalled are the pages that are known by then and those that the round's `classifier` adds, which comes with it, as
    only on pages that nobody labelled does it show what it has learned.

    pages: tokens of each; domains, prefixes: of each page, a prefix lying within a domain. about: the people's answer,
    whether a prefix is about the subject. Negatives are drawn among all other pages, as many as there are in the seed
    three times over, some of them wrongly. Raises InputError for an empty pool, a seed that is empty or all of it, and
    a share outside [0, 1).
    """
    if not len(pages) or not 0 < len(set(seed_pages)) < len(pages):
        raise InputError(f"seed: has {len(set(seed_pages))} of {len(pages)} pages; give some and not all of them")
    if not 0 <= domain_share < 1:
        raise InputError(f"domain_share: is {domain_share}; give at least 0 and less than 1")
    known = np.zeros(len(pages), bool)
    known[list(seed_pages)] = True
    of, within = np.array(domains), np.array(prefixes)
    generator = numpy_generator(seed, "recall")
    found = []
    for number in range(1, rounds + 1):
        others = generator.permutation(np.flatnonzero(~known))[: 3 * int(known.sum())]
        chosen = np.concatenate([np.flatnonzero(known), others])
        classifier = RecallClassifier().fit([pages[i] for i in chosen], known[chosen])
        recalled = known | (classifier.score(pages) > 0.5)
        looked = [str(domain) for domain in np.unique(of) if recalled[of == domain].mean() > domain_share]
        told = {"round": number, "seed": int(known.sum()), "recalled": recalled, "domains": looked}
        found.append(told | {"classifier": classifier})
        accepted = [prefix for prefix in np.unique(within[np.isin(of, looked)]) if about(str(prefix))]
        known = known | (np.isin(of, looked) & np.isin(within, accepted))
        if known.all():
            break
    return found
