"""params.yaml: read strictly, laid over with a scale and the command line, checked before anything is built."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from winnow.errors import InputError
from winnow.pipeline.settings import KINDS, Settings
from winnow.pipeline.yaml_1_2 import DoubledKey, Loader

SCALES = ("smoke", "laptop", "paper")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML 1.2 mapping; an absent, broken or doubled key's file is an InputError naming place and remedy."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give the path of a YAML file")
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=Loader)
    except DoubledKey as error:
        raise InputError(f"{path}:{error.line}: duplicate key {json.dumps(error.key)}; keep one of the two") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not valid YAML ({reason[:160]}); correct it") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds {type(value).__name__}; it must hold a mapping of keys to values")
    return value


def load_params(
    path: Path | str = "params.yaml",
    overrides: Mapping[str, Any] | None = None,
    scales: Path | str = "scales",
) -> tuple[Settings, dict[str, Any]]:
    """The general settings and the workloads by name, checked.

    path: the file a person edits, at laptop scale. overrides: what --config and --configfile say, over the scale.
    A key set to null in a scale or an override is taken away. Raises InputError with one line for each fault found.
    """
    base = read_yaml(path)
    over = dict(overrides or {})
    scale = over.get("scale", base.get("scale", "laptop"))
    if scale not in SCALES:
        raise InputError(f"{path}: scale: {scale!r} is none of {', '.join(SCALES)}")
    merged = base if scale == "laptop" else overlay(base, read_yaml(Path(scales) / f"{scale}.yaml"))
    merged = overlay(merged, over)
    general = {key: merged.pop(key) for key in list(merged) if not isinstance(merged[key], dict)}
    faults: list[str] = []
    settings = _checked(Settings, general, str(path), (), faults)
    workloads = {}
    for name, section in merged.items():
        kind = section.get("kind")
        if not re.fullmatch(r"[A-Za-z0-9_]+", name):
            faults.append(f"{path}: {name!r}: use letters, digits and underscores only in a workload's name")
        if not isinstance(kind, str) or kind not in KINDS:
            known = " or ".join(KINDS)
            faults.append(f"{path}: {name}.kind: is {json.dumps(kind)}; a workload is of kind {known}: set one")
        else:
            workloads[name] = _checked(KINDS[kind], section, str(path), (name,), faults)
    if not merged:
        faults.append(f"{path}: has no workload; add a section such as digits")
    if faults:
        raise InputError("\n".join(faults))
    return settings, workloads


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with another laid over it: mappings merge, other values replace, null takes a key away."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = overlay(merged[key], value)
        else:
            merged[key] = value
    return merged


def json_schema() -> dict[str, Any]:
    """A JSON schema of params.yaml, for editors."""
    definitions: dict[str, Any] = {}
    options = []
    for kind, model in KINDS.items():
        schema = model.model_json_schema(schema_generator=_Described)
        definitions |= schema.pop("$defs", {}) | {kind: schema}
        options.append({"$ref": f"#/$defs/{kind}"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Winnow params.yaml",
        "type": "object",
        "properties": Settings.model_json_schema(schema_generator=_Described)["properties"],
        "additionalProperties": {"oneOf": options},
        "$defs": definitions,
    }


class _Described(GenerateJsonSchema):
    """A schema in which the text below a setting describes it.

    Pydantic can read these texts when a class is made, which costs every start of the workflow a fifth of a second.
    """

    def model_schema(self, schema: Any) -> dict[str, Any]:
        found = super().model_schema(schema)
        texts = {name: text for cls in reversed(schema["cls"].__mro__) for name, text in _texts(cls).items()}
        for name, setting in found.get("properties", {}).items():
            setting |= {"description": texts[name]} if name in texts else {}
        return found


def _texts(cls: type) -> dict[str, str]:
    """Attribute -> the text below it, of a class of this project."""
    if not cls.__module__.startswith("winnow."):
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    return {
        attribute.target.id: inspect.cleandoc(text.value.value)
        for attribute, text in itertools.pairwise(body)
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _checked(
    model: type[BaseModel], section: Mapping[str, Any], path: str, place: tuple[str, ...], faults: list[str]
) -> Any:
    """The section as its type; or a line in `faults` for each thing wrong: the key, the value, the remedy."""
    try:
        return model.model_validate(section)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            key = ".".join((*place, *_written(fault, section))) or "params"
            value = json.dumps(fault["input"], default=str)[:60]
            message = fault["msg"].removeprefix("Value error, ")
            if fault["type"] == "extra_forbidden":
                known = _fields(model, fault["loc"][:-1])
                message = f"unknown setting; {_nearest(str(fault['loc'][-1]), known)}"
            elif fault["type"] == "missing":
                message = "is missing; add it"
            elif fault["type"] == "union_tag_invalid":
                known = re.findall(r"'([^']*)'", fault["ctx"]["expected_tags"])
                key, tag = f"{key}.method", fault["ctx"]["tag"]
                message = f"unknown method {tag!r}; {_nearest(tag, known)}"
            elif fault["type"] != "value_error":
                message = f"is {value}; {message[0].lower()}{message[1:]}"
            faults.append(f"{path}: {key}: {message}")


def _written(fault: Any, section: Any) -> list[str]:
    """Where a fault is, in the keys that a person wrote: pydantic puts the name of a chosen alternative between."""
    found, node = [], section
    for i, part in enumerate(fault["loc"]):
        absent = fault["type"] == "missing" and i == len(fault["loc"]) - 1
        inside = part in node if isinstance(node, Mapping) else isinstance(part, int)
        if absent or inside:
            found.append(str(part))
        if inside:
            node = node[part] if isinstance(node, Mapping | list) else None
    return found


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"it can be {', '.join(known)}"


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _fields(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """The settings that exist at a location inside a section."""
    schema = _schema(model)
    nodes = [schema]
    for part in location:
        options = _options(nodes, schema)
        found = [c["properties"].get(part) for c in options if part in c.get("properties", {})]
        chosen = [c for c in options if c.get("properties", {}).get("method", {}).get("const") == part]
        others = [c.get("additionalProperties") for c in options]
        nodes = found or chosen or [node for node in others if isinstance(node, dict)]
    return [name for option in _options(nodes, schema) for name in option.get("properties", {})]


def _options(nodes: list[dict[str, Any]], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes with references followed and alternatives spread out."""
    resolved = [_resolve(node, schema) for node in nodes]
    branches = [branch for node in resolved for key in ("anyOf", "oneOf") for branch in node.get(key, [])]
    return [*resolved, *(_resolve(branch, schema) for branch in branches)]


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


if __name__ == "__main__":
    from winnow.pipeline.tables import write_json

    write_json(json_schema(), "docs/params.schema.json")
