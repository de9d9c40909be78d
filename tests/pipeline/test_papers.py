"""The generated pages hold what the ledger says, and nothing else of README changes."""

import json

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate.claims import CLAIMS_SCHEMA
from winnow.pipeline.papers import (
    BEGIN,
    END,
    claims_table,
    count_verdicts,
    measured,
    replace_block,
    write_papers,
)
from winnow.pipeline.tables import write_parquet

ENTRY = """
- id: {id}
  system: {system}
  paper: {{title: "{title}", authors: {authors}, venue: arXiv, year: 2022}}
  statement: what it says
  measure: {{left: {{metric: accuracy}}, right: 0.5, direction: higher}}
  effect: 0.01
"""
CLAIMS = (
    ENTRY.format(id="prune_mild", system="pruning", title="A | B", authors="Gupta et al.")
    + ENTRY.format(id="prune_hard", system="pruning", title="A | B", authors="Gupta et al.")
    + ENTRY.format(id="prune_order", system="pruning", title="Second", authors="Lee and Kim")
    + ENTRY.format(id="sae_alive", system="sae", title="Sparse codes", authors="Gao et al.")
)


def row(claim, system, verdict, effect=None, low=None, high=None, n=0, **more):
    figures = {"effect": effect, "low": low, "high": high, "n": n, "unit": "share"}
    said = {
        "claim": claim,
        "system": system,
        "verdict": verdict,
        "statement": "what it says",
        "note": "",
    }
    return dict.fromkeys(CLAIMS_SCHEMA.names) | said | figures | more


ROWS = [
    row("prune_mild", "pruning", "holds", 0.01234, 0.008, 0.0171, 5),
    row("prune_hard", "pruning", "does not hold", -0.5, -0.75, -0.25, 3),
    row("prune_hard", "pruning", "holds", 0.5, 0.25, 0.75, 3, point="s90", left="magnitude", right="random"),
    row("prune_hard", "pruning", "does not hold", -0.5, -0.75, -0.25, 3, left="magnitude", right="snip"),
    row("sae_alive", "sae", "not run", note="no rows of metric dead_fraction"),
]


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "claims.yaml").write_text(CLAIMS)
    (tmp_path / "README.md").write_text(f"# Title\n\n{BEGIN}\nold numbers\n{END}\n\nafter\n")
    table = pa.Table.from_pylist(ROWS, schema=CLAIMS_SCHEMA)
    write_parquet(table, tmp_path / "results/claims.parquet")
    return tmp_path


def test_an_effect_stands_with_sign_interval_and_unit():
    assert measured(ROWS[0]) == "+0.0123 [+0.008, +0.0171] share"
    assert measured(ROWS[1]) == "-0.5 [-0.75, -0.25] share"
    assert measured(ROWS[-1]) == "–"
    assert measured(row("x", "y", "holds", 2.0, 1.5, None)) == "+2 [+1.5, ∞] share"
    assert measured(row("x", "y", "holds", 2.0, None, 2.5)) == "+2 [−∞, +2.5] share"


def test_a_ratio_stands_without_a_sign():
    assert measured(row("x", "y", "holds", 2.0, 1.5, 3.0, unit="ratio")) == "2 [1.5, 3] ratio"


def test_each_claim_counts_once_whatever_its_comparisons():
    assert count_verdicts(ROWS) == "3 claims: holds 1, does not hold 1, not run 1"


def test_a_bar_or_line_break_in_a_statement_does_not_break_the_table():
    lines = claims_table([{**ROWS[0], "statement": "a | b\nc"}]).splitlines()
    assert lines[2].count(" | ") == 5 and "a \\| b c" in lines[2]


def test_the_page_has_a_section_for_each_paper_with_its_own_claims(checkout):
    write_papers(checkout)
    page = (checkout / "docs/papers.md").read_text()
    pruning, sae = page.split("## ")[1:]
    assert pruning.startswith(
        "pruning\n\n- Gupta et al. *A | B*. arXiv, 2022.\n- Lee and Kim. *Second*. arXiv, 2022.\n"
    )
    assert "| prune_mild | what it says | +0.0123 [+0.008, +0.0171] share | 5 | holds | unversioned |" in pruning
    assert "prune_hard" in pruning and "prune" not in sae
    assert "| prune_hard | s90 | magnitude | random | +0.5 [+0.25, +0.75] share | 3 | holds |" in pruning
    assert "| sae_alive | what it says | – | 0 | not run: no rows of metric dead_fraction | – |" in sae
    assert "Each comparison" not in sae


