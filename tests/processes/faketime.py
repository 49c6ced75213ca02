"""libfaketime, with which a node of the tests has a wall clock that is wrong."""

from __future__ import annotations

import os
from glob import glob

import pytest


def wrong_clock(offset: str) -> dict[str, str]:
    """The environment of a process whose wall clock is off by ``offset``: "+40d", "-600".

    Where CI runs libfaketime must be there; elsewhere the tests that need it are skipped.
    """
    found = sorted(glob("/usr/lib/*/faketime/libfaketime.so.1") + glob("/usr/lib64/faketime/libfaketime.so.1"))
    if not found and os.environ.get("CI"):
        pytest.fail("libfaketime is missing: apt install faketime")
    if not found:
        pytest.skip("libfaketime is missing: apt install faketime")
    return {"LD_PRELOAD": found[0], "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
