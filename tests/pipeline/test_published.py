"""Verdicts that no run makes again stay as long as their claim says what it said, and no longer."""

import json
import subprocess

import pytest

from winnow.errors import InputError
from winnow.evaluate.claims import CLAIMS_SCHEMA
from winnow.evaluate.claims_schema import Claim
from winnow.pipeline.published import definition, merged, revision


def a_claim(name="one", **changes):
    told = {
        "id": name,
        "system": "pruning",
        "paper": {"title": "T", "authors": "A", "venue": "V", "year": 2020},
        "statement": "what it says",
        "measure": {"left": {"metric": "accuracy"}, "right": 0.5, "direction": "higher"},
        "effect": 0.01,
    }
    return Claim.model_validate(told | changes)


def a_row(name="one", verdict="holds", effect=0.1, **more):
    said = {"claim": name, "system": "pruning", "verdict": verdict, "statement": "what it says", "n": 3}
    return dict.fromkeys(CLAIMS_SCHEMA.names) | said | {"effect": effect} | more


NOT_RUN = a_row(verdict="not run", effect=None, note="no rows", n=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "verdicts.json"


def test_a_first_run_is_told_at_its_revision_and_kept(path):
    (row,) = merged([a_claim()], [a_row()], path, "aaaa")
    assert (row["verdict"], row["revision"]) == ("holds", "aaaa")
    known = json.loads(path.read_text())
    assert list(known) == ["one"] and known["one"]["definition"] == definition(a_claim())
    assert known["one"]["rows"][0]["effect"] == 0.1 and "statement" not in known["one"]["rows"][0]


def test_what_was_never_measured_has_no_revision_and_is_not_kept(path):
    (row,) = merged([a_claim()], [NOT_RUN], path, "aaaa")
    assert (row["verdict"], row["revision"]) == ("not run", None) and json.loads(path.read_text()) == {}


def test_a_verdict_stays_with_its_revision_where_nothing_new_is_measured(path):
    merged([a_claim()], [a_row(), a_row(left="x", effect=0.3)], path, "aaaa")
    before = path.read_bytes()
    for rows in ([NOT_RUN], [a_row(), a_row(left="x", effect=0.3)]):
        found = merged([a_claim()], rows, path, "bbbb")
        assert [(row["effect"], row["revision"]) for row in found] == [(0.1, "aaaa"), (0.3, "aaaa")]
        assert path.read_bytes() == before
    assert found[0]["statement"] == "what it says"  # which the file does not repeat


@pytest.mark.parametrize("changed", [a_row(effect=0.2), a_row(verdict="partly"), a_row(n=4), a_row(unit="share")])
def test_another_figure_is_a_new_measurement(path, changed):
    merged([a_claim()], [a_row()], path, "aaaa")
    (row,) = merged([a_claim()], [changed], path, "bbbb")
    assert row["revision"] == "bbbb" and json.loads(path.read_text())["one"]["rows"][0]["revision"] == "bbbb"


def test_a_claim_s_first_row_speaks_for_it(path):
    rows = [a_row(), a_row(verdict="not run", effect=None, left="x")]
    assert [row["revision"] for row in merged([a_claim()], rows, path, "aaaa")] == ["aaaa"] * 2
    assert len(json.loads(path.read_text())["one"]["rows"]) == 2
    (row, _) = merged([a_claim()], [NOT_RUN, a_row(left="x")], path, "bbbb")
    assert row["revision"] == "aaaa"  # as a whole it was not run again


def test_digests_stay_what_they_were():
    """Else every published verdict would go."""
    assert definition(a_claim()) == "ec6ac01138939261"


@pytest.mark.parametrize(
    "changes",
    [
        {"statement": "something else"},
        {"effect": 0.02},
        {"measure": {"left": {"metric": "accuracy"}, "right": 0.5, "direction": "lower"}},
        {"paper": {"title": "T", "authors": "A", "venue": "V", "year": 2021}},
    ],
)
def test_a_verdict_goes_with_the_claim_that_it_was_about(path, changes):
    merged([a_claim()], [a_row()], path, "aaaa")
    (row,) = merged([a_claim(**changes)], [NOT_RUN], path, "bbbb")
    assert (row["verdict"], row["revision"]) == ("not run", None) and json.loads(path.read_text()) == {}
    assert definition(a_claim(**changes)) != definition(a_claim())


def test_a_default_that_is_written_out_changes_no_claim():
    default = a_claim().model_dump()["test"]
    assert definition(a_claim(test=default)) == definition(a_claim())


def test_claims_are_told_in_their_order_and_those_that_are_gone_are_forgotten(path):
    merged([a_claim("one"), a_claim("two")], [a_row("two"), a_row("one")], path, "aaaa")
    found = merged([a_claim("none"), a_claim("two")], [a_row("two"), a_row("one")], path, "aaaa")
    assert [row["claim"] for row in found] == ["two"] and list(json.loads(path.read_text())) == ["two"]
    found = merged([a_claim("two"), a_claim("one")], [a_row("one"), a_row("two")], path, "bbbb")
    assert [(row["claim"], row["revision"]) for row in found] == [("two", "aaaa"), ("one", "bbbb")]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"one": 3}', '{"one": {"rows": []}}', '{"one": {"definition": "x", "rows": 3}}']
)
def test_a_damaged_record_is_named_and_left_as_it_is(path, text):
    path.write_text(text)
    with pytest.raises(InputError, match=r"verdicts\.json: is no record of verdicts \(.*\); take it from git") as error:
        merged([a_claim()], [a_row()], path, "aaaa")
    assert path.read_text() == text and "\n" not in str(error.value)