def test_only_the_block_of_the_readme_changes(checkout):
    changed = write_papers(checkout)
    text = (checkout / "README.md").read_text()
    assert text.startswith("# Title\n\n" + BEGIN) and text.endswith(END + "\n\nafter\n")
    assert "old numbers" not in text
    assert "| pruning | A \\| B (2022); Second (2022) | 1 | 0 | 1 | 0 | 0 |" in text
    assert [path.name for path in changed] == ["papers.md", "README.md"]


def test_a_second_run_changes_nothing(checkout):
    write_papers(checkout)
    assert write_papers(checkout) == []


@pytest.mark.parametrize("text", ["no markers", BEGIN, END + BEGIN, BEGIN + BEGIN + END])
def test_missing_markers_are_refused(text):
    with pytest.raises(InputError, match="must stand there once each"):
        replace_block(text, "block")


def test_a_missing_ledger_is_named(checkout):
    (checkout / "results/claims.parquet").unlink()
    with pytest.raises(InputError, match="claims.parquet: no such file"):
        write_papers(checkout)


def test_a_faulty_claims_file_is_named(checkout):
    (checkout / "claims.yaml").write_text("- {id: lonely, system: sae}\n")
    with pytest.raises(InputError, match="claims.yaml: lonely"):
        write_papers(checkout)


def ledger(checkout, rows):
    write_parquet(pa.Table.from_pylist(rows, schema=CLAIMS_SCHEMA), checkout / "results/claims.parquet")
    write_papers(checkout)
    return (checkout / "docs/papers.md").read_text()


def at(checkout, name):
    known = json.loads((checkout / "docs/verdicts.json").read_text())
    known[name]["rows"] = [row | {"revision": "12345678"} for row in known[name]["rows"]]
    (checkout / "docs/verdicts.json").write_text(json.dumps(known))


def test_a_verdict_stays_where_a_run_does_not_measure_it_again(checkout):
    write_papers(checkout)
    at(checkout, "prune_mild")
    page = ledger(checkout, [row("prune_mild", "pruning", "not run", note="no rows"), *ROWS[1:]])
    assert "| prune_mild | what it says | +0.0123 [+0.008, +0.0171] share | 5 | holds | 12345678 |" in page
    assert "| sae_alive | what it says | – | 0 | not run: no rows of metric dead_fraction | – |" in page
    assert "| prune_hard | s90 | magnitude | random | +0.5 [+0.25, +0.75] share | 3 | holds |" in page


def test_a_new_measurement_takes_its_place_and_the_same_one_does_not(checkout):
    write_papers(checkout)
    at(checkout, "prune_mild")
    at(checkout, "prune_hard")
    page = ledger(checkout, [row("prune_mild", "pruning", "partly", 0.0, -0.1, 0.1, 5), *ROWS[1:]])
    assert "| +0 [-0.1, +0.1] share | 5 | partly | unversioned |" in page
    assert page.count("| does not hold | 12345678 |") == 1


def test_a_verdict_goes_with_the_claim_that_it_was_about(checkout):
    write_papers(checkout)
    claims = (checkout / "claims.yaml").read_text()
    (checkout / "claims.yaml").write_text(claims.replace("effect: 0.01", "effect: 0.02", 1))
    page = ledger(checkout, [row("prune_mild", "pruning", "not run", note="no rows"), *ROWS[1:]])
    assert "| not run: no rows | – |" in page
    assert "prune_mild" not in json.loads((checkout / "docs/verdicts.json").read_text())


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {}}'])
def test_a_damaged_record_is_named(checkout, text):
    (checkout / "docs/verdicts.json").write_text(text)
    with pytest.raises(InputError, match=r"verdicts.json: is no record of verdicts"):
        write_papers(checkout)
