"""Explanations per CPU second beside shap, lime, captum and scikit-image, at equal output.

    python benchmarks/perturbation.py

All tools explain the same model at the same points, in one process on one thread, taking turns. Where a method is
exact (Shapley values from all coalitions, occlusion) outputs are compared with each other; LIME fits the same masks in
winnow and in lime, and captum's own masks in captum, whose output then differs by sampling. Counted is
time.process_time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import shap
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from captum.attr._core.lime import get_exp_kernel_similarity_function
from lime.lime_base import LimeBase
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from winnow.attribution.perturbation import WIDTH, kernel_shap, lime, occlusion, random_masks, sliding_windows
from winnow.pipeline.benchmarks import machine
from winnow.randomness import torch_generator

ROOT = Path(__file__).resolve().parents[1]
FEATURES, POINTS, SAMPLES, SIDE = 10, 20, 1000, 24
AT_ONCE = 4
"""Windows of each image that captum's occlusion tries in a call: of 1 to 100, what is quickest here."""
MEASURED = """\
Explanations of a multilayer perceptron of two layers of 32 units on 10 features, and, for occlusion, of a small
convolutional network on 24 x 24 pixels. Speed is explained points per CPU second on one thread: the median of the
repeats, with the lowest and the highest. Off is the largest absolute difference from the first peer's answer: Shapley
values by all coalitions, the weighted regression on the same masks, occlusion of every window. captum draws masks of
its own, and its occlusion, of which as many windows share a call as is quickest, keeps single precision."""
COLUMNS = [
    ("method", "method"),
    ("tool", "tool"),
    ("points_per_cpu_second", "points per CPU s"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("ratio", "times the peer"),
    ("off", "off"),
]

Run = Callable[[], np.ndarray]


def shapley(f: nn.Module, x: Tensor) -> dict[str, Run]:
    samples = 2**FEATURES
    explainer = shap.KernelExplainer(lambda rows: f(torch.from_numpy(rows))[:, 0].numpy(), np.zeros((1, FEATURES)))
    by_captum = captum.attr.KernelShap(f)

    def captum_values() -> np.ndarray:
        torch.manual_seed(0)
        rows = [by_captum.attribute(row[None], n_samples=samples, perturbations_per_eval=samples) for row in x]
        return torch.cat(rows).numpy()

    return {
        "winnow": lambda: kernel_shap(f, x, samples=samples, generator=torch_generator(0)).coefficients.numpy(),
        "shap": lambda: explainer.shap_values(x.numpy(), nsamples=samples, l1_reg=False, silent=True),
        "captum": captum_values,
    }


def lime_values(f: nn.Module, x: Tensor) -> dict[str, Run]:
    width = WIDTH * FEATURES**0.5
    base = LimeBase(lambda d: np.exp(-((d / width) ** 2)))
    similarity = get_exp_kernel_similarity_function("euclidean", kernel_width=width / 2**0.5)
    by_captum = captum.attr.Lime(f, interpretable_model=SkLearnLinearRegression(), similarity_func=similarity)

    def by_lime() -> np.ndarray:
        masks = random_masks((len(x), SAMPLES, FEATURES), torch_generator(0))
        masks[:, 0] = 1
        found = np.zeros((len(x), FEATURES))
        for i, row in enumerate(x):
            inputs = row * masks[i]
            distances = (row - inputs).norm(dim=1).numpy()
            local = base.explain_instance_with_data(
                masks[i].numpy(), f(inputs).numpy(), distances, 0, FEATURES, "none", LinearRegression()
            )[1]
            for feature, weight in local:
                found[i, feature] = weight
        return found

    def captum_values() -> np.ndarray:
        torch.manual_seed(0)
        rows = [by_captum.attribute(row[None], n_samples=SAMPLES, perturbations_per_eval=SAMPLES) for row in x]
        return torch.cat(rows).numpy()

    return {
        "winnow": lambda: lime(f, x, samples=SAMPLES, generator=torch_generator(0)).coefficients.numpy(),
        "lime": by_lime,
        "captum": captum_values,
    }


def windows(f: nn.Module, images: Tensor) -> dict[str, Run]:
    hidden = sliding_windows((SIDE, SIDE), (6, 6), (2, 2))[:, None]
    by_captum = captum.attr.Occlusion(f)
    return {
        "winnow": lambda: occlusion(f, images, hidden=hidden).numpy(),
        "captum": lambda: by_captum.attribute(images, (1, 6, 6), (1, 2, 2), perturbations_per_eval=AT_ONCE).numpy(),
    }


def measure(method: str, tools: dict[str, Run], points: int, repeats: int) -> list[dict[str, Any]]:
    outputs = {name: run() for name, run in tools.items()}  # also warms up
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(repeats):
        for name, run in tools.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    exact = outputs[next(name for name in tools if name != "winnow")]
    rows = []
    for name, taken in seconds.items():
        speeds = [points / s for s in taken]
        rows.append(
            {
                "method": method,
                "tool": name,
                "points_per_cpu_second": statistics.median(speeds),
                "lowest": min(speeds),
                "highest": max(speeds),
                "off": float(np.abs(outputs[name] - exact).max()),
            }
        )
    best_peer = max(row["points_per_cpu_second"] for row in rows[1:])
    return [row | {"ratio": row["points_per_cpu_second"] / best_peer} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/perturbation.json")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = [nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)]
    table_model = nn.Sequential(*layers).double().requires_grad_(False)
    image_model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 22 * 22, 1))
    image_model = image_model.double().requires_grad_(False)
    x = torch.randn(POINTS, FEATURES, dtype=torch.float64)
    images = torch.randn(POINTS, 1, SIDE, SIDE, dtype=torch.float64)
    table = [
        *measure("KernelSHAP, all coalitions", shapley(table_model, x), POINTS, arguments.repeats),
        *measure("LIME, 1,000 masks", lime_values(table_model, x), POINTS, arguments.repeats),
        *measure("occlusion, 100 windows", windows(image_model, images), POINTS, arguments.repeats),
    ]
    for row in table:
        print(f"{row['method']:28} {row['tool']:8} {row['points_per_cpu_second']:9.1f}/s  off {row['off']:.2g}")
    tools = ", ".join(f"{name} {version(name)}" for name in ("torch", "shap", "lime", "captum"))
    report = {
        "title": "Perturbation explanations: points per CPU second",
        "measured": " ".join(MEASURED.split()),
        "columns": COLUMNS,
        "command": "make bench",
        "machine": f"{machine()}, {tools}",
        "problem": {"features": FEATURES, "points": POINTS, "masks": SAMPLES, "side": SIDE},
        "repeats": arguments.repeats,
        "table": table,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
