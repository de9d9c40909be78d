"""params.yaml as types: every number a person may edit, with its bounds, its default and its meaning."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from winnow.pipeline.names import percent
from winnow.pipeline.settings.base import Names, Section, Seeds, System
from winnow.pipeline.settings.compress import Prune
from winnow.pipeline.settings.curate import CurateImages, CurateTable, CurateText, Split
from winnow.pipeline.settings.dictionaries import Activations, SparseAutoencoder
from winnow.pipeline.settings.evaluate import (
    EvaluateImages,
    EvaluateInteractions,
    EvaluateModels,
    EvaluatePlanted,
    EvaluateSequences,
    EvaluateTable,
    EvaluateText,
)
from winnow.pipeline.settings.interactions import CurateInteractions, SequentialRecommender
from winnow.pipeline.settings.rec_sae import RecSaeDictionary
from winnow.pipeline.settings.render import RenderParts
from winnow.pipeline.settings.sequences import CurateSequences, NamesLanguage, TrainedSequences
from winnow.pipeline.settings.train import Train, Trained, TrainedTable, TrainTable, TrainText

__all__ = [
    "KINDS",
    "Images",
    "Interactions",
    "Learnable",
    "Planted",
    "Sequences",
    "Settings",
    "System",
    "Table",
    "Text",
    "dictionary_variants",
    "pruned_variants",
    "systems_of",
]


PRUNABLE = ("adamw", "protopnet", "names_language", "sequential_recommender")
"""Methods of training whose models are networks like any other when they are pruned."""


class Learnable(Section):
    """A workload on which models are trained, compressed and explained."""

    source: str | None = None
    """A source of data/sources.yaml."""
    path: str | None = None
    """Or a folder or file of one's own."""
    seeds: Seeds = [0, 1, 2]
    """Seeds of every variant that names none of its own."""
    optional: bool = False
    """Left out of the default target, for data that not every machine can get."""
    part_of: str | None = None
    """Name of a target that makes this workload with all others that name it; a workload's name adds it to that one."""
    curate: Split = Split()
    """Curation and split."""
    train: dict[str, Any] = {}
    """Trained models, by name."""
    compress: dict[str, Prune] = {"magnitude": Prune(models=["mlp"], sparsities=[0.9])}
    """Pruned models, by name."""
    dictionaries: dict[str, SparseAutoencoder] = {"topk": SparseAutoencoder(models=["mlp", "mlp-magnitude-s90"], k=8)}
    """Dictionaries, by name."""
    evaluate: EvaluateModels = EvaluateModels()
    """Evaluations."""

    @model_validator(mode="after")
    def _fits_together(self) -> Learnable:
        origins = [
            name for name in ("source", "sources", "path", "render", "language") if name in type(self).model_fields
        ]
        if sum(getattr(self, name) is not None for name in origins) != 1:
            raise ValueError(f"name one of {', '.join(origins)}")
        for name in [*self.train, *self.compress, *self.dictionaries, *self.evaluate.criteria]:
            if not name or not all(c.isalnum() or c == "_" for c in name):
                raise ValueError(f"variant {name!r}: use letters, digits and underscores only")
        models = prunable_and_pruned(self)
        dense = dict.fromkeys(name for name in self.train if name in models)
        for place, names, known in self._references(dense, models):
            for name in names:
                if not matching([name], known):
                    raise ValueError(f"{place} names {name!r}, which is none of {', '.join(known)}")
        for name, system in systems_of(self.evaluate).items():
            self._require_architecture(name, system)
        return self

    def _require_architecture(self, name: str, system: System) -> None:
        """Raise ValueError where a system is given a model that is not of the kind it works on."""
        wanted, model = system.works_on, getattr(system, "model", None)
        if wanted is None or model is None:
            return
        fitting = [variant for variant, trained in self.train.items() if getattr(trained, "model", "") == wanted]
        base = model.split("-")[0]  # a pruned model is of its train variant's kind
        if base not in fitting:
            told = f"evaluate.{name}.model names {model!r}, which is a {getattr(self.train[base], 'model', 'network')}"
            raise ValueError(f"{told}; name a {wanted}: {', '.join(fitting) or 'none is trained, add one'}")

    def _references(self, dense: dict, models: dict) -> list[tuple[str, list[str], dict]]:
        """Where names are used, the names, and what they must be one of."""
        evaluate = self.evaluate
        found: list[tuple[str, list[str], dict]] = []
        found += [(f"compress.{n}.models", v.models, dense) for n, v in self.compress.items()]
        found += [(f"dictionaries.{n}.models", v.models, models) for n, v in self.dictionaries.items()]
        found += [(f"evaluate.criteria.{n}.model", [v.model], dense) for n, v in evaluate.criteria.items()]
        if evaluate.pareto:
            found.append(("evaluate.pareto.model", [evaluate.pareto.model], dense))
        if evaluate.survival:
            chosen = evaluate.survival.dictionary
            found.append(("evaluate.survival.dictionary", [chosen], self.dictionaries))
            fitted = self.dictionaries[chosen].models if chosen in self.dictionaries else []
            on = dict.fromkeys(matching(fitted, models))
            found.append(("evaluate.survival.dense", [evaluate.survival.dense], on))
        for place in ("feature_browser", "rec_sae"):
            if (reader := getattr(evaluate, place, None)) is not None:
                found.append((f"evaluate.{place}.dictionary", [reader.dictionary], self.dictionaries))
                read = self.dictionaries.get(reader.dictionary)
                on = dict.fromkeys(matching(read.models if read else [], models))
                found.append((f"evaluate.{place}.model", [reader.model], on))
        for name, system in systems_of(evaluate).items():
            explained = [getattr(system, key, None) for key in ("model", "dense")] + getattr(system, "models", [])
            known = {**dict.fromkeys(self.train), **models}
            found.append((f"evaluate.{name}", [model for model in explained if model is not None], known))
        return found


