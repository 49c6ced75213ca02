"""CSRF checks of forms, and the brand's allowlist of redirects (A54, A100)."""

from __future__ import annotations

import pytest

from keystead.crypto import secrets
from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import SecretKind
from keystead.errors import OriginRefused
from keystead.web.pages.csrf import FormSeal, choose_target, origin_of, require_own_origin, require_same_site
from tests.make import MASTER_KEY

OURS = ("https://auth.example.com/auth", "https://id.rainbow.example")
FIRST, SECOND = "https://app.example.com/welcome", "https://app.example.com/second?from=mail"
LISTED = (FIRST, SECOND)
EVIL = "evil.example"
HOSTILE_REDIRECTS = (
    "", " ", "/", ".", "*", "null", "undefined", "[]", "a" * 5000, f"//{EVIL}", f"///{EVIL}", f"////{EVIL}",
    f"/\\{EVIL}", f"\\\\{EVIL}", f"\\/{EVIL}", f"https:{EVIL}", f"https:/{EVIL}", f"https:///{EVIL}", f"http:{EVIL}",
    f"https://{EVIL}", f"https://{EVIL}/welcome", f"https://{EVIL}#{FIRST}", f"https://{EVIL}?{FIRST}",
    f"https://{EVIL}\\{FIRST}", f"https://app.example.com.{EVIL}/welcome", f"https://app.example.com{EVIL}/welcome",
    "https://evil-app.example.com/welcome", f"https://{EVIL}/app.example.com/welcome",
    f"https://app.example.com@{EVIL}/welcome", f"https://app.example.com:pw@{EVIL}/welcome",
    f"https://{EVIL}\\@app.example.com/welcome", f"https://app.example.com\\.{EVIL}/welcome",
    f"https://app.example.com%40{EVIL}/welcome", f"https://app.example.com\\@{EVIL}", f"{FIRST}@{EVIL}",
    f"{FIRST}.{EVIL}", "https://user@app.example.com/welcome", FIRST.replace(".com", ".com."),
    FIRST.replace(".com", ".com:443"), FIRST.replace(".com", ".com:8443"), FIRST.replace("app", "APP"), FIRST.upper(),
    FIRST.replace("https", "HTTPS"), FIRST.replace("https", "http"), FIRST.replace("/welcome", ""), f"{FIRST}/",
    FIRST.replace("w", "W", 1), f"{FIRST}?", f"{FIRST}#", f"{FIRST}#token=", f"{FIRST}?next=//{EVIL}",
    f"{FIRST}/../evil", f"{FIRST}/..//{EVIL}",
    FIRST.replace("welcome", "%77elcome"), f"{FIRST}%00", f"{FIRST}\0", f"{FIRST}\n", f"{FIRST} ", f" {FIRST}",
    f"\t{FIRST}", f"{FIRST}\r\nSet-Cookie: a=b", f"{FIRST}\r\nLocation: https://{EVIL}", f"{FIRST};https://{EVIL}",
    f"{FIRST},https://{EVIL}", "https://app.example.com%0d%0aset-cookie:a=b/welcome",
    "https%3A%2F%2Fapp.example.com%2Fwelcome", FIRST.replace(".", "\u3002"), FIRST.replace(".", "\uff0e"),
    FIRST.replace("a", "\uff41", 1), FIRST.replace("a", "\u0430", 1), f"{FIRST}\u200b",
    "https://app.example.com\u2044welcome", "https://app.example.com\uff0fwelcome", "https://app.example.com\u2100welcome",
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", f"javascript://app.example.com/%0aalert(1)//{FIRST}",
    "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd", "blob:https://app.example.com/1",
    "ftp://app.example.com/welcome", "https://[::1]/welcome", "https://[::ffff:127.0.0.1]/welcome", "https://0x7f.1/welcome",
    "https://2130706433/welcome",
)  # fmt: skip


@pytest.mark.parametrize("headers", [[], [(b"sec-fetch-site", b"same-origin")], [(b"host", b"evil.example")]])
def test_same_origin_requests_and_old_browsers_may_post(headers: list[tuple[bytes, bytes]]) -> None:
    require_same_site(headers)


@pytest.mark.attack("A100")
@pytest.mark.parametrize(
    "sites",
    [
        *([site] for site in (b"cross-site", b"same-site", b"none", b"", b"Same-Origin", b"same-origin, cross-site")),
        [b"same-origin", b"cross-site"],
    ],
)
def test_other_sites_may_not_post(sites: list[bytes]) -> None:
    with pytest.raises(OriginRefused):
        require_same_site([(b"sec-fetch-site", site) for site in sites])


@pytest.mark.parametrize("origin", [None, "null", "https://auth.example.com", "https://id.rainbow.example"])
def test_own_origins_and_none_may_post(origin: str | None) -> None:
    require_own_origin(origin, *OURS, None)


@pytest.mark.attack("A100")
@pytest.mark.parametrize(
    "origin",
    [
        "", "https://evil.example", "http://auth.example.com", "https://auth.example.com:8443", "NULL",
        "https://auth.example.com.evil.example", "https://auth.example.com/auth", "https://auth.example.com, null",
        "https://auth.example.com,https://evil.example",
    ],
)  # fmt: skip
def test_other_origins_may_not_post(origin: str) -> None:
    with pytest.raises(OriginRefused):
        require_own_origin(origin, *OURS)


@pytest.mark.attack("A100")
def test_a_seal_is_for_one_token_one_kind_and_one_installation() -> None:
    seals = FormSeal(MASTER_KEY)
    token, other = secrets.generate(SecretKind.verify), secrets.generate(SecretKind.verify)
    magic = secrets.generate(SecretKind.magic)
    elsewhere = FormSeal(MasterKey.from_text(b"the master key of another installation"))
    seals.require(token, seals.seal(token))
    for raw in (None, "", "ä", seals.seal(other), seals.seal(magic), elsewhere.seal(token), seals.seal(token).upper()):
        with pytest.raises(OriginRefused):
            seals.require(token, raw)


@pytest.mark.attack("A54")
@pytest.mark.parametrize("raw", [None, *HOSTILE_REDIRECTS], ids=range(len(HOSTILE_REDIRECTS) + 1))
def test_a_redirect_that_is_not_listed_becomes_the_first_listed(raw: str | None) -> None:
    assert choose_target(raw, LISTED) == FIRST
    assert choose_target(raw, ()) is None
    assert choose_target(SECOND, LISTED) == SECOND


@pytest.mark.parametrize(
    "listed",
    [
        "javascript:alert(1)", "https://app.example.com;script-src *", "https://app.example.com;script-src/x",
        "https://a,b/x", "https://app.example.com/a b", "https://app.example.com/\r\nset-cookie:x",
        "https://app.example.com/#there", "https://user@app.example.com/", "https://app.example.com:99999/",
        "https:///x", "https://[x]/", "http://[::1]:3000/",
    ],
)  # fmt: skip
def test_an_unsafe_listed_redirect_is_ignored(listed: str) -> None:
    assert choose_target(listed, (listed,)) is None
    assert choose_target(listed, (listed, FIRST)) == FIRST


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com/welcome?a=b", "https://app.example.com"),
        ("https://APP.Example.com:443/", "https://app.example.com"),
        ("http://localhost:3000/cb", "http://localhost:3000"), ("http://localhost:80", "http://localhost"),
        ("http://[::1]:3000/auth", "http://[::1]:3000"),
    ],
)  # fmt: skip
def test_origins_are_written_as_browsers_write_them(url: str, origin: str) -> None:
    assert origin_of(url) == origin
