"""Render a mail of the outbox: subject, text and HTML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Final

import structlog

from keystead.crypto.master_key import MasterKey
from keystead.db.interface import Tx
from keystead.errors import BadUserInput, InternalError
from keystead.mail.links import link_secret, link_url
from keystead.mail.model import LINK_KINDS, Mail, MailKind, RenderedMail
from keystead.mail.request_headers import device_of
from keystead.mail.templates import checks, service
from keystead.mail.templates.compiling import fill, one_line
from keystead.mail.templates.model import FALLBACK_LANGUAGE, Values, Wording

LONGEST_VALUE: Final = 320
"""Characters of a value; longer ones are truncated. An address has at most 254."""

_log = structlog.get_logger("keystead.mail")


async def render(tx: Tx, mail: Mail, master_key: MasterKey) -> RenderedMail:
    """Render ``mail`` in the first of its languages that has a template.

    Deterministic as long as the brand's templates do not change. Contains the link with its token. If a brand's own
    template no longer renders, the shipped one is used.
    """
    wordings = await service.find_wordings(tx, mail.brand_id, mail.kind, mail.languages)
    return _first_that_renders(wordings, _values(mail, master_key), mail.brand_id, mail.kind)


def preview(wording: Wording, kind: MailKind, *, brand: str, link_base: str) -> RenderedMail:
    """Render a mail of this kind with sample values.

    :raises BadUserInput: when it does not render, with the field.
    """
    values = checks.sample_values(kind, wording.language, brand=brand, link_base=link_base)
    return fill(wording.source, kind, values)


def _first_that_renders(wordings: Iterable[Wording], values: Values, brand_id: str, kind: MailKind) -> RenderedMail:
    for wording in wordings:
        try:
            return fill(wording.source, kind, replace(values, language=wording.language))
        except BadUserInput:
            _log.warning("mail_template_unusable", brand_id=brand_id, kind=kind.value, language=wording.language)
    raise InternalError(cause=f"no template of {kind} renders")


def _values(mail: Mail, master_key: MasterKey) -> Values:
    shown = {name: one_line(text)[:LONGEST_VALUE] for name, text in mail.shown.items()}
    return Values(
        brand=shown.get("brand", ""),
        address=one_line(mail.recipient)[:LONGEST_VALUE],
        when=mail.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        language=FALLBACK_LANGUAGE,
        ip_prefix=shown.get("ip_prefix", ""),
        device=device_of(shown.get("user_agent", "")),
        new_address=shown.get("new_address", ""),
        **_link(mail, master_key),
    )


def _link(mail: Mail, master_key: MasterKey) -> dict[str, str]:
    if mail.kind not in LINK_KINDS:
        return {}
    lifetime = (mail.expires_at or mail.created_at) - mail.created_at
    hours, minutes = lifetime // timedelta(hours=1), lifetime // timedelta(minutes=1)
    return {
        "link": link_url(mail.link_base, link_secret(master_key, mail.kind, mail.id)),
        "hours": str(hours) if hours else "",
        "minutes": "" if hours else str(minutes),
    }
