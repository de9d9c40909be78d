"""Settings of evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Part, Section, Seeds, Sparsities, _distinct
from winnow.pipeline.settings.bee import Bee
from winnow.pipeline.settings.block_attention import BlockAttention
from winnow.pipeline.settings.code_recall import CodeRecall
from winnow.pipeline.settings.compress import FineTune, Group, PruningMethod
from winnow.pipeline.settings.compression_effects import CompressionEffects
from winnow.pipeline.settings.concept_probes import ConceptProbes, ConceptStudy
from winnow.pipeline.settings.contextual_decomposition import ContextualDecomposition
from winnow.pipeline.settings.dictionaries import Architecture
from winnow.pipeline.settings.dictionary_effects import DictionaryEffects
from winnow.pipeline.settings.diffroar import Diffroar, GradientLeakage
from winnow.pipeline.settings.duo import Duo
from winnow.pipeline.settings.evopress import EvoPress
from winnow.pipeline.settings.explanations import LimeImages, LocalApproximation, PlantedMark
from winnow.pipeline.settings.feature_browser import FeatureBrowser
from winnow.pipeline.settings.find_benchmark import FindBenchmark
from winnow.pipeline.settings.gallery import Gallery
from winnow.pipeline.settings.interaction_basis import InteractionBasis
from winnow.pipeline.settings.known_answers import KnownAnswers
from winnow.pipeline.settings.kronecker_attention import KroneckerAttention
from winnow.pipeline.settings.kv_quantise import KVQuantise
from winnow.pipeline.settings.language import LanguageModels
from winnow.pipeline.settings.language_compression import LanguageCompression
from winnow.pipeline.settings.local_interaction_basis import LocalInteractionBasis
from winnow.pipeline.settings.lora_limits import LoraLimits
from winnow.pipeline.settings.moe_x import MoeX
from winnow.pipeline.settings.opencoder import Opencoder
from winnow.pipeline.settings.opencoder_training import OpencoderTraining
from winnow.pipeline.settings.paging import ItemPaging, Paging
from winnow.pipeline.settings.planted_reasons import PlantedReasons
from winnow.pipeline.settings.protopnet import PrototypeScores
from winnow.pipeline.settings.prototype_reasons import PrototypeReasons
from winnow.pipeline.settings.pruning import BilevelPruning, RelevancePruning, RelevanceToy
from winnow.pipeline.settings.rbf_components import CertifiedRadius
from winnow.pipeline.settings.rec_sae import RecSae
from winnow.pipeline.settings.recommenders import Recommenders
from winnow.pipeline.settings.robust_recourse import RobustRecourse
from winnow.pipeline.settings.rope_alibi import RopeAlibi
from winnow.pipeline.settings.simplex import Compatibility
from winnow.pipeline.settings.subspace_rerouting import SubspaceRerouting
from winnow.pipeline.settings.subword import Subword
from winnow.pipeline.settings.supervised_dictionaries import CodeDictionaries, SupervisedDictionaries
from winnow.pipeline.settings.transcoder import Transcoder, TranscoderCircuits
from winnow.pipeline.settings.word2vec_ceo import Word2VecCeo
from winnow.pipeline.settings.word_explanations import WordExplanations

Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_distinct)]
Penalties = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(_distinct)]


Arm = Literal[PruningMethod, "global_magnitude_gradual", "global_magnitude_mt"]


class PruningCriteria(FineTune):
    """All pruning criteria on one model in one run, each with the same fine-tuning budget."""

    model: str = "mlp"
    """Train variant that is pruned."""
    methods: Annotated[list[Arm], Field(min_length=1), AfterValidator(_distinct)] = [
        "global_magnitude",
        "uniform",
        "erk",
        "lamp",
        "snip",
        "random",
    ]
    """Criteria compared; the suffixes _gradual and _mt name global_magnitude's gradual and minimum-threshold forms."""
    group: Group = "weight"
    """What is dropped together; filters and channels need criteria that score them, and no minimum threshold."""
    gradual_steps: int = Field(8, ge=1)
    """Rises of the sparsity in the gradual form, over the first half of fine-tuning."""
    min_keep_share: float = Field(0.0005, gt=0, lt=1)
    """Share of all weights that each layer keeps at least in the minimum-threshold form."""
    sparsities: Sparsities = [0.95, 0.98]
    """Shares of the weights set to zero."""
    seeds: Seeds | None = None
    """Seeds compared in pairs; null takes the workload's."""


