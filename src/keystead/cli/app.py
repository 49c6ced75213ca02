"""The ``keystead`` command: its groups, and errors as one line on stderr.

Commands import what they need when they run: ``--help`` is fast, and a serving process stays small.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from keystead import __version__
from keystead.cli import api_keys, brands, doctor, entities, keys, mail, migrate, serve, users
from keystead.cli.demo import command as demo
from keystead.cli.options import OPTIONS, name_options
from keystead.errors import InternalError, KeysteadError, StartupError

T = TypeVar("T")

# Typer exports only BadParameter; its base class UsageError covers all usage errors.
_UsageError: Any = typer.BadParameter.__mro__[1]


class _OneLineErrors(TyperGroup):
    """Prints errors as one line on stderr; stdout stays empty."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parse the arguments up to the command."""
        return _with_short_usage_errors(lambda: super(_OneLineErrors, self).make_context(*args, **extra))

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return _with_short_usage_errors(lambda: super(_OneLineErrors, self).invoke(ctx))
        except (StartupError, KeysteadError) as error:
            raise typer.Exit(_print_error(error)) from None


def _with_short_usage_errors(work: Callable[[], T]) -> T:
    """Call ``work``; print a usage error in one line instead of Typer's frame of five.

    :raises typer.Exit: after a usage error.
    """
    try:
        return work()
    except _UsageError as error:
        sentence = " ".join(error.format_message().split())
        if not sentence:  # A group without a command: its help was printed.
            raise
        where = error.ctx.command_path if error.ctx else "keystead"
        print(f"error: {sentence.removesuffix('.')} (see {where} --help)", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    name="keystead",
    help="Self-hosted GraphQL auth server: login, sessions, API keys and records.",
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"keystead {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("demo")(demo.demo)
app.add_typer(brands.group, name="brand")
app.add_typer(users.group, name="user")
app.add_typer(api_keys.group, name="api-key")
app.add_typer(entities.group, name="entity")
app.add_typer(keys.group, name="keys")
app.add_typer(mail.group, name="mail")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Console entry point. Exit codes: 0 success, 1 rejected or failed, 2 usage error, 78 invalid setting."""
    if sys.argv[1:2] == ["serve"]:
        # Blocked until its handler is installed: the default action terminates the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    plain = serve.parse_plain(sys.argv[1:])
    if plain is None:
        app()
        return
    try:
        serve.serve(**plain)
    except StartupError as error:
        sys.exit(_print_error(error))


def _print_error(error: StartupError | KeysteadError) -> int:
    """Print the error in one line; return the exit code."""
    if isinstance(error, StartupError):
        line, exit_code = error.message, error.exit_code
    elif isinstance(error, InternalError):
        # The operator has access to the database anyway: show the internal cause.
        line, exit_code = f"Internal error: {error.cause or type(error).__name__}", 1
    else:
        line, exit_code = _with_field(error), 1
    print(f"error: {line}", file=sys.stderr)
    return exit_code


def _with_field(error: KeysteadError) -> str:
    """The public message, prefixed with the field if the message does not name it; options by their CLI names."""
    field = error.extensions.get("field")
    if field is None:
        return error.message
    if f"'{field}'" not in error.message:
        return f"{OPTIONS.get(field, field)}: {error.message}"
    return name_options(error.message, field)
