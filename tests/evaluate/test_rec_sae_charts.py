"""Charts of latents draw shares that add up, cards of what is known, and edits from the largest fall on."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import rec_sae_charts


def judged(system, f1, split="test"):
    count = len(f1)
    return pa.table({"system": [system] * count, "split": [split] * count, "latent": range(count), "f1": f1})


RULES = pa.table(
    {"system": ["rec_sae"] * 3 + ["neurons"], "latent": [0, 1, 2, 0], "kind": ["item", "item", "genre", "era"]}
)


def test_shares_of_units_by_f1_add_up_over_seeds():
    tables = [
        pa.concat_tables(
            [judged("rec_sae", [0.05, 0.95, 1.0]), judged("neurons", [0.5]), judged("rec_sae", [0.3], "valid")]
        ),
        judged("rec_sae", [0.95]),
    ]
    rows = drawn(rec_sae_charts.confidence(tables, [RULES, RULES]))
    counts = {row["kind"]: row["count"] for row in rows if "kind" in row}
    # In the first seed one about an item and one about a genre, in the second one about an item.
    assert counts == {"genre": 0.5, "era": 0, "popularity": 0, "property": 0, "item": 1.0}
    rows = [row for row in rows if "of" in row]
    shares = {(row["of"], round(row["f1"], 2)): row["share"] for row in rows}
    assert shares["latents", 0.95] == 0.75 and shares["latents", 0.05] == 0.25 and shares["neurons", 0.55] == 1
    assert sum(share for (of, _), share in shares.items() if of == "latents") == pytest.approx(1)
    with pytest.raises(InputError, match="no judged concepts"):
        rec_sae_charts.confidence([judged("rec_sae", [0.3], "valid")], [RULES])


def card(**changes):
    row = {"latent": 1, "kind": "genre", "text": "last item: Horror", "f1": 0.912, "lift": 2.0,
           "titles": ["Alien", "x" * 40], "share_before": 0.5, "share_after": 0.25}  # fmt: skip
    return row | changes


def test_cards_say_rule_effect_and_titles():
    five = card(titles=["A", "B", "C", "D", "E"], share_before=None, share_after=None)
    rows = drawn(rec_sae_charts.cards(pa.Table.from_pylist([card(), five])))
    assert [row["effect"] for row in rows] == ["0.50 → 0.25", "not edited"]
    assert (rows[0]["latent"], rows[0]["rule"], rows[0]["f1"]) == ("1", "last item: Horror", "0.91")
    assert (rows[0]["title 0"], rows[0]["title 2"]) == ("Alien", "") and len(rows[0]["title 1"]) == 20
    assert [rows[1][f"title {i}"] for i in range(5)] == ["A", "B", "C", "D", "E"]
    with pytest.raises(InputError, match="no latents with a concept"):
        rec_sae_charts.cards(pa.Table.from_pylist([card()]).slice(0, 0))


def test_edits_stand_from_the_largest_fall_to_the_smallest():
    concepts = pa.table({"system": ["rec_sae", "rec_sae", "neurons"], "latent": [1, 2, 1], "text": ["a", "b", "z"]})
    rows = [
        {"latent": latent, "edit": edit, "share_before": 0.5, "share_after": after, "random_after": 0.5}
        for latent, edit, after in ((1, "x0", 0.4), (2, "x0", 0.1), (1, "x2", 0.9))
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
