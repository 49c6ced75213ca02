"""What a page takes, and the headers that every answer carries, whatever it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.web.pages.endpoint import LARGEST_FORM
from tests.api import make_api
from tests.make import change_brand
from tests.web.pages.conftest import Asked
from tests.web.pages.visiting import BASE, Page, Visitor

FORM = "application/x-www-form-urlencoded"
POLICY = "default-src 'none'; style-src 'self'; form-action {}; base-uri 'none'; frame-ancestors 'none'"
STRICT = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}


def is_strict(answer: httpx.Response, targets: str = "'self'") -> bool:
    """Whether the answer has every header that protects its reader, and no cookie."""
    assert answer.headers["content-security-policy"] == POLICY.format(targets)
    assert {name: answer.headers.get(name) for name in STRICT} == STRICT
    assert "set-cookie" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    assert "vary" not in answer.headers
    return True


def has_no_script(page: Page) -> bool:
    """Whether nothing on the page runs, and nothing of it comes from elsewhere."""
    assert not {"script", "iframe", "object", "embed", "img", "base"} & {tag for tag, _ in page.tags}
    assert [given["href"] for tag, given in page.tags if tag == "link"] == ["style.css"]
    assert not [name for _, given in page.tags for name in given if name.startswith("on") or name == "style"]
    return True


@pytest.mark.parametrize("kind", list(LINK_KINDS))
async def test_every_answer_is_strict(visitor: Visitor, asked: Asked, kind: MailKind) -> None:
    page = await visitor.open(await asked(kind))
    assert is_strict(page.response)
    assert has_no_script(page)
    action = page.response.url.join(page.form.action)
    hidden = page.form.hidden
    typed = dict.fromkeys(page.form.typed, "violet indigo blue")
    requests: dict[int, dict[str, Any]] = {
        403: {"data": hidden, "headers": {"origin": "https://evil.example"}},
        400: {"content": "token=a&token=b", "headers": {"content-type": FORM}},
        413: {"content": b"a" * (LARGEST_FORM + 1), "headers": {"content-type": FORM}},
        415: {"json": hidden},
        410: {"data": {"token": "x"}},
        200: {"data": {**hidden, **typed}},
    }
    for status, request in requests.items():
        answer = await visitor.http.post(action, **request)
        assert answer.status_code == status
        assert is_strict(answer)
        assert has_no_script(Page(answer))
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert is_strict((await visitor.open("/link/reset", method="PUT")).response)


async def test_where_a_redirect_follows_the_form_may_lead_there(
    server: Server, brand: ActiveBrand, visitor: Visitor, asked: Asked
) -> None:
    await change_brand(server, brand, {"redirect_urls": ["https://app.example.com:8443/in", "https://b.example/"]})
    login, verify = await asked(MailKind.magic_login), await asked(MailKind.verify_email)
    page = await visitor.open(login)
    assert is_strict(page.response, "'self' https://app.example.com:8443")
    assert is_strict((await visitor.open(f"{login}&redirect=https://b.example/")).response, "'self' https://b.example")
    assert is_strict((await visitor.open(verify)).response)
    assert is_strict((await visitor.press(page)).response, "'self' https://app.example.com:8443")


async def test_only_https_is_asked_for_where_there_is_https(server: Server, asked: Asked) -> None:
    link = await asked(MailKind.verify_email)
    server.settings = replace(server.settings, base_url="http://localhost:4000")
    visitor = Visitor(await make_api(server))
    assert "strict-transport-security" not in (await visitor.open(link)).response.headers
    assert "strict-transport-security" not in (await visitor.open("/link/style.css")).response.headers


async def test_the_style_sheet_is_ours(visitor: Visitor) -> None:
    answer = (await visitor.open("/link/style.css")).response
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert is_strict(answer)
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    refused = (await visitor.open("/link/style.css", method="POST")).response
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/link/", "/link/verify/", "/link/verifyx", "/link/../link/x", "/link/templates/layout.html.jinja"]
)
async def test_there_is_no_other_page(visitor: Visitor, path: str) -> None:
    page = await visitor.open(path)
    assert page.status == 404
    assert is_strict(page.response)


async def test_a_form_of_the_largest_size_is_read_and_its_parts_may_come_one_by_one(
    visitor: Visitor, asked: Asked
) -> None:
    page = await visitor.open(await asked(MailKind.verify_email))
    body = httpx.QueryParams(page.form.hidden | {"redirect": ""})
    padded = f"{body}{'x' * (LARGEST_FORM - len(str(body)))}".encode()

    async def parts() -> object:
        for start in range(0, len(padded), 1000):
            yield padded[start : start + 1000]

    answer = await visitor.http.post(f"{BASE}/link/verify", content=parts(), headers={"content-type": FORM})  # type: ignore[arg-type]
    assert answer.status_code == 200
    too_long = await visitor.http.post(
        f"{BASE}/link/verify", content=b"", headers={"content-type": FORM, "content-length": str(LARGEST_FORM + 1)}
    )
    assert too_long.status_code == 413


@pytest.mark.parametrize("more", ["&password=x", "&admin=1", "&token=x", "&seal=", "&redirect=a&redirect=b"])
async def test_a_field_too_many_is_refused_and_the_link_stays_good(visitor: Visitor, asked: Asked, more: str) -> None:
    page = await visitor.open(await asked(MailKind.verify_email))
    body = f"{httpx.QueryParams(page.form.hidden)}{more}"
    answer = await visitor.http.post(f"{BASE}/link/verify", content=body, headers={"content-type": FORM})
    assert answer.status_code == 400
    assert (await visitor.press(page)).status == 200
