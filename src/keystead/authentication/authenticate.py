"""Authenticate a request's credentials, and choose its brand. Contract §1.

First the formats, which cost no query; then one indexed read per credential. Every credential that is present must be
valid, and all must be of one brand: an invalid one never reaches a resolver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from keystead.api_keys import service as api_keys
from keystead.api_keys.model import FoundKey
from keystead.authentication import store
from keystead.authentication.store import SignedIn
from keystead.brands import service as brands
from keystead.context import (
    RESERVED_BRAND_ID,
    ActiveBrand,
    Anonymous,
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    RequestDetails,
    Server,
    UserPrincipal,
)
from keystead.crypto import secrets
from keystead.crypto.jwt import Claims
from keystead.crypto.secrets import Secret, SecretKind
from keystead.errors import (
    AccessTokenRefused,
    BadUserInput,
    BrandMismatch,
    InternalError,
    KeyRefused,
    OriginRefused,
    Unauthenticated,
)
from keystead.installation.keyring_updates import follow_keyring_for_request
from keystead.permissions import ADMIN, OPERATOR, PermissionSet
from keystead.sessions import access_tokens

_BEARER = "bearer "
_OPERATOR = PermissionSet((OPERATOR,))
_ANONYMOUS = Anonymous()


@dataclass(frozen=True, slots=True)
class Credentials:
    """The raw values of the three headers that carry credentials; None where a header was not sent."""

    authorization: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    brand_token: str | None = field(default=None, repr=False)


def signed_in_user(ctx: Context) -> UserPrincipal:
    """The user who calls.

    :raises Unauthenticated: when no user is signed in.
    """
    if not isinstance(ctx.principal, UserPrincipal):
        raise Unauthenticated("Sign in first: this needs an access token.")
    return ctx.principal


def user_and_brand(ctx: Context) -> tuple[UserPrincipal, ActiveBrand]:
    """The user who calls, and their brand.

    :raises Unauthenticated: when no user is signed in.
    """
    caller = signed_in_user(ctx)
    if ctx.brand is None:
        raise InternalError(cause="a signed-in user without a brand")
    return caller, ctx.brand


async def authenticate(server: Server, request: RequestDetails, credentials: Credentials) -> Context:
    """Authenticate the caller and return the request's context.

    :raises AccessTokenRefused: when the access token is invalid, expired or revoked.
    :raises KeyRefused: when the API key or brand token is, or when the credentials are of different brands.
    :raises OriginRefused: when a publishable key is used from an origin that it does not allow.
    """
    now = server.clock.now()
    claims = None
    if credentials.authorization is not None:
        raw = _access_token(credentials.authorization)
        claims = access_tokens.verify(server, raw, now) or await _by_new_key(server, raw, now)
    key_secret = _secret(credentials.api_key, SecretKind.secret_key, SecretKind.publishable_key)
    token_secret = _secret(credentials.brand_token, SecretKind.brand_token)
    if claims is None and key_secret is None and token_secret is None:
        # The default brand is read by what needs it (`choose_brand`): most anonymous requests name their brand.
        return Context(server, request, _ANONYMOUS, brand_is_default=True)
    signed_in = await _signed_in(server, claims) if claims is not None else None
    if claims is not None and signed_in is not None and key_secret is None and token_secret is None:
        return Context(server, request, _user(claims, signed_in), signed_in.brand)
    key = await _key(server, request, key_secret, now) if key_secret is not None else None
    token = await _brand_token(server, token_secret) if token_secret is not None else None
    brand = _one_brand(signed_in.brand if signed_in else None, key.brand if key else None, token[1] if token else None)
    principal: UserPrincipal | ApiKeyPrincipal | BrandTokenPrincipal
    if claims is not None and signed_in is not None:
        principal = _user(claims, signed_in, key)
    elif key is not None:
        principal = ApiKeyPrincipal(brand.id, key.id, key.permissions, key.is_publishable, key.created_by)
    elif token is not None:
        principal = BrandTokenPrincipal(brand.id, token[0])
    else:
        raise KeyRefused(cause="no credential was left")
    if key is not None:
        api_keys.note_use(server, key, now)
    return Context(server, request, principal, brand)


def _access_token(raw: str) -> str:
    # RFC 6750 §2.1, the scheme in any case (RFC 9110 §11.1); the contract sends the raw token too.
    return raw[len(_BEARER) :] if raw[: len(_BEARER)].lower() == _BEARER else raw


async def _by_new_key(server: Server, raw: str, now: datetime) -> Claims:
    """Verify a token that may be signed by a key which this process has not loaded yet.

    :raises AccessTokenRefused: when it is still invalid.
    """
    claims = None
    if access_tokens.names_unknown_key(server, raw):
        await follow_keyring_for_request(server)
        claims = access_tokens.verify(server, raw, now)
    if claims is None:
        raise AccessTokenRefused(cause="not a valid access token")
    return claims


def _secret(raw: str | None, *kinds: SecretKind) -> Secret | None:
    if raw is None:
        return None
    secret = secrets.parse(raw, *kinds)
    if secret is None:
        raise KeyRefused(cause="not the format of a key")
    return secret


async def _signed_in(server: Server, claims: Claims) -> SignedIn:
    found = await store.find_signed_in(server.db.reads, claims.brand_id, claims.user_id, claims.session_id)
    if found is None:
        raise AccessTokenRefused(cause="the session has ended, or its user or brand is disabled")
    return found


async def _key(server: Server, request: RequestDetails, secret: Secret, now: datetime) -> FoundKey:
    key = await api_keys.find_by_secret(server.db.reads, secret, now)
    if key is None:
        raise KeyRefused(cause="unknown, expired or deleted API key")
    if key.is_publishable and key.allowed_origins:
        origin = (request.origin or "").lower()
        if origin not in key.allowed_origins:
            raise OriginRefused(cause="the origin is not one of the key's")
    return key


async def _brand_token(server: Server, secret: Secret) -> tuple[str, ActiveBrand]:
    found = await brands.find_by_token(server.db.reads, secret)
    if found is None:
        raise KeyRefused(cause="unknown or revoked brand token")
    return found


def _one_brand(*found: ActiveBrand | None) -> ActiveBrand:
    """The brand of all credentials; of several reads the one with the newest schema version."""
    known = [brand for brand in found if brand is not None]
    if len({brand.id for brand in known}) != 1:
        raise KeyRefused("Unauthorized: the credentials belong to different brands.")
    return max(known, key=lambda brand: brand.schema_version)


def _user(claims: Claims, signed_in: SignedIn, key: FoundKey | None = None) -> UserPrincipal:
    """The user; with a secret key the permissions that both have, with a publishable one those that either has."""
    permissions = signed_in.profile.granted
    if key is not None:
        combine = permissions.union if key.is_publishable else permissions.intersect
        permissions = combine(key.permissions)
    if claims.brand_id == RESERVED_BRAND_ID and permissions.covers(ADMIN):
        permissions = permissions.union(_OPERATOR)
    return UserPrincipal(
        claims.brand_id,
        claims.user_id,
        claims.session_id,
        signed_in.kind,
        permissions,
        signed_in.profile,
        key.id if key else None,
        key.created_by if key else None,
    )


async def choose_brand(ctx: Context, argument: str | None, *, field: str = "brand") -> ActiveBrand:
    """The brand of the credential, else of the argument (a name or an id), else the default brand. Contract §1.

    :raises BrandMismatch: when the argument names another brand than the credential, whether or not it exists.
    :raises BadUserInput: when none is named (names ``brand``, whatever the argument is called), or for an unknown brand
        (names ``field``).
    """
    brand = ctx.brand
    if argument is None:
        brand = brand or await default_brand(ctx)
        if brand is None:
            raise BadUserInput(f"Name the brand: send a brand header or '{field}'.", field="brand")
        return brand
    if brand is not None and argument in (brand.name, brand.id):
        return brand
    if brand is not None and not ctx.brand_is_default:
        raise BrandMismatch
    found = await brands.find_active_by_name(ctx.db.reads, argument)
    if found is None:
        raise BadUserInput("There is no such brand.", field=field)
    return found


async def default_brand(ctx: Context) -> ActiveBrand | None:
    """The brand of a request without credentials: the configured default, else the only brand, else None."""
    return await brands.default_brand(ctx.db.reads, ctx.server.settings.default_brand)


def expected_brand_id(ctx: Context) -> str | None:
    """The id of the brand that a token in the arguments must belong to: that of the credential, if there is one."""
    return None if ctx.brand is None or ctx.brand_is_default else ctx.brand.id
