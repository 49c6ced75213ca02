"""The SDK says which version of it is installed."""

from __future__ import annotations

import tomllib

import keystead_client
from tests.house_rules.source import CLIENT_PACKAGE


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((CLIENT_PACKAGE.parents[1] / "pyproject.toml").read_text("utf-8"))
    assert keystead_client.__version__ == project["project"]["version"]
