"""A document of keys (RFC 7517) read, and a signature checked, by joserfc: the extra ``keystead-client[verify]``."""

from __future__ import annotations

import importlib
import json
from typing import Any, Final

from keystead_client.claims import ALGORITHM
from keystead_client.errors import ServerError

MOST_KEYS: Final = 32
"""Keys that are looked at; an installation publishes three at most at a time."""


def require_joserfc() -> None:
    """:raises ImportError: when the extra is not installed; says how to install it."""
    try:
        importlib.import_module("joserfc")
    except ImportError:
        raise ImportError(
            "offline verification needs joserfc: pip install keystead-client[verify]", name="joserfc"
        ) from None


def keys_in(document: bytes) -> dict[str, Any]:
    """The keys on P-256 by their name. Others are passed over (RFC 7517 §5): they could not check our tokens.

    :raises ServerError: when it is no document of keys, or holds none for us.
    """
    try:
        listed = json.loads(document)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        listed = None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ServerError("what the issuer sent is no document of keys")
    keys = {jwk["kid"]: key for jwk in listed if (key := _key(jwk)) is not None}
    if not keys:
        raise ServerError("the issuer's document holds no key for access tokens")
    return keys


def _key(jwk: Any) -> Any | None:
    """The key, if it is one for ES256 and is named by its own thumbprint (RFC 7638), as this server names keys.

    The thumbprint makes the name mean the key: no other key can ever come under a name that is known.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey

    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or "d" in jwk:
        return None
    if jwk.get("alg", ALGORITHM) != ALGORITHM or jwk.get("use", "sig") != "sig":
        return None
    try:
        key = ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
        return key if key.thumbprint() == jwk.get("kid") else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def is_signed(token: str, key: Any) -> bool:
    """Whether ``key`` made the signature of ``token``, by ES256 and nothing else."""
    from joserfc.errors import JoseError
    from joserfc.jws import deserialize_compact

    try:
        deserialize_compact(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError, RecursionError):
        return False
    return True
