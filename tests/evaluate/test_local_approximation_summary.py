"""What claims are judged by, against small tables worked out by hand and scipy."""

import pytest
import torch
from scipy import stats
from torch import nn

from winnow.attribution.perturbation import from_numpy
from winnow.evaluate import local_approximation_study as study
from winnow.evaluate import local_approximation_summary as judged
from winnow.evaluate.local_approximation import ADDITIVE, METHODS, MULTIPLICATIVE
from winnow.randomness import torch_generator


def points(n=8, features=4, seed=0):
    return torch.randn(n, features, generator=torch_generator(seed, "points"), dtype=torch.float64)


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)).double().requires_grad_(False)


def measured():
    f, x = net(), points()
    explained = study.explain_all(f, x, 100, 0)
    return {
        "distances": study.agreement(explained),
        "limits": study.limits(f, x, 100, 0),
        "losses": study.loss_matrix(f, x, explained.framework, 100, 0),
        "perturbation": study.perturbations(f, x, explained.native, 0.1, 5, 0),
    }, explained


def table(values, kind="l1"):
    names = ["lime", "c_lime", "smoothgrad"]
    return [
        {"kind": kind, "framework": a, "native": b, "value": float(values[i][j])}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]


def test_the_nearest_other_is_looked_for_in_row_and_column_without_the_equal_pair():
    rows = table([[1, 5, 9], [4, 2, 0.1], [7, 0.2, 3]]) + table([[0] * 3] * 3, "cosine")
    assert judged.own_and_nearest_other(rows, "lime", "l1") == (1, 4)
    assert judged.own_and_nearest_other(rows, "c_lime", "l1") == (2, 4)
    assert judged.own_and_nearest_other(rows, "smoothgrad", "l1") == (3, 7)


def test_groups_are_compared_by_their_worst_and_best():
    rows = [
        {"method": name, "kind": kind, "end": "bottom", "k": 2, "value": float(i)}
        for kind in ("binary", "continuous")
        for i, name in enumerate(METHODS)
    ]
    # lime 0, kernel_shap 1, occlusion 2, c_lime 3, smoothgrad 4, gradient 5, integrated_gradients 6, gradient_input 7
    assert judged.group_gap(rows, "binary", 2) == (7, 3)
    assert judged.group_gap(rows, "continuous", 2) == (5, 0)


def test_a_summary_holds_all_methods_under_the_models_name():
    tables, explained = measured()
    changed = {k: study.changes(net(), points(), explained.native, 2, k, "bottom", 0.1, 5, 0) for k in study.KINDS}
    found = judged.summary(tables, changed, "tanh", 2)
    metrics = {(system, variant, name): value for system, variant, values in found for name, value in values.items()}
    own = judged.own_and_nearest_other(tables["distances"], "lime", "l1")[0]
    assert metrics["lime", "own-on-tanh", "distance_l1"] == own
    gap = judged.group_gap(tables["perturbation"], "binary", 2)
    assert metrics["multiplicative", "binary-on-tanh", "output_change"] == gap[0]
    assert metrics["other", "binary-on-tanh", "output_change"] == gap[1]
    assert metrics["additive", "continuous-on-tanh", "wilcoxon_p"] == judged.group_p(
        changed["continuous"], "continuous"
    )
    assert metrics["smoothgrad", "limits-on-tanh", "spearman"] == judged.monotone(tables["limits"], "smoothgrad")
    assert {system for system, variant, _ in found if variant == "own-on-tanh"} == set(METHODS)


def test_known_functions_and_a_model_without_gradients_have_no_models_name():
    blind = study.explain_all(from_numpy(lambda rows: rows.sum(1)), points(2), 60, 0)
    recovery = [{"method": "lime", "function": "linear", "family": "linear", "error": 0.25}]
    found = judged.summary_of_known(recovery, blind)
    assert found[0] == ("lime", "linear_by_linear", {"recovery_error": 0.25})
    explained = {system: values["explained"] for system, variant, values in found if variant == "without_gradients"}
    assert explained == {name: float(name in ("lime", "kernel_shap", "occlusion", "c_lime")) for name in METHODS}


def test_the_groups_p_is_the_worst_of_scipys_after_holms_correction():
    generator = torch_generator(3, "changes")
    changed = {name: torch.rand(12, generator=generator, dtype=torch.float64) for name in METHODS}
    for name in MULTIPLICATIVE:
        changed[name] -= 0.7
    pairs = [(changed[a] - changed[b]).numpy() for a in MULTIPLICATIVE for b in ADDITIVE]
    p = sorted(stats.wilcoxon(pair, alternative="less", method="exact").pvalue for pair in pairs)
    adjusted = max(min(1, value * (len(p) - i)) for i, value in enumerate(p))
    assert judged.group_p(changed, "binary") == pytest.approx(adjusted, rel=1e-9)
    assert judged.group_p(changed, "continuous") == 1


def test_attributions_are_the_weights_of_both_forms():
    _, explained = measured()
    rows = judged.attributions(explained)
    assert len(rows) == 8 * 2 * 8 * 4
    for row in rows[::37]:
        native, framework = explained.native[row["method"]], explained.framework[row["method"]].weights
        source = native if row["form"] == "native" else framework
        assert row["weight"] == float(source[row["row"], row["feature"]])
        assert (row["error"] is None) == (row["form"] == "native")
