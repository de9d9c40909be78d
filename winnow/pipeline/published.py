"""Verdicts that stay published when a run does not make them again: docs/verdicts.json.

A full ledger takes hours; a run of one system should not wipe out what others measured. A verdict is kept as long as
its claim is worded and measured as it was, and says at which revision it was measured.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.errors import InputError
from winnow.evaluate.claims import CLAIMS_SCHEMA
from winnow.evaluate.claims_schema import Claim

Row = Mapping[str, Any]


def definition(claim: Claim) -> str:
    """A digest of all that decides a claim's verdict, and of its words."""
    told = json.dumps(claim.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def revision(root: Path) -> str:
    """The commit of a checkout, shortened; with a + where files differ from it; `unversioned` outside git."""
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=True)
        code = [*git, "status", "--porcelain", "--untracked-files=no", "--", "winnow", "stages", "params.yaml"]
        changed = subprocess.run(code, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unversioned"
    return head.stdout.strip() + ("+" if changed else "")


def merged(claims: Iterable[Claim], rows: list[Row], path: Path, at: str) -> list[Row]:
    """Rows of the ledger, those of claims that were not run replaced by what was published; `path` is written anew.

    Each row has `revision`, at which it was measured; null for a claim that never was. A claim's first row speaks for
    it. Raises InputError for a file that is no record of verdicts.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        earlier = {name: (entry["definition"], [_whole(row) for row in entry["rows"]]) for name, entry in known.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no record of verdicts ({error}); take it from git again") from error
    kept: dict[str, Any] = {}
    found: list[Row] = []
    for claim in claims:
        own: Sequence[Row] = [_whole(row) for row in rows if row["claim"] == claim.id]
        if not own:
            continue
        digest, published = earlier.get(claim.id, ("", []))
        before = [row | {"statement": claim.statement} for row in published] if digest == definition(claim) else []
        measured = own[0]["verdict"] != "not run"
        if before and (not measured or [_figures(row) for row in own] == [_figures(row) for row in before]):
            own = before  # nothing new was measured
        else:
            own = [{**row, "revision": at if measured else None} for row in own]
        found += own
        if own[0]["verdict"] != "not run":
            kept[claim.id] = {"definition": definition(claim), "rows": [_told(row) for row in own]}
    path.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return found


def _told(row: Row) -> Row:
    """What a row says; statement and paper stand in claims.yaml."""
    return {key: value for key, value in row.items() if value not in (None, "") and key not in ("statement", "paper")}


def _figures(row: Row) -> Row:
    return {key: value for key, value in _told(row).items() if key != "revision"}


def _whole(row: Row) -> dict[str, Any]:
    return dict.fromkeys(CLAIMS_SCHEMA.names, None) | {"unit": "", "n": 0} | dict(row)
