"""Compile and render templates.

A source is compiled twice: without escaping for subject and text, with auto-escaping for HTML. Both in Jinja's
immutable sandbox, with undefined names as errors and the shipped layout as the only template to load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

from jinja2 import BaseLoader, DictLoader, StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from keystead.errors import BadUserInput
from keystead.mail.model import MailKind, RenderedMail
from keystead.mail.templates.grammar import FILTERS, LAYOUT, TESTS, require_simple
from keystead.mail.templates.model import LARGEST_OUTPUT, LARGEST_SOURCE, Values
from keystead.mail.templates.shipped import button_words, layout_source

LONGEST_SUBJECT: Final = 200
"""Characters; longer ones are truncated."""
_FILLER: Final = "\u2007\ufeff\u034f " * 40
"""Zero-width spaces after the preheader: without them an inbox shows the text that follows, too."""

# What the compiler and compiled templates can raise for a user's source.
_FAULTS: Final = (TemplateError, ArithmeticError, LookupError, RecursionError, SyntaxError, TypeError, ValueError)
# Control characters, and lone surrogates, which JSON can express and UTF-8 cannot.
_NO_TEXT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SPARE_LINES: Final = re.compile(r"\n{3,}")


def _environment(*, is_html: bool, loader: BaseLoader) -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        autoescape=is_html, undefined=StrictUndefined, loader=loader, trim_blocks=True, lstrip_blocks=True
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS}
    made.tests = {name: made.tests[name] for name in TESTS}
    return made


_LOADER = DictLoader({LAYOUT: layout_source()})
_PLAIN = _environment(is_html=False, loader=_LOADER)
_ESCAPED = _environment(is_html=True, loader=_LOADER)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled template."""

    plain: Template
    escaped: Template
    is_extending: bool
    """Whether its HTML is the layout's page, and not its block ``html`` alone."""


def fill(source: str, kind: MailKind, values: Values) -> RenderedMail:
    """Render ``source`` with ``values``.

    :raises BadUserInput: when it cannot be compiled or rendered, or a part is too long; with the field.
    """
    template = compiled(source)
    given = asdict(values)
    subject = one_line(_block(template.plain, "subject", given))[:LONGEST_SUBJECT].rstrip()
    if template.is_extending:
        words = button_words(kind, values.language)
        html = _page(template.escaped, {**given, "subject": subject, "button_words": words, "filler": _FILLER})
    else:
        html = _block(template.escaped, "html", given)
    return RenderedMail(
        subject=subject,
        text=_tidy(_block(template.plain, "text", given)),
        html=html.strip() + "\n",
    )


@lru_cache(maxsize=256)
def compiled(source: str) -> Compiled:
    """The source compiled for text, and for HTML.

    :raises BadUserInput: when it is too long, does not parse, or uses more of Jinja than a mail needs.
    """
    if _NO_TEXT.search(source):
        raise BadUserInput("The template contains control characters.", field="source")
    if len(source.encode()) > LARGEST_SOURCE:
        raise BadUserInput(f"The template is larger than {LARGEST_SOURCE // 1024} KiB.", field="source")
    try:
        parsed = _PLAIN.parse(source)
        require_simple(parsed)
        is_extending = parsed.find(nodes.Extends) is not None
        # Parsed again: compiling changes what was parsed.
        return Compiled(_PLAIN.from_string(parsed), _ESCAPED.from_string(_ESCAPED.parse(source)), is_extending)
    except _FAULTS as error:
        raise BadUserInput(_reason(error), field="source", cause=type(error).__name__) from None


def one_line(text: str) -> str:
    """``text`` on one line, with unprintable characters replaced."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in line)


def _block(template: Template, part: str, given: dict[str, Any]) -> str:
    return _bounded(template.blocks[part](template.new_context(given)), part)


def _page(template: Template, given: dict[str, Any]) -> str:
    return _bounded(template.root_render_func(template.new_context(given)), "html")


def _bounded(pieces: Iterable[str], part: str) -> str:
    """Join the pieces; stop when they exceed the limit, before they take memory."""
    made: list[str] = []
    room = LARGEST_OUTPUT
    try:
        for piece in pieces:
            room -= len(piece)
            if room < 0:
                break
            made.append(piece)
    except _FAULTS as error:
        raise BadUserInput(f"The {part} cannot be rendered: {_reason(error)}", field=part) from None
    if room < 0:
        raise BadUserInput(f"The {part} is larger than {LARGEST_OUTPUT // 1024} KiB.", field=part)
    return "".join(made)


def _tidy(text: str) -> str:
    """Collapse consecutive empty lines, which skipped ``if`` blocks leave."""
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return _SPARE_LINES.sub("\n\n", lines).strip("\n") + "\n"


def _reason(error: BaseException) -> str:
    line = getattr(error, "lineno", None)
    said = one_line(str(error))[:200].removesuffix(".")
    if isinstance(error, RecursionError):
        said = "It is nested too deeply"
    return f"Line {line}: {said}." if isinstance(line, int) else f"{said}."
