"""Addresses in the audit log: recognisable again, readable to nobody (security §16)."""

from __future__ import annotations

import hmac

from keystead.context import Context
from keystead.users.email_addresses import EmailAddress


def pseudonym(ctx: Context, brand_id: str, address: EmailAddress) -> str:
    """32 hexadecimal digits, the same for the same address; nobody without the master key can tell whose."""
    key = ctx.server.master_key.derive("audit-address")
    return hmac.new(key, f"{brand_id}\0{address.canonical}".encode(), "sha256").hexdigest()[:32]