class MeasureModels(Section):
    """Accuracy, calibration, bytes, operations and latency of every model, dense and compressed."""

    calibration_bins: int = Field(15, ge=2)
    """Equal-width confidence bins of the calibration error."""
    latency_batches: Counts = [1, 64]
    """Batch sizes at which latency is measured."""
    latency_repeats: int = Field(50, ge=3)
    """Forward passes timed for each model and batch size; the median counts."""


class FeatureSurvival(Section):
    """Which features of the dense model's dictionary are found again in the compressed model's."""

    dictionary: str = "topk"
    """Dictionary variant that is compared across models."""
    dense: str = "mlp"
    """Train variant whose features are looked for."""
    chance_quantile: float = Field(0.99, gt=0, lt=1)
    """Quantile of chance matches that a surviving feature must exceed."""


class DictionaryPareto(Part):
    """Sparse autoencoders of several architectures over a range of sparsities, on one model."""

    model: str = "mlp"
    """Train variant whose activations are explained."""
    hook: str = Field("relu2", min_length=1)
    """Hook point whose rows are explained."""
    architectures: Annotated[list[Architecture], Field(min_length=1), AfterValidator(_distinct)] = [
        "topk",
        "batchtopk",
        "relu_l1",
        "jumprelu",
        "gated",
    ]
    """Architectures compared."""
    k: Counts = [2, 4, 8, 16]
    """Features a row keeps, for topk, batchtopk and jumprelu."""
    penalties: Penalties = [0.03, 0.1, 0.3, 1.0]
    """Sparsity penalties, for relu_l1 and gated."""
    width: int = Field(256, ge=2)
    """Features of each dictionary (m)."""
    steps: int = Field(400, ge=1)
    """Optimiser steps of each fit."""
    batch_size: int = Field(1024, ge=1)
    """Rows a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of Adam, for every architecture."""
    seeds: Seeds | None = None
    """Seeds compared in pairs; null takes the workload's."""

    @model_validator(mode="after")
    def _narrower_than_width(self) -> DictionaryPareto:
        if max(self.k) >= self.width:
            raise ValueError(f"k is {max(self.k)}, not below width {self.width}; lower k or raise width")
        return self


class EvaluateModels(Section):
    """Evaluations of models, whatever their data; null leaves one out."""

    criteria: dict[str, PruningCriteria] = {"mlp": PruningCriteria()}
    """Comparisons of pruning criteria, by name."""
    models: MeasureModels = MeasureModels()
    """Measurements of every model."""
    survival: FeatureSurvival | None = FeatureSurvival()
    """Survival of features under compression."""
    pareto: DictionaryPareto | None = DictionaryPareto()
    """Comparison of dictionary architectures."""
    prototype_scores: PrototypeScores | None = None
    """Consistency and stability of prototypes."""
    compression_effects: CompressionEffects | None = None
    """Calibration and explanations of dense and pruned models."""
    feature_browser: FeatureBrowser | None = None
    """A page to leaf through the features of a dictionary."""


