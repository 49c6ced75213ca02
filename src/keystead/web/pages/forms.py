"""The fields of a posted form, of which there is one reading only: ``application/x-www-form-urlencoded``.

URL Standard §5.1, stricter: every field is known and comes once, every escape is whole, every text is UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from keystead.errors import MalformedRequest

LARGEST_FORM = 8 * 1024

_MEDIA_TYPE = "application/x-www-form-urlencoded"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def require_form(content_type: str | None, content_encoding: str | None) -> None:
    """:raises MalformedRequest: 415, unless the body is a plain urlencoded form, in UTF-8."""
    media_type, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip(" \t").lower().replace('"', "")
    if media_type.strip(" \t").lower() != _MEDIA_TYPE or charset not in ("", "charset=utf-8"):
        raise MalformedRequest(f"The Content-Type must be {_MEDIA_TYPE}.", status=415)
    if (content_encoding or "identity").lower() != "identity":
        raise MalformedRequest("Compressed bodies are not served.", status=415)


def parse_form(body: bytes, known: Collection[str]) -> dict[str, str]:
    """The fields by name; not one of them need be there.

    :raises MalformedRequest: 400, for a field that is unknown or comes twice, and for what is no urlencoded text.
    """
    fields: dict[str, str] = {}
    for name, value in _pairs(body):
        if name not in known or name in fields:
            raise MalformedRequest("The form has a field that is unknown or comes twice.")
        fields[name] = value
    return fields


def find_once(query: bytes, name: str) -> str | None:
    """The parameter of a query; None when it is missing, unreadable, or comes twice.

    Parameters of other names are passed over: those who count clicks put theirs into every link.
    """
    values = [value for found, _, value in (part.partition(b"=") for part in query.split(b"&")) if _is(found, name)]
    try:
        return _decoded(values[0]) if len(values) == 1 else None
    except MalformedRequest:
        return None


def _pairs(text: bytes) -> list[tuple[str, str]]:
    return [(_decoded(name), _decoded(value)) for name, _, value in (part.partition(b"=") for part in text.split(b"&"))]


def _is(text: bytes, name: str) -> bool:
    try:
        return _decoded(text) == name
    except MalformedRequest:
        return False


def _decoded(text: bytes) -> str:
    if not text.isascii() or _BROKEN_ESCAPE.search(text):
        raise MalformedRequest("The form is not urlencoded text.")
    try:
        decoded = unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("The form is not UTF-8.") from None
    if "\0" in decoded:
        raise MalformedRequest("The form holds a NUL.")
    return decoded
