"""The mark of tests that fork: what they try cannot happen where no process can fork."""

from __future__ import annotations

import os

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork: nothing to go wrong")
