"""The kind `table`: classification or regression of rows of numbers, categories and ordinals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet
from winnow.workloads.image_tables import SPLITS
from winnow.workloads.supervised import Batch, Classification
from winnow.workloads.table_columns import Column, table_meta


class Tables(Classification):
    """A workload of rows read from a folder of curated tables; splits are read when first used.

    Inputs are float32[n, len(levels)], never NaN: numbers in their unit, an ordinal as the position of its level, a
    category as the index of its level in train, -1 for a level that train does not have. A missing number is the
    mean of train; where train lacks values there is one more input that is 1 where the value is missing, and for a
    category one more level. `inputs` names the inputs, `levels` says how many levels each has, 0 for numbers.
    Encoding and scaling belong to the model.
    """

    kind = "table"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[str, pa.Table] = {}
        self._arrays: dict[str, Batch] = {}
        path = folder / "train.parquet"
        self.meta = table_meta(read_parquet(path, ["target"]), str(path))
        self.name, self.task, self.classes = self.meta.workload, self.meta.task, list(self.meta.classes)
        self.inputs: list[str] = []
        self.levels: list[int] = []
        self._missing: dict[str, bool] = {}
        train = self.table("train")
        for column in self.meta.columns:
            self._missing[column.name] = train[column.name].null_count > 0
            category = column.type == "category"
            self.inputs.append(column.name)
            self.levels.append(len(column.levels) + self._missing[column.name] if category else 0)
            if self._missing[column.name] and not category:
                self.inputs.append(f"{column.name} is missing")
                self.levels.append(0)

    def table(self, split: str) -> pa.Table:
        """The curated table of a split, checked against the columns of train."""
        if split not in SPLITS:
            raise InputError(f"split {split!r} is unknown; the splits are {', '.join(SPLITS)}")
        if split not in self._tables:
            path = self._folder / f"{split}.parquet"
            table = read_parquet(path, ["row_id", "target", *(column.name for column in self.meta.columns)])
            if table_meta(table, str(path)) != self.meta or not table.num_rows or table["target"].null_count:
                raise InputError(
                    f"{path}: describes other rows than train.parquet, or none; run its curate stage again"
                )
            self._tables[split] = table
        return self._tables[split]

    def _numbers(self, table: pa.Table, column: Column) -> np.ndarray:
        """float64[n] of one column, NaN where missing and -1 for a level that train does not have."""
        values = table[column.name]
        if column.type == "numeric":
            return values.to_numpy().astype(np.float64)
        index = pc.index_in(values, pa.array(column.levels, pa.string())).fill_null(-1)
        found = index.to_numpy().astype(np.float64)
        found[values.is_null().to_numpy()] = np.nan
        return found

    def _inputs(self, split: str) -> np.ndarray:
        parts = []
        for column in self.meta.columns:
            values = self._numbers(self.table(split), column)
            absent = np.isnan(values)
            if column.type == "category":
                parts.append(np.where(absent, len(column.levels) if self._missing[column.name] else -1, values))
                continue
            train = self._numbers(self.table("train"), column)
            parts.append(np.where(absent, train[~np.isnan(train)].mean() if not np.isnan(train).all() else 0, values))
            if self._missing[column.name]:
                parts.append(absent.astype(np.float64))
        return np.stack(parts, axis=1).astype(np.float32)

    def encoded_names(self) -> list[str]:
        """Names of what the models' encoder makes of the inputs: a category is one indicator for each level."""
        levels = {column.name: [*column.levels, "missing"] for column in self.meta.columns}
        return [
            own
            for name, count in zip(self.inputs, self.levels, strict=True)
            for own in ([f"{name} is {level}" for level in levels[name][:count]] if count else [name])
        ]

    def arrays(self, split: str) -> Batch:
        """A split in stored order: inputs float32[n, inputs], labels int64[n] or targets float32[n]. Do not change
        them."""
        if split not in self._arrays:
            kind = np.int64 if self.task == "classification" else np.float32
            targets = self.table(split)["target"].to_numpy().astype(kind)
            self._arrays[split] = torch.from_numpy(self._inputs(split)), torch.from_numpy(targets)
        return self._arrays[split]

    def build(self, name: str, seed: int = 0, **arguments: Any) -> nn.Module:
        """A new model of the registry for this table, with its scaler fitted on train, not yet trained."""
        from winnow.models import build

        regression = self.task == "regression"
        outputs = 1 if regression else len(self.classes)
        model = build(name, seed=seed, levels=self.levels, outputs=outputs, regression=regression, **arguments)
        model.fit_scaler(*self.arrays("train"))  # type: ignore[operator]
        return model

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of a batch, in nats; for regression the mean squared error over the variance of train."""
        if self.task == "classification":
            return super().loss(model, batch, label_smoothing)
        x, y = batch
        return ((model(x)[:, 0] - y) ** 2).mean() / self._variance()

    def _variance(self) -> float:
        return float(self.arrays("train")[1].double().var(correction=0)) or 1.0

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """Of classification those of every workload and balanced_accuracy; of regression r2, rmse and mae.

        balanced_accuracy is the mean over the classes of the split of the share found; r2 is taken against the mean of
        the split; rmse and mae are in the target's unit.
        """
        if self.task == "regression":
            predicted, truth = self.outputs(model, split)[:, 0].numpy(), self.arrays(split)[1].double().numpy()
            error = predicted - truth
            total = ((truth - truth.mean()) ** 2).sum()
            return {
                "r2": float(1 - (error**2).sum() / total) if total > 0 else 0.0,
                "rmse": float(np.sqrt((error**2).mean())),
                "mae": float(np.abs(error).mean()),
            }
        probabilities, labels = self.probabilities(model, split)
        found = probabilities.argmax(axis=1) == labels
        present = np.bincount(labels, minlength=len(self.classes))
        recall = np.bincount(labels, found, minlength=len(self.classes))[present > 0] / present[present > 0]
        return super().metrics(model, split) | {"balanced_accuracy": float(recall.mean())}
