"""The forest of claims shows those that were judged, by unit, in the colours of their verdicts."""

import pyarrow as pa

from tests.evaluate.drawing import check_look, drawn, found, sorts, spans, titles
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.claims import CLAIMS_SCHEMA, VERDICTS
from winnow.evaluate.claims_chart import VERDICT_COLOURS, claims_forest


def claim_rows():
    judged = [
        ("a", "holds", 0.2, "share"),
        ("b", "does not hold", -0.1, "share"),
        ("c", "partly", 4.0, "ratio"),
    ]
    table = [
        {
            "claim": c,
            "verdict": v,
            "effect": e,
            "low": e - 0.1,
            "high": e + 0.1,
            "unit": u,
            "n": 5,
            "smallest": 0.05,
        }
        for c, v, e, u in judged
    ]
    table += [
        {"claim": "d", "verdict": "not run", "unit": "", "n": 0},
        table[0] | {"point": "95 %", "effect": 9.0},
    ]
    return pa.Table.from_pylist(table, schema=CLAIMS_SCHEMA)


def test_the_forest_can_be_read_in_a_report(tmp_path):
    check_look(lambda: claims_forest(claim_rows()), tmp_path)


def test_the_forest_shows_judged_claims_by_unit():
    chart = claims_forest(claim_rows())
    assert [(r["claim"], r["effect"]) for r in drawn(chart)] == [("a", 0.2), ("b", -0.1), ("c", 4.0)]
    assert [r["label"] for r in drawn(chart)] == ["holds (n = 5)", "does not hold (n = 5)", "partly (n = 5)"]
    assert {"difference (share)", "ratio (log scale)"} <= titles(chart)
    scales = [s for s in found(chart.to_dict(), "scale") if s and "domain" in s]
    colours = dict(zip(scales[0]["domain"], scales[0]["range"], strict=True))
    assert colours == {v: VERDICT_COLOURS[v] for v in VERDICTS[:3]} and len(set(colours.values())) == 3
    fields = {e[k]["field"] for e in found(chart.to_dict(), "encoding") for k in ("x", "x2") if "field" in e.get(k, {})}
    assert fields == {"effect", "low", "high", "smallest", "largest"}
    assert sorts(chart) == [["a", "b"], ["c"]] and spans(chart) == {("low", "high")}


def test_a_forest_without_a_judged_claim_says_so(tmp_path):
    chart = claims_forest(claim_rows()[3:4])
    assert drawn(chart) == [{"text": "None of 1 claims was judged in this run"}]
    save_chart(chart, tmp_path / "forest.svg")
    assert "None of 1 claims" in (tmp_path / "forest.svg").read_text()
