"""Structured logs: one JSON line per event, or console text, with secrets redacted. Security §16."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from keystead.settings import Settings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# Linear in any text: each form begins with fixed letters and matches or fails within a few more.
_SECRETS = re.compile(r"ks_[a-z]{2}_[0-9A-Za-z]{8,}|eyJ[0-9A-Za-z_.-]{8,}|\$argon2[a-z]{0,2}\$[^\s\"']+")
_AUTHORITY = re.compile(r"[^\s/]*")


def configure(settings: Settings) -> None:
    """Send all log lines of the process, including those of libraries, to stderr in one format."""
    level = _LEVELS[settings.log_level]
    renderer: Any = _to_json if settings.log_format == "json" else console_renderer(sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers[:] = [_Bridge()]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING if level > logging.DEBUG else logging.INFO)


def redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact secrets in all values: the last line of defence."""
    for name, value in event.items():
        if type(value) is str and len(value) > 12:
            event[name] = redact(value)
    return event


def redact(text: str) -> str:
    """The text with secrets and passwords in URLs replaced by ``[hidden]``."""
    if "ks_" in text or "eyJ" in text or "$argon2" in text:
        text = _SECRETS.sub("[hidden]", text)
    if "://" not in text:
        return text
    before, *urls = text.split("://")
    return "://".join((before, *map(_without_password, urls)))


def _without_password(url: str) -> str:
    """Hide the password in ``user:password@host/path``, the part of a URL after ``://``."""
    authority = _AUTHORITY.match(url)
    login, at, _ = authority[0].rpartition("@") if authority else ("", "", "")
    user, colon, password = login.partition(":")
    return f"{user}:[hidden]{url[len(login) :]}" if at and colon and password else url


def _to_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    # msgspec escapes control characters: no log injection.
    return msgspec.json.encode(event, enc_hook=str).decode("utf-8")


def console_renderer(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    """Console text, coloured on a terminal only."""
    return structlog.dev.ConsoleRenderer(colors=stream.isatty())


class _Bridge(logging.Handler):
    """Forwards the records of the standard library's logging."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
