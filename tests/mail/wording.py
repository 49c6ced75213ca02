"""Templates for tests: the smallest ones that are sound, and readers of what they make."""

from __future__ import annotations

from html.parser import HTMLParser

from keystead.errors import BadUserInput
from keystead.mail.model import MailKind
from keystead.mail.templates.checks import require_sound

LINKS = (MailKind.verify_email, MailKind.change_email, MailKind.magic_login, MailKind.reset_password)


def make_source(subject: str = "A subject", text: str = "A text", html: str = "<p>HTML</p>") -> str:
    """A template with these three blocks."""
    blocks = {"subject": subject, "text": text, "html": html}
    return "".join(f"{{% block {name} %}}{source}{{% endblock %}}" for name, source in blocks.items())


def refusal(source: str, kind: MailKind = MailKind.password_changed) -> tuple[str | None, str]:
    """The field and the sentence by which the template is refused; a sound one fails the test."""
    try:
        require_sound(kind, "en", source)
    except BadUserInput as error:
        return error.extensions.get("field"), error.message
    raise AssertionError("the template was taken")


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
