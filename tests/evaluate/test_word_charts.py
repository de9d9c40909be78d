"""Charts of scores of words: means over seeds of every method, planted phrases, the better of two models, words."""

import pytest
from scipy import stats

from tests.evaluate.drawing import check_look, drawn, filled, found, sorts, spans, titles
from winnow.errors import InputError
from winnow.evaluate import word_charts as charts

JOINED = [
    {"method": method, "seed": seed, "auc": value + 0.1 * seed + step}
    for method, value in (("lime", 0.8), ("random", 0.5))
    for seed in (0, 1)
    for step in (-0.05, 0.05)
]


def test_joined_texts_are_means_over_seeds_of_means_over_texts():
    chart = charts.joined(JOINED)
    rows = {row["by"]: row for row in drawn(chart) if "by" in row}
    assert {name: row["mean"] for name, row in rows.items()} == pytest.approx({"LIME": 0.85, "chance": 0.55})
    interval = stats.ttest_1samp([0.5, 0.6], 0).confidence_interval(0.95)
    assert interval.low < 0 and (rows["chance"]["low"], rows["chance"]["high"]) == (0, 1)
    assert [row["mean"] for row in drawn(chart) if "by" not in row] == [0.5]
    assert sorts(chart) == [list(charts.METHODS.values())] and spans(chart) == {("low", "high")}
    assert titles(chart) == {"words of the topic above words of the other (AUC)"}


PHRASES = [
    {"method": method, "effect": effect, "phrase": 2 * effect, "sum": -effect}
    for method in ("cdt", "lime", "leave_one_out")
    for effect in (0.5, -1.0)
]


def test_phrases_stand_at_their_effect_scored_as_one_and_as_a_sum():
    chart = charts.phrases(PHRASES)
    panels = filled(chart)["concat"]
    assert [panel["title"] for panel in panels] == ["decomposition", "leave one out"]
    for panel in panels:
        rows = [row for part in found(panel, "data") for row in part["values"] if "scored" in row]
        assert {(row["effect"], row["score"], row["scored"]) for row in rows} == {
            (0.5, 1.0, "as one"),
            (0.5, -0.5, "sum of two words"),
            (-1.0, -2.0, "as one"),
            (-1.0, 1.0, "sum of two words"),
        }
    assert titles(chart) == {"effect of planting it [logits]", "score [logits]"}


COMPARED = [{"method": "shap", "better": i % 4 != 0} for i in range(40)] + [{"method": "attention", "better": True}] * 9


def test_shares_that_tell_the_better_model_have_wilsons_intervals():
    chart = charts.user(COMPARED)
    rows = {row["by"]: row for row in drawn(chart) if "by" in row}
    z = stats.norm.ppf(0.975)
    for name, share, n in (("KernelSHAP", 0.75, 40), ("attention", 1.0, 9)):
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
        assert rows[name]["mean"] == share
        assert (rows[name]["low"], rows[name]["high"]) == pytest.approx((middle - half, middle + half))
    assert titles(chart) == {"texts whose explanations tell the better model"}


WORDS = [
    {"method": method, "text": text, "place": place, "word": f"w{place}", "score": size * (place - 1), "first": "a"}
    | {"second": "b"}
    for text in (0, 1, 2)
    for method, size in (("cdt", 2.0), ("lime", 10.0), ("shap", 0.0), ("attention", 1.0))
    for place in range(4)
]


def test_words_are_coloured_by_their_share_of_the_largest_score_of_the_method():
    chart = charts.words(WORDS)
    panels = filled(chart)["concat"]
    assert [panel["title"]["text"] for panel in panels] == ["a above b"] * 2
    for number, panel in enumerate(panels):
        rows = [row for part in found(panel, "data") for row in part["values"]]
        tiles = {(row["by"], row["place"]): row["share"] for row in rows if row["text"] == number}
        shares = {0: -0.5, 1: 0.0, 2: 0.5, 3: 1.0}
        expected = {(name, p): s for name in ("decomposition", "LIME") for p, s in shares.items()}
        assert tiles == expected | {("KernelSHAP", p): 0.0 for p in range(4)}
        assert [row["upper"] for row in rows if "upper" in row] == ["w0", "w1", "w2", "w3"]
    assert len(filled(charts.words(WORDS, texts=3))["concat"]) == 3


@pytest.mark.parametrize(
    ("draw", "rows"),
    [(charts.joined, JOINED), (charts.phrases, PHRASES), (charts.user, COMPARED), (charts.words, WORDS)],
)
def test_a_chart_can_be_read_in_a_report_and_says_where_it_has_no_rows(draw, rows, tmp_path):
    check_look(lambda: draw(rows), tmp_path)
    with pytest.raises(InputError, match="the table has no"):
        draw([])
