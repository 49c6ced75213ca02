"""A81: whatever one request holds within the limits, it keeps the event loop for less than 50 ms, and linearly.

The inputs are enumerated: every header that is read (from the reader's own table), the body, documents, the variables
of every operation, definitions, records, forms, links, errors, the log's filters, what mail servers reply, and what the
SDK reads. Each is filled with what makes parsers backtrack, sort or look again, at three sizes.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from keystead.entities.model import FieldType
from keystead.graphql.errors import DocumentRefused, Problem, error_response, public_error
from keystead.mail.retry_policy import redact
from keystead.mail.smtp_failures import Redactor
from keystead.mail.transport import printable_line
from keystead.settings import load_settings
from keystead.web import logs
from keystead.web.app import Application
from keystead.web.pages.endpoint import KINDS, LARGEST_FORM
from keystead.web.request_body import LARGEST_BODY
from keystead.web.request_headers import HeaderReader
from keystead_client import _access_rules, cookies
from keystead_client.middleware import KeysteadMiddleware
from tests.attacks.callers import make_key
from tests.attacks.holding import Call, Probe, each, faults, fill, fresh
from tests.attacks.hostile_documents import IDS, VARIABLES, documents
from tests.attacks.surface import operations
from tests.clocks import ManualClock
from tests.databases import SqliteTemplate
from tests.house_rules.source import modules
from tests.make import make_brand, make_entity, make_server

pytestmark = pytest.mark.attack("A81")

LARGEST_HEAD = 32 * 1024
SETTINGS = load_settings(
    {
        "KEYSTEAD_BASE_URL": "https://auth.example.com",
        "KEYSTEAD_TRUSTED_PROXIES": "192.0.2.0/24",
        "KEYSTEAD_CORS_ORIGINS": "https://app.example.com",
    }
)
FILLERS = (
    " ", "\t", "\n", "\r\n", ";", ",", "=", '"', "'", "%", "%2", "%41", "a", "A-", "0", "0.", ".", ":", "/", "\\", "@",
    "&", "a=b&", "[", "{", "<", "<a ", "</", "{{", "{%", "eyJ", "ks_sk_", "://", "a://", "$argon2", ";q=0",
    "q = ", ", en;", "\u00a0", "\u2028", "\u0301", "\u0327\u0301", "\u1fbe", "\ufdfa", "\u0130", "é", "\U0001f600",
    "\u202e", "\ufeff",
)  # fmt: skip
"""Blanks, line ends, separators, quotes, escapes; beginnings of what is looked for; marks that normalising sorts,
letters that it makes many of, and letters that change their length with their case."""
HEADER_FILLERS = tuple(dict.fromkeys(filler.encode()[:4].decode("latin-1") for filler in FILLERS if "\n" not in filler))
DOCUMENT_FILLERS = (
    " ", "\n", "\r\n", ",", "\ufeff", "#", '\\"', "\\u0041", "{", "a ", "0 ", "@", "\u0327\u0301", "\U0001f600",
)  # fmt: skip
VARIABLE_FILLERS = (" ", "a", ",", "%", "@", "0", "\u0327\u0301", "\ufdfa", "\\u0327\\u0301", "a://", "<a ", "ks_sk_")
PREFIXES: dict[bytes, tuple[str, ...]] = {
    b"accept": ("application/graphql-response+json;", "application/graphql-response+json,"),
    b"accept-language": ("en;q=",),
    b"authorization": ("Bearer ", "Bearer eyJ."),
    b"content-type": ("application/json;", "application/json;charset="),
    b"content-length": ("1",),
    b"forwarded": ("for=",),
    b"host": ("localhost:",),
    b"origin": ("https://", "https://app.example.com"),
    b"user-agent": ("Mozilla/5.0 ",),
    b"x-forwarded-for": ("198.51.100.1,", "::"),
}
READ_ELSEWHERE = {b"accept", b"host", b"origin", b"sec-fetch-site"}
"""What is read by others than the reader: CORS, GraphiQL, the forms' same-origin check, the demo's loopback check."""
NUMBERS = count(1)
HEALTH = json.dumps({"query": "{health{data{up}}}"}).encode()
JSON = (b"content-type", b"application/json")


@pytest.fixture
def database_url(sqlite_template: SqliteTemplate, tmp_path: Path) -> str:
    return sqlite_template.copy(tmp_path)


@pytest.fixture
async def server(db: Database, clock: ManualClock) -> Server:
    return await make_server(db, clock, settings=SETTINGS)


@pytest.fixture
async def application(server: Server) -> Application:
    application = Application(server.settings)
    await application.open(server)
    return application


@pytest.fixture
async def shop(server: Server) -> ActiveBrand:
    fields: dict[str, Any] = {f"a_{kind}": {"type": str(kind)} for kind in FieldType}
    fields["a_enum"]["values"] = ["a", "b"]
    fields["a_pattern"] = {"type": "text", "pattern": "^(a|b)*$"}
    return await make_entity(server, await make_brand(server), "thing", fields)


@pytest.fixture
async def key(server: Server, shop: ActiveBrand) -> bytes:
    return (await make_key(server, shop, "admin")).encode()


def sending(application: Application, make: Callable[[int], Call], statuses: Sequence[int] = ()) -> Probe:
    def probe(size: int) -> Callable[[], Awaitable[object]]:
        call = make(size)

        async def send() -> None:
            status = await call.send_to(application)
            assert not statuses or status in statuses, (status, call.body[:200])
            assert len(b"".join(call.received)) <= 1 << 20

        return send

    return probe


def calling(work: Callable[[Any], object], make: Callable[[str], Any], filler: str) -> Probe:
    def probe(size: int) -> Callable[[], Awaitable[object]]:
        given = make(fresh(filler, size))

        async def run() -> None:
            work(given)

        return run

    return probe


async def check(probes: Iterator[tuple[str, Probe, int]]) -> None:
    found = [f"{name}: {wrong}" for name, probe, size in probes if (wrong := await faults(probe, size))]
    assert not found, "\n".join(found)


def graphql_body(query: str, variables: dict[str, Any] | None = None) -> bytes:
    """As clients write it: letters beyond ASCII as they are."""
    body = json.dumps({"query": query, "variables": variables}, ensure_ascii=False, separators=(",", ":"))
    return body.encode("utf-8", "surrogatepass")


def test_every_header_that_is_read_is_known() -> None:
    """One that is compared anywhere in ``web`` is in the reader's table, or is listed here and gets the same attack."""
    compared = {
        constant.value
        for module in modules("src/keystead/web")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id == "name"
        for constant in node.comparators
        if isinstance(constant, ast.Constant) and isinstance(constant.value, bytes)
    }
    written = {b"access-control-allow-origin"}
    assert compared - written <= READ_ELSEWHERE | HeaderReader(SETTINGS).names


