"""Which wording a mail is given, and the wording that a brand puts in the place of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keystead.audit import service as audit
from keystead.context import Context
from keystead.db.engine import Tx
from keystead.errors import BadUserInput, NotFound
from keystead.mail.model import MailKind, RenderedMail
from keystead.mail.templates import samples, store
from keystead.mail.templates.compiling import fill
from keystead.mail.templates.grammar import PARTS
from keystead.mail.templates.inspection import leads_to, link_targets, tags
from keystead.mail.templates.model import Template, Values, Wording, lookup_order, parse_language
from keystead.mail.templates.shipped import shipped_source
from keystead.pagination import Page, PageRequest

__all__ = ["find_wordings", "list_templates", "remove_template", "require_sound", "set_template", "show_wording"]

_NONE_SUCH: Final = "This brand has no wording of its own for that kind and language."


async def find_wordings(tx: Tx, brand_id: str, kind: MailKind, languages: tuple[str, ...]) -> list[Wording]:
    """Every wording that would do, the best first: the reader's languages in their order, then English; within a
    language the brand's own before ours. The last one is always ours: should none before it render, that one does.
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
    """The same where there is no brand that could have its own."""
    return [wording for language in lookup_order(languages) for wording in _shipped(kind, language)]


async def list_templates(ctx: Context, brand_id: str, request: PageRequest) -> Page[Template]:
    """One page of the brand's own templates, by kind and language."""
    return Page.cut(await store.list_templates(ctx.db.scans, brand_id, request.probe, request.offset), request)


async def show_wording(ctx: Context, brand_id: str, kind: MailKind, language: str) -> Wording:
    """The wording in exactly this language: the brand's own, else ours.

    :raises BadUserInput: when ``language`` is no language tag.
    :raises NotFound: when there is neither.
    """
    tag = parse_language(language)
    own = await store.find_templates(ctx.db.reads, brand_id, kind, [tag])
    if tag in own:
        return Wording(tag, own[tag].source, is_own=True)
    for wording in _shipped(kind, tag):
        return wording
    raise NotFound(f"There is no wording of {kind} in '{tag}'.")


async def set_template(ctx: Context, brand_id: str, kind: MailKind, language: str, source: str) -> Template:
    """Makes ``source`` the brand's wording of this kind of mail in this language, from the next mail sent on.

    :raises BadUserInput: unless it is sound (:func:`require_sound`); names the field.
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
    """Goes back to our wording, where there is one in this language.

    :raises BadUserInput: when ``language`` is no language tag.
    :raises NotFound: when the brand has none of its own there.
    """
    tag = parse_language(language)
    details = {"kind": kind.value, "language": tag}
    async with ctx.db.transaction() as tx:
        is_removed = await store.delete_template(tx, brand_id, kind, tag)
        if is_removed:
            await audit.record(tx, audit.describe(ctx, "mail_template.removed", brand_id=brand_id, details=details))
    if not is_removed:
        raise NotFound(_NONE_SUCH)


def require_sound(kind: MailKind, language: str, source: str) -> None:
    """Tries a template: it keeps to the grammar, makes all three parts, with and without the values that may be empty;
    the text and the HTML of a mail with a link hold it; and no other value stands inside a tag, where it could change
    what the tag means.

    :raises BadUserInput: names the block, or ``source``.
    """
    full = samples.sample_values(kind, language)
    made = fill(source, kind, full)
    for mail in (made, fill(source, kind, samples.without_optional(full))):
        _require_parts(mail, full)
    if tags(fill(source, kind, samples.hostile(full)).html) != tags(made.html):
        raise BadUserInput("Inside a tag of the HTML only the link can be shown, between quotes.", field="html")


def _require_parts(mail: RenderedMail, values: Values) -> None:
    for part in PARTS:
        if not getattr(mail, part).strip():
            raise BadUserInput(f"The block '{part}' says nothing.", field=part)
    if values.link and values.link not in mail.text:
        raise BadUserInput("The text must show the link: {{ link }}.", field="text")
    if values.link and not any(leads_to(href, values.link) for href in link_targets(mail.html)):
        raise BadUserInput('The HTML must have the link: <a href="{{ link }}">...</a>.', field="html")


def _shipped(kind: MailKind, language: str) -> Iterator[Wording]:
    source = shipped_source(kind, language)
    if source is not None:
        yield Wording(language, source, is_own=False)
