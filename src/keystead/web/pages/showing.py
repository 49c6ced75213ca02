"""What the page of a link tells before anything happens: what will be joined to what, and who asked for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup

from keystead.authentication.open_links import OpenLink
from keystead.mail.devices import device_of
from keystead.sessions.model import Device
from keystead.users.one_time_tokens.model import TokenPurpose
from keystead.web.pages.wording import Wording

LONGEST_PRODUCT = 40
_PRODUCT = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST_PRODUCT}}}/[0-9][0-9.]{{0,9}}(?![^ ])", re.ASCII)
_JOINS = (TokenPurpose.verify, TokenPurpose.claim)


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the table on the page."""

    label: Markup
    text: Markup | str


def facts(link: OpenLink, wording: Wording) -> list[Fact]:
    """What the link would do to what."""
    say = wording.say
    found = [Fact(say("fact.account"), _account(link, wording))]
    if link.token.purpose in _JOINS:
        found.insert(0, Fact(say("fact.address"), link.token.email))
    found.append(Fact(say("fact.asked"), wording.moment(link.claimed_at or link.token.created_at)))
    if link.claimed_from is not None:
        found.append(Fact(say("fact.device"), _device(link.claimed_from, wording)))
    return found


def consequences(link: OpenLink, wording: Wording) -> list[Markup]:
    """What else it would change."""
    notes = [wording.say("note.password")] if link.sets_password else []
    if link.ends_all_sessions:
        notes.append(wording.say("note.sessions"))
    elif link.token.purpose in _JOINS:
        notes.append(wording.say("note.others"))
    return notes


def _account(link: OpenLink, wording: Wording) -> Markup | str:
    return link.current_address or wording.say("fact.guest", moment=wording.moment(link.user_created_at))


def _device(device: Device, wording: Wording) -> Markup | str:
    """The one that the session was opened with, which need not be where its address is now."""
    place, agent = device.ip_prefix, _name_of(device.user_agent or "")
    if place and agent:
        return wording.say("fact.from_there", place=place, device=agent)
    return place or agent or wording.say("fact.unknown")


def _name_of(user_agent: str) -> str:
    """What the other side calls itself, in two words: it must not speak to the reader through a text of its own."""
    product = _PRODUCT.match(user_agent)
    return device_of(user_agent) or (product[0] if product else "")
