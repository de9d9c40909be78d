"""What the Snakefile asks of params.yaml and of the code: settings, digests, paths and targets."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from winnow.architectures import ARCHITECTURES
from winnow.errors import InputError
from winnow.pipeline.acquire import HOLDS, Source, find_source, load_sources
from winnow.pipeline.closure import architecture_digest, architectures_of, code_digest, reads_models
from winnow.pipeline.hashing import file_sha256
from winnow.pipeline.params import load_params
from winnow.pipeline.settings import (
    Images,
    Interactions,
    Learnable,
    Sequences,
    System,
    Table,
    Text,
    dictionary_variants,
    matching,
    pruned_variants,
    systems_of,
)

FAMILIES = ("curate", "train", "compress", "dictionaries", "evaluate")
CHAPTERS = {
    "training": "Models",
    "accuracy": "Models",
    "calibration": "Models",
    "size": "Compression",
    "latency": "Compression",
    "speed": "Compression",
    "criteria": "Gallery",
    "layers": "Compression",
}
STORE_FILES = ("meta.json", "rows.parquet", *(f"shard-{number:05d}.safetensors" for number in range(8)))
CODE_TABLES = tuple(f"{name}.parquet" for name in ("functions", "nodes", "triples", "doctests", "instructions"))
LEDGER = ("results/claims.parquet", "results/claims.html")
Wildcards = Any  # Snakemake's own type, which reads like a namespace of strings


def prepare_jobs(root: Path | str) -> None:
    """Let the jobs of this process import from this checkout, and know whose end is theirs too."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["WINNOW_PARENT"] = str(os.getpid())


def _named_in(settings: Any) -> set[str]:
    """The names of the registry of models among the texts of a tree of settings."""
    if isinstance(settings, Mapping):
        return set().union(*map(_named_in, settings.values()))
    if isinstance(settings, list | tuple):
        return set().union(*map(_named_in, settings))
    return {settings} & ARCHITECTURES.keys() if isinstance(settings, str) else set()


