"""``keystead entity``: the record types that a brand defines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keystead.cli.options import AsJson, BrandName, name_options
from keystead.cli.output import note, print_document, print_lines, print_list, print_table
from keystead.cli.work import each, get_brand, run
from keystead.errors import BadUserInput

if TYPE_CHECKING:
    from keystead.context import Context
    from keystead.entities.schema_plan import Plan, Step

COUNTING_TIMEOUT = 300.0
"""Time limit in seconds to count records: no request waits for this process."""

group = typer.Typer(help="Entities: the record types of a brand.", no_args_is_help=True)


@group.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A TOML definition.")],
    brand: BrandName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan without changes.")] = False,
    allow_data_loss: Annotated[
        bool, typer.Option("--allow-data-loss", help="Also drop fields that are not in the file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create or change a brand's entities as defined in a file. Entities that are not in the file stay unchanged."""
    text = _read(file)

    async def work(ctx: Context) -> Plan:
        from keystead.entities.definition_reader import parse_file
        from keystead.entities.definition_service import define_entities

        found = await get_brand(ctx, brand)
        definition = parse_file(text)
        return await define_entities(
            ctx,
            found.id,
            definition,
            dry_run=dry_run,
            allow_data_loss=allow_data_loss,
            counting_timeout=COUNTING_TIMEOUT,
        )

    plan = run(work)
    _print_plan(plan, dry_run=dry_run, as_json=as_json)
    if plan.is_refused:
        raise typer.Exit(1)


@group.command("delete")
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The entities.")],
    brand: BrandName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted.")] = False,
    allow_data_loss: Annotated[
        bool, typer.Option("--allow-data-loss", help="Also delete entities that have records.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete entities with their records and all permissions on them."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.entities.definition_service import delete_entities

        found = await get_brand(ctx, brand)
        deletions = await delete_entities(
            ctx, found.id, names, dry_run=dry_run, allow_data_loss=allow_data_loss, counting_timeout=COUNTING_TIMEOUT
        )
        return [{"entity": one.entity, "records": one.records, **one.grants.counts()} for one in deletions]

    steps = run(work)
    if as_json:
        print_document({"applied": not dry_run, "steps": steps})
        return
    print_table(steps, ("entity", "records", "roles", "users", "api_keys", "default_permissions"))
    print_lines("Dry run: nothing was deleted." if dry_run else "Deleted, with all permissions on them.")


@group.command("list")
def list_(brand: BrandName, as_json: AsJson = False) -> None:
    """List a brand's entities."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.entities import definition_service

        found = await get_brand(ctx, brand)
        return [
            {
                "name": stored.entity.name,
                "fields": list(stored.entity.fields),
                "record_count": await definition_service.count_records(ctx, found.id, stored.entity),
                "definition": stored.entity.as_definition(),
                "created_at": stored.created_at,
                "updated_at": stored.updated_at,
            }
            async for stored in each(lambda page: definition_service.list_entities(ctx, found.id, page))
        ]

    columns = ("name", "fields", "record_count", "updated_at")
    print_list(run(work), columns, as_json=as_json, empty="No entities in this brand.")


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise BadUserInput(f"{file} is not UTF-8 text.") from None
    except OSError as error:
        raise BadUserInput(f"Cannot read {file}: {error.strerror}.") from None


def _print_plan(plan: Plan, *, dry_run: bool, as_json: bool) -> None:
    steps = [
        {
            "entity": step.entity,
            "field": step.field,
            "action": step.action.value,
            "rows_affected": step.rows_affected,
            "loses_data": step.loses_data,
            "refused": _refused(step),
        }
        for step in plan.steps
    ]
    if as_json:
        print_document({"applied": plan.applied, "schema_version": plan.schema_version, "steps": steps})
    elif steps:
        print_table(steps, ("entity", "field", "action", "rows_affected", "loses_data", "refused"))
    for step in plan.steps:
        if step.refused is not None:
            named = f"{step.entity}.{step.field}" if step.field else step.entity
            note(f"error: {named}: {_refused(step)}")
    if not as_json:
        print_lines(_outcome(plan, dry_run=dry_run))


def _refused(step: Step) -> str | None:
    return step.refused and name_options(step.refused, "allow_data_loss")


def _outcome(plan: Plan, *, dry_run: bool) -> str:
    if plan.is_refused:
        return "Rejected: nothing was changed."
    if not plan.steps:
        return "Nothing to change."
    return "Dry run: nothing was changed." if dry_run else f"Applied: schema version {plan.schema_version}."
