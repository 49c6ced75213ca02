"""Where Chromium is, and how tests start it."""

from __future__ import annotations

import os
import shutil

import pytest

OPTIONS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
""".split()


def chromium() -> str:
    """The path of Chromium. Where CI runs it must be there; elsewhere the tests that need it are skipped."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI"):
        pytest.fail("Chromium is missing: apt install chromium")
    if found is None:
        pytest.skip("Chromium is missing: apt install chromium")
    return found