class Images(Learnable):
    """A workload of labelled images."""

    kind: Literal["images"]
    """Kind of workload."""
    path: str | None = None
    """Or a folder of one's own: PNG and JPEG files in one sub-folder for each class."""
    render: RenderParts | None = None
    """Or what is drawn."""
    size: Annotated[list[Annotated[int, Field(ge=8, le=512)]], Field(min_length=2, max_length=2)] | None = None
    """Height and width that the images of a folder are brought to; null leaves images of equal size as they are."""
    curate: CurateImages = CurateImages()
    """Curation and split."""
    train: dict[str, Trained] = {"mlp": Train()}
    """Trained models, by name."""
    evaluate: EvaluateImages = EvaluateImages()
    """Evaluations."""

    @model_validator(mode="after")
    def _size_of_a_folder(self) -> Images:
        if self.path is None and self.size is not None:
            raise ValueError("size belongs to a folder of one's own (path); a source has its own size")
        return self


class Table(Learnable):
    """A workload of rows of numbers, categories and ordinals, with a class or a number to predict."""

    kind: Literal["table"]
    """Kind of workload."""
    path: str | None = None
    """Or a CSV or parquet file of one's own."""
    target: str | None = None
    """Column that is predicted."""
    task: Literal["classification", "regression"] | None = None
    """Whether the target is a class or a number; null is classification, or what the source says."""
    group: str | None = None
    """Column of which equal values stay in one split: a patient, a household, a device."""
    leave_out: list[str] = []
    """Columns that are no features, such as names and numbers of the rows."""
    columns: dict[str, Literal["numeric", "category"] | Annotated[list[str], Field(min_length=2)]] = {}
    """Types of columns that their values do not tell; a list of levels, lowest first, is an ordinal."""
    missing: list[str] | None = None
    """Texts that stand for no value; null takes the usual ones."""
    curate: CurateTable = CurateTable()
    """Curation and split."""
    train: dict[str, TrainedTable] = {"mlp": TrainTable(), "linear": TrainTable(model="table_linear")}
    """Trained models, by name."""
    compress: dict[str, Prune] = {"magnitude": Prune(models=["mlp"], sparsities=[0.9], epochs=20, batch_size=64)}
    """Pruned models, by name."""
    dictionaries: dict[str, SparseAutoencoder] = {
        "topk": SparseAutoencoder(models=["mlp", "mlp-magnitude-s90"], width=128, k=8, steps=300, batch_size=256)
    }
    """Dictionaries, by name."""
    evaluate: EvaluateTable = EvaluateTable()
    """Evaluations."""

    @model_validator(mode="after")
    def _describes_a_file(self) -> Table:
        if self.path is not None and self.target is None:
            raise ValueError("target is missing; name the column that is to be predicted")
        for name in ("target", "task", "group", "leave_out", "columns", "missing"):
            if self.source is not None and getattr(self, name):
                raise ValueError(f"{name} belongs to a file of one's own (path); a source has its own")
        return self


class Text(Learnable):
    """A workload of files of source or prose, on which language models are trained."""

    kind: Literal["text"]
    """Kind of workload."""
    source: None = Field(None, exclude=True)
    """Not used: archives are named in sources."""
    sources: Names | None = None
    """Sources of data/sources.yaml, one after another; of copies in several of them the first stays."""
    path: str | None = None
    """Or a folder of one's own: files of source or prose, one project in each sub-folder."""
    curate: CurateText = CurateText()
    """Curation, split and tokens."""
    train: dict[str, TrainText] = {"transformer": TrainText()}
    """Trained models, by name."""
    compress: dict[str, Prune] = {
        "magnitude": Prune(models=["transformer"], sparsities=[0.5], epochs=1, batch_size=16, learning_rate=0.3)
    }
    """Pruned models, by name."""
    activations: Activations = Activations()
    """Harvested activations."""
    dictionaries: dict[str, SparseAutoencoder] = {}
    """Dictionaries, by name."""
    evaluate: EvaluateText = EvaluateText()
    """Evaluations."""


