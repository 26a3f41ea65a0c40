"""YAML for people: a key that stands twice in one mapping is an error, and not silently the last one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
"""The key `<<`, which takes in another mapping; what stands beside it wins."""


class StrictLoader(yaml.SafeLoader):
    """A SafeLoader that takes no mapping with two equal keys. Raises yaml.YAMLError, with line and column."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for name, _ in node.value:
            if name.tag == MERGE:
                continue
            key = self.construct_object(name, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", name.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)
