"""SQL of brands' own templates."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, ForeignKey, Table, bindparam, delete, select

from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Id, Text, UtcTime, metadata
from keystead.mail.model import MailKind
from keystead.mail.templates.model import Template

mail_templates = Table(
    "mail_templates",
    metadata,
    Column("brand_id", Id, ForeignKey("brands.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("language", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

_T = mail_templates.c
_COLUMNS = (_T.kind, _T.language, _T.source, _T.updated_at)
_OF_KIND = (_T.brand_id == bindparam("brand_id"), _T.kind == bindparam("kind"))
_ONE = (*_OF_KIND, _T.language == bindparam("language"))

_FIND_TEMPLATES = Statement(select(*_COLUMNS).where(*_OF_KIND, any_of(_T.language, "languages")))
_LIST_TEMPLATES = Statement(
    select(*_COLUMNS)
    .where(_T.brand_id == bindparam("brand_id"))
    .order_by(_T.kind, _T.language)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_NEW_TEMPLATE = insert(mail_templates).values({column.name: bindparam(column.name) for column in _T})
_SAVE_TEMPLATE = Statement(
    _NEW_TEMPLATE.on_conflict_do_update(
        index_elements=[_T.brand_id, _T.kind, _T.language],
        set_={"source": _NEW_TEMPLATE.excluded.source, "updated_at": _NEW_TEMPLATE.excluded.updated_at},
    )
)
_DELETE_TEMPLATE = Statement(delete(mail_templates).where(*_ONE))


async def find_templates(tx: Tx, brand_id: str, kind: MailKind, languages: Sequence[str]) -> dict[str, Template]:
    """The brand's templates of this kind in ``languages``, by language."""
    rows = await tx.list(_FIND_TEMPLATES, brand_id=brand_id, kind=kind.value, languages=list(languages))
    return {found.language: found for found in map(_template, rows)}


async def list_templates(tx: Tx, brand_id: str, limit: int, offset: int) -> list[Template]:
    """Up to ``limit`` of the brand's templates, by kind and language."""
    return [_template(row) for row in await tx.list(_LIST_TEMPLATES, brand_id=brand_id, limit=limit, offset=offset)]


async def save_template(tx: Tx, brand_id: str, template: Template) -> None:
    """Insert the template, or replace the one of its kind and language."""
    await tx.execute(
        _SAVE_TEMPLATE,
        brand_id=brand_id,
        kind=template.kind.value,
        language=template.language,
        source=template.source,
        updated_at=template.updated_at,
    )


async def delete_template(tx: Tx, brand_id: str, kind: MailKind, language: str) -> bool:
    """Delete a template; return whether there was one."""
    return await tx.execute(_DELETE_TEMPLATE, brand_id=brand_id, kind=kind.value, language=language) > 0


def _template(row: Row) -> Template:
    kind, language, source, updated_at = row
    return Template(MailKind(kind), language, source, updated_at)
