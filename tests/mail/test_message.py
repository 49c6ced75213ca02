"""Messages: the same eight headers whatever the fields hold (A66), text and HTML as they were written."""

from __future__ import annotations

import email
import email.policy
import re
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.mail.message import LONGEST_SUBJECT, build_message, envelope_address, one_line
from keystead.mail.model import Mail, RenderedMail
from keystead.mail.transport import DeliveryRefused
from keystead.settings.outgoing_mail import MailFrom
from tests.mail.sending import AT, MAIL_ID, make_letter

SHOP = MailFrom("Rainbow Makers", "hello@rainbow.example")
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
BREAKS = ["\r\n", "\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0"]
HOSTILE = [
    *(f"Hello{line_break}Bcc: eve@evil.example" for line_break in BREAKS),
    *(f"Hello{line_break}{line_break}.{line_break}QUIT" for line_break in BREAKS[:3]),
    "Bcc: eve@evil.example",
    "=?utf-8?q?Hello=0D=0ABcc=3A_eve=40evil.example?=",
    "=?utf-8?b?SGVsbG8NCkJjYzogZXZlQGV2aWwuZXhhbXBsZQ==?= =?",
    "\r\n ".join("abc"),
    'Eve" <eve@evil.example>, "',
    "<eve@evil.example>, (comment",
    "\u202egnp.exe",
    "\ud800",
    "ü" * 10_240,
    "w" * 10_240,
    "many words " * 1_000,
]


def built(
    subject: str = "Hello",
    text: str = "Hello",
    html: str = "<p>Hello</p>",
    *,
    of: Mail | None = None,
    by: MailFrom = SHOP,
) -> bytes:
    """As it goes over the wire."""
    return build_message(of or make_letter(), RenderedMail(subject, text, html), by).as_bytes()


