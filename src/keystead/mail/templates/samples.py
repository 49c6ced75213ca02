"""Values to try a template with: for previews, and before a brand's own is taken.

No sample is a secret: the token in the link is too short to be one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from keystead.crypto.secrets import SecretKind
from keystead.mail.model import LINK_KINDS, LINK_PATHS, MailKind
from keystead.mail.templates.model import Values

_LIFETIMES: Final = {SecretKind.verify: ("", "24"), SecretKind.magic: ("10", ""), SecretKind.reset: ("30", "")}
"""Minutes and hours that the link of a mail is good for."""

# What ends a text, an attribute with either quote or with none, a tag, a comment, a style; and Jinja within Jinja.
_HOSTILE: Final = """x"y'z <b title=1>&amp;--></style> onload=1 {{ brand }}{% if %}"""


def sample_values(
    kind: MailKind, language: str, *, brand: str = "Example", link_base: str = "https://auth.example.com"
) -> Values:
    """What a mail of this kind might show, nothing left out."""
    values = Values(
        brand=brand,
        address="ann@example.com",
        when="2026-01-01 12:00 UTC",
        language=language,
        ip_prefix="192.0.2.7",
        device="Firefox, Linux",
    )
    if kind in LINK_KINDS:
        minutes, hours = _LIFETIMES[LINK_KINDS[kind]]
        link = f"{link_base}{LINK_PATHS[LINK_KINDS[kind]]}?token={LINK_KINDS[kind].prefix}SAMPLE"
        values = replace(values, link=link, minutes=minutes, hours=hours)
    return replace(values, new_address="a…@example.org") if kind is MailKind.address_changed else values


def without_optional(values: Values) -> Values:
    """The same where nothing is known that may be unknown."""
    return replace(values, ip_prefix="", device="", new_address="")


def hostile(values: Values) -> Values:
    """The same with texts in it that try to break out of wherever they stand. The link stays: it is made by us."""
    return replace(
        values,
        brand=_HOSTILE,
        address=_HOSTILE,
        when=_HOSTILE,
        ip_prefix=_HOSTILE,
        device=_HOSTILE,
        new_address=_HOSTILE if values.new_address else "",
    )
