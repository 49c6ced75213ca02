"""Templates for tests: the smallest ones that are sound, and readers of what they make."""

from __future__ import annotations

from html.parser import HTMLParser

from keystead.errors import BadUserInput
from keystead.mail.model import LINK_KINDS, MailKind
from keystead.mail.templates.checks import require_sound

LINKS = tuple(LINK_KINDS)
INJECTIONS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "--></style></title></table><h1>gone</h1>",
    "{{ link }}{% for x in link %}{% endfor %}{# #}",
    "{% endblock %}{% block html %}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "a\r\nBcc: eve@example.com\r\n\r\n<b>",
    "&lt;script&gt;&amp;#60;",
    "\u202e\u2066<b>\u2028",
    "\x00\x1b[31m\x7f",
    "]]>--!><![CDATA[<b>",
)


def make_source(subject: str = "A subject", text: str = "A text", html: str = "<p>HTML</p>") -> str:
    """A template with these three blocks."""
    blocks = {"subject": subject, "text": text, "html": html}
    return "".join(f"{{% block {name} %}}{source}{{% endblock %}}" for name, source in blocks.items())


def refusal(source: str, kind: MailKind = MailKind.password_changed) -> tuple[str | None, str]:
    """Field and message of the rejection; a valid template fails the test."""
    try:
        require_sound(kind, "en", source)
    except BadUserInput as error:
        return error.extensions.get("field"), error.message
    raise AssertionError("the template was accepted")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "title"):
            self.hidden.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.hidden:
            self.hidden.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)


def visible(html: str) -> str:
    """What a reader of the page sees, on one line."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return " ".join("".join(reader.words).split())
