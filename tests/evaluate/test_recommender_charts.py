"""What charts of recommenders draw: a user counts once, parts of the users stand in order, titles can be read."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import recommender_charts
from winnow.pipeline.tables import metric_rows


def told(arm, seed, gains, variant="plain"):
    rows = [("user_ndcg10", gain, user) for user, gain in gains.items()]
    return metric_rows(rows, system=arm, workload="log", variant=variant, seed=seed, split="test")


def test_a_user_counts_once_whatever_the_number_of_seeds():
    metrics = pa.concat_tables(
        [told("sasrec", seed, {0: 0.2 + 0.2 * seed, 1: 0.6}) for seed in (0, 1)]
        + [told("markov", seed, {0: 0.1, 1: 0.2}) for seed in (0, 1)]
        + [told(arm, 0, {0: 0.1, 1: 0.1}, "shuffled") for arm in ("sasrec", "markov")]
        + [told("sasrec", 0, {0: 0.3, 1: 0.4}, "ties")]
    )
    rows = drawn(recommender_charts.arms(metrics, "sasrec"))
    means = {(r["arm"], r.get("history")): r["mean"] for r in rows if "arm" in r}
    assert means["SASRec", "as it was"] == pytest.approx(0.45)
    assert means["Markov chain", "as it was"] == pytest.approx(0.15)
    assert means["Markov chain", None] == pytest.approx(0.3)  # gained on each user
    assert means["SASRec", "shuffled"] == pytest.approx(0.1)
    assert ("SASRec", None) not in means and means["SASRec", "ties in another order"] == pytest.approx(0.35)
    with pytest.raises(InputError, match="the table has no gains of users"):
        recommender_charts.arms(metrics.slice(0, 0), "sasrec")


def test_learning_is_drawn_by_epoch_as_a_mean_over_seeds():
    def history(arm, seed, values):
        rows = [("valid_ndcg10", value, 8 * (i + 1)) for i, value in enumerate(values)] + [("loss", 3.0, 1)]
        return metric_rows(rows, system="sequential_recommender", workload="log", variant=arm, seed=seed, split="train")

    metrics = pa.concat_tables([history("sasrec", 0, [0.1, 0.3]), history("sasrec", 1, [0.2, 0.1])])
    rows = drawn(recommender_charts.curves(metrics))
    means = {(row["arm"], row["epoch"]): row["mean"] for row in rows if "epoch" in row}
    assert means == {("SASRec", 1): pytest.approx(0.15), ("SASRec", 2): pytest.approx(0.2)}
    with pytest.raises(InputError, match="no valid_ndcg10 of epochs"):
        recommender_charts.curves(metrics.slice(0, 0))


def test_parts_of_the_users_stand_from_few_to_many():
    labels = {"system": "ease", "workload": "log", "seed": 0, "split": "test"}
    parts = ["history 20 to 30", "history 5 to 9", "popularity 0 to 3", "plain"]
    metrics = pa.concat_tables([metric_rows({"ndcg10": 0.1}, variant=part, **labels) for part in parts])
    chart = recommender_charts.strata(metrics)
    assert {row["part"] for row in drawn(chart)} == {"20 to 30", "5 to 9", "0 to 3"}
    assert chart.to_dict()["hconcat"][0]["layer"][0]["encoding"]["x"]["sort"] == ["5 to 9", "20 to 30"]
    with pytest.raises(InputError, match="no parts of the users"):
        recommender_charts.strata(metrics.slice(3))


def test_near_items_are_cut_to_what_can_be_read():
    table = pa.table({"title": ["t" * 40], "rank": [1], "near": ["n"], "cosine": [0.5]})
    assert drawn(recommender_charts.nearest(table))[0]["title"] == "t" * recommender_charts.DRAWN
