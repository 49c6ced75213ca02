"""Unsigned JWTs for tests of the SDK, which verifies none but in the verifier."""

from __future__ import annotations

import base64
import json
from typing import Any


def jwt(payload: str) -> str:
    """A JWT with this text as its payload."""
    return f"e30.{base64.urlsafe_b64encode(payload.encode()).decode().rstrip('=')}.c2ln"


def access_token(session: str, **claims: Any) -> str:
    """An access token of this session, valid for a long time by default."""
    return jwt(json.dumps({"sid": session, "iat": 0, "exp": 10**12, **claims}))