def test_the_record_is_one_that_people_can_compare(path):
    merged([a_claim("two"), a_claim("one")], [a_row("two", note="größer"), a_row("one")], path, "aaaa")
    text = path.read_text(encoding="utf-8")
    known = json.loads(text)
    assert text == json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n" and "größer" in text
    assert list(known) == ["one", "two"]
    # What says nothing is left out, as is what claims.yaml says.
    assert known["one"]["rows"] == [
        {"claim": "one", "effect": 0.1, "n": 3, "revision": "aaaa", "system": "pruning", "verdict": "holds"}
    ]


def test_a_row_has_every_column_again_when_it_is_read(path):
    merged([a_claim()], [a_row(n=0, unit="")], path, "aaaa")
    known = json.loads(path.read_text())
    known["one"]["rows"] = [{"claim": "one", "verdict": "holds", "revision": "aaaa"}]
    path.write_text(json.dumps(known))
    (row,) = merged([a_claim()], [NOT_RUN], path, "bbbb")
    assert set(row) >= {*CLAIMS_SCHEMA.names, "revision"}
    assert (row["unit"], row["n"], row["effect"], row["verdict"]) == ("", 0, None, "holds")


def test_the_revision_is_the_commit_and_tells_of_changed_code(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    assert revision(tmp_path) == "unversioned"
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "README.md").write_text("a\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "Begin"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert revision(tmp_path) == head[:8]
    (tmp_path / "README.md").write_text("b\n")
    assert revision(tmp_path) == head[:8]
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert revision(tmp_path) == head[:8] + "+"
    (tmp_path / "new.py").write_text("a = 1\n")  # not tracked, so no job of this revision knew it
    subprocess.run([*git, "checkout", "-q", "--", "params.yaml"], check=True)
    assert revision(tmp_path) == head[:8]


def test_a_repository_without_a_commit_or_without_files_has_no_revision(tmp_path):
    begun, bare = tmp_path / "begun", tmp_path / "bare"
    subprocess.run(["git", "init", "-q", str(begun)], check=True)
    assert revision(begun) == "unversioned"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(begun), *identity, "commit", "-qm", "Begin", "--allow-empty"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(begun), str(bare)], check=True)
    assert revision(bare) == "unversioned"  # its code lies nowhere, changed or not
