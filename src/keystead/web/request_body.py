"""Read and parse the body of a GraphQL request: size, encoding, strict JSON. Security §12, items 1 and 2."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from keystead.aio import within
from keystead.errors import MalformedRequest, ServerBusy
from keystead.web import metrics

LARGEST_BODY = 64 * 1024
LONGEST_READ = 15.0
"""Timeout in seconds for the client to send its body."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A parsed request. Document and variables may contain passwords."""

    query: str = field(repr=False)
    variables: dict[str, Any] = field(repr=False)
    operation_name: str | None


class ClientGone(Exception):
    """The client disconnected before its request was complete."""


async def read_body(receive: Receive, declared_length: int | None, largest: int = LARGEST_BODY) -> bytes:
    """Read the whole body.

    :raises MalformedRequest: 413 above ``largest`` bytes, 408 when it takes longer than 15 s.
    :raises ServerBusy: if the server stops before the body is complete.
    :raises ClientGone: if the client disconnects.
    """
    if declared_length is not None and declared_length > largest:
        raise _too_large(largest)
    try:
        return await within(LONGEST_READ, _read(receive, largest))
    except asyncio.CancelledError:
        # A server cancels the requests that remain after draining. Nothing of this one has run.
        raise ServerBusy("The server is stopping. Send the request again.") from None
    except TimeoutError:
        metrics.count_refused_connection("slow_body")
        raise MalformedRequest("The request body took too long to arrive.", status=408) from None


async def _read(receive: Receive, largest: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > largest:
            raise _too_large(largest)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(largest: int) -> MalformedRequest:
    return MalformedRequest(f"The request body is larger than {largest // 1024} KiB.", status=413)


def parse_request(body: bytes) -> GraphQLRequest:
    """Parse the GraphQL request. Unknown members are ignored.

    :raises MalformedRequest: 400, unless the body is one valid JSON object of the right shape.
    """
    # Fast path: four quotation marks are one member with one string, so there are no duplicates or nested values.
    if body.count(b'"') == 4 and b"\\u" not in body and (query := _only_query(body)):
        return GraphQLRequest(query, {}, None)
    document = _strict_json(body)
    if isinstance(document, list):
        raise MalformedRequest("Batches are not supported. Send one operation per request.")
    if not isinstance(document, dict):
        raise MalformedRequest("The request body must be a JSON object.")
    query, variables, operation_name = (document.get(name) for name in ("query", "variables", "operationName"))
    if not isinstance(query, str) or not query:
        raise MalformedRequest("The member 'query' must be a GraphQL document.", field="query")
    if variables is not None and not isinstance(variables, dict):
        raise MalformedRequest("The member 'variables' must be an object.", field="variables")
    if operation_name is not None and not isinstance(operation_name, str):
        raise MalformedRequest("The member 'operationName' must be a string.", field="operationName")
    extensions = document.get("extensions")
    if extensions is not None and not isinstance(extensions, dict):
        raise MalformedRequest("The member 'extensions' must be an object.", field="extensions")
    return GraphQLRequest(query, variables or {}, operation_name or None)


_TEXTS = msgspec.json.Decoder(dict[str, str])


def _only_query(body: bytes) -> str | None:
    try:
        return _TEXTS.decode(body).get("query")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _strict_json(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
        document = _DECODER.decode(text)
    except RecursionError:
        raise MalformedRequest("The request body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise MalformedRequest("The request body is not UTF-8.") from None
    except _DuplicateKey:
        raise MalformedRequest("The request body contains a member twice.") from None
    except ValueError as error:
        raise MalformedRequest("The request body is not valid JSON.", cause=type(error).__name__) from None
    # Only an escape can introduce a NUL or a lone surrogate.
    if "\\u" in text:
        _require_storable(document)
    return document


class _DuplicateKey(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _DuplicateKey
    return made


def _integer(text: str) -> int:
    # 64 bits are enough for every type; int() is quadratic in the length of the text.
    if len(text) > 20:
        raise ValueError("integer out of range")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError("number out of range")
    return value


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_reject_constant, parse_int=_integer, parse_float=_number
)


def _require_storable(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "\0" in item or any("\ud800" <= character <= "\udfff" for character in item):
                raise MalformedRequest("The request body contains a NUL or a lone surrogate.")
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
