"""Export a finished run as an RO-Crate: what was run, with which settings and code, and what came out.

    python -m winnow.pipeline.crate [crate.zip]

The crate follows the Workflow Run Crate profile (https://w3id.org/ro/wfrun/workflow), so that registries
such as WorkflowHub can read it. Models and data stay out: provenance.lock and dvc.lock name them by hash.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.model.data_entity import DataEntity
from rocrate.rocrate import ROCrate

from winnow.errors import InputError, exit_code

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.6": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.6": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.1": "Workflow RO-Crate",
}
FORMATS = {
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".html": "text/html",
    ".yaml": "text/yaml",
    ".md": "text/markdown",
}
WORKFLOW = "Snakefile"
REQUIRED = [
    "claims.yaml",
    "params.yaml",
    "envs/requirements.lock",
    "provenance.lock",
    "CITATION.cff",
    "LICENSE",
]
# Globs of what a run reads besides the workflow itself, and of what it makes for a person to read.
INPUTS = ["params.yaml", "scales/*.yaml", "claims.yaml", "data/sources.yaml", "envs/*.lock"]
WORKFLOW_PARTS = ["stages/**/*.smk", "stages/**/*.py", "winnow/**/*.py"]
ABOUT = ["CITATION.cff", "LICENSE", "README.md", "provenance.lock", "dvc.yaml", "dvc.lock"]
RESULTS = [
    "results/**/metrics.parquet",
    "results/**/plots/*",
    "results/claims.*",
    "summaries/*.json",
    "report.html",
]


def matching(root: Path, patterns: Iterable[str]) -> list[Path]:
    """Files under root that match one of the patterns, relative to root, sorted, each once."""
    found = {path.relative_to(root) for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return sorted(found)


def build_crate(root: Path) -> ROCrate:
    """The crate of the run in a checkout; InputError if there is no finished run."""
    for name in [WORKFLOW, *REQUIRED]:
        if not (root / name).is_file():
            raise InputError(f"{root / name}: no such file; run this in the root of a checkout, after `make reproduce`")
    if not (root / "results/claims.parquet").is_file():
        raise InputError("results/claims.parquet: no such file; only a finished run is exported: make reproduce")
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    crate = ROCrate()
    outcome = matching(root, RESULTS)
    # The run ended when its last result was written; the time of the export says nothing.
    ended = datetime.fromtimestamp(max((root / path).stat().st_mtime for path in outcome), UTC).replace(microsecond=0)
    _describe(crate, citation, ended)
    workflow = crate.add_workflow(
        root / WORKFLOW,
        WORKFLOW,
        main=True,
        lang="snakemake",
        lang_version=version("snakemake"),
        properties={"name": citation["title"], "version": citation["version"]},
    )
    workflow["hasPart"] = _add(crate, root, matching(root, WORKFLOW_PARTS))
    _add(crate, root, matching(root, ABOUT))
    run = crate.add_action(
        workflow,
        identifier="#run",
        object=_add(crate, root, matching(root, INPUTS)),
        result=_add(crate, root, outcome),
        properties={
            "name": "snakemake --cores all",
            "endTime": ended.isoformat(),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
    run["agent"] = crate.root_dataset["author"]
    crate.root_dataset["mentions"] = run
    # rocrate sets one profile for a main workflow; this crate conforms to those of a run as well.
    crate.root_dataset["conformsTo"] = [
        crate.add(ContextEntity(crate, url, properties={"@type": "CreativeWork", "name": name, "version": url[-3:]}))
        for url, name in PROFILES.items()
    ]
    return crate


def _describe(crate: ROCrate, citation: Mapping[str, Any], ended: datetime) -> None:
    crate.name = f"A run of {citation['title']}"
    crate.description = "Settings, code, provenance, metrics, plots and judged claims of one run of the workflow."
    crate.license = f"https://spdx.org/licenses/{citation['license']}"
    crate.datePublished = ended
    developers = {"@type": "Organization", "name": citation["authors"][0]["name"]}
    crate.root_dataset["author"] = crate.add(ContextEntity(crate, "#developers", properties=developers))


def _add(crate: ROCrate, root: Path, paths: Iterable[Path]) -> list[DataEntity]:
    entities = []
    for path in paths:
        properties = {"name": path.as_posix(), "encodingFormat": FORMATS.get(path.suffix, "text/plain")}
        entities.append(crate.add_file(root / path, path.as_posix(), properties=properties, record_size=True))
    return entities


def main(arguments: list[str]) -> str:
    target = Path(arguments[0] if arguments else "crate.zip")
    build_crate(Path.cwd()).write_zip(target)
    return f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)"


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
