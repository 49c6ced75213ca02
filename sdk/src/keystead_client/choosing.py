"""The client of a middleware: made from its options, or given in their place."""

from __future__ import annotations

from typing import Any

from keystead_client._transport import LOGGER
from keystead_client.client import ClientOptions
from keystead_client.wary import RETRIES, TIMEOUT


def options_of_own(
    brand: str | None, brand_token: str | None, timeout: float | None, *, allow_http: bool
) -> ClientOptions:
    """The options with which a middleware makes its client."""
    return {
        "brand": brand,
        "brand_token": brand_token,
        "allow_http": allow_http,
        "timeout": TIMEOUT if timeout is None else timeout,
        "retries": RETRIES,
        # The one in the environment is a program's, which acts by itself. Here users do; a bad key would keep them out.
        "api_key": "",
    }


def require_no_contradiction(client: Any, brand: str | None, *, is_verified: bool, **others: object) -> None:
    """Raises ``ValueError`` for options that a client which is given does not obey."""
    for name, value in others.items():
        if value:
            raise ValueError(f"{name}: the client has its own, so give it there")
    own = getattr(client, "brand", brand)
    if brand is not None and own is not None and own != brand:
        raise ValueError("brand: the client has another one; it tells whose users are let in, so give it there alone")
    if brand is not None and not (is_verified or _is_of_one_brand(client)):
        raise ValueError("brand: the client tells whose users are let in, so give it there")


def warn_of_every_brand(client: Any, *, is_verified: bool) -> None:
    """Once, at the start, where no brand limits whose users are admitted."""
    if not (is_verified or _is_of_one_brand(client)):
        LOGGER.warning(
            "No brand is given: users of every brand of the server are let in. Say brand=, or set KEYSTEAD_BRAND."
        )


def _is_of_one_brand(client: Any) -> bool:
    return bool(getattr(client, "is_of_one_brand", True))
