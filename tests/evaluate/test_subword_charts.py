"""Charts of sub-word vocabularies: code length over size, lengths of pieces, what is gained and lost, and cuts."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, filled, spans, titles
from winnow.errors import InputError
from winnow.evaluate import subword_charts as charts
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows

LABELS = {"system": "subword", "workload": "w"}


def lengths():
    splits = {"train": 0, "held_out": 10, "unseen": 20}
    return pa.concat_tables(
        [
            metric_rows(
                {"bits_per_byte": 3 + size / 1000 + seed + more},
                variant=f"{m}-{size}",
                seed=seed,
                split=split,
                **LABELS,
            )
            for m in ("bpe", "wordpiece_ratio", "swe")
            for size in (300, 600)
            for seed in (0, 2)
            for split, more in splits.items()
        ]
    )


def test_code_length_is_a_mean_over_seeds_a_panel_a_set_of_words():
    chart = charts.code_length(lengths())
    panels = filled(chart)["hconcat"]
    assert [panel["title"] for panel in panels] == list(charts.PANELS.values())
    for more, panel in zip((0, 10, 20), panels, strict=True):
        found = {(r["method"], r["size"]): r["mean"] for r in panel["layer"][0]["data"]["values"]}
        names = ("BPE", "WordPiece, ratio score", "optimum")
        assert found == pytest.approx({(m, s): 4 + s / 1000 + more for m in names for s in (300, 600)})
        assert panel["layer"][0]["encoding"]["x"]["axis"]["values"] == [300, 600]
    assert titles(chart) == {"pieces (log scale)", "bits per byte"} and spans(chart) == {("low", "high")}


def pieces():
    told = [("bpe", "ab", 3.0), ("bpe", "cd", 4.0), ("swe", "ab", 5.0), ("swe", "e ", 6.0), ("swe", "fgh", 7.0)]
    told += [("wordpiece_ratio", "zz", 1.0), ("bpe", "x\n\ty", 4.0), ("unigram", "q", 1.0)]
    rows = [{"method": m, "size": 300, "seed": 0, "piece": p, "bytes": len(p), "count": n} for m, p, n in told]
    return pa.Table.from_pylist([*rows, rows[0] | {"size": 600, "piece": "other", "bytes": 5}])


def test_lengths_count_the_pieces_of_each_method_by_size():
    chart = charts.piece_lengths(pieces())
    panels = filled(chart)["hconcat"]
    assert [panel["title"] for panel in panels] == ["300 pieces", "600 pieces"]
    found = [(r["method"], r["bytes"], r["mean"]) for r in panels[0]["layer"][0]["data"]["values"]]
    # Methods in their order, and lengths of each from short to long.
    assert found == [("BPE", 2, 2), ("BPE", 4, 1), ("unigram", 1, 1), ("optimum", 2, 2), ("optimum", 3, 1)]
    assert [(r["bytes"], r["mean"]) for r in panels[1]["layer"][0]["data"]["values"]] == [(5, 1)]
    assert titles(chart) == {"bytes of a piece", "pieces"}


def test_what_only_one_of_the_two_has_stands_by_how_often_it_is_used():
    chart = charts.exchanged(pieces(), 300)
    gained, lost = filled(chart)["hconcat"]
    assert [(r["piece"], r["count"]) for r in gained["data"]["values"]] == [("fgh", 7), ("e␣", 6)]
    assert [(r["piece"], r["count"]) for r in lost["data"]["values"]] == [("cd", 4), ("x⏎⇥y", 4)]
    assert (gained["title"], lost["title"]) == ("gained (2 of 300)", "lost (2 of 300)")
    assert titles(chart) == {"tokens"}
    with pytest.raises(InputError, match="no pieces of size 4"):
        charts.exchanged(pieces(), 4)


def test_of_many_pieces_the_most_used_are_drawn_and_all_are_counted():
    rows = [{"method": "swe", "size": 9, "piece": f"p{i:02}", "count": i // 2} for i in range(charts.SHOWN + 5)]
    gained, lost = filled(charts.exchanged(pa.Table.from_pylist(rows), 9))["hconcat"]
    drawn_pieces = [row["piece"] for row in gained["data"]["values"]]
    assert len(drawn_pieces) == charts.SHOWN and drawn_pieces[:4] == ["p18", "p19", "p16", "p17"]
    assert (gained["title"], lost["title"]) == ("gained (20 of 9)", "lost (0 of 9)")


def cuts():
    told = [("abcd", "bpe", "a bcd"), ("xy", "bpe", "xy"), ("abcd", "swe", "ab c d"), ("abcd", "bpe_viterbi", "abcd")]
    return pa.Table.from_pylist([{"word": w, "method": m, "pieces": p} for w, m, p in told])


def test_cuts_stand_method_by_method():
    panels = filled(charts.cuts(cuts()))["hconcat"]
    assert [panel["title"] for panel in panels] == ["BPE", "optimum"]
    assert [[r["pieces"] for r in panel["data"]["values"]] for panel in panels] == [["a · bcd", "xy"], ["ab · c · d"]]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.code_length(lengths()),
        lambda: charts.piece_lengths(pieces()),
        lambda: charts.exchanged(pieces(), 300),
    ],
)
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(draw, tmp_path)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: charts.code_length(METRICS_SCHEMA.empty_table()), "no code lengths"),
        (lambda: charts.piece_lengths(pieces().slice(0, 0)), "no pieces"),
        (lambda: charts.cuts(cuts().slice(0, 0)), "no cuts of identifiers"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, said):
    with pytest.raises(InputError, match=said):
        draw()