async def test_headers(application: Application) -> None:
    names = sorted(HeaderReader(SETTINGS).names | READ_ELSEWHERE | {b"cookie", b"forwarded", b"x-unknown"})
    token = b"token=ks_ev_x"

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for name in names:
            for prefix in ("", *PREFIXES.get(name, ())):
                for shown, filler in each(HEADER_FILLERS):
                    where = f"{name.decode()}: {prefix}{shown}"

                    def headers(size: int, name: bytes = name, prefix: str = prefix, filler: str = filler) -> Any:
                        sent = (name, (prefix + fresh(filler, size) + "x").encode("latin-1"))
                        return [sent] if name == b"content-type" else [JSON, sent]

                    def post(size: int, headers: Any = headers) -> Call:
                        return Call("POST", "/graphql", headers(size), HEALTH)

                    def page(size: int, headers: Any = headers) -> Call:
                        return Call("GET", "/link/verify", headers(size), query=token)

                    def preflight(size: int, headers: Any = headers) -> Call:
                        return Call("OPTIONS", "/graphql", headers(size))

                    for make in (post, page, preflight):
                        yield f"{make.__name__} {where}", sending(application, make), LARGEST_HEAD

    await check(probes())


async def test_many_headers(application: Application) -> None:
    def probes() -> Iterator[tuple[str, Probe, int]]:
        for name in (*sorted(HeaderReader(SETTINGS).names), b"x"):

            def make(number: int, name: bytes = name) -> Call:
                return Call("POST", "/graphql", [JSON, *[(name, b"a")] * number], HEALTH)

            yield f"one name again and again: {name.decode()}", sending(application, make), 10_000
        yield (
            "many names",
            sending(
                application,
                lambda number: Call("POST", "/graphql", [JSON, *((b"x-%d" % n, b"") for n in range(number))], HEALTH),
            ),
            10_000,
        )

    await check(probes())


