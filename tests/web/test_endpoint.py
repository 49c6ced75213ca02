"""The order of checks, and the headers of every response. Contract §1."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from keystead.context import Server
from tests.api import Api, make_api

PAGE = "https://app.example.com"
TWICE = [("x-api-key", "a"), ("pylo-api-key", "a")]
BODY = b'{"query": "{ health { data { up } } }"}'


@pytest.fixture
async def api(server: Server) -> Api:
    server.settings = replace(server.settings, cors_origins=(PAGE,))
    return await make_api(server)


async def send(api: Api, *headers: tuple[str, str], method: str = "POST", body: bytes = BODY) -> httpx.Response:
    return await api.http.request(method, "/graphql", content=body, headers=list(headers))


JSON = ("content-type", "application/json")


@pytest.mark.attack("A80")
@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("GET", [JSON, *TWICE], BODY, 405), ("POST", [("content-type", "text/plain"), *TWICE], BODY, 415),
        ("POST", [("content-type", "text/plain"), JSON], BODY, 415), ("POST", [JSON, JSON], BODY, 415),
        ("POST", [JSON, *TWICE], b" " * 65_537, 413),
        ("POST", [JSON, ("content-length", "1000000000000"), *TWICE], BODY, 413), ("POST", [JSON, *TWICE], b"[]", 400),
        ("POST", [JSON, *TWICE], BODY, 400), ("POST", [JSON, TWICE[0]], BODY, 401), ("POST", [JSON], BODY, 200),
    ],
)  # fmt: skip
async def test_method_type_size_and_body_are_checked_before_credentials(
    api: Api, method: str, headers: list[tuple[str, str]], body: bytes, status: int
) -> None:
    answer = await send(api, *headers, method=method, body=body)
    assert answer.status_code == status
    if status == 400 and body is BODY:
        assert answer.json()["errors"][0]["extensions"]["field"] == "pylo-api-key"


@pytest.mark.parametrize("headers", [[JSON], [JSON, *TWICE], [JSON, TWICE[0]], [("content-type", "text/plain")]])
async def test_every_response_is_readable_by_the_allowed_origin_and_not_stored(
    api: Api, headers: list[tuple[str, str]]
) -> None:
    media_type = "application/graphql-response+json"
    answer = await send(api, *headers, ("origin", PAGE), ("accept", media_type))
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith(media_type)
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", [("https://evil.example",), ("null",), ("https://evil.example", PAGE)])
async def test_other_origins_are_not_allowed(api: Api, origins: tuple[str, ...]) -> None:
    answer = await send(api, JSON, *(("origin", origin) for origin in origins))
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_no_path_redirects_to_the_host_header(api: Api) -> None:
    assert (await api.http.get("/health/", headers={"host": "evil.example"})).status_code == 404
