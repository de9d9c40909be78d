"""A small table of who gets credit, of which recourses are tested."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch

from winnow.curate.tables import curate_table
from winnow.evaluate.recourse_data import recourse_data
from winnow.evaluate.recourse_experiment import Comparison
from winnow.pipeline.tables import write_parquet
from winnow.workloads import load_workload
from winnow.workloads.table_columns import raw_table

SETTINGS = SimpleNamespace(
    ridge=0.05,
    queries=4,
    budgets=[0.03, 0.08],
    margin=1e-3,
    refit_margin=1e-2,
    roar_deltas=[0.05, 0.3],
    network_queries=2,
    network_budgets=[0.05],
)


def bank(folder):
    """The workload, curated into a folder."""
    generator = np.random.default_rng(0)
    income, debt = generator.normal(30, 5, 120), generator.normal(10, 3, 120)
    town = generator.choice(["Bonn", "Kiel"], 120)
    good = income - debt + generator.normal(0, 4, 120) > 20
    columns = {"income": income, "debt": debt, "town": town.tolist(), "credit": np.where(good, "good", "bad").tolist()}
    curated = curate_table(raw_table(pa.table(columns), source="s", target="credit"), workload="bank")
    for split, table in curated.tables.items():
        write_parquet(table, folder / f"{split}.parquet", metadata=curated.metadata)
    return load_workload(folder)


def compared(folder):
    """All arms on the bank's table."""
    torch.set_num_threads(1)
    found = Comparison(recourse_data(bank(folder), "good", 0, immutable=["town"]), SETTINGS, 0)
    found.run()
    return found