class EvaluateImages(EvaluateModels):
    """Evaluations of an image workload; null leaves one out."""

    diffroar: Diffroar | None = None
    """Models retrained on the pixels that attributions rank first and last."""
    relevance: RelevancePruning | None = None
    """Units pruned for few classes from few samples."""
    relevance_toy: RelevanceToy | None = None
    """Units pruned in networks of points in a plane."""
    bilevel: BilevelPruning | None = None
    """Single weights pruned on two levels, beside rivals."""
    bilevel_groups: BilevelPruning | None = None
    """Filters and channels pruned on two levels, beside rivals."""
    gradient_leakage: GradientLeakage | None = None
    """Gradients on images of which one block tells the class."""
    concept_probes: ConceptProbes | None = None
    """Explanations by concepts of rendered probe sets."""
    prototype_reasons: PrototypeReasons | None = None
    """Why prototypes look like patches."""
    planted_reasons: PlantedReasons | None = None
    """Reasons of prototypes where the right reason is known."""
    concept_study: ConceptStudy | None = None
    """A page of tasks that asks people about such explanations."""
    compatibility: Compatibility | None = None
    """Compatibility of models that replace one another."""
    certified_radius: CertifiedRadius | None = None
    """Certificates of models by components."""
    bee: Bee | None = None
    """Path integrals from baselines that a bandit chooses."""
    lime_images: LimeImages | None = None
    """LIME on images."""
    planted_mark: PlantedMark | None = None
    """LIME on a model that goes by a mark."""
    local_approximation: LocalApproximation | None = None
    """Explanations as local fits."""
    gallery: Gallery | None = None
    """Maps of all methods of attribution side by side."""
    interaction_basis: InteractionBasis | None = None
    """Networks of pairs of images in the Interaction Basis."""
    local_interaction_basis: LocalInteractionBasis | None = None
    """Directions and edges that a network needs."""


class EvaluateTable(EvaluateModels):
    """Evaluations of a table; null leaves one out."""

    criteria: dict[str, PruningCriteria] = {"mlp": PruningCriteria(sparsities=[0.8, 0.9], epochs=20, batch_size=64)}
    """Comparisons of pruning criteria, by name."""
    pareto: DictionaryPareto | None = None
    """Comparison of dictionary architectures."""
    robust_recourse: RobustRecourse | None = None
    """Recourses of rejected rows under deletion of training rows."""
    local_approximation: LocalApproximation | None = None
    """Explanations as local fits."""
    certified_radius: CertifiedRadius | None = None
    """Certificates of models by components."""


