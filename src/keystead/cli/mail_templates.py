"""``keystead mail template``: a brand's own templates, which replace the default ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keystead.cli.options import AsJson, BrandName, MailKindName
from keystead.cli.output import note, print_document, print_lines, print_list
from keystead.cli.work import each, get_brand, run
from keystead.errors import BadUserInput

if TYPE_CHECKING:
    from keystead.context import Context
    from keystead.mail.templates.model import Template, Wording

group = typer.Typer(help="A brand's mail templates.", no_args_is_help=True)

Language = Annotated[str, typer.Option("--language", help="A language tag: en, de, pt-BR, ...")]


@group.command("list")
def list_(brand: BrandName, as_json: AsJson = False) -> None:
    """List a brand's templates."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.mail.templates import service

        found = await get_brand(ctx, brand)
        return [
            {**_described(template), "source": template.source}
            async for template in each(lambda page: service.list_templates(ctx, found.id, page))
        ]

    columns = ("kind", "language", "updated_at")
    print_list(run(work), columns, as_json=as_json, empty="No templates in this brand.")


@group.command("show")
def show(kind: MailKindName, brand: BrandName, language: Language = "en", as_json: AsJson = False) -> None:
    """Print the source of a brand's template, or else of the default: a good start for your own."""

    async def work(ctx: Context) -> Wording:
        from keystead.mail.templates import service
        from keystead.mail.templates.model import parse_kind

        found = await get_brand(ctx, brand)
        return await service.show_wording(ctx, found.id, parse_kind(kind), language)

    wording = run(work)
    if as_json:
        shown = {"kind": kind, "language": wording.language, "is_own": wording.is_own, "source": wording.source}
        print_document(shown)
        return
    note_origin(wording, brand, language)
    print_lines(wording.source.rstrip())


@group.command("set")
def set_(
    kind: MailKindName,
    brand: BrandName,
    language: Language,
    file: Annotated[
        Path | None,
        typer.Option("--file", exists=True, dir_okay=False, help="A Jinja template. Default: stdin."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replace the default template for a brand, after rendering it with sample values."""
    source = _read(file)

    async def work(ctx: Context) -> Template:
        from keystead.mail.templates import service
        from keystead.mail.templates.model import parse_kind

        found = await get_brand(ctx, brand)
        return await service.set_template(ctx, found.id, parse_kind(kind), language, source)

    template = run(work)
    if as_json:
        print_document(_described(template))
    else:
        print_lines(f"{brand} now has a template for {template.kind} in '{template.language}'.")


@group.command("remove")
def remove(kind: MailKindName, brand: BrandName, language: Language, as_json: AsJson = False) -> None:
    """Remove a brand's template; the default applies again."""

    async def work(ctx: Context) -> None:
        from keystead.mail.templates import service
        from keystead.mail.templates.model import parse_kind

        found = await get_brand(ctx, brand)
        await service.remove_template(ctx, found.id, parse_kind(kind), language)

    run(work)
    if as_json:
        print_document({"success": True, "kind": kind, "language": language.lower()})
    else:
        print_lines(f"{brand} uses the default template for {kind} in '{language.lower()}' again.")


def note_origin(wording: Wording, brand: str | None, language: str) -> None:
    """Note where a template comes from, unless it is the brand's own in the requested language."""
    is_asked_for = f"{language.lower()}-".startswith(f"{wording.language}-")
    if is_asked_for and (wording.is_own or brand is None):
        return
    missing = f"there is no template in '{language.lower()}'"
    if brand is not None and not wording.is_own:
        missing = f"{brand} has no template for this"
    found = f"the one of {brand}" if wording.is_own else "the default"
    note(f"note: {missing}: this is {found}{'' if is_asked_for else f', in {wording.language!r}'}")


def _described(template: Template) -> dict[str, Any]:
    return {"kind": template.kind.value, "language": template.language, "updated_at": template.updated_at}


def _read(file: Path | None) -> str:
    where = "stdin" if file is None else str(file)
    try:
        return (sys.stdin.buffer.read() if file is None else file.read_bytes()).decode()
    except UnicodeDecodeError:
        raise BadUserInput(f"{where} is not UTF-8 text.") from None
    except OSError as error:
        raise BadUserInput(f"Cannot read {where}: {error.strerror}.") from None