class Sequences(Learnable):
    """A workload of generated sequences, on which small language models with known tasks are trained."""

    kind: Literal["sequences"]
    """Kind of workload."""
    source: None = Field(None, exclude=True)
    """Not used: sequences are generated."""
    path: None = Field(None, exclude=True)
    """Not used: sequences are generated."""
    language: Literal["names"]
    """What is generated."""
    curate: CurateSequences = CurateSequences()  # type: ignore[assignment]
    """Documents."""
    train: dict[str, TrainedSequences] = {"lm_names": NamesLanguage()}
    """Trained models, by name."""
    compress: dict[str, Prune] = {
        "magnitude": Prune(models=["lm_names"], sparsities=[0.5], epochs=1, batch_size=128, learning_rate=0.3)
    }
    """Pruned models, by name."""
    activations: Activations = Activations()
    """Harvested activations."""
    dictionaries: dict[str, SparseAutoencoder] = {}
    """Dictionaries, by name."""
    evaluate: EvaluateSequences = EvaluateSequences()
    """Evaluations."""


class Interactions(Learnable):
    """A workload of events of users and items, on which recommenders are trained."""

    kind: Literal["interactions"]
    """Kind of workload."""
    path: str | None = None
    """Or a CSV or parquet file of one's own, one row an event: user, item, time and perhaps rating."""
    items: str | None = None
    """What is known of the items of a file of one's own: item, title, year, genres; other columns are properties."""
    columns: dict[Literal["user", "item", "time", "rating", "title", "year", "genres"], str] = {}
    """What a file of one's own calls its columns, where it is not as here."""
    curate: CurateInteractions = CurateInteractions()
    """Curation and split."""
    train: dict[str, SequentialRecommender] = {"sasrec": SequentialRecommender()}
    """Trained models, by name."""
    compress: dict[str, Prune] = {}
    """Pruned models, by name."""
    activations: Activations = Activations()
    """Harvested activations."""
    dictionaries: dict[str, RecSaeDictionary] = {}  # type: ignore[assignment]
    """Dictionaries, by name."""
    evaluate: EvaluateInteractions = EvaluateInteractions()
    """Evaluations."""

    @model_validator(mode="after")
    def _describes_a_file(self) -> Interactions:
        for name in ("items", "columns"):
            if self.source is not None and getattr(self, name):
                raise ValueError(f"{name} belongs to a file of one's own (path); a source has its own")
        return self


class Planted(Section):
    """Data made of known features, on which dictionaries are scored against the truth."""

    kind: Literal["planted"]
    """Kind of workload."""
    evaluate: EvaluatePlanted = EvaluatePlanted()
    """The one evaluation."""


KINDS: dict[str, type[Section]] = {
    "images": Images,
    "table": Table,
    "text": Text,
    "sequences": Sequences,
    "interactions": Interactions,
    "planted": Planted,
}
"""Kind of workload -> the section that describes it."""


class Settings(Section):
    """What holds for all workloads."""

    scale: Literal["smoke", "laptop", "paper"] = "laptop"
    """How much is run: smoke in seconds, laptop on two cores, paper on a cluster."""
    torch_threads: int = Field(1, ge=1, le=64)
    """Threads torch computes with in one job; other numbers give other bits."""


def matching(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of the known names that are named, in the order of naming; * stands for any run of characters."""
    known = list(known)
    return list(dict.fromkeys(found for name in names for found in known if fnmatchcase(found, name)))


def prunable_and_pruned(workload: Learnable) -> dict[str, None]:
    """Names of the models that can be pruned, then of the pruned ones."""
    dense = [name for name, section in workload.train.items() if section.method in PRUNABLE]
    return dict.fromkeys([*dense, *pruned_variants(workload)])


def systems_of(evaluate: Section) -> dict[str, System]:
    """Name -> section of each system that an evaluate section has, those left out aside."""
    sections = {name: getattr(evaluate, name) for name in type(evaluate).model_fields}
    return {name: section for name, section in sections.items() if isinstance(section, System)}


def pruned_variants(workload: Learnable) -> dict[str, dict]:
    """Variant name -> settings of each pruned model: one for each model and sparsity of each compress section."""
    return {
        f"{model}-{name}-{percent(sparsity)}": {
            **section.model_dump(exclude={"models", "sparsities", "seeds", "optional", "part_of"}),
            "model": model,
            "sparsity": sparsity,
            "seeds": section.seeds or workload.seeds,
        }
        for name, section in workload.compress.items()
        for model in section.models
        for sparsity in section.sparsities
    }


def dictionary_variants(workload: Learnable) -> dict[str, dict]:
    """Variant name -> settings of each dictionary: one for each model of each dictionaries section."""
    return {
        f"{name}-on-{model}": {
            **section.model_dump(exclude={"models", "seeds", "part_of"}),
            "model": model,
            "seeds": section.seeds or workload.seeds,
        }
        for name, section in workload.dictionaries.items()
        for model in matching(section.models, prunable_and_pruned(workload))
    }
