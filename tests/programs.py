"""Programs of the system that some tests drive: required where CI runs, a reason to skip elsewhere."""

from __future__ import annotations

import os
import shutil

import pytest


def require_program(*names: str, package: str) -> str:
    """The path of the first of these programs that is there.

    Where CI runs one of them must be there; elsewhere the tests that need it are skipped.
    """
    # Debian keeps servers in a folder that is not in everyone's path.
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    missing = f"{names[0]} is missing: apt install {package}"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
