"""docs/architecture.md names files and layers that exist."""

from __future__ import annotations

import re
import tomllib

from tests.house_rules.source import CLIENT_PACKAGE, PACKAGE, ROOT, page


def test_every_file_it_names_exists() -> None:
    text = page("architecture.md")
    paths = set(re.findall(r"(?<![\w/.])((?:[a-z_]+/)*_?[a-z_0-9]+\.(?:py|graphql))\b", text))
    missing = [
        path
        for path in sorted(paths)
        if not any((folder / path).exists() for folder in (PACKAGE, CLIENT_PACKAGE, ROOT))
        and path not in {"service.py", "store.py", "model.py", "schema.graphql"}
    ]
    assert missing == []


def test_the_layers_are_those_of_the_linter() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [re.findall(r"\w+", layer) for layer in contracts[0]["layers"]][1:]
    section = page("architecture.md").split("## Layers")[1].split("```")[1]
    drawn = [re.findall(r"\w+", re.split(r"  +", line.strip())[0]) for line in section.strip().splitlines()]
    assert drawn == layers