def read(wire: bytes) -> EmailMessage:
    parsed = email.message_from_bytes(wire, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def part(wire: bytes, kind: str) -> str:
    found = read(wire).get_body((kind,))
    assert found is not None
    content = found.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def sender_name(wire: bytes) -> str:
    """As RFC 2047 reads it. The standard library's newer parser leaves blanks between the parts of a long name."""
    name, _ = parseaddr(email.message_from_bytes(wire)["From"])
    return str(make_header(decode_header(name)))


def header_names(wire: bytes) -> list[str]:
    """What a reader that knows nothing but lines finds above the first empty one."""
    head = wire.partition(b"\r\n\r\n")[0]
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", head)
    return [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]


def test_a_whole_message() -> None:
    wire = built("Prove your address", "Dear Ann,\n\nclick.\n", "<p>Dear Ann</p>\n")
    assert header_names(wire) == HEADERS
    message = read(wire)
    assert message["From"] == "Rainbow Makers <hello@rainbow.example>"
    assert message["To"] == "ann@example.com"
    assert message["Subject"] == "Prove your address"
    assert message["Date"].datetime == AT
    assert message["Message-ID"] == f"<{MAIL_ID}@rainbow.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    assert [inner.get_content_type() for inner in message.iter_parts()] == ["text/plain", "text/html"]
    assert part(wire, "plain") == "Dear Ann,\n\nclick.\n"
    assert part(wire, "html") == "<p>Dear Ann</p>\n"
    assert not message.defects


def test_all_of_it_is_ascii_and_no_line_is_long() -> None:
    wire = built("Grüße 東京 " * 20, "Grüße\n" + "long" * 1_000, "<p>\u2028" + "😀" * 1_000 + "</p>")
    assert wire.isascii()
    assert max(map(len, wire.split(b"\r\n"))) <= 78


@pytest.mark.attack("A66")
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_field_adds_a_header(hostile: str) -> None:
    for by in (SHOP, MailFrom(hostile, "hello@rainbow.example")):
        for of in (make_letter(), make_letter("jörg@example.com")):
            wire = built(hostile, hostile, hostile, of=of, by=by)
            assert header_names(wire) == HEADERS
            message = read(wire)
            assert message.keys() == HEADERS
            assert message["Subject"] == one_line(hostile)
            assert [address.addr_spec for address in message["From"].addresses] == ["hello@rainbow.example"]
            assert sender_name(wire) == one_line(by.name)
            assert len(list(message.walk())) == 3


@pytest.mark.attack("A66")
@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_recipients(hostile: str) -> None:
    for recipient in (hostile, f"{hostile}@example.com", f"ann@{hostile}", f"ann@example.com{hostile}"):
        message = attempted(make_letter(recipient))
        # Long, or of strange signs, and an address all the same.
        assert message is None or header_names(message) == HEADERS
        assert message is None or f"To: {recipient}\r\n".encode() in message


def attempted(of: Mail) -> bytes | None:
    try:
        return built(of=of)
    except DeliveryRefused:
        return None


def test_invalid_recipients_are_rejected() -> None:
    for recipient in ("", "ann", "@example.com", "ann@", "ann@@example.com", "ann@exa mple.com", "ann@example..com"):
        assert attempted(make_letter(recipient)) is None, recipient
    for line_break in BREAKS:
        assert attempted(make_letter(f"ann{line_break}@example.com")) is None
        assert attempted(make_letter(f"ann@example.com{line_break}")) is None


@pytest.mark.attack("A66")
@pytest.mark.parametrize("hostile", ["a\r\nBcc: b", "a\nb", "a\u2028b", "a\0b"])
def test_settings_add_no_header(hostile: str) -> None:
    for of, by in ((make_letter(), MailFrom("", f"{hostile}@example.com")), (make_letter(mail_id=hostile), SHOP)):
        with pytest.raises(DeliveryRefused, match="contains control characters"):
            built(of=of, by=by)


@given(st.text(max_size=400), st.text(max_size=200))
def test_any_text_arrives_as_it_was_written(subject: str, text: str) -> None:
    wire = built(subject, text)
    assert header_names(wire) == HEADERS
    assert read(wire)["Subject"] == one_line(subject)
    # Line breaks become those of mail, and the last line gets one.
    lines = re.split("\r\n|\r|\n", text)
    assert part(wire, "plain") == "\n".join(lines[:-1] if lines[-1] == "" else lines) + "\n"


@given(st.text())
def test_a_subject_is_one_short_printable_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= LONGEST_SUBJECT
    assert line.splitlines() in ([], [line])
    assert line == " ".join(line.split(" ")).strip()
    assert one_line(line) == line


def test_a_subject_keeps_what_joins_letters_and_emoji() -> None:
    family = "👩\u200d👩\u200d👧 می\u200cخواهم"
    assert read(built(family))["Subject"] == family


@pytest.mark.parametrize(
    "name",
    ["", "Müller & Söhne", "Makers Ltd.", "O'Brien, (Inc.)", 'Say "hi" \\', "n" * 100, "名" * 100, "=?utf-8?q?x?="],
)
def test_the_senders_name_arrives(name: str) -> None:
    wire = built(by=MailFrom(name, "hello@rainbow.example"))
    assert [address.addr_spec for address in read(wire)["From"].addresses] == ["hello@rainbow.example"]
    assert sender_name(wire) == name


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("ann@example.com", "ann@example.com"), ("Ann.O'Brien+tag@Example.COM", "Ann.O'Brien+tag@Example.COM"),
        ("ann@MÜNCHEN.example", "ann@xn--mnchen-3ya.example"), ("jörg@münchen.example", "jörg@xn--mnchen-3ya.example"),
        (f"{'a' * 64}@{'b.' * 90}example", f"{'a' * 64}@{'b.' * 90}example"),
    ],
)  # fmt: skip
def test_the_recipient_in_the_envelope_and_in_the_header(stored: str, wanted: str) -> None:
    assert envelope_address(stored) == wanted
    wire = built(of=make_letter(stored))
    assert f"To: {wanted}\r\n".encode() in wire
    assert wire.isascii() == wanted.isascii()


def test_a_server_named_by_its_address_can_send_too() -> None:
    wire = built(by=MailFrom("", "no-reply@[IPv6:::1]"))
    assert b"From: no-reply@[IPv6:::1]\r\n" in wire
    assert f"Message-ID: <{MAIL_ID}@[IPv6:::1]>\r\n".encode() in wire
