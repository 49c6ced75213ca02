"""Examine a PostgreSQL database for `keystead doctor`: TLS, pooler, privileges, indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keystead.db.interface import Database
from keystead.db.postgres import PostgresDatabase

_BRAND_SCHEMA: Final = "^brand_[0-9a-f]{32}$"

# Our tables have the owner of "brands", the role that migrated; in the schema of a brand all tables are ours.
_MISSING_TO_SERVE: Final = f"""
SELECT array(
    SELECT format('CREATE on database %I', current_database())
    WHERE NOT has_database_privilege(current_database(), 'CREATE')
  UNION ALL
    SELECT 'USAGE on a schema of the search_path, such as public' WHERE current_schema() IS NULL
  UNION ALL
    SELECT format('%s on schema %I', one, nspname)
    FROM pg_namespace, unnest(ARRAY['CREATE', 'USAGE']) AS one
    WHERE nspname ~ '{_BRAND_SCHEMA}' AND NOT has_schema_privilege(pg_namespace.oid, one)
  UNION ALL
    SELECT format('%s on table %s', one, pg_class.oid::regclass)
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS one
    WHERE relkind = 'r' AND NOT has_table_privilege(pg_class.oid, one) AND (
        nspname ~ '{_BRAND_SCHEMA}'
        OR nspname = current_schema()
        AND relowner = (SELECT relowner FROM pg_class WHERE oid = to_regclass('brands'))
    )
  UNION ALL
    SELECT format('ownership of table %s', pg_class.oid::regclass)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND nspname ~ '{_BRAND_SCHEMA}' AND NOT pg_has_role(relowner, 'USAGE')
)::text[]"""  # noqa: S608 - a constant of ours
_MISSING_TO_MIGRATE: Final = """
SELECT array(
    SELECT format('CREATE on schema %I', current_schema())
    WHERE NOT has_schema_privilege(current_schema(), 'CREATE')
  UNION ALL
    SELECT format('ownership of table %s', oid::regclass) FROM pg_class
    WHERE oid = to_regclass('brands') AND NOT pg_has_role(relowner, 'USAGE')
)::text[]"""
_INVALID_INDEXES: Final = f"""
SELECT array(
    SELECT indexrelid::regclass::text
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE NOT indisvalid AND (nspname = current_schema() OR nspname ~ '{_BRAND_SCHEMA}') ORDER BY 1
)::text[]"""  # noqa: S608 - a constant of ours
_ENCODING: Final = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings."""

    encoding: str
    encryption: str | None
    """The TLS version between us and the server or its pooler; None: not encrypted."""
    is_verified: bool
    """Whether the server's certificate is verified."""
    is_local: bool
    """Whether the connection crosses no network."""
    is_pooled: bool
    missing_to_serve: tuple[str, ...]
    """Privileges that the role lacks on its tables, or for creating a brand's entities."""
    missing_to_migrate: tuple[str, ...]
    """Privileges that only ``keystead migrate`` needs."""
    invalid_indexes: tuple[str, ...]
    """Indexes that are not used: CREATE INDEX CONCURRENTLY failed or is still running."""


async def missing_rights(database: Database) -> tuple[str, ...]:
    """The privileges that the role lacks to serve; none when the database is not PostgreSQL.

    :raises ServiceUnavailable: when the database does not answer.
    """
    return tuple(await database.ask(_MISSING_TO_SERVE)) if isinstance(database, PostgresDatabase) else ()


async def examine(database: PostgresDatabase) -> Examination:
    """Examine an open database.

    :raises ServiceUnavailable: when it does not answer.
    """
    encryption, is_local = await database.link()
    return Examination(
        encoding=await database.ask(_ENCODING),
        encryption=encryption,
        is_verified=database.url.options.get("sslmode", "").startswith("verify-")
        or database.url.options.get("sslrootcert") == "system",
        is_local=is_local,
        is_pooled=database.is_pooled,
        missing_to_serve=await missing_rights(database),
        invalid_indexes=tuple(await database.ask(_INVALID_INDEXES)),
        missing_to_migrate=tuple(await database.ask(_MISSING_TO_MIGRATE)),
    )
