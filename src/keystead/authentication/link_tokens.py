"""The token of a mailed link, as somebody presents it: which one it is, of which brand. Contract §1, security §1."""

from __future__ import annotations

from dataclasses import dataclass

from keystead.authentication.brand_choice import default_brand, expected_brand_id
from keystead.context import ActiveBrand, Context
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind
from keystead.errors import TokenInvalid
from keystead.policy import Features, require_feature
from keystead.users.one_time_tokens import service as one_time_tokens
from keystead.users.one_time_tokens.model import OneTimeToken


@dataclass(frozen=True, slots=True)
class Presented:
    """A token that is good at this moment; nothing has been consumed."""

    secret: Secret
    token: OneTimeToken
    brand: ActiveBrand


async def find_presented(ctx: Context, raw: str, kind: SecretKind, *features: str) -> Presented:
    """The token, with the brand that it names.

    :raises Forbidden: when one of ``features`` is off in that brand; for a token that is none, in the brand that the
        request speaks for. Names the feature.
    :raises TokenInvalid: when the token is unknown, used, run out, of another kind, or of another brand than the
        credentials of the request. It stays as good as it was.
    """
    secret = secrets.parse(raw, kind)
    found = None if secret is None else await one_time_tokens.find(ctx.db.reads, secret, ctx.now())
    if secret is None or found is None:
        await _require_in_request(ctx, features)
        raise TokenInvalid(cause="not such a token" if secret is None else "no such token, or not any more")
    token, brand = found
    if expected_brand_id(ctx) not in (None, brand.id):
        raise TokenInvalid(cause="a token of another brand")
    _require(brand.features, features)
    return Presented(secret, token, brand)


async def _require_in_request(ctx: Context, features: tuple[str, ...]) -> None:
    """An app of a brand without the feature is told so, whatever it sends for a token."""
    brand = ctx.brand or await default_brand(ctx)
    if brand is not None:
        _require(brand.features, features)


def _require(features: Features, names: tuple[str, ...]) -> None:
    for name in names:
        require_feature(features, name)
