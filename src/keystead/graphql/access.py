"""Who may use a field: written on the field in ``schema.graphql``, checked before its resolver is called.

Deny by default: a rule names whom it admits, and everybody else is refused. The fine part (which rows, no escalation)
is the service's.
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
    """A rule that admits a caller or refuses it."""

    def check(self, ctx: Context) -> None:
        """Return for a caller who may.

        :raises Unauthenticated: when no credential of the needed kind was sent.
        :raises Forbidden: when the caller's permissions do not reach; names the missing one.
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
        """Admit whoever shows a brand token, an API key or an access token.

        :raises Unauthenticated: otherwise.
        """
        if not isinstance(ctx.principal, (BrandTokenPrincipal, ApiKeyPrincipal, UserPrincipal)):
            raise Unauthenticated("This needs a brand token.")


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in user, whether or not an API key comes along."""

    def check(self, ctx: Context) -> None:
        """Admit a user.

        :raises Unauthenticated: otherwise; with a lone API key too.
        """
        if not isinstance(ctx.principal, UserPrincipal):
            raise Unauthenticated("Sign in first: this needs an access token.")


@dataclass(frozen=True, slots=True)
class Permission:
    """A caller whose permission set covers ``needs``; ``shown_as`` is the name an error gives it, where it differs."""

    needs: str
    shown_as: str | None = None

    def check(self, ctx: Context) -> None:
        """Admit a user or an API key that holds the permission.

        :raises Unauthenticated: for a caller who is neither.
        :raises Forbidden: when the permission is missing.
        """
        if not isinstance(ctx.principal, (UserPrincipal, ApiKeyPrincipal, System)):
            raise Unauthenticated
        if not ctx.principal.permissions.covers(self.needs):
            raise Forbidden(permission=self.shown_as or self.needs)


@dataclass(frozen=True, slots=True)
class Change:
    """The rule of a mutation that changes a brand: in the reserved brand it also requires ``operator``.

    An API key never holds ``operator``, so no key of the reserved brand changes anything there, whatever it may read.
    """

    rule: Access

    def check(self, ctx: Context) -> None:
        """Admit a caller whom ``rule`` admits, in the reserved brand operators only.

        :raises Unauthenticated: when ``rule`` does.
        :raises Forbidden: when ``rule`` does, or ``operator`` is missing.
        """
        self.rule.check(ctx)
        if ctx.brand is not None and ctx.brand.id == RESERVED_BRAND_ID and not ctx.permissions.covers(OPERATOR):
            raise Forbidden(permission=OPERATOR)


def for_mutation(rule: Access) -> Access:
    """The rule as a mutation carries it: a :class:`Change`, unless it is about the caller's own account or session.

    Rules of a new kind count as changes of the brand.
    """
    return rule if isinstance(rule, (Public, BrandToken, User)) else Change(rule)


def admits(access: Access, ctx: Context) -> bool:
    """Whether the rule admits the caller of ``ctx``."""
    try:
        access.check(ctx)
    except KeysteadError:
        return False
    return True
