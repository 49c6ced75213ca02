"""Keystead: a self-hosted, GraphQL-native authentication and authorization server."""

from __future__ import annotations

__version__ = "0.1.0"
