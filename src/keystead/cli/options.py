"""Options that several commands share, and their parsers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import typer

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]
BrandName: TypeAlias = Annotated[str, typer.Option("--brand", help="The brand, by name or id.")]
AnyBrandName: TypeAlias = Annotated[str | None, typer.Option("--brand", help="Search this brand only, by name or id.")]
MailKindName: TypeAlias = Annotated[
    str, typer.Argument(metavar="KIND", help="The kind of mail: verify_email, magic_login, reset_password, ...")
]
Html: TypeAlias = Annotated[bool, typer.Option("--html", help="Print only the HTML part.")]
FeatureChoices: TypeAlias = Annotated[
    list[str] | None, typer.Option("--feature", metavar="NAME=on|off", help="Turn a feature on or off. Repeatable.")
]
PolicyChoices: TypeAlias = Annotated[
    list[str] | None, typer.Option("--policy", metavar="NAME=VALUE", help="Set a policy value. Repeatable.")
]

OPTIONS: Final = {
    "allow_data_loss": "--allow-data-loss",
    "base_url": "--base-url",
    "redirect_urls": "--redirect-url",
    "preset": "--preset",
    "language": "--language",
    "state": "--state",
}
"""Fields in error messages whose options have another name."""


def name_options(sentence: str, field: str) -> str:
    """The sentence with the quoted field replaced by the name of its option."""
    return sentence.replace(f"'{field}'", OPTIONS.get(field, f"'{field}'"))


def parse_features(choices: Sequence[str] | None) -> dict[str, bool]:
    """Parse ``--feature NAME=on|off``. The brand service checks the names.

    :raises typer.BadParameter: for any other form.
    """
    wanted: dict[str, bool] = {}
    for choice in choices or ():
        name, _, value = choice.partition("=")
        if not name or value not in ("on", "off"):
            raise typer.BadParameter(f"'{choice}' is not NAME=on or NAME=off", param_hint="--feature")
        wanted[name] = value == "on"
    return wanted


def parse_policy(choices: Sequence[str] | None) -> dict[str, int | str | list[str] | None]:
    """Parse ``--policy NAME=VALUE``: an integer, ``none``, or for permissions a comma-separated list. The brand service
    checks the names.

    :raises typer.BadParameter: for any other form.
    """
    wanted: dict[str, int | str | list[str] | None] = {}
    for choice in choices or ():
        name, equals, value = choice.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"'{choice}' is not NAME=VALUE", param_hint="--policy")
        wanted[name] = _policy_value(name, value)
    return wanted


def _policy_value(name: str, value: str) -> int | str | list[str] | None:
    if name == "default_permissions":
        return [word.strip() for word in value.split(",") if word.strip()]
    if name == "mail_language":
        return value
    if value == "none":
        return None
    if not value.isascii() or not value.isdecimal():
        raise typer.BadParameter(f"'{value}' is neither an integer nor 'none'", param_hint="--policy")
    return int(value)
