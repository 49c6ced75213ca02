"""From values to HTML: Jinja templates in which everything is escaped, and a missing value is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from keystead.web.pages.wording import Wording

_FOLDER = Path(__file__).parent


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def render(template: str, wording: Wording, **values: object) -> str:
    """The page as HTML."""
    page = _environment().get_template(f"{template}.html.jinja")
    return page.render(say=wording.say, language=wording.language, **values)


@cache
def style_sheet() -> str:
    """The one style sheet of the pages."""
    return (_FOLDER / "static" / "style.css").read_text("utf-8")
