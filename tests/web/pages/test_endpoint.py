"""The endpoint of the pages: paths, methods, and forms and queries that have exactly one reading."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from keystead.context import Server
from keystead.errors import MalformedRequest
from keystead.mail.model import MailKind
from keystead.web.pages.endpoint import LARGEST_FORM, find_once, parse_form, require_form
from tests.api import make_api
from tests.web.pages.conftest import Asked
from tests.web.pages.visiting import BASE, Visitor, is_strict

KNOWN = ("token", "password", "seal")
FORM = "application/x-www-form-urlencoded"


def test_a_form_is_parsed() -> None:
    assert parse_form(b"token=a%20b+c&password=%C3%A4%26%3D", KNOWN) == {"token": "a b c", "password": "ä&="}
    assert parse_form(b"token=&seal", KNOWN) == {"token": "", "seal": ""}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"token=a&token=b", b"token=a&token=a", b"token=a&t%6Fken=b", b"token=a&TOKEN=b", b"token=a&admin=1",
        b"token[]=a", b"token=a&", b"&token=a", b"token=a;seal=b&x=1", b"token=%", b"token=%4", b"token=%zz",
        b"token=%u0041", b"token=%00", b"token=a%00b", b"token=%ff", b"token=%ed%a0%80", b"token=%c0%af",
        "token=ä".encode(), "token=ä".encode("latin-1"), b'{"token": "a"}', b"\xff\xfet\0o\0",
    ],
)  # fmt: skip
def test_an_ambiguous_form_is_400(body: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_form(body, KNOWN)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "content_type", [FORM, "Application/X-WWW-Form-URLEncoded", f"{FORM}; charset=utf-8", f'{FORM};charset="UTF-8"']
)
def test_an_urlencoded_form_is_accepted(content_type: str) -> None:
    require_form(content_type, None)
    require_form(content_type, "identity")


@pytest.mark.attack("A80")
@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        *((content_type, None) for content_type in (
            None, "", "text/plain", "application/json", "multipart/form-data; boundary=x", f"{FORM}, {FORM}",
            f"{FORM}x", f"{FORM}; charset=utf-7", f"{FORM}; charset=latin1",
        )),
        (FORM, "gzip"),
        (FORM, "identity, gzip"),
    ],
)  # fmt: skip
def test_another_body_is_415(content_type: str | None, encoding: str | None) -> None:
    with pytest.raises(MalformedRequest) as caught:
        require_form(content_type, encoding)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (b"token=a", "a"), (b"utm_source=x&token=a&redirect=b", "a"), (b"utm_source=x&utm_source=y&token=a", "a"),
        (b"token=", ""), (b"", None), (b"redirect=a", None), (b"token=a&token=b", None), (b"token=a&tok%65n=b", None),
        (b"token=a&x=%&%=x&%ff=y&redirect=%00", "a"), (b"token=%", None), (b"token=%ff", None),
    ],
)  # fmt: skip
def test_a_query_parameter_is_found_if_unique(query: bytes, value: str | None) -> None:
    assert find_once(query, "token") == value


@pytest.mark.parametrize(
    "path", ["/link/", "/link/verify/", "/link/verifyx", "/link/../link/x", "/link/templates/layout.html.jinja"]
)
async def test_other_paths_are_404(visitor: Visitor, path: str) -> None:
    page = await visitor.open(path)
    assert page.status == 404
    assert is_strict(page.response)


async def test_the_style_sheet_imports_nothing(visitor: Visitor) -> None:
    answer = (await visitor.open("/link/style.css")).response
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert is_strict(answer)
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    refused = (await visitor.open("/link/style.css", method="POST")).response
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_there_is_no_hsts_over_http(server: Server, asked: Asked) -> None:
    link = await asked(MailKind.verify_email)
    server.settings = replace(server.settings, base_url="http://localhost:4000")
    visitor = Visitor(await make_api(server))
    for path in (link, "/link/style.css"):
        assert "strict-transport-security" not in (await visitor.open(path)).response.headers


async def test_a_form_of_the_largest_size_is_read_in_parts(visitor: Visitor, asked: Asked) -> None:
    page = await visitor.open(await asked(MailKind.verify_email))
    body = httpx.QueryParams(page.form.hidden | {"redirect": ""})
    padded = f"{body}{'x' * (LARGEST_FORM - len(str(body)))}".encode()

    async def parts() -> object:
        for start in range(0, len(padded), 1000):
            yield padded[start : start + 1000]

    answer = await visitor.http.post(f"{BASE}/link/verify", content=parts(), headers={"content-type": FORM})  # type: ignore[arg-type]
    assert answer.status_code == 200
    too_long = {"content-type": FORM, "content-length": str(LARGEST_FORM + 1)}
    assert (await visitor.http.post(f"{BASE}/link/verify", content=b"", headers=too_long)).status_code == 413


async def test_an_unknown_or_repeated_field_is_400_and_keeps_the_link_valid(visitor: Visitor, asked: Asked) -> None:
    page = await visitor.open(await asked(MailKind.verify_email))
    for more in ("&password=x", "&admin=1", "&token=x", "&seal=", "&redirect=a&redirect=b"):
        body = f"{httpx.QueryParams(page.form.hidden)}{more}"
        answer = await visitor.http.post(f"{BASE}/link/verify", content=body, headers={"content-type": FORM})
        assert answer.status_code == 400, more
    assert (await visitor.press(page)).status == 200
