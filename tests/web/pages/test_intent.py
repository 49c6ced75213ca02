"""Whether a form was sent from our own page."""

from __future__ import annotations

import pytest

from keystead.crypto import secrets
from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import SecretKind
from keystead.errors import OriginRefused
from keystead.web.pages.csrf import FormSeal, require_own_origin, require_same_site
from tests.make import MASTER_KEY

OURS = ("https://auth.example.com/auth", "https://id.rainbow.example")


@pytest.mark.parametrize("headers", [[], [(b"sec-fetch-site", b"same-origin")], [(b"host", b"evil.example")]])
def test_our_own_page_and_an_old_browser_may_post(headers: list[tuple[bytes, bytes]]) -> None:
    require_same_site(headers)


@pytest.mark.attack("A100")
@pytest.mark.parametrize(
    "site", [b"cross-site", b"same-site", b"none", b"", b"Same-Origin", b"same-origin, cross-site"]
)
def test_another_page_may_not(site: bytes) -> None:
    with pytest.raises(OriginRefused):
        require_same_site([(b"sec-fetch-site", site)])


@pytest.mark.attack("A100")
def test_the_header_twice_is_as_bad_as_its_worst() -> None:
    with pytest.raises(OriginRefused):
        require_same_site([(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")])


@pytest.mark.parametrize("origin", [None, "null", "https://auth.example.com", "https://id.rainbow.example"])
def test_an_origin_of_ours_or_none_may_post(origin: str | None) -> None:
    require_own_origin(origin, *OURS, None)


@pytest.mark.attack("A100")
@pytest.mark.parametrize(
    "origin",
    [
        "",
        "https://evil.example",
        "http://auth.example.com",
        "https://auth.example.com:8443",
        "https://auth.example.com.evil.example",
        "https://auth.example.com/auth",
        "https://auth.example.com,https://evil.example",
        "https://auth.example.com, null",
        "NULL",
    ],
)
def test_another_origin_may_not(origin: str) -> None:
    with pytest.raises(OriginRefused):
        require_own_origin(origin, *OURS)


def test_a_seal_is_for_one_token_one_kind_and_one_installation() -> None:
    seals = FormSeal(MASTER_KEY)
    token, other = secrets.generate(SecretKind.verify), secrets.generate(SecretKind.verify)
    magic = secrets.generate(SecretKind.magic)
    elsewhere = FormSeal(MasterKey.from_text(b"the master key of another installation"))
    seals.require(token, seals.seal(token))
    for raw in (None, "", "ä", seals.seal(other), seals.seal(magic), elsewhere.seal(token), seals.seal(token).upper()):
        with pytest.raises(OriginRefused):
            seals.require(token, raw)