def bodies(filler: str) -> dict[str, Callable[[int], bytes]]:
    """JSON, and what is none, at a size."""
    text = json.dumps(filler, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")

    def around(before: bytes, after: bytes) -> Callable[[int], bytes]:
        return lambda size: before + text * ((size - len(before) - len(after)) // len(text)) + after

    return {
        "bare": around(b"", b""),
        "blank": around(b"{", b'"query":"{health{data{up}}}"}'),
        "an unknown member": around(b'{"query":"{health{data{up}}}","x":"', b'"}'),
        "a name": around(b'{"', b'":1,"query":"{health{data{up}}}"}'),
        "a document": around(b'{"query":"', b'"}'),
        "the operation's name": around(b'{"query":"{health{data{up}}}","operationName":"', b'"}'),
        "unclosed": around(b'{"query":"{health{data{up}}}","x":"', b""),
    }


STRUCTURES: dict[str, Callable[[int], bytes]] = {
    "digits": lambda size: b'{"query":"{me{id}}","x":' + b"9" * (size - 30) + b"}",
    "a fraction": lambda size: b'{"query":"{me{id}}","x":0.' + b"3" * (size - 30) + b"}",
    "an exponent": lambda size: b'{"query":"{me{id}}","x":1e' + b"3" * (size - 30) + b"}",
    "lists": lambda size: b'{"query":"{me{id}}","x":' + b"[" * (size - 30) + b"}",
    "objects": lambda size: b'{"query":"{me{id}}","x":' + b'{"a":' * ((size - 30) // 5) + b"}",
    "elements": lambda size: b'{"query":"{me{id}}","x":[' + b"0," * ((size - 32) // 2) + b"0]}",
    "members": lambda size: b"{" + b",".join(b'"%d":0' % n for n in range(size // 9)) + b',"query":"{me{id}}"}',
    "one member twice": lambda size: b"{" + b'"a":0,' * ((size - 30) // 6) + b'"query":"{me{id}}"}',
    "escapes": lambda size: b'{"query":"{me{id}}","x":"' + b"\\u0041" * ((size - 30) // 6) + b'"}',
    "halves of pairs": lambda size: b'{"query":"{me{id}}","x":"' + b"\\ud83d" * ((size - 30) // 6) + b'"}',
}


async def test_bodies(application: Application, key: bytes) -> None:
    def probes() -> Iterator[tuple[str, Probe, int]]:
        made = {f"{name} of {shown}": make for shown, filler in each(FILLERS) for name, make in bodies(filler).items()}
        for name, body in (made | STRUCTURES).items():

            def make(size: int, body: Callable[[int], bytes] = body) -> Call:
                return Call("POST", "/graphql", [JSON, (b"x-api-key", key)], body(size))

            yield name, sending(application, make), LARGEST_BODY

    await check(probes())


def growing_documents(filler: str) -> dict[str, Callable[[int], str]]:
    """Documents by their length; ``filler`` in every place that takes a text, or between tokens."""
    return {
        "between tokens": lambda size: "{" + fill(filler, size) + "me{id}}",
        "a comment": lambda size: "#" + fill(filler, size) + "\n{me{id}}",
        "comments": lambda size: ("#" + filler.replace("\n", "") + "\n") * (size // (len(filler) + 2)) + "{me{id}}",
        "a text": lambda size: '{userById(id:"' + fill(filler, size) + '"){data{id}}}',
        "a block text": lambda size: '{userById(id:"""' + fill(filler, size) + '"""){data{id}}}',
        "an unclosed text": lambda size: '{userById(id:"' + fill(filler, size),
        "a password": lambda size: (
            'mutation{login(input:{email:"' + fill(filler, size) + '",password:"x"}){data{auth_token}}}'
        ),
        "errors behind it": lambda size: "{" + fill(filler, size) + "userById(" + "id:1 " * 310 + "){data{id}}}",
        "errors in it": lambda size: "{userById(" + ("id:1" + fill(filler, size // 310) + " ") * 310 + "){data{id}}}",
        "unknown fields in it": lambda size: (
            "{" + " ".join(f"f{n}" + fill(filler, size // 480) for n in range(480)) + "}"
        ),
    }


NAMES: dict[str, Callable[[int], str]] = {
    "a field": lambda size: "{" + "a" * size + "}",
    "a field of me": lambda size: "{me{" + "a" * size + "}}",
    "an argument": lambda size: "{userById(" + "a" * size + ":1){data{id}}}",
    "a member": lambda size: "mutation{createUser(input:{" + "a" * size + ":1}){data{id}}}",
    "a type": lambda size: "query($a:" + "a" * size + "){me{id}}",
    "a directive": lambda size: "{me @" + "a" * size + "{id}}",
    "a fragment": lambda size: "{..." + "a" * size + "}",
    "an enum": lambda size: "{userById(id:" + "a" * size + "){data{id}}}",
    "digits": lambda size: "{userById(id:" + "9" * size + "){data{id}}}",
    "a fraction": lambda size: "{userById(id:0." + "9" * size + "){data{id}}}",
    "names with tokens to spare": lambda size: "{" + ("a" * (size // 990) + " ") * 990 + "}",
}


async def test_growing_documents(application: Application, key: bytes) -> None:
    def probes() -> Iterator[tuple[str, Probe, int]]:
        made = {
            f"{name}: {shown}": make
            for shown, filler in each(DOCUMENT_FILLERS)
            for name, make in growing_documents(filler).items()
        }
        for name, document in (made | NAMES).items():

            def make(size: int, document: Callable[[int], str] = document) -> Call:
                # Another document each time: one that was refused before is refused from memory.
                text = f"{document(size)}\n#{next(NUMBERS)}"
                return Call("POST", "/graphql", [JSON, (b"x-api-key", key)], graphql_body(text))

            # So that UTF-8 and JSON's escapes fit into the body as well.
            yield name, sending(application, make), LARGEST_BODY // 4

    await check(probes())


CUSTOMERS = "mutation {" + " ".join(
    f'c{n}: createCustomer(input: {{name: "{"x" * 200}", notes: "{"y" * 200}"}}) {{ data {{ id }} }}' for n in range(10)
) + "}"  # fmt: skip


@pytest.mark.parametrize("is_admin", [False, True])
async def test_the_corpus_of_documents(
    server: Server, application: Application, shop: ActiveBrand, key: bytes, is_admin: bool
) -> None:
    """They are as large as they can be, so only the time counts; each is new to the cache of documents."""
    brand = await make_entity(server, shop)
    for _ in range(10):
        await Call("POST", "/graphql", [JSON, (b"x-api-key", key)], graphql_body(CUSTOMERS)).send_to(application)
    cases: dict[str, tuple[str, Any]] = {name: (text, None) for name, text in documents().items()} | VARIABLES
    lists = [one for one in await operations(server, brand) if {"ids", "names"} & set(one.inputs())]
    for operation in lists:
        cases[f"{operation} many"] = operation.request(ids=IDS, names=IDS)
        cases[f"{operation} the same"] = operation.request(ids=IDS[:1] * len(IDS), names=IDS[:1] * len(IDS))
    assert (len(cases) >= 80, len(lists) >= 5) == (True, True)
    headers = [JSON, (b"x-api-key", key)] if is_admin else [JSON]

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for name, (text, values) in cases.items():

            def make(size: int, text: str = text, values: Any = values) -> Call:
                return Call("POST", "/graphql", headers, graphql_body(f"{text}\n#{next(NUMBERS)}", values))

            yield name, sending(application, make, (200, 400)), 1

    await check(probes())
    call = Call("POST", "/graphql", [JSON, (b"x-api-key", key)], graphql_body("{ customerList { data { id } } }"))
    assert await call.send_to(application) == 200
    assert b'"data":[{"id"' in b"".join(call.received)


async def test_the_variables_of_every_operation(
    server: Server, application: Application, shop: ActiveBrand, key: bytes
) -> None:
    every = [one for one in await operations(server, shop) if one.inputs()]
    assert len(every) > 40

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for operation in every:
            for name, kind in operation.inputs().items():
                if kind not in ("String", "ID", "JSON", "DateTime", "Date", "FilterValue"):
                    continue
                for shown, filler in each(VARIABLE_FILLERS):

                    def make(size: int, name: str = name, filler: str = filler, operation: Any = operation) -> Call:
                        text = fresh(filler, size // len(filler.encode()) * len(filler))
                        query, variables = operation.request(**{name: text})
                        return Call("POST", "/graphql", [JSON, (b"x-api-key", key)], graphql_body(query, variables))

                    yield f"{operation} {name} {shown}", sending(application, make), LARGEST_BODY - 1024

    await check(probes())


async def test_the_values_of_records(application: Application, key: bytes) -> None:
    document = "mutation($i: CreateThingInput!) { createThing(input: $i) { data { id } } }"
    searched = "query($f: FilterInput) { thingList(filter: $f) { data { id } } }"

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for kind in (*FieldType, "pattern"):
            for shown, filler in each(VARIABLE_FILLERS):
                for prefix in ("", "https://", "a@"):

                    def create(size: int, kind: str = kind, filler: str = filler, prefix: str = prefix) -> Call:
                        text = prefix + fresh(filler, size // len(filler.encode()) * len(filler))
                        body = graphql_body(document, {"i": {f"a_{kind}": text}})
                        return Call("POST", "/graphql", [JSON, (b"x-api-key", key)], body)

                    yield f"{kind}: {prefix}{shown}", sending(application, create), LARGEST_BODY - 1024

                def search(size: int, kind: str = kind, filler: str = filler) -> Call:
                    text = fresh(filler, size // len(filler.encode()) * len(filler))
                    condition = {"field": f"a_{kind}", "operator": "equal", "value": text}
                    body = graphql_body(searched, {"f": {"query": [{"condition": condition}]}})
                    return Call("POST", "/graphql", [JSON, (b"x-api-key", key)], body)

                yield f"where {kind} is {shown}", sending(application, search), LARGEST_BODY - 1024

    await check(probes())


DEFINITIONS: dict[str, Callable[[str], Any]] = {
    "entity": lambda text: {text: {"fields": {"x": {"type": "string"}}}},
    "field": lambda text: {"zz": {"fields": {text: {"type": "string"}}}},
    "key": lambda text: {"zz": {"fields": {"x": {"type": "string", text: 1}}}},
    "part": lambda text: {"zz": {text: {}}},
    "type": lambda text: {"zz": {"fields": {"x": {"type": text}}}},
    "default": lambda text: {"zz": {"fields": {"x": {"type": "text", "default": text}}}},
    "url": lambda text: {"zz": {"fields": {"x": {"type": "url", "default": f"https://{text}"}}}},
    "email": lambda text: {"zz": {"fields": {"x": {"type": "email", "default": f"a@{text}"}}}},
    "pattern": lambda text: {"zz": {"fields": {"x": {"type": "string", "pattern": text}}}},
    "values": lambda text: {"zz": {"fields": {"x": {"type": "enum", "values": [text]}}}},
    "min": lambda text: {"zz": {"fields": {"x": {"type": "decimal", "min": text}}}},
    "read": lambda text: {"zz": {"fields": {"x": {"type": "string", "read": [text]}}}},
    "relation": lambda text: {"zz": {"fields": {"x": {"type": "string"}}, "relations": {text: {"to": "thing"}}}},
    "to": lambda text: {"zz": {"fields": {"x": {"type": "string"}}, "relations": {"y": {"to": text}}}},
    "inverse": lambda text: {
        "zz": {"fields": {"x": {"type": "string"}}, "relations": {"y": {"to": "thing", "inverse": text}}}
    },
    "definition": lambda text: text,
}


async def test_definitions(application: Application, key: bytes) -> None:
    document = "mutation($d: JSON!) { defineEntity(definition: $d, dry_run: true) { data { applied } } }"

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for name, define in DEFINITIONS.items():
            for shown, filler in each(FILLERS):

                def make(size: int, define: Callable[[str], Any] = define, filler: str = filler) -> Call:
                    text = fresh(filler, size // len(filler.encode()) * len(filler))
                    body = graphql_body(document, {"d": define(text)})
                    return Call("POST", "/graphql", [JSON, (b"x-api-key", key)], body)

                yield f"{name}: {shown}", sending(application, make), LARGEST_BODY // 4

    await check(probes())


async def test_forms_and_links(application: Application) -> None:
    form = (b"content-type", b"application/x-www-form-urlencoded")

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for path, fillers in zip(KINDS, (FILLERS, *[VARIABLE_FILLERS] * (len(KINDS) - 1)), strict=True):
            for shown, filler in each(fillers):
                for before in (b"", b"token=", b"token=ks_ev_a&seal=", b"a=b&password=", b"redirect=https://"):

                    def post(size: int, path: str = path, before: bytes = before, filler: str = filler) -> Call:
                        return Call(
                            "POST",
                            path,
                            [form],
                            before + fresh(filler, (size - len(before)) // len(filler.encode()) * len(filler)).encode(),
                        )

                    def get(size: int, path: str = path, before: bytes = before, filler: str = filler) -> Call:
                        return Call(
                            "GET",
                            path,
                            query=before
                            + fresh(filler, (size - len(before)) // len(filler.encode()) * len(filler)).encode(),
                        )

                    yield f"POST {path} {before.decode()} {shown}", sending(application, post), LARGEST_FORM
                    yield f"GET {path} {before.decode()} {shown}", sending(application, get), LARGEST_HEAD

    await check(probes())


async def test_paths(application: Application) -> None:
    def probes() -> Iterator[tuple[str, Probe, int]]:
        for shown, filler in each(FILLERS):
            for before in ("/", "/link/", "/graphql/", "/.well-known/"):

                def get(size: int, before: str = before, filler: str = filler) -> Call:
                    return Call("GET", before + fresh(filler, size))

                yield f"{before}{shown}", sending(application, get), LARGEST_HEAD

    await check(probes())


def refused(text: str) -> DocumentRefused:
    """Five problems with hundreds of places each, in a text of many lines."""
    starts = tuple(range(0, len(text), max(1, len(text) // 310)))
    return DocumentRefused([Problem(text[:100], starts)] * 5, text)


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


async def test_errors_and_logs() -> None:
    hidden = Redactor("no-reply@example.com", ["ann@example.com"], "user", "password")
    works: dict[str, tuple[Callable[[Any], object], Callable[[str], Any]]] = {
        "locations": (lambda error: error_response(error, "ref-1"), refused),
        "an internal error": (lambda error: public_error(error, "ref-1"), raised),
        "the log's filter": (lambda text: logs.redact_event(None, "", {"event": "x", "cause": text}), str),
        "the log's filter, a word before it": (lambda text: logs.redact(f"a{text} ://"), str),
        "a line of JSON": (lambda text: logs._to_json(None, "", {"event": text}), str),
        "a mail server's reply": (redact, str),
        "a mail server's reply, secrets hidden": (hidden.redact, str),
        "one line": (printable_line, str),
    }

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for name, (work, made) in works.items():
            for shown, filler in each(FILLERS):
                yield (
                    f"{name}: {shown}",
                    calling(work, made, filler),
                    LARGEST_BODY,
                )

    with structlog.testing.capture_logs():
        await check(probes())


async def test_what_the_client_library_reads() -> None:
    origins, prefixes = _access_rules.OriginRules(["https://app.example.com"]), _access_rules.PathRules(["/auth"])
    app: Any = None
    rules = KeysteadMiddleware(app, "https://id.example.com", brand="shop")._rules

    def asked(host: str = "localhost", referer: str | None = None, accept: str = "") -> _access_rules.IncomingRequest:
        headers = frozenset({b"host"})
        return _access_rules.IncomingRequest(
            "http", host, headers, [], accept, "/", None, "", b"", None, referer=referer
        )

    works: dict[str, Callable[[str], object]] = {
        "a target": _access_rules.redirect_target,
        "a login page": lambda text: rules.login_location(asked(), f"https://{text}"),
        "a path": lambda text: prefixes.match(f"/auth/{text}", f"/auth/{text}".encode()),
        "where to log in": lambda text: _access_rules.login_location("/login", text, text.encode()),
        "Accept": lambda text: rules.is_api(asked(accept=text)),
        "Cookie": lambda text: cookies.read_cookies([text]),
        "Origin": lambda text: origins.allow(f"https://{text}", "https", "app.example.com"),
        "Host": lambda text: rules.is_local_development(asked(text)),
        "a page": lambda text: rules.is_local_development(asked(referer=f"http://{text}")),
    }

    def probes() -> Iterator[tuple[str, Probe, int]]:
        for name, work in works.items():
            for shown, filler in each(FILLERS):
                yield f"{name}: {shown}", calling(work, str, filler), LARGEST_HEAD

    await check(probes())
