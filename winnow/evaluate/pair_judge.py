"""What bases of a network of pairs are worth, and how much of such networks is free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from winnow.dictionaries.behavioural_spectrum import behavioural_product, counted, counted_above
from winnow.dictionaries.interaction_basis import Basis, layer_values, logit_gauge
from winnow.evaluate import interaction_study as study
from winnow.evaluate.interaction_study import KindOfBasis, Rows
from winnow.evaluate.pair_networks import disguised, network_of, pair_accuracy, pair_loss, parts_of
from winnow.workloads.digit_pairs import DigitPairs, Question

QUESTIONS: tuple[Question, ...] = ("apart", "coupled")
Measures = dict[str, dict[str, float]]


class PairJudge:
    """Measures on judged pairs; settings: as params.yaml has them, with `seed`."""

    def __init__(self, networks: Mapping[str, Tensor], pairs: DigitPairs, settings: Any, classes: int) -> None:
        self.networks, self.pairs, self.settings, self.classes = networks, pairs, settings, classes
        self.model = network_of(networks, "network")
        self.parts, self.x = parts_of(self.model), pairs.x.double()
        self.layers = ["input", *(f"hidden{i + 1}" for i in range(len(self.parts) - 1)), "output"]

    def loss(self, logits: Tensor) -> float:
        """Nats of both answers of the network whose bases are judged."""
        return float(pair_loss(logits, self.pairs.answers("apart", self.classes)))

    def basis(
        self, kind: KindOfBasis, bases: Sequence[Basis], strengths: Sequence[Tensor]
    ) -> tuple[Measures, Rows, Rows]:
        """Measures of a basis and of its layers, its nodes, and the edges between them that cannot be spared.

        A direction is of the task that gets more of its squared attribution. Means are over the hidden layers.
        """
        values, groups = layer_values(self.parts, self.x), [self.classes] * 2
        allowed, seed = self.settings.allowed, self.settings.seed
        graph, labels, threshold = study.modular_graph(self.parts, self.x, bases, strengths, self.loss, allowed, seed)
        measures: Measures = {}
        nodes, truths = [], []
        for i, layer in enumerate(self.layers):
            found = study.attributions(self.parts[i:], values[i], bases[i], bases[-1], groups)
            each, together = study.purity(found)
            truths.append(np.where(np.isfinite(each), found.argmax(1), -1))
            measures[f"{kind}-{layer}"] = {
                "purity": float(np.nanmean(each)),
                "weighted_purity": together,
                "rank": float(len(each)),
            }
            nodes += [
                {"basis": kind, "layer": layer, "node": node, "module": int(labels[i][node]), "purity": float(share)}
                | {"first": float(found[node, 0]), "second": float(found[node, 1])}
                for node, share in enumerate(each)
            ]
        hidden = [measures[f"{kind}-{layer}"] for layer in self.layers[1:-1]]
        means = {name: float(np.mean([of[name] for of in hidden])) for name in ("purity", "weighted_purity")}
        found_modules = study.agreement(np.concatenate(labels), np.concatenate(truths))
        measures[kind] = means | graph | {"agreement": found_modules}
        kept = [strength.where(strength > threshold, 0) for strength in strengths]
        edges = [row | {"weight": float(np.log10(row["strength"] / threshold))}
                 for row in study.edge_rows(kind, kept) if row["strength"] > 0]  # fmt: skip
        return measures, nodes, [row | {"layer": self.layers[row["layer"]]} for row in edges]

    def invariances(self) -> Measures:
        """How alike directions are before and after the layers are disguised, for the basis and for components."""
        settings, gauge = self.settings, logit_gauge([self.classes] * 2)
        disguise = disguised(self.model, settings.condition, settings.junk, settings.seed)
        kinds: tuple[KindOfBasis, ...] = ("ib", "pca")
        return {f"invariance-{k}": study.invariance(self.parts, disguise, self.x, gauge, k) for k in kinds}

    def freedom(self, progress: Callable[[int, int], None]) -> tuple[Measures, Rows]:
        """Effective parameters of the network of two tasks and of the coupled one, at equal loss, and their spectra.

        effective_<tolerance>: eigenvalues above so much of the network's own largest; common_<tolerance>: above so much
        of the larger of both networks', one epsilon for both.
        """
        settings, gauge = self.settings, logit_gauge([self.classes] * 2)
        measures: Measures = {}
        rows: Rows = []
        spectra = {}
        for name in QUESTIONS:
            model = network_of(self.networks, name).double()
            answers, logits = self.pairs.answers(name, self.classes), model(self.x)
            product, size = behavioural_product(model, self.x, gauge)
            shown = np.logspace(0, -5, 41)[1:].tolist()
            spectrum = counted_above(
                product,
                size,
                [*settings.tolerances, *shown],
                probes=settings.probes,
                steps=settings.lanczos_steps,
                seed=settings.seed,
                progress=progress,
            )
            measures[name] = {"accuracy": pair_accuracy(logits, answers), "loss": float(pair_loss(logits, answers))}
            measures[name] |= {"parameters": float(size), "largest": float(spectrum.values.max())}
            for tolerance, count, error in zip(settings.tolerances, spectrum.counts, spectrum.errors, strict=False):
                measures[name] |= {f"effective_{tolerance:g}": count, f"effective_{tolerance:g}_error": error}
            spectra[name] = spectrum
            counts = spectrum.counts[len(settings.tolerances) :]
            rows += [
                {"what": name, "above": count, "value": value, "predicted": None, "seed": settings.seed}
                for value, count in zip(shown, counts, strict=True)
            ]
        largest = max(of["largest"] for of in measures.values())
        for name, spectrum in spectra.items():
            for tolerance in settings.tolerances:
                count, error = counted(spectrum.values, spectrum.weights, tolerance * largest)
                measures[name] |= {f"common_{tolerance:g}": count, f"common_{tolerance:g}_error": error}
        return measures, rows
