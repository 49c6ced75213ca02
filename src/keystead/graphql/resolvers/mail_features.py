"""The operations that need mail. This release sends none, so each of them is refused, and says which feature it lacks.

Nothing is looked up and nothing is stored: the answer is the same for every address and every token.
"""

from __future__ import annotations

from typing import Any

from keystead.context import Context
from keystead.errors import Forbidden
from keystead.graphql.resolvers import resolver
from keystead.graphql.selection import Selection

_FEATURE_OF = {
    "changeAndValidateEmail": "email_verification",
    "resendVerificationMail": "email_verification",
    "changeEmailMagically": "magic_login",
}


def _refuse(operation: str, feature: str) -> None:
    async def refuse(_ctx: Context, _arguments: dict[str, Any], _selection: Selection) -> None:
        raise Forbidden(f"'{operation}' needs mail, which this installation does not send yet.", feature=feature)

    resolver(f"Mutation.{operation}")(refuse)


for _operation, _feature in _FEATURE_OF.items():
    _refuse(_operation, _feature)
