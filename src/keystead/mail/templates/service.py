"""Use cases of mail templates: choose the wording of a mail, and manage a brand's own templates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keystead.audit import service as audit
from keystead.context import Context
from keystead.db.interface import Tx
from keystead.errors import NotFound
from keystead.mail.model import MailKind
from keystead.mail.templates import store
from keystead.mail.templates.checks import require_sound
from keystead.mail.templates.model import Template, Wording, lookup_order, parse_language
from keystead.mail.templates.shipped import shipped_source
from keystead.pagination import Page, PageRequest

_NONE_SUCH: Final = "This brand has no custom template for this kind and language."


async def find_wordings(tx: Tx, brand_id: str, kind: MailKind, languages: tuple[str, ...]) -> list[Wording]:
    """Every usable wording, best first: the reader's languages, then English; the brand's own before the shipped.

    The last one is always a shipped one, the fallback if none before it renders.
    """
    order = lookup_order(languages)
    own = await store.find_templates(tx, brand_id, kind, order)
    found: list[Wording] = []
    for language in order:
        if language in own:
            found.append(Wording(language, own[language].source, is_own=True))
        found.extend(_shipped(kind, language))
    return found


def shipped_wordings(kind: MailKind, languages: tuple[str, ...]) -> list[Wording]:
    """The shipped wordings alone, best first."""
    return [wording for language in lookup_order(languages) for wording in _shipped(kind, language)]


async def list_templates(ctx: Context, brand_id: str, request: PageRequest) -> Page[Template]:
    """One page of the brand's own templates, by kind and language."""
    return Page.cut(await store.list_templates(ctx.db.scans, brand_id, request.probe, request.offset), request)


async def show_wording(ctx: Context, brand_id: str, kind: MailKind, language: str) -> Wording:
    """The wording in exactly this language: the brand's own, else the shipped one.

    :raises BadUserInput: when ``language`` is not a language tag.
    :raises NotFound: when there is neither.
    """
    tag = parse_language(language)
    own = await store.find_templates(ctx.db.reads, brand_id, kind, [tag])
    if tag in own:
        return Wording(tag, own[tag].source, is_own=True)
    for wording in _shipped(kind, tag):
        return wording
    raise NotFound(f"There is no template of {kind} in '{tag}'.")


async def set_template(ctx: Context, brand_id: str, kind: MailKind, language: str, source: str) -> Template:
    """Save ``source`` as the brand's template of this kind and language; takes effect with the next mail sent.

    :raises BadUserInput: unless it is sound (:func:`~keystead.mail.templates.checks.require_sound`), with the field.
    """
    now = ctx.now()
    template = Template(kind, parse_language(language), source, now)
    require_sound(kind, template.language, source)
    details = {"kind": kind.value, "language": template.language}
    async with ctx.db.transaction() as tx:
        await store.save_template(tx, brand_id, template)
        await audit.record(tx, audit.describe(ctx, "mail_template.changed", brand_id=brand_id, details=details))
    return template


async def remove_template(ctx: Context, brand_id: str, kind: MailKind, language: str) -> None:
    """Delete the brand's own template; the shipped one, if there is one in this language, applies again.

    :raises BadUserInput: when ``language`` is not a language tag.
    :raises NotFound: when the brand has no own template there.
    """
    tag = parse_language(language)
    details = {"kind": kind.value, "language": tag}
    async with ctx.db.transaction() as tx:
        is_removed = await store.delete_template(tx, brand_id, kind, tag)
        if is_removed:
            await audit.record(tx, audit.describe(ctx, "mail_template.removed", brand_id=brand_id, details=details))
    if not is_removed:
        raise NotFound(_NONE_SUCH)


def _shipped(kind: MailKind, language: str) -> Iterator[Wording]:
    source = shipped_source(kind, language)
    if source is not None:
        yield Wording(language, source, is_own=False)
