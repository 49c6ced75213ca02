"""How WSGI tells of a request.

Its text is bytes read as Latin-1, whatever they mean (PEP 3333).
"""

from __future__ import annotations

from wsgiref.types import WSGIEnvironment

from keystead_client.protection import Visit

_OURS = "HTTP_X_KEYSTEAD_"
# Under these names web servers hand over the path as it was sent, which PATH_INFO no longer shows.
_AS_SENT = ("REQUEST_URI", "RAW_URI")


def strip(environ: WSGIEnvironment) -> None:
    """Takes away the headers that claim to come from the middleware."""
    for name in [name for name in environ if name.startswith(_OURS)]:
        del environ[name]


def visit_of(environ: WSGIEnvironment) -> Visit:
    """The request."""
    cookies = environ.get("HTTP_COOKIE")
    sent = [environ[name] for name in _AS_SENT if name in environ]
    return Visit(
        scheme=environ.get("wsgi.url_scheme", "http"),
        host=environ.get("HTTP_HOST", ""),
        header_names=frozenset(_header_name(name) for name in environ if name.startswith("HTTP_")),
        cookies=[cookies] if cookies else [],
        accept=environ.get("HTTP_ACCEPT", ""),
        path=_text(environ.get("PATH_INFO", "")) or "/",
        raw_path=b" ".join(text.partition("?")[0].encode("latin-1") for text in sent) or None,
        root=_text(environ.get("SCRIPT_NAME", "")).rstrip("/"),
        query=environ.get("QUERY_STRING", "").encode("latin-1"),
        # Empty behind a Unix socket.
        address=environ.get("REMOTE_ADDR") or None,
        origin=environ.get("HTTP_ORIGIN"),
        referer=environ.get("HTTP_REFERER"),
        method=environ.get("REQUEST_METHOD", "GET"),
        is_websocket=environ.get("HTTP_UPGRADE", "").strip(" \t").lower() == "websocket",
        fetch_site=environ.get("HTTP_SEC_FETCH_SITE"),
    )


def _header_name(name: str) -> bytes:
    return name[len("HTTP_") :].lower().replace("_", "-").encode("latin-1")


def _text(path: str) -> str:
    return path.encode("latin-1").decode("utf-8", "replace")
