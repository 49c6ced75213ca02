"""Where Chromium is, and how tests start it."""

from __future__ import annotations

from tests.programs import require_program

OPTIONS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
""".split()


def chromium() -> str:
    """The path of Chromium; a test is skipped without it, unless CI runs it."""
    return require_program("chromium", "chromium-browser", package="chromium")
