"""What charts of recommenders and of their latents draw: a user counts once, shares add up, arrows fall first."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import rec_sae_charts, recommender_charts
from winnow.pipeline.tables import metric_rows


def told(arm, seed, gains, variant="plain"):
    rows = [("user_ndcg10", gain, user) for user, gain in gains.items()]
    return metric_rows(rows, system=arm, workload="log", variant=variant, seed=seed, split="test")


def test_a_user_counts_once_whatever_the_number_of_seeds():
    metrics = pa.concat_tables(
        [told("sasrec", seed, {0: 0.2 + 0.2 * seed, 1: 0.6}) for seed in (0, 1)]
        + [told("markov", seed, {0: 0.1, 1: 0.2}) for seed in (0, 1)]
        + [told(arm, 0, {0: 0.1, 1: 0.1}, "shuffled") for arm in ("sasrec", "markov")]
    )
    rows = drawn(recommender_charts.arms(metrics, "sasrec"))
    means = {(r["arm"], r.get("history")): r["mean"] for r in rows if "arm" in r}
    assert means["SASRec", "as it was"] == pytest.approx(0.45)
    assert means["Markov chain", "as it was"] == pytest.approx(0.15)
    assert means["Markov chain", None] == pytest.approx(0.3)  # gained on each user
    assert means["SASRec", "shuffled"] == pytest.approx(0.1)
    assert ("SASRec", None) not in means
    with pytest.raises(InputError, match="the table has no gains of users"):
        recommender_charts.arms(metrics.slice(0, 0), "sasrec")


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


def judged(system, f1, split="test"):
    return pa.table({"system": [system] * len(f1), "split": [split] * len(f1), "f1": f1})


def test_shares_of_units_by_f1_add_up_over_seeds():
    tables = [
        pa.concat_tables(
            [judged("rec_sae", [0.05, 0.95, 1.0]), judged("neurons", [0.5]), judged("rec_sae", [0.3], "valid")]
        ),
        judged("rec_sae", [0.95]),
    ]
    rows = drawn(rec_sae_charts.confidence(tables))
    shares = {(row["of"], round(row["f1"], 2)): row["share"] for row in rows}
    assert shares["latents", 0.95] == 0.75 and shares["latents", 0.05] == 0.25 and shares["neurons", 0.55] == 1
    assert sum(share for (of, _), share in shares.items() if of == "latents") == pytest.approx(1)
    with pytest.raises(InputError, match="no judged concepts"):
        rec_sae_charts.confidence([judged("rec_sae", [0.3], "valid")])


def card(**changes):
    row = {"latent": 1, "kind": "genre", "text": "last item: Horror; more", "f1": 0.912, "lift": 2.0,
           "titles": ["Alien", "x" * 40], "share_before": 0.5, "share_after": 0.25}  # fmt: skip
    return row | changes


def test_cards_say_rule_effect_and_titles():
    rows = drawn(rec_sae_charts.cards(pa.Table.from_pylist([card(), card(share_before=None, share_after=None)])))
    assert [row["effect"] for row in rows] == ["0.50 → 0.25", "not edited"]
    assert rows[0]["rule"] == "last item: Horror" and rows[0]["f1"] == "0.91"
    assert (rows[0]["title 0"], rows[0]["title 2"]) == ("Alien", "") and len(rows[0]["title 1"]) == 24
    with pytest.raises(InputError, match="no latents with a concept"):
        rec_sae_charts.cards(pa.Table.from_pylist([card()]).slice(0, 0))


def test_edits_stand_from_the_largest_fall_to_the_smallest():
    concepts = pa.table({"system": ["rec_sae", "rec_sae", "neurons"], "latent": [1, 2, 1], "text": ["a", "b; c", "z"]})
    rows = [
        {"latent": latent, "factor": factor, "share_before": 0.5, "share_after": after, "random_after": 0.5}
        for latent, factor, after in ((1, 0.0, 0.4), (2, 0.0, 0.1), (1, 2.0, 0.9))
    ]
    chart = rec_sae_charts.edits(concepts, pa.Table.from_pylist(rows))
    assert chart.to_dict()["layer"][0]["encoding"]["y"]["sort"] == ["b (2)", "a (1)"]
    assert {(row["latent"], row["share"]) for row in drawn(chart) if row.get("when") == "latent taken out"} == {
        ("a (1)", 0.4),
        ("b (2)", 0.1),
    }
    many = [rows[0] | {"latent": i, "share_after": i / 1000} for i in range(100)]
    named = pa.table({"system": ["rec_sae"] * 100, "latent": range(100), "text": [f"c{i}" for i in range(100)]})
    order = rec_sae_charts.edits(named, pa.Table.from_pylist(many)).to_dict()["layer"][0]["encoding"]["y"]["sort"]
    assert (len(order), order[0], order[-1]) == (rec_sae_charts.SHOWN, "c0 (0)", "c99 (99)")
    none = rec_sae_charts.edits(concepts, pa.Table.from_pylist(rows).slice(0, 0))
    assert drawn(none)[0]["text"].startswith("no latent was reliable")
