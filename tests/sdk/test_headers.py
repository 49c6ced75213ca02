"""What the middleware writes into the headers of an answer."""

from __future__ import annotations

import pytest

from keystead_client.headers import RawHeaders, for_one_browser, with_cookies

OF_CACHES = (b"CDN-Cache-Control", b"cloudflare-cdn-cache-control", b"Surrogate-Control", b"Expires", b"Pragma")
OURS = (b"cache-control", b"private, no-cache")


@pytest.mark.parametrize(
    ("given", "marked"),
    [
        ([], [(b"vary", b"Cookie"), OURS]),
        ([(b"Vary", b"Accept-Encoding")], [(b"Vary", b"Accept-Encoding, Cookie"), OURS]),
        ([(b"vary", b"Accept , Origin,")], [(b"vary", b"Accept, Origin, Cookie"), OURS]),
        ([(b"vary", b"")], [(b"vary", b"Cookie"), OURS]),
        ([(b"vary", b"Origin, cookie")], [(b"vary", b"Origin, cookie"), OURS]),
        ([(b"vary", b"*")], [(b"vary", b"*"), OURS]),
        ([(b"vary", b"A"), (b"vary", b"B")], [(b"vary", b"A, Cookie"), (b"vary", b"B"), OURS]),
        ([(b"vary", b"X-Cookie")], [(b"vary", b"X-Cookie, Cookie"), OURS]),
    ],
)
def test_a_personal_answer_is_kept_for_one_browser(given: RawHeaders, marked: RawHeaders) -> None:
    assert for_one_browser(given) == marked


@pytest.mark.parametrize("said", [b"no-store", b"public, max-age=600", b"max-age=0"])
def test_what_the_application_says_of_caches_stays(said: bytes) -> None:
    given = [(b"Cache-Control", said), (b"content-type", b"text/html")]
    assert for_one_browser(given) == [*given, (b"vary", b"Cookie")]


@pytest.mark.attack("A101")
def test_tokens_are_never_kept() -> None:
    given = [(b"Cache-Control", b"public"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2")]
    given += [(name, b"max-age=600") for name in OF_CACHES]
    written = with_cookies(given, ["a=3; Path=/"], ("a",))
    assert written == [(b"set-cookie", b"b=2"), (b"cache-control", b"no-store"), (b"set-cookie", b"a=3; Path=/")]