class Workflow:
    """The checked parameters of one invocation, as the rules need them."""

    def __init__(
        self, root: Path, overrides: Mapping[str, Any], requested: Callable[[], Collection[str] | None]
    ) -> None:
        """`requested` gives the names that are asked for (none: the default target), and None in a job."""
        self.root = root
        self.requested = requested
        self.general, self.workloads = load_params(overrides=overrides)
        self.learnable = {name: entry for name, entry in self.workloads.items() if isinstance(entry, Learnable)}
        self.variants = {name: self._variants(entry) for name, entry in self.workloads.items()}
        for name, entry in self.workloads.items():
            for target in [getattr(entry, "part_of", None), *self._elsewhere(name).values()]:
                if target in {name, "all", "everything"}:
                    raise InputError(f"params.yaml: {name}.part_of: {target!r} makes it already; name another target")

    def _variants(self, workload: Any) -> dict[str, dict[str, dict]]:
        """Family -> variant -> settings, seeds among them."""
        if not isinstance(workload, Learnable):
            return {"evaluate": {"planted": workload.evaluate.model_dump()}}
        evaluate = workload.evaluate
        named: dict[str, Any] = {f"criteria_{name}": entry for name, entry in evaluate.criteria.items()}
        named |= {"models": evaluate.models, "survival": evaluate.survival, "pareto": evaluate.pareto}
        named |= systems_of(evaluate)

        def dumped(section: Any) -> dict[str, Any]:
            own = section.model_dump(exclude={"optional", "part_of"})
            return own | {"seeds": own.get("seeds") or workload.seeds}

        evaluations = {name: dumped(section) for name, section in named.items() if section is not None}
        if evaluate.survival is not None:
            # The stage fits the dense model's dictionary again.
            fitted = workload.dictionaries[evaluate.survival.dictionary]
            evaluations["survival"]["fit"] = fitted.model_dump(exclude={"models", "seeds", "part_of"})
        return {
            "curate": {"all": {**workload.curate.model_dump(), **_sources(workload), "seeds": [0]}},
            "train": {name: dumped(section) for name, section in workload.train.items()},
            "compress": pruned_variants(workload),
            "dictionaries": dictionary_variants(workload),
            "evaluate": evaluations,
        }

    def settings(self, family: str, variant: str | None = None) -> Callable[[Wildcards], dict[str, Any]]:
        """For a rule's `params:`: the settings of the job's variant, without the seeds of its siblings."""

        def of(wildcards: Wildcards) -> dict[str, Any]:
            found = self._settings_of(wildcards.workload, family, variant or wildcards.variant)
            by_seed = hasattr(wildcards, "seed")
            return {k: v for k, v in found.items() if k != "seeds" or not by_seed} | {
                "torch_threads": self.general.torch_threads
            }

        return of

    def curation(self, *names: str) -> Callable[[Wildcards], dict[str, Any]]:
        """For a rule's `params:`: some settings of curation alone, so that the others rerun nothing of it."""
        everything = self.settings("curate", "all")

        def of(wildcards: Wildcards) -> dict[str, Any]:
            found = everything(wildcards)
            return {name: found[name] for name in (*names, "torch_threads")}

        return of

    def shards(self, name: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the file `name` of each shard in which a set of source files is curated."""

        def of(wildcards: Wildcards) -> list[str]:
            count = self._settings_of(wildcards.workload, "curate", "all")["shards"]
            folder = f"results/{wildcards.workload}/curate/all/seed{wildcards.seed}/shards"
            return [f"{folder}/{shard}/{name}" for shard in range(count)]

        return of

    def rule_files(self) -> list[str]:
        """The files of rules, relative to the Snakefile."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob("stages/*/*.smk"))

    def systems(self, workload: str) -> dict[str, System]:
        """`<family>/<variant>` -> section of every system of a workload that rules of its own make."""
        entry = self.workloads[workload]
        trained = getattr(entry, "train", {})
        found = {f"train/{name}": section for name, section in trained.items() if isinstance(section, System)}
        return found | {f"evaluate/{name}": section for name, section in systems_of(entry.evaluate).items()}

    def workloads_of(self, *kinds: str) -> str:
        """For a rule's `wildcard_constraints:`: the workloads of some kinds, as a regular expression."""
        found = sorted(name for name, entry in self.workloads.items() if getattr(entry, "kind", "") in kinds)
        return "|".join(found) or "(?!)"

    def variants_by(self, method: str) -> str:
        """For a rule's `wildcard_constraints:`: the train variants of a method, as a regular expression."""
        sections = [s for entry in self.workloads.values() for s in getattr(entry, "train", {}).items()]
        return "|".join(sorted({name for name, section in sections if section.method == method})) or "(?!)"

    def rendered(self, scene: str) -> str:
        """For a rule's `wildcard_constraints:`: the workloads of drawn scenes, as a regular expression."""
        images = {name: entry for name, entry in self.workloads.items() if isinstance(entry, Images)}
        drawn = [name for name, entry in images.items() if entry.render and entry.render.scene == scene]
        return "|".join(sorted(drawn)) or "(?!)"

    def tables(self, family: str, name: str, variant: str | None = None) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the table `name` of a variant, for each of its seeds."""

        def of(wildcards: Wildcards) -> list[str]:
            chosen = variant or wildcards.variant
            seeds = self._settings_of(wildcards.workload, family, chosen)["seeds"]
            return [f"results/{wildcards.workload}/{family}/{chosen}/seed{seed}/{name}" for seed in seeds]

        return of

    def _settings_of(self, workload: str, family: str, variant: str) -> dict[str, Any]:
        known = self.variants.get(workload, {}).get(family, {})
        if variant not in known:
            raise InputError(f"params.yaml: {workload} has no {family} variant {variant!r}; add it or ask for another")
        return known[variant]

    def closure(self, script: str) -> Callable[[Wildcards], str]:
        """For a rule's `params:`: the digest of a script, of all it imports, and of its workload's architectures."""
        digest = code_digest(self.root / script, self.root)
        models = self.architectures if reads_models(self.root / script, self.root) else {}
        return lambda wildcards: "-".join([digest, *models.get(getattr(wildcards, "workload", ""), [])])

    @cached_property
    def architectures(self) -> dict[str, list[str]]:
        """Workload -> digests of the architectures that its settings name, or its training stages of their own."""

        def of(entry: Any) -> list[str]:
            methods = {section.method for section in getattr(entry, "train", {}).values()} - {"adamw"}
            trained = (architectures_of(self.root / f"stages/train/{method}.py", self.root) for method in methods)
            names = _named_in(entry.model_dump()).union(*trained)
            return [architecture_digest(name, self.root) for name in sorted(names)]

        return {name: of(entry) for name, entry in self.workloads.items()}

    def model(self, family: str, variant: str | None = None, seed: int | None = None) -> Callable[[Wildcards], str]:
        """For a rule's `input:`: the model that the settings of the job's variant name, of the job's seed or of one."""

        def of(wildcards: Wildcards) -> str:
            settings = self._settings_of(wildcards.workload, family, variant or wildcards.variant)
            return self.model_path(wildcards.workload, settings["model"], wildcards.seed if seed is None else seed)

        return of

    def card(self, family: str, variant: str | None = None, seed: int | None = None) -> Callable[[Wildcards], str]:
        """For a rule's `input:`: the card beside that model."""
        model = self.model(family, variant, seed)
        return lambda wildcards: model(wildcards).replace(".safetensors", ".json")

    def model_path(self, workload: str, model: str, seed: int | str) -> str:
        """Where a train or compress variant's model lies."""
        family = "train" if model in self.variants[workload]["train"] else "compress"
        return f"results/{workload}/{family}/{model}/seed{seed}/model.safetensors"

    def named_model(self, variant: str, setting: str, name: str) -> Callable[[Wildcards], str]:
        """For a rule's `input:`: the file `name` of the model that one setting of an evaluation names."""

        def of(wildcards: Wildcards) -> str:
            model = self._settings_of(wildcards.workload, "evaluate", variant)[setting]
            path = self.model_path(wildcards.workload, model, wildcards.seed)
            return path.replace("model.safetensors", name)

        return of

    def named_files(self, variant: str, setting: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the files that one setting of an evaluation names, in its order."""
        return lambda wildcards: list(self._settings_of(wildcards.workload, "evaluate", variant)[setting].values())

    def models(self, family: str, variant: str, name: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the file `name` of each model that a section's `models` names, at the job's seed."""

        def of(wildcards: Wildcards) -> list[str]:
            workload = wildcards.workload
            known = [*self.variants[workload]["train"], *self.variants[workload]["compress"]]
            chosen = matching(self._settings_of(workload, family, variant)["models"], known)
            paths = [self.model_path(workload, model, wildcards.seed) for model in chosen]
            return [path.replace("model.safetensors", name) for path in paths]

        return of

    def dictionary(self, variant: str, name: str) -> Callable[[Wildcards], str]:
        """For a rule's `input:`: the file `name` of the dictionary that an evaluation's settings name."""

        def of(wildcards: Wildcards) -> str:
            settings = self._settings_of(wildcards.workload, "evaluate", variant)
            folder = f"{settings['dictionary']}-on-{settings['model']}"
            return f"results/{wildcards.workload}/dictionaries/{folder}/seed{wildcards.seed}/{name}"

        return of

    def activations(
        self, family: str, split: str, variant: str | None = None, model: str | None = None
    ) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: meta.json, then the rest, of activations of the model and hook a variant names."""

        def of(wildcards: Wildcards) -> list[str]:
            settings = self._settings_of(wildcards.workload, family, variant or wildcards.variant)
            place = f"{model or settings['model']}/seed{wildcards.seed}/{settings['hook']}/{split}"
            folder = f"results/{wildcards.workload}/dictionaries/activations/{place}"
            return [f"{folder}/{name}" for name in STORE_FILES]

        return of

    def activations_of_layer(self, variant: str, split: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the same of what goes into and out of the job's feed-forward layer."""

        def of(wildcards: Wildcards) -> list[str]:
            settings = self._settings_of(wildcards.workload, "evaluate", variant)
            hook = "-to-".join(f"blocks.{wildcards.layer}.{point}" for point in ("ln2.hook_normalized", "hook_mlp_out"))
            folder = f"results/{wildcards.workload}/dictionaries/activations/{settings['model']}/seed{wildcards.seed}"
            return [f"{folder}/{hook}/{split}/{name}" for name in STORE_FILES]

        return of

    def of_layers(self, variant: str, name: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the file `name` of the dictionary of each layer that an evaluation's settings name.

        Of the job's seed, or of all seeds of the evaluation where the job has none.
        """

        def of(wildcards: Wildcards) -> list[str]:
            settings = self._settings_of(wildcards.workload, "evaluate", variant)
            folder = f"results/{wildcards.workload}/dictionaries/{variant}"
            seeds = [wildcards.seed] if hasattr(wildcards, "seed") else settings["seeds"]
            return [f"{folder}/layer{layer}/seed{seed}/{name}" for layer in settings["layers"] for seed in seeds]

        return of

    def activations_of_models(self, variant: str, split: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the same of each model that the `models` of an evaluation name, in their order."""

        def of(wildcards: Wildcards) -> list[str]:
            models = self.models("evaluate", variant, "model.safetensors")(wildcards)
            names = [Path(path).parent.parent.name for path in models]
            return [file for name in names for file in self.activations("evaluate", split, variant, name)(wildcards)]

        return of

    def harvested(self, name: str) -> Callable[[Wildcards], str]:
        """For a rule's `input:`: the file `name` of the model whose activations are harvested."""

        def of(wildcards: Wildcards) -> str:
            path = self.model_path(wildcards.workload, wildcards.model, wildcards.seed)
            return path.replace("model.safetensors", name)

        return of

    def harvest(self, wildcards: Wildcards) -> dict[str, Any]:
        """For a rule's `params:`: how many rows are harvested."""
        section = self.learnable[wildcards.workload].activations  # type: ignore[attr-defined]
        rows = section.rows if wildcards.split == "train" else section.held_out_rows
        return {"rows": rows, "torch_threads": self.general.torch_threads}

    def folders(self, workload: str, family: str, default: bool = False) -> list[str]:
        """The result folders of a family: one for each variant and seed, in the order of params.yaml."""
        return [
            f"results/{workload}/{family}/{variant}/seed{seed}"
            for variant, settings in self.variants[workload].get(family, {}).items()
            for seed in settings["seeds"]
            if not (default and self._left_out(workload, f"{family}/{variant}"))
        ]

    def _section(self, workload: str, variant: str) -> Any:
        """The section of `<family>/<variant>`, None where it has none of its own."""
        family, _, name = variant.partition("/")
        sections = getattr(self.workloads[workload], family, None)
        if family == "compress":
            name = name.split("-")[1]  # <model>-<section>-s<percent>
        elif family == "dictionaries":
            name = name.partition("-on-")[0]
        return sections.get(name) if isinstance(sections, dict) else getattr(sections, name, None)

    def _left_out(self, workload: str, variant: str) -> bool:
        """Whether the default target leaves a variant out: it is optional, and nobody has made it yet.

        What was made once is kept like all else, so that neither the ledger nor the report shows what is stale.
        """
        if not getattr(self._section(workload, variant), "optional", False):
            return False
        family, _, name = variant.partition("/")
        seeds = self.variants[workload][family][name]["seeds"]
        return not any(Path(f"results/{workload}/{variant}/seed{seed}/metrics.parquet").exists() for seed in seeds)

    def _chosen(self, default: bool) -> list[str]:
        """The workloads; default leaves out those that are optional and that nobody has made yet."""
        return [
            name
            for name, entry in self.workloads.items()
            if not (default and getattr(entry, "optional", False) and not Path(f"summaries/{name}.json").exists())
        ]

    @cached_property
    def _asked(self) -> set[str]:
        """The files that the invocation asks for; none in the process of a job, when what it needs is there."""
        requested = self.requested()
        if requested is None:
            return set()
        named = self.named_targets() | {"everything": self.targets()}
        default = self.targets(default=True)
        return {file for target in requested or ["all"] for file in named.get(target, default)}

    def _there_or_asked(self, files: list[str]) -> list[str]:
        return [file for file in files if file in self._asked or Path(file).exists()]

    def _models(self, workload: str) -> list[str]:
        """The result folders of every model that is measured and compared with others, dense ones first.

        A system measures its own models, pruned ones among them.
        """
        own = [f"results/{workload}/{system}/" for system in self.systems(workload)]
        trained = [system.partition("/")[2] for system in self.systems(workload) if system.startswith("train/")]
        own += [f"results/{workload}/compress/{name}-" for name in trained]
        folders = [f for family in ("train", "compress") for f in self.folders(workload, family, default=True)]
        return [folder for folder in folders if not folder.startswith(tuple(own))]

    def source(self, wildcards: Wildcards) -> dict[str, Any]:
        """For a rule's `params:`: where a workload's raw data comes from, and a digest of a folder of one's own."""
        entry = self.learnable[wildcards.workload]
        if isinstance(entry, Images) and entry.render is not None:
            return {"render": entry.render.model_dump()}
        if isinstance(entry, Text) and entry.sources is not None:
            told = [self._holding(name, wildcards.workload, "text") for name in entry.sources]
            pins = [pin.model_dump(mode="json", exclude_none=True) for pin in told]
            return {"sources": entry.sources, "pins": pins}
        if isinstance(entry, Text):
            from winnow.workloads.text_tables import text_folder_digest

            return {"kind": "text", "path": entry.path, "digest": text_folder_digest(entry.path or "")}
        if entry.path is not None and isinstance(entry, Table):
            return {"kind": "table", "path": entry.path, "table": _read_as(entry), "digest": _digest(entry.path)}
        if entry.path is not None and isinstance(entry, Interactions):
            files = {name: path for name, path in (("path", entry.path), ("items", entry.items)) if path}
            return {**files, "columns": entry.columns, "digests": {name: _digest(p) for name, p in files.items()}}
        if entry.path is not None:
            from winnow.workloads.folders import folder_digest

            size = getattr(entry, "size", None)
            return {"kind": "images", "path": entry.path, "size": size, "digest": folder_digest(entry.path)}
        pin = self._holding(entry.source or "", wildcards.workload, entry.kind)  # type: ignore[attr-defined]
        return {"source": entry.source, "pin": pin.model_dump(mode="json", exclude_none=True)}

    def published_weights(self, wildcards: Wildcards) -> list[str]:
        """For a rule's `input:`: the published weights that the job's variant starts from, if any."""
        return self.weights_of("train", wildcards.variant)(wildcards)

    def weights_of(self, family: str, variant: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the published weights that the settings of a variant name, if any."""

        def of(wildcards: Wildcards) -> list[str]:
            source = self._settings_of(wildcards.workload, family, variant)["weights"]
            return [f"data/weights/{source}.safetensors"] if source else []

        return of

    def published_models(self, variant: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the published language models that an evaluation's settings name, as GGUF files."""

        def of(wildcards: Wildcards) -> list[str]:
            names = self._settings_of(wildcards.workload, "evaluate", variant)["published"]
            return [f"data/weights/{name}.gguf" for name in names if self._pin(name)]

        return of

    @cached_property
    def _pins(self) -> dict[str, Source]:
        return load_sources(self.root / "data/sources.yaml")

    def _pin(self, source: str) -> Source:
        """A pin, from the file as it was when it was first read."""
        return self._pins[source] if source in self._pins else find_source(source, self.root / "data/sources.yaml")

    def _holding(self, source: str, workload: str, kind: str) -> Source:
        """The pin of a source that must hold what a kind of workload is made of."""
        pin = self._pin(source)
        if (holds := HOLDS[pin.reader]) != kind:
            fitting = ", ".join(sorted(name for name, other in self._pins.items() if HOLDS[other.reader] == kind))
            told = f"{source!r} holds {holds} and is read as {kind}"
            raise InputError(f"params.yaml: {workload}: source {told}; name one of {fitting}")
        return pin

    def weights(self, wildcards: Wildcards) -> dict[str, Any]:
        """For a rule's `params:`: the pin of published weights."""
        return {"pin": self._pin(wildcards.source).model_dump(mode="json")}

    def targets(self, default: bool = False) -> list[str]:
        """All files the workflow can make; default=True leaves out what is optional and was never made."""
        chosen = self._chosen(default)
        files = [file for name in chosen for family in FAMILIES for file in self.family_targets(name, family, default)]
        return [
            *files,
            *(f"summaries/{name}.json" for name in chosen),
            *LEDGER,
        ]

    def named_targets(self) -> dict[str, list[str]]:
        """Targets a person can name: systems, families and families of a workload; whole workloads, with the ledger."""
        both = {(n, f): self.family_targets(n, f, default=True) for n in self.workloads for f in FAMILIES}
        named = {f"{n}_{f}": files for (n, f), files in both.items() if files}
        for name in self.workloads:
            for system, section in self.systems(name).items():
                family, _, variant = system.partition("/")
                tables = [f"{f}/metrics.parquet" for f in self.folders(name, family) if f"/{system}/" in f]
                pictures = [f"results/{name}/{system}/{picture}.svg" for picture in section.pictures]
                named[f"{name}_{variant}"] = tables + pictures
        for family in FAMILIES:
            named[family] = [file for n in self._chosen(default=True) for file in both[n, family]]
        wholes, elsewhere = {}, []
        for name in self.workloads:
            made = [file for f in FAMILIES for file in self.family_targets(name, f)]
            moved = self._moved(name, made)
            elsewhere += [(target, [file]) for file, target in moved.items()]
            wholes[name] = [*(file for file in made if file not in moved), f"summaries/{name}.json", *LEDGER]
        named |= {name: list(files) for name, files in wholes.items()}
        elsewhere += [(entry.part_of, wholes[name]) for name, entry in self.learnable.items() if entry.part_of]
        for target, files in elsewhere:
            named[target] = list(dict.fromkeys([*named.get(target, []), *files, *LEDGER]))
        return named

    def _elsewhere(self, workload: str) -> dict[str, str]:
        """Where the results of variants are -> the target that makes them in the place of the whole workload."""
        return {
            f"results/{workload}/{family}/{variant}/": section.part_of
            for family, variants in self.variants[workload].items()
            for variant in variants
            if getattr(section := self._section(workload, f"{family}/{variant}"), "part_of", None)
        }

    def _moved(self, workload: str, files: list[str]) -> dict[str, str]:
        """Those of the files that another target makes -> that target: their variant's, or that of what they draw."""
        places, plots = self._elsewhere(workload), self.plots(workload)

        def target(file: str) -> str | None:
            drawn = plots.get(Path(file).stem, []) if "/evaluate/plots/" in file else []
            return next((places[p] for f in [file, *drawn] for p in places if f.startswith(p)), None)

        return {file: found for file in files if (found := target(file))}

    def family_targets(self, workload: str, family: str, default: bool = False) -> list[str]:
        """One file for each result folder of a family, and its pictures; default leaves out what is optional."""
        if family == "curate":
            names = ["report.json"] if workload in self.learnable else []
            names += CODE_TABLES if getattr(getattr(self.workloads[workload], "curate", None), "tables", False) else []
            return [f"results/{workload}/curate/all/seed0/{name}" for name in names]
        pictures = [
            f"results/{workload}/{system}/{picture}.svg"
            for system, section in self.systems(workload).items()
            for picture in section.pictures
            if system.startswith(f"{family}/") and not (default and self._left_out(workload, system))
        ]
        if family != "evaluate":
            folders = self.folders(workload, family, default)
            if family == "dictionaries":
                pictures += sorted({f"{folder.rpartition('/')[0]}/density.svg" for folder in folders})
            return [f"{folder}/metrics.parquet" for folder in folders] + pictures
        drawn = [f"results/{workload}/evaluate/plots/{name}.svg" for name in self.plots(workload)]
        return self.evaluations(workload, default) + drawn + pictures

    def evaluations(self, workload: str, default: bool = False) -> list[str]:
        """The metrics tables of the evaluate family."""
        files = []
        systems = systems_of(self.workloads[workload].evaluate)
        for variant, settings in self.variants[workload]["evaluate"].items():
            if default and self._left_out(workload, f"evaluate/{variant}"):
                continue
            folder = f"results/{workload}/evaluate/{variant}"
            by_seed = variant.startswith("criteria_") or variant == "pareto" or variant in systems
            seeds = [f"/seed{seed}" for seed in settings["seeds"]] if by_seed else [""]
            files += [f"{folder}{seed}/metrics.parquet" for seed in seeds]
        return files

    def plots(self, workload: str) -> dict[str, list[str]]:
        """Name of each picture of a workload -> the tables that it is drawn from."""
        evaluate = f"results/{workload}/evaluate"
        if workload not in self.learnable:
            return {name: [f"{evaluate}/planted/metrics.parquet"] for name in ("recovery", "absorption")}
        criteria = [f for f in self.evaluations(workload) if "/criteria_" in f]
        plots = {
            "training": [f"{f}/history.parquet" for f in self._models(workload) if "/train/" in f],
            "size": [f"{evaluate}/models/metrics.parquet"],
            "latency": [f"{evaluate}/latency/timings.parquet"],
            "accuracy": [f"{evaluate}/models/metrics.parquet"],
            "calibration": [f"{evaluate}/models/reliability.parquet"],
        }
        if "expected_calibration_error" not in self._scores(workload):
            del plots["calibration"]
        if criteria:
            plots["criteria"] = criteria
        if any("/compress/" in folder for folder in self._models(workload)):
            plots["speed"] = plots["latency"]
        for name, settings in self.learnable[workload].evaluate.criteria.items():
            layers = [f.replace("metrics.parquet", "layers.parquet") for f in criteria if f"/criteria_{name}/" in f]
            if "global_magnitude_mt" in settings.methods:
                plots[f"layers_{name}"] = layers
        if "survival" in self.variants[workload]["evaluate"]:
            plots["survival"] = [f"{evaluate}/survival/metrics.parquet"]
            plots["density"] = [f"{evaluate}/survival/features.parquet"]
        if pareto := [f for f in self.evaluations(workload) if "/pareto/" in f]:
            plots |= {"unexplained": pareto, "recovered": pareto}
        return plots

    def _scores(self, workload: str) -> list[str]:
        """The metrics that models of a workload are told by, the first before the others."""
        if isinstance(self.workloads[workload], Text):
            return ["bits_per_byte", "accuracy"]
        if isinstance(self.workloads[workload], Sequences):
            return ["cross_entropy", "accuracy"]
        if isinstance(self.workloads[workload], Interactions):
            return ["ndcg10", "hr10"]
        return ["r2"] if self._regression(workload) else ["accuracy", "expected_calibration_error"]

    def _regression(self, workload: str) -> bool:
        """Whether a number is predicted, as params.yaml or the source says."""
        entry = self.workloads[workload]
        if not isinstance(entry, Table) or entry.source is None:
            return getattr(entry, "task", None) == "regression"
        pin = self._pin(entry.source).table
        return pin is not None and pin.task == "regression"

    def plot_tables(self, wildcards: Wildcards) -> list[str]:
        """For a rule's `input:`: the tables that the job's picture is drawn from."""
        found = self.plots(wildcards.workload)
        if wildcards.plot not in found:
            raise InputError(f"{wildcards.workload} has no picture {wildcards.plot!r}; it has {', '.join(found)}")
        return found[wildcards.plot]

    @staticmethod
    def plot_category(wildcards: Wildcards) -> str:
        """For `report`: the chapter that a picture belongs to."""
        return CHAPTERS.get(wildcards.plot.partition("_")[0], "Dictionaries")

    def plot_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """For a rule's `params:`: which models a picture that cannot show all of them shows."""
        if wildcards.workload not in self.learnable:
            return {}
        workload = self.learnable[wildcards.workload]
        measured = {folder.split("/")[3] for folder in self._models(wildcards.workload)}
        pruned = ((section.models[0], name) for name, section in workload.compress.items())
        dense, name = next((pair for pair in pruned if pair[0] in measured), (None, None))
        dense = dense or next((variant for variant in workload.train if variant in measured), None)
        compressed = [v for v in self.variants[wildcards.workload]["compress"] if v.startswith(f"{dense}-{name}-")]
        scores = self._scores(wildcards.workload)
        return {"variants": [dense, *compressed], "first_seed": workload.seeds[0], "scores": scores}

    def all_models(self, name: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the file `name` of every model of the job's workload, dense and compressed."""

        return lambda wildcards: [f"{folder}/{name}" for folder in self._models(wildcards.workload)]

    def survival(self, name: str) -> Callable[[Wildcards], list[str]]:
        """For a rule's `input:`: the file `name` of the dictionaries that are compared, or of their models."""

        def of(wildcards: Wildcards) -> list[str]:
            workload = wildcards.workload
            chosen = self._settings_of(workload, "evaluate", "survival")["dictionary"]
            compared = {
                v: s for v, s in self.variants[workload]["dictionaries"].items() if v.startswith(f"{chosen}-on-")
            }
            if name.startswith("dictionary"):
                pairs = [(v, seed) for v, s in compared.items() for seed in s["seeds"]]
                return [f"results/{workload}/dictionaries/{variant}/seed{seed}/{name}" for variant, seed in pairs]
            pairs = [(s["model"], seed) for s in compared.values() for seed in s["seeds"]]
            paths = [self.model_path(workload, model, seed) for model, seed in pairs]
            return [path.replace("model.safetensors", name) for path in paths]

        return of

    def survival_metrics(self, wildcards: Wildcards) -> list[str]:
        """For a rule's `input:`: the table of surviving features, where the job's workload has one."""
        made = "survival" in self.variants[wildcards.workload]["evaluate"]
        return [f"results/{wildcards.workload}/evaluate/survival/metrics.parquet"] if made else []

    def metrics(self, wildcards: Wildcards) -> list[str]:
        """For a rule's `input:`: every metrics table of the job's workload that is there or asked for."""
        workload = wildcards.workload
        made = [f"{folder}/metrics.parquet" for f in FAMILIES[1:4] for folder in self.folders(workload, f)]
        curated = [f"results/{workload}/curate/all/seed0/metrics.parquet"] if workload in self.learnable else []
        return curated + self._there_or_asked([*made, *self.evaluations(workload)])

    def claim_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """For a rule's `params:`: the scale, below which some claims cannot be judged."""
        return {"scale": self.general.scale}

    def benchmarks(self) -> list[str]:
        """For a rule's `input:`: what benchmarks beside peers have measured; `make bench` writes it."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob("benchmarks/results/*.json"))

    def claim_metrics(self, wildcards: Wildcards) -> list[str]:
        """For a rule's `input:`: what all systems measured, so far as it is there or asked for."""
        trained = [
            f"results/{name}/{system}/seed{seed}/metrics.parquet"
            for name in self.workloads
            for system in self.systems(name)
            if system.startswith("train/")
            for seed in self.variants[name]["train"][system.removeprefix("train/")]["seeds"]
        ]
        evaluated = [file for name in self.workloads for file in self.evaluations(name)]
        return self._there_or_asked(evaluated + trained)


def _sources(workload: Learnable) -> dict[str, Any]:
    """What curation is told of where the data came from."""
    return {"sources": workload.sources} if isinstance(workload, Text) else {"source": workload.source}


def _read_as(entry: Table) -> dict[str, Any]:
    """How a table of one's own is to be read."""
    settings = entry.model_dump(include={"target", "group", "leave_out", "columns"})
    settings["task"] = entry.task or "classification"
    return settings | ({} if entry.missing is None else {"missing": entry.missing})


def _digest(path: str) -> str:
    """Digest of a file of one's own; an absent one is an InputError."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; correct `path`")
    return file_sha256(Path(path))
