"""``keystead mail``: the outbox, previews, and retries of dead mails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from keystead.cli import mail_templates
from keystead.cli.options import AnyBrandName, AsJson, Html, MailKindName
from keystead.cli.output import print_document, print_lines, print_list
from keystead.cli.work import each, get_brand, run

if TYPE_CHECKING:
    from keystead.brands.model import Brand
    from keystead.context import Context
    from keystead.mail.model import LinkState, Mail, MailState, RenderedMail
    from keystead.mail.templates.model import Wording

group = typer.Typer(help="Mails: the outbox, previews and templates.", no_args_is_help=True)
group.add_typer(mail_templates.group, name="template")

MailId = Annotated[str, typer.Argument(metavar="ID", help="The mail's id, as 'mail list' shows it.")]


@group.command("list")
def list_(
    brand: AnyBrandName = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Only mails in this state: waiting, sending, delivered or dead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List mails, the newest first. Delivered ones are kept for 30 days."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.brands import service as brands
        from keystead.mail import outbox

        wanted = _parse_state(state)
        names = {found.id: found.name async for found in each(lambda page: brands.list_brands(ctx, page))}
        brand_id = (await get_brand(ctx, brand)).id if brand is not None else None
        return [
            {"brand": names.get(mail.brand_id, mail.brand_id), **_described(mail)}
            async for mail in each(lambda page: outbox.list_mails(ctx, page, brand_id=brand_id, state=wanted))
        ]

    columns = ("id", "brand", "kind", "recipient", "state", "attempts", "created_at", "last_error")
    print_list(run(work), columns, as_json=as_json, empty="No mails.")


@group.command("show")
def show(mail_id: MailId, html: Html = False, as_json: AsJson = False) -> None:
    """Show a mail as its recipient sees it, LINK INCLUDED: anyone with the link can use it."""

    async def work(ctx: Context) -> tuple[str, Mail, LinkState | None, RenderedMail]:
        from keystead.brands import service as brands
        from keystead.mail import outbox
        from keystead.mail.links import find_link_state
        from keystead.mail.rendering import render
        from keystead.users.one_time_tokens.store import is_valid

        tx, master_key = ctx.db.reads, ctx.server.master_key
        mail = await outbox.get_mail(ctx, mail_id)
        link = await find_link_state(tx, mail, master_key, ctx.now(), is_valid)
        brand = (await brands.get_brand(ctx, mail.brand_id)).name
        return brand, mail, link, await render(tx, mail, master_key)

    brand, mail, link, rendered = run(work)
    if as_json:
        print_document({"brand": brand, **_described(mail), "link_state": link, **_parts(rendered)})
    elif html:
        print_lines(rendered.html.rstrip())
    else:
        print_lines(*_head(mail, link), f"Subject: {rendered.subject}", "", rendered.text.rstrip())


@group.command("retry")
def retry(mail_id: MailId, as_json: AsJson = False) -> None:
    """Deliver a dead mail: the next attempt is due immediately, with all the retries of a new mail."""

    async def work(ctx: Context) -> None:
        from keystead.mail import outbox
        from keystead.users.one_time_tokens.store import is_valid

        await outbox.retry(ctx, mail_id, is_valid)

    run(work)
    if as_json:
        print_document({"success": True, "id": mail_id})
    else:
        print_lines(f"Mail {mail_id} is waiting for delivery.")


@group.command("preview")
def preview(
    kind: MailKindName,
    brand: Annotated[str | None, typer.Option("--brand", help="Use this brand's template, if it has one.")] = None,
    language: Annotated[str, typer.Option("--language", help="The recipient's language: en, de-AT, ...")] = "en",
    html: Html = False,
    as_json: AsJson = False,
) -> None:
    """Show a kind of mail with sample values, without secrets."""

    async def work(ctx: Context) -> tuple[Wording, RenderedMail]:
        from keystead.mail import rendering
        from keystead.mail.templates import service
        from keystead.mail.templates.model import parse_kind, parse_language

        wanted, languages = parse_kind(kind), (parse_language(language),)
        link_base = ctx.server.settings.base_url
        if brand is None:
            wording = service.shipped_wordings(wanted, languages)[0]
            return wording, rendering.preview(wording, wanted, brand="Example", link_base=link_base)
        found: Brand = await get_brand(ctx, brand)
        wording = (await service.find_wordings(ctx.db.reads, found.id, wanted, languages))[0]
        link_base = found.base_url or link_base
        return wording, rendering.preview(wording, wanted, brand=found.name, link_base=link_base)

    wording, rendered = run(work)
    if as_json:
        print_document({"kind": kind, "language": wording.language, "is_own": wording.is_own, **_parts(rendered)})
    elif html:
        print_lines(rendered.html.rstrip())
    else:
        print_lines(f"Subject: {rendered.subject}", "", rendered.text.rstrip())
    if not as_json:
        mail_templates.note_origin(wording, brand, language)


def _parse_state(raw: str | None) -> MailState | None:
    from keystead.errors import BadUserInput
    from keystead.mail.model import MailState

    try:
        return None if raw is None else MailState(raw)
    except ValueError:
        raise BadUserInput(f"'state' must be one of {', '.join(MailState)}.", field="state") from None


def _described(mail: Mail) -> dict[str, Any]:
    return {
        "id": mail.id,
        "brand_id": mail.brand_id,
        "kind": mail.kind.value,
        "recipient": mail.recipient,
        "state": mail.state.value,
        "attempts": mail.attempts,
        "created_at": mail.created_at,
        "expires_at": mail.expires_at,
        "next_attempt_at": mail.next_attempt_at,
        "delivered_at": mail.delivered_at,
        "last_error": mail.last_error,
    }


def _parts(rendered: RenderedMail) -> dict[str, str]:
    return {"subject": rendered.subject, "text": rendered.text, "html": rendered.html}


def _head(mail: Mail, link: LinkState | None) -> list[str]:
    from keystead.mail.links import describe_link_state

    lines = [f"To: {mail.recipient}", f"Date: {mail.created_at:%Y-%m-%d %H:%M:%S} UTC", f"State: {_state(mail)}"]
    return lines if link is None else [*lines, f"Link: {describe_link_state(link, mail)}"]


def _state(mail: Mail) -> str:
    return f"{mail.state} ({mail.last_error})" if mail.last_error else mail.state.value