class EvaluatePlanted(Section):
    """Dictionaries on data whose true features are known."""

    atoms: int = Field(256, ge=2)
    """True features; how often each is active follows Zipf's law."""
    dimensions: int = Field(64, ge=2)
    """Dimensions the features live in."""
    active: int = Field(8, ge=1)
    """Features active in a row."""
    rows: int = Field(200_000, ge=1000)
    """Rows to fit on."""
    parents: int = Field(4, ge=1)
    """Features of the planted hierarchy that have children; all of them together must fit the dimensions."""
    children: int = Field(12, ge=1)
    """Children of each parent, of which one at most is active with it; few frequent ones pass for the parent's own."""
    parent_rate: float = Field(0.7, gt=0, lt=1)
    """Share of the rows in which a parent is active."""
    child_rate: float = Field(0.3, gt=0, le=1)
    """Share of an active parent's rows in which one of its children is active."""
    probe_rows: int = Field(4000, ge=100)
    """Rows on which absorption is probed and judged, half each."""
    width: int = Field(512, ge=2)
    """Features of the dictionary (m)."""
    k: Counts = [4, 8, 16]
    """Features a row keeps."""
    steps: int = Field(600, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(2048, ge=1)
    """Rows a step."""
    learning_rate: float | None = Field(1e-3, gt=0)
    """Peak learning rate of Adam; null is 2e-4 sqrt(16384 / width), at most 3e-3."""
    seeds: Seeds = [0, 1, 2]
    """Seeds, all fitted in one job."""

    @model_validator(mode="after")
    def _possible(self) -> EvaluatePlanted:
        if self.parents * (1 + self.children) > self.dimensions:
            needed = self.parents * (1 + self.children)
            raise ValueError(f"dimensions is {self.dimensions}; the hierarchy needs {needed}: raise it or plant fewer")
        if max(self.k) >= self.width:
            raise ValueError(f"k is {max(self.k)}, not below width {self.width}; lower k or raise width")
        return self


class EvaluateText(EvaluateModels):
    """Evaluations of language models; null leaves one out."""

    criteria: dict[str, PruningCriteria] = {}
    """Comparisons of pruning criteria, by name."""
    survival: FeatureSurvival | None = None
    """Survival of features under compression."""
    pareto: DictionaryPareto | None = None
    """Comparison of dictionary architectures."""
    supervised_dictionaries: CodeDictionaries | None = None
    """Dictionaries judged on a task whose attributes are known."""
    dictionary_effects: DictionaryEffects | None = None
    """Dictionaries of the dense model and of compressed ones."""
    transcoder: Transcoder | None = None
    """Feed-forward layers imitated by sparse dictionaries."""
    language_models: LanguageModels | None = LanguageModels()
    """Language models beside n-gram models."""
    language_compression: LanguageCompression | None = None
    """What is left of language models after compression."""
    paging: Paging | None = None
    """Caches that are told one bit for each request."""
    code_recall: CodeRecall | None = None
    """Pages about a subject recalled from a pool."""
    opencoder: Opencoder | None = None
    """A recipe for code, step by step."""
    opencoder_training: OpencoderTraining | None = None
    """What that recipe anneals on and is tuned on, part by part."""
    subword: Subword | None = None
    """Sub-word vocabularies side by side."""
    evopress: EvoPress | None = None
    """Compression of each layer chosen by evolution."""
    block_attention: BlockAttention | None = None
    """Attention over blocks that are drawn by chance."""
    kv_quantise: KVQuantise | None = None
    """Key-value caches of few bits."""
    duo: Duo | None = None
    """Routes through large and small feed-forward layers."""
    word2vec_ceo: Word2VecCeo | None = None
    """Settings of word2vec found by the cross-entropy method."""
    rope_alibi: RopeAlibi | None = None
    """Positions beyond the trained length."""
    kronecker_attention: KroneckerAttention | None = None
    """Attention over pairs of tokens."""
    moe_x: MoeX | None = None
    """Experts that are chosen for being quiet."""
    lora_limits: LoraLimits | None = None
    """Gradients of adapters in nearly linear time."""
    subspace_rerouting: SubspaceRerouting | None = None
    """Suffixes that reroute a model which declines, and defences."""
    word_explanations: WordExplanations | None = None
    """Explanations of a classifier of texts, word by word."""
    local_interaction_basis: LocalInteractionBasis | None = None
    """Directions and edges that a network needs."""


class EvaluateInteractions(EvaluateModels):
    """Evaluations of recommenders; null leaves one out."""

    criteria: dict[str, PruningCriteria] = {}
    """Comparisons of pruning criteria, by name."""
    survival: FeatureSurvival | None = None
    """Survival of features under compression."""
    pareto: None = Field(None, exclude=True)
    """Not for recommenders."""
    recommenders: Recommenders | None = Recommenders()
    """Plain and trained recommenders side by side."""
    rec_sae: RecSae | None = None
    """Concepts of a recommender's states."""
    word2vec_ceo: Word2VecCeo | None = None
    """Settings of word2vec, on items that users took, found by the cross-entropy method."""
    paging: ItemPaging | None = None
    """Caches of items that are told one bit for each request."""


class EvaluateSequences(EvaluateModels):
    """Evaluations of models of generated sequences; null leaves one out."""

    criteria: dict[str, PruningCriteria] = {}
    """Comparisons of pruning criteria, by name."""
    survival: FeatureSurvival | None = None
    """Survival of features under compression."""
    pareto: DictionaryPareto | None = None
    """Comparison of dictionary architectures."""
    supervised_dictionaries: SupervisedDictionaries | None = None
    """Dictionaries judged on a task whose attributes are known."""
    dictionary_effects: DictionaryEffects | None = None
    """Dictionaries of the dense model and of compressed ones."""
    transcoder: Transcoder | None = None
    """Feed-forward layers imitated by sparse dictionaries."""
    transcoder_circuits: TranscoderCircuits | None = None
    """Circuits by weights of transcoders."""
    contextual_decomposition: ContextualDecomposition | None = None
    """Circuits by contextual decomposition and by patching."""
    find_benchmark: FindBenchmark | None = None
    """Opaque functions and their interpreters."""
    known_answers: KnownAnswers | None = None
    """Measures held against planted answers."""
    local_interaction_basis: LocalInteractionBasis | None = None
    """Directions and edges that a network needs."""
