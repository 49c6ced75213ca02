"""Where a page may lead to: the brand's list, letter for letter (A54)."""

from __future__ import annotations

import pytest

from keystead.web.pages.csrf import choose_target, origin_of

FIRST = "https://app.example.com/welcome"
SECOND = "https://app.example.com:8443/in?from=mail"
LISTED = (FIRST, SECOND)

HOSTILE = [
    "",
    " ",
    "/",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "http:evil.example",
    "https://evil.example",
    "https://evil.example/welcome",
    "https://evil.example#https://app.example.com/welcome",
    "https://evil.example?https://app.example.com/welcome",
    "https://app.example.com.evil.example/welcome",
    "https://app.example.comevil.example/welcome",
    "https://evil-app.example.com/welcome",
    "https://evil.example/app.example.com/welcome",
    "https://app.example.com@evil.example/welcome",
    "https://app.example.com:pw@evil.example/welcome",
    "https://evil.example\\@app.example.com/welcome",
    "https://app.example.com\\.evil.example/welcome",
    "https://user@app.example.com/welcome",
    "https://app.example.com./welcome",
    "https://app.example.com:443/welcome",
    "https://app.example.com:8443/welcome",
    "https://APP.example.com/welcome",
    "HTTPS://app.example.com/welcome",
    "http://app.example.com/welcome",
    "https://app.example.com/Welcome",
    "https://app.example.com/welcome/",
    "https://app.example.com/welcome?",
    "https://app.example.com/welcome#",
    "https://app.example.com/welcome?next=//evil.example",
    "https://app.example.com/welcome/../evil",
    "https://app.example.com/%77elcome",
    "https://app.example.com/welcome%00",
    "https://app.example.com/welcome\0",
    "https://app.example.com/welcome\n",
    "https://app.example.com/welcome ",
    " https://app.example.com/welcome",
    "\thttps://app.example.com/welcome",
    "https://app.example.com/welcome\r\nset-cookie: a=b",
    "https://app.example.com%0d%0aset-cookie:a=b/welcome",
    "https%3A%2F%2Fapp.example.com%2Fwelcome",
    "https://app\u3002example\u3002com/welcome",
    "https://\uff41pp.example.com/welcome",
    "https://\u0430pp.example.com/welcome",
    "https://app.example.com/welcome\u200b",
    "https://app.example.com\u2044welcome",
    "https://app.example.com\uff0fwelcome",
    "https://app.example.com\u2100welcome",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "javascript://app.example.com/welcome%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:https://app.example.com/1",
    "ftp://app.example.com/welcome",
    "https://[::1]/welcome",
    "https://[::ffff:127.0.0.1]/welcome",
    "https://0x7f.1/welcome",
    "https://2130706433/welcome",
]


@pytest.mark.attack("A54")
@pytest.mark.parametrize("raw", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_not_on_the_list_is_the_first_of_it(raw: str) -> None:
    assert choose_target(raw, LISTED) == FIRST
    assert choose_target(raw, ()) is None


@pytest.mark.attack("A54")
def test_what_is_on_the_list_is_taken_as_it_is() -> None:
    assert choose_target(SECOND, LISTED) == SECOND
    assert choose_target(None, LISTED) == FIRST
    assert choose_target(None, ()) is None


@pytest.mark.parametrize(
    "listed",
    [
        "javascript:alert(1)",
        "https://app.example.com;script-src *",
        "https://app.example.com;script-src/x",
        "https://a,b/x",
        "https://app.example.com/a b",
        "https://app.example.com/\r\nset-cookie:x",
        "https://app.example.com/#there",
        "https://user@app.example.com/",
        "https://app.example.com:99999/",
        "https:///x",
        "https://[x]/",
        "http://[::1]:3000/",
    ],
)
def test_what_should_never_have_been_listed_leads_nowhere(listed: str) -> None:
    assert choose_target(listed, (listed,)) is None
    assert choose_target(listed, (listed, FIRST)) == FIRST


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com/welcome?a=b", "https://app.example.com"),
        ("https://APP.Example.com:443/", "https://app.example.com"),
        ("http://localhost:3000/cb", "http://localhost:3000"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert choose_target(url, (url,)) == url
    assert origin_of(url) == origin


def test_the_origin_of_an_ipv6_address_has_brackets() -> None:
    assert origin_of("http://[::1]:3000/auth") == "http://[::1]:3000"
