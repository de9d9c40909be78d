"""Charts of the search for settings: the best so far by trial, laws round by round, and every trial with thresholds."""

import math

import pytest

from tests.evaluate.drawing import check_look, drawn, filled, spans, titles
from winnow.curate.cross_entropy import Choice
from winnow.errors import InputError
from winnow.evaluate import word2vec_charts as charts
from winnow.evaluate.word2vec_study import SPACE


def trial(number, score, method="cross_entropy", elite=False):
    return {"method": method, "trial": number, "score": score, "elite": elite}


TRIALS = [trial(0, 0.2, elite=True), trial(1, float("nan")), trial(2, 0.1), trial(3, 0.4, elite=True)]
RANDOM = [trial(0, 0.3, "random"), trial(1, 0.1, "random"), trial(2, 0.2, "random"), trial(3, 0.35, "random")]


def test_the_best_so_far_is_a_mean_over_seeds_after_each_trial():
    other = [trial(0, float("nan")), trial(1, 0.6), trial(2, 0.5), trial(3, 0.8)]
    chart = charts.anytime([TRIALS + RANDOM, other])
    found = {(r["method"], r["trial"]): r["mean"] for r in drawn(chart)}
    assert found == pytest.approx(
        {("cross entropy", 1): 0.1, ("cross entropy", 2): 0.4, ("cross entropy", 3): 0.4, ("cross entropy", 4): 0.6}
        | {("random", 1): 0.3, ("random", 2): 0.3, ("random", 3): 0.3, ("random", 4): 0.35}
    )
    assert titles(chart) == {"trials", charts.SCORE}


def laws():
    """Two rounds, of which the second is narrow."""
    found = []
    for number in (0, 1):
        law = {}
        for each in SPACE:
            if isinstance(each, Choice):
                law[each.name] = {str(v): float(i == number) for i, v in enumerate(each.values)}
            else:
                low, high = each.bounds
                law[each.name] = {"mean": low + (high - low) / 4, "deviation": (high - low) / (2 if number == 0 else 8)}
        found.append({"round": number, "threshold": 0.1 + 0.2 * number, "law": law})
    return found


def test_laws_are_shares_of_choices_and_means_with_deviations_within_the_bounds():
    panels = filled(charts.law(laws()))["concat"]
    assert len(panels) == len(SPACE)
    for each, panel in zip(SPACE, panels, strict=True):
        if isinstance(each, Choice):
            shares = {(r["round"], r["value"]): r["share"] for r in panel["data"]["values"]}
            assert shares == {(n + 1, str(v)): float(i == n) for n in (0, 1) for i, v in enumerate(each.values)}
            assert panel["encoding"]["y"]["title"] == each.name
            assert panel["encoding"]["y"]["sort"] == [str(v) for v in each.values]
        else:
            low, high = each.bounds
            told = math.exp if each.log else float
            first, second = panel["layer"][0]["data"]["values"]
            width = high - low
            # A deviation of half the width from a mean at a quarter of it ends at the lower bound.
            numbers = [told(low + width / 4), told(low), told(low + 3 * width / 4)]
            assert [first[key] for key in ("mean", "low", "high")] == pytest.approx(numbers)
            assert (first["round"], second["round"]) == (1, 2)
            numbers = [told(low + width / 8), told(low + 3 * width / 8)]
            assert [second[key] for key in ("low", "high")] == pytest.approx(numbers)
            y = panel["layer"][1]["encoding"]["y"]
            assert y["title"] == each.name and y["scale"]["type"] == ("log" if each.log else "linear")
    assert spans(charts.law(laws())) == {("low", "high")}


def test_an_upper_deviation_ends_at_the_bound():
    each = next(each for each in SPACE if not isinstance(each, Choice))
    low, high = each.bounds
    whole = laws()
    for law in whole:
        law["law"][each.name] = {"mean": high, "deviation": high - low}
    panel = filled(charts.law(whole))["concat"][SPACE.index(each)]
    told = math.exp if each.log else float
    assert panel["layer"][0]["data"]["values"][0]["high"] == pytest.approx(told(high))


def test_trials_stand_in_their_order_beside_the_threshold_of_their_round():
    chart = charts.every_trial(TRIALS + RANDOM, laws())
    points, steps = (layer["data"]["values"] for layer in filled(chart)["layer"])
    assert [(r["trial"], r["score"], r["what"]) for r in points] == [
        (1, 0.2, "elite"),
        (3, 0.1, "others"),
        (4, 0.4, "elite"),
    ]
    assert [(r["from"], r["to"], r["score"]) for r in steps] == [
        (0.5, 2.5, 0.1),
        (2.5, 4.5, pytest.approx(0.3)),
    ]
    assert titles(chart) == {"trial", charts.SCORE} and spans(chart) == {("from", "to")}


@pytest.mark.parametrize(
    "draw", [lambda: charts.anytime([TRIALS + RANDOM]), lambda: charts.every_trial(TRIALS, laws())]
)
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(draw, tmp_path)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: charts.anytime([[]]), "no trials"),
        (lambda: charts.law([]), "no laws"),
        (lambda: charts.every_trial([], laws()), "no trials"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, said):
    with pytest.raises(InputError, match=said):
        draw()
