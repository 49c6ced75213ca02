"""A brand: an isolated tenant with its users, keys and records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from keystead.context import RESERVED_BRAND, ActiveBrand
from keystead.errors import BadUserInput
from keystead.policy import BrandPolicy, Features, Preset, parse_features, parse_policy

LONGEST_URL = 2048
MOST_REDIRECT_URLS = 50
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,47}", re.ASCII)
_NAME_OR_ID = re.compile(r"[0-9a-zA-Z_-]{1,48}", re.ASCII)
_URL_TEXT = re.compile(r"[!-~]+", re.ASCII)


class Brand(msgspec.Struct, frozen=True):
    """A brand as its administrator sees it."""

    id: str
    name: str
    preset: Preset
    features: Features
    policy: BrandPolicy
    base_url: str | None
    """Base of the links in this brand's mail; None: that of the installation."""
    redirect_urls: tuple[str, ...]
    """Allowed redirect targets of the hosted pages."""
    is_disabled: bool
    schema_version: int
    """Incremented with each change of the brand's entities."""
    created_at: datetime
    updated_at: datetime

    def active(self) -> ActiveBrand:
        """Return the part that a request needs."""
        return ActiveBrand(self.id, self.name, self.preset, self.features, self.policy, self.schema_version)


def active_brand(row: Sequence[Any]) -> ActiveBrand:
    """Build the brand from the values of ``store.BRAND_COLUMNS``, in order. Equal rows give the same object, cached."""
    return _active_brand(*row)


@lru_cache(maxsize=1024)
def _active_brand(
    brand_id: str, name: str, preset: str, features: str, policy: str, schema_version: int
) -> ActiveBrand:
    return ActiveBrand(brand_id, name, Preset(preset), parse_features(features), parse_policy(policy), schema_version)


def brand(row: Sequence[Any]) -> Brand:
    """Build the brand from a row, in the order of the fields of :class:`Brand`."""
    values = dict(zip(Brand.__struct_fields__, row, strict=True))
    return Brand(
        **values
        | {
            "preset": Preset(values["preset"]),
            "features": parse_features(values["features"]),
            "policy": parse_policy(values["policy"]),
            "redirect_urls": tuple(values["redirect_urls"]),
        }
    )


def is_name_or_id(raw: str) -> bool:
    """Return whether ``raw`` has the form of a name or id. Other text needs no query, and may be invalid in SQL."""
    return _NAME_OR_ID.fullmatch(raw) is not None


def new_name(raw: str) -> str:
    """Check the name of a new brand.

    :raises BadUserInput: for an invalid or reserved name; names the field ``name``.
    """
    if _NAME.fullmatch(raw) is None:
        raise BadUserInput(
            "'name' must begin with a letter and have at most 48 letters, digits, '_' and '-'.", field="name"
        )
    if raw.lower() == RESERVED_BRAND:
        raise BadUserInput(f"The name '{RESERVED_BRAND}' is reserved for the operators' brand.", field="name")
    return raw


def new_preset(raw: str | None) -> Preset:
    """Parse a preset; None means ``both``.

    :raises BadUserInput: for an unknown preset; names the field ``preset``.
    """
    try:
        return Preset.both if raw is None else Preset(raw)
    except ValueError:
        raise BadUserInput(f"'preset' must be one of {', '.join(Preset)}.", field="preset") from None


def new_base_url(raw: object) -> str | None:
    """Parse an http or https URL without query and fragment; strips trailing slashes, None stays None.

    :raises BadUserInput: for other values; names the field ``base_url``.
    """
    if raw is None:
        return None
    url = _web_url(raw, "base_url")
    if "?" in url or "#" in url:
        raise BadUserInput("'base_url' must have neither a query nor a fragment.", field="base_url")
    return url.rstrip("/")


def new_redirect_urls(raw: object) -> tuple[str, ...]:
    """Parse redirect targets: http or https URLs without fragment; None means none.

    :raises BadUserInput: for other values; names the field ``redirect_urls``.
    """
    urls = [] if raw is None else raw
    if not isinstance(urls, list | tuple) or len(urls) > MOST_REDIRECT_URLS:
        raise BadUserInput(f"'redirect_urls' must be a list of at most {MOST_REDIRECT_URLS}.", field="redirect_urls")
    for url in urls:
        if "#" in _web_url(url, "redirect_urls"):
            raise BadUserInput("An address to redirect to must have no fragment.", field="redirect_urls")
    return tuple(dict.fromkeys(urls))


def _web_url(raw: object, field: str) -> str:
    """Parse an absolute URL that browsers and Python read alike: ASCII, no user name, no backslash."""
    if not isinstance(raw, str) or len(raw) > LONGEST_URL or not _URL_TEXT.fullmatch(raw) or "\\" in raw:
        raise BadUserInput(f"'{field}' must be a web address in ASCII.", field=field)
    try:
        parts = urlsplit(raw)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    else:
        is_sound = is_sound and "@" not in parts.netloc
    if not is_sound:
        raise BadUserInput(f"'{field}' must begin with http:// or https:// and have no user name.", field=field)
    return raw
