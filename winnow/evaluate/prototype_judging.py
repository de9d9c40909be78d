"""One network's prototypes judged on a split: scores, nulls, companions, the curve over windows.

A network is anything that gives maps [n, J, h, w] and the class of each prototype; two controls need no training: the
same network with prototypes drawn anew, and one that always fires in the middle of the image. The latter's score is its
location null by construction: what counts is how far a score lies above its nulls.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from winnow.errors import InputError
from winnow.evaluate.prototype_nulls import centre_peaks, companions, null_scores, window_curve
from winnow.evaluate.prototype_scores import RESAMPLES, consistency, hits_at, peaks, stability
from winnow.randomness import numpy_generator, torch_generator
from winnow.workloads.annotations import PartPoints

BATCH = 128


class PrototypeNetwork(Protocol):
    """What is asked of a network with prototypes."""

    def maps(self, x: Tensor) -> Tensor: ...

    def class_of(self) -> Tensor: ...


class Changed(NamedTuple):
    """Some images after a change, as a network takes them."""

    x: Tensor
    """float32[m, ...]"""
    rows: np.ndarray
    """int64[m]: which images."""
    moved: np.ndarray
    """int64[m, 2]: by how many pixels, x and y, what is in them has moved."""


class Judgement(NamedTuple):
    """metrics: by name, scores in percent. prototypes: a row each. curve: over half windows. peaks: int64[n, J, 2]."""

    metrics: dict[str, float]
    prototypes: pa.Table
    curve: pa.Table
    peaks: np.ndarray


@torch.no_grad()
def maps_of(model: Any, x: Tensor) -> Tensor:
    """Maps of all prototypes on images, in batches: float32[n, J, h, w]."""
    return torch.cat([model.maps(batch) for batch in x.split(BATCH)])


def judge(
    model: PrototypeNetwork,
    x: Tensor,
    noisy: Tensor,
    labels: Tensor,
    points: PartPoints,
    *,
    size: tuple[int, int],
    half: int,
    halves: list[int],
    threshold: float = 0.8,
    narrow: int | None = None,
    others: Mapping[str, Changed] | None = None,
    centre: bool = False,
    seed: int = 0,
) -> Judgement:
    """Consistency, stability and what stands beside them, of one network.

    x, noisy: float32[n, ...], as the network takes them. size: height and width of the images. half, halves: pixels.
    narrow: half of a narrower window. others: changes other than noise, by name. centre: judge a network that always
    fires in the middle instead. Metrics: consistency and stability with _low and _high, consistency_70 and _90 (other
    thresholds), stability_hits (images with a hit only), consistency_narrow and stability_narrow, stability_<other>
    (parts move as what is in the image does), null_permuted, null_location, above_nulls (consistency less the larger
    null), constant_maps (share of the own class's maps without a peak, which count as misses), purity, entropy,
    on_parts, distinct_parts.
    """
    of, y = model.class_of().numpy(), labels.numpy()
    own = y[:, None] == of
    maps, maps_noisy = maps_of(model, x), maps_of(model, noisy)
    find = centre_peaks if centre else peaks
    at, at_noisy = find(maps, size), find(maps_noisy, size, own)
    with np.errstate(invalid="ignore"):
        inside = (points.xy >= 0).all(2) & (points.xy <= np.array(size[::-1]) - 1).all(2)
    visible = points.visible & inside
    hits, hits_noisy = hits_at(at, points.xy, visible, half), hits_at(at_noisy, points.xy, visible, half)
    hit_any = bool((own & hits.any(axis=2)).any())
    steady = stability(hits, hits_noisy, of, y, seed)
    found = {t: consistency(hits, visible, of, y, t, seed) for t in (threshold, 0.7, 0.9)}
    main = found[threshold]
    metrics = {
        "consistency": main.value,
        "consistency_low": main.low,
        "consistency_high": main.high,
        "consistency_70": found[0.7].value,
        "consistency_90": found[0.9].value,
        "stability": steady.value,
        "stability_low": steady.low,
        "stability_high": steady.high,
        "stability_hits": stability(hits, hits_noisy, of, y, seed, only_hits=True).value if hit_any else 0.0,
    }
    if narrow is not None:
        close, close_noisy = (hits_at(where, points.xy, visible, narrow) for where in (at, at_noisy))
        metrics["consistency_narrow"] = consistency(close, visible, of, y, threshold, seed).value
        metrics["stability_narrow"] = stability(close, close_noisy, of, y, seed).value
    for kind, changed in (others or {}).items():
        rows = changed.rows
        where, xy = find(maps_of(model, changed.x), size, own[rows]), points.xy[rows] + changed.moved[:, None]
        metrics[f"stability_{kind}"] = stability(
            hits[rows], hits_at(where, xy, visible[rows], half), of, y[rows], seed
        ).value
    nulls = null_scores(at, points.xy, visible, of, y, half, threshold, seed)
    metrics |= {f"null_{name}": value for name, value in nulls.items()}
    metrics["above_nulls"] = main.value - max(nulls.values())
    metrics["constant_maps"] = float((at[..., 0] < 0)[own].mean())
    metrics |= companions(maps.amax((2, 3)), maps, hits, of, y)
    names = np.array([*points.names, None], object)
    prototypes = pa.table(
        {
            "prototype": pa.array(range(len(of)), pa.int32()),
            "class": pa.array(of, pa.int32()),
            "consistent": pa.array(main.per_prototype >= threshold),
            "best_part": pa.array(names[main.part], pa.string()),
            "frequency": pa.array(main.per_prototype, pa.float64(), mask=np.isnan(main.per_prototype)),
            "stability": pa.array(steady.per_prototype, pa.float64(), mask=np.isnan(steady.per_prototype)),
        }
    )
    return Judgement(metrics, prototypes, window_curve(at, points.xy, visible, of, y, halves, threshold, seed), at)


def with_random_prototypes(model: Any, seed: int) -> Any:
    """A copy of a network whose prototypes are directions drawn at random: the floor of the scores."""
    control: Any = copy.deepcopy(model)
    drawn = torch.rand(control.prototypes.shape, generator=torch_generator(seed, "random prototypes"))
    control.prototypes = nn.Parameter(functional.normalize(drawn))
    return control


def rank_correlation(accuracy: Sequence[float], consistency: Sequence[float], seed: int) -> dict[str, float]:
    """Spearman correlation over networks of accuracy with consistency, with a 95 % bootstrap interval over networks.

    Resamples in which one of them is constant tell nothing and are left out. Keys accuracy_spearman, _low, _high; NaN
    where one of them is constant. Raises InputError for fewer than 3 networks.
    """
    if len(accuracy) < 3:
        raise InputError(f"{len(accuracy)} networks have an accuracy; a rank correlation needs 3")
    values = np.array([accuracy, consistency])
    picks = numpy_generator(seed, "accuracy and consistency").integers(0, values.shape[1], (RESAMPLES, values.shape[1]))
    drawn = np.array([_spearman(*values[:, pick]) for pick in picks])
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    names = ("accuracy_spearman", "accuracy_spearman_low", "accuracy_spearman_high")
    return dict(zip(names, (_spearman(*values), float(low), float(high)), strict=True))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(stats.spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")
