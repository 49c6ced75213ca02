"""Names of entities and fields, and the GraphQL names that each entity occupies. Contract §5."""

from __future__ import annotations

import re
from collections.abc import Iterable

from keystead.errors import BadUserInput

LONGEST_NAME = 48

SYSTEM_FIELDS = ("id", "integer_id", "created_at", "updated_at", "created_by")
"""Fields of every record."""

_ENTITY = re.compile(r"[a-z][a-zA-Z0-9]{0,47}", re.ASCII)
_FIELD = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*", re.ASCII)
_RESERVED_ENDINGS = ("List", "ById", "Input")
_RELATION_ENDINGS = ("_connect", "_disconnect")

FIXED_NAMES = frozenset(
    """
    apiKey apiKeyById apiKeyList apiKeyListResponse apiKeyResponse auditEvent auditEventList auditEventListResponse
    authRefreshRequest authRequest authResponse authTokens boolean brand brandList brandListResponse brandResponse
    brandToken brandTokenResponse changeAndValidateEmail changeEmailMagically changePassword conditionInput
    createApiKey createApiKeyInput createBrand createBrandInput createMe createPyloApiKey createUser createUserInput
    date dateTime defineEntity defineRole deleteApiKey deleteEntity deletePyloApiKey deleteRole deleteUser entity
    entityDeletion entityDeletionResponse entityDeletionStep
    entityList entityListResponse entityPlan entityPlanResponse entityPlanStep filterInput filterOperator filterValue
    float getAccessToken health healthResponse id int invalidateRefreshToken issueBrandToken json login logout
    magicLogin magicLoginResponse me mutation pagination paginationInput pyloApiKeyById pyloApiKeyList pyloUserById
    pyloUserList query queryInput redeemMagicLink refreshToken requestMagicLogin requestPasswordReset
    resendVerificationMail resetPassword revokeSession role roleInput roleList roleListResponse roleResponse
    rotateApiKey session sessionKind sessionList sessionListResponse sortInput sortOrder string subscription success
    successResponse updateApiKey updateApiKeyInput updateBrand updateBrandInput updatePyloApiKey updateUser
    updateUserInput user userById userList userListResponse userResponse
    """.lower().split()
)
"""Every name of the fixed schema, in lower case. That schema is in a higher layer; a test compares the two."""


def type_name(entity: str) -> str:
    """Return the PascalCase form of an entity's name."""
    return entity[0].upper() + entity[1:]


def generated_names(entity: str) -> frozenset[str]:
    """Return the names of an entity's operations and types, in lower case."""
    name = entity.lower()
    return frozenset(
        (
            name,
            f"{name}list",
            f"{name}byid",
            f"create{name}",
            f"update{name}",
            f"delete{name}",
            f"{name}response",
            f"{name}listresponse",
            f"create{name}input",
            f"update{name}input",
        )
    )


def require_entity_name(name: str, path: str) -> None:
    """Check the name of an entity.

    :raises BadUserInput: for a name that is not camelCase, too long, or reserved; names ``path``.
    """
    if not _ENTITY.fullmatch(name):
        raise BadUserInput(
            f"'{name[:80]}' is not a name for an entity: up to 48 ASCII letters and digits in camelCase.", field=path
        )
    if name.endswith(_RESERVED_ENDINGS):
        raise BadUserInput(f"'{name}': names ending in List, ById or Input are reserved.", field=path)
    if taken := generated_names(name) & FIXED_NAMES:
        message = f"'{name}' is reserved: it collides with '{min(taken)}' of the fixed schema, ignoring case."
        raise BadUserInput(message, field=path)


def require_distinct(names: Iterable[str]) -> None:
    """Check that entities of one brand share no generated name, ignoring case.

    :raises BadUserInput: for a collision; names the later entity.
    """
    owners: dict[str, str] = {}
    for name in names:
        for generated in sorted(generated_names(name)):
            other = owners.setdefault(generated, name)
            if other != name:
                raise BadUserInput(f"'{name}' and '{other}' would share names in the schema.", field=name)


def require_field_name(name: str, path: str) -> None:
    """Check the name of a field.

    :raises BadUserInput: for a name that is not snake_case, too long, or a system field's; names ``path``.
    """
    if len(name) > LONGEST_NAME or not _FIELD.fullmatch(name):
        raise BadUserInput(
            f"'{name[:80]}' is not a name for a field: up to 48 ASCII letters and digits in snake_case.", field=path
        )
    if name in SYSTEM_FIELDS:
        raise BadUserInput(f"'{name}' is reserved: every record has it.", field=path)
    if name.endswith(_RELATION_ENDINGS):
        raise BadUserInput(f"'{name}': names ending in _connect or _disconnect are reserved.", field=path)
