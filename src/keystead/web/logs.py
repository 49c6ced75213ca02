"""Structured logs: one JSON line an event, or text for people, with no secret in it. Security §16."""

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
# Linear in any text: each form begins with fixed letters, and what follows is matched or refused within a few of them.
_SECRETS = re.compile(r"ks_[a-z]{2}_[0-9A-Za-z]{8,}|eyJ[0-9A-Za-z_.-]{8,}|\$argon2[a-z]{0,2}\$[^\s\"']+")
_AUTHORITY = re.compile(r"[^\s/]*")


def configure(settings: Settings) -> None:
    """Sends every log line of the process, the libraries' included, to stderr in one form."""
    level = _LEVELS[settings.log_level]
    renderer: Any = _to_json if settings.log_format == "json" else for_people(sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers[:] = [_Bridge()]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING if level > logging.DEBUG else logging.INFO)


def hide_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last line of defence: whatever looks like one of our secrets is blotted out of every value."""
    for name, value in event.items():
        if type(value) is str and len(value) > 12:
            event[name] = blot(value)
    return event


def blot(text: str) -> str:
    """``text`` without secrets."""
    if "ks_" in text or "eyJ" in text or "$argon2" in text:
        text = _SECRETS.sub("[hidden]", text)
    if "://" not in text:
        return text
    before, *urls = text.split("://")
    return "://".join((before, *map(_without_password, urls)))


def _without_password(url: str) -> str:
    """What stands behind ``://``, its password hidden: ``user:password@host/path``."""
    authority = _AUTHORITY.match(url)
    login, at, _ = authority[0].rpartition("@") if authority else ("", "", "")
    user, colon, password = login.partition(":")
    return f"{user}:[hidden]{url[len(login) :]}" if at and colon and password else url


def _to_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    # msgspec escapes control characters, so that no value can forge a line.
    return msgspec.json.encode(event, enc_hook=str).decode("utf-8")


def for_people(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    """Text, coloured on a terminal: in a file or a journal colour codes are noise."""
    return structlog.dev.ConsoleRenderer(colors=stream.isatty())


class _Bridge(logging.Handler):
    """Carries the lines of libraries that use the standard library's logging."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
