"""YAML as of version 1.2, read by libyaml: `no` is a word and 1e-3 a number, which PyYAML takes for false and a word.

libyaml knows nothing of the meaning of words, so all that differs from PyYAML's own loader is what a plain word means.
It reads ten times as fast as a reader in Python, and every start of the workflow reads its settings.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


class DoubledKey(Exception):
    """A key that stands twice in a mapping."""

    def __init__(self, key: Any, line: int) -> None:
        super().__init__(f"key {key!r} stands twice, in line {line}")
        self.key, self.line = key, line


class Loader(yaml.CSafeLoader):
    """Plain values alone, as PyYAML's safe loader; a doubled key is an error."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping, after a look at its keys as they are written: what `<<` merges may repeat them."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if key.tag != MERGE and isinstance(key, yaml.ScalarNode):
                name = self.construct_object(key)
                if name in seen:
                    raise DoubledKey(name, key.start_mark.line + 1)
                seen.add(name)
        return super().construct_mapping(node, deep)

    def whole_number(self, node: yaml.ScalarNode) -> int:
        """An integer: a leading zero means nothing, 0o17 is fifteen."""
        return int(str(self.construct_scalar(node)), 0 if "x" in node.value or "o" in node.value else 10)


MERGE = "tag:yaml.org,2002:merge"
# The core schema of YAML 1.2.2, section 10.3.2; merged mappings are of 1.1 and still everywhere.
for name, first, pattern in (
    ("null", ["~", "n", "N", ""], r"~|null|Null|NULL|"),
    ("bool", list("tTfF"), r"true|True|TRUE|false|False|FALSE"),
    ("int", list("-+0123456789"), r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    (
        "float",
        list("-+.0123456789"),
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    ),
    ("merge", ["<"], r"<<"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"), first)
Loader.add_constructor("tag:yaml.org,2002:int", Loader.whole_number)
