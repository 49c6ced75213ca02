"""Access rules of fields: declared in ``schema.graphql``, checked before the resolver is called.

Deny by default: a rule names the callers it admits. Services decide which rows, and prevent privilege escalation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from keystead.context import (
    RESERVED_BRAND_ID,
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    System,
    UserPrincipal,
)
from keystead.errors import Forbidden, KeysteadError, Unauthenticated
from keystead.permissions import OPERATOR


class Access(Protocol):
    """A rule that admits or rejects a caller."""

    def check(self, ctx: Context) -> None:
        """Return if the caller is admitted.

        :raises Unauthenticated: without a credential of the required kind.
        :raises Forbidden: without the permission, which it names.
        """


@dataclass(frozen=True, slots=True)
class Public:
    """Anyone."""

    def check(self, ctx: Context) -> None:
        """Admit."""


@dataclass(frozen=True, slots=True)
class BrandToken:
    """A brand token, or a stronger credential of a brand."""

    def check(self, ctx: Context) -> None:
        """Admit a brand token, an API key or an access token.

        :raises Unauthenticated: for other callers.
        """
        if not isinstance(ctx.principal, (BrandTokenPrincipal, ApiKeyPrincipal, UserPrincipal)):
            raise Unauthenticated("This needs a brand token.")


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in user, with or without an API key."""

    def check(self, ctx: Context) -> None:
        """Admit a user.

        :raises Unauthenticated: for other callers, also with an API key alone.
        """
        if not isinstance(ctx.principal, UserPrincipal):
            raise Unauthenticated("Sign in first: this needs an access token.")


@dataclass(frozen=True, slots=True)
class Permission:
    """A caller whose permissions cover ``needs``; ``shown_as`` replaces its name in errors."""

    needs: str
    shown_as: str | None = None

    def check(self, ctx: Context) -> None:
        """Admit a user or an API key that holds the permission.

        :raises Unauthenticated: for other callers.
        :raises Forbidden: when the permission is missing.
        """
        if not isinstance(ctx.principal, (UserPrincipal, ApiKeyPrincipal, System)):
            raise Unauthenticated
        if not ctx.principal.permissions.covers(self.needs):
            raise Forbidden(permission=self.shown_as or self.needs)


@dataclass(frozen=True, slots=True)
class Change:
    """The rule of a mutation that changes a brand: in the reserved brand it also requires ``operator``.

    API keys never hold ``operator``, so a key of the reserved brand is read-only.
    """

    rule: Access

    def check(self, ctx: Context) -> None:
        """Admit a caller that ``rule`` admits; in the reserved brand operators only.

        :raises Unauthenticated: when ``rule`` does.
        :raises Forbidden: when ``rule`` does, or ``operator`` is missing.
        """
        self.rule.check(ctx)
        if ctx.brand is not None and ctx.brand.id == RESERVED_BRAND_ID and not ctx.permissions.covers(OPERATOR):
            raise Forbidden(permission=OPERATOR)


def for_mutation(rule: Access) -> Access:
    """Return the rule of a mutation: a :class:`Change`, unless it concerns the caller's own account or session.

    Other kinds of rules, also future ones, count as changes of the brand.
    """
    return rule if isinstance(rule, (Public, BrandToken, User)) else Change(rule)


def admits(access: Access, ctx: Context) -> bool:
    """Return whether the rule admits the caller of ``ctx``."""
    try:
        access.check(ctx)
    except KeysteadError:
        return False
    return True
