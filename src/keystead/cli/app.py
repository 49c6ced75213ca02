"""The ``keystead`` command: its groups, and how an error becomes one clear line.

What a command needs is imported when it runs: ``--help`` is quick, and a serving process stays small.
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

# Typer exports one error of this family alone. Its parent is what all wrong usage has in common.
_WrongUsage: Any = typer.BadParameter.__mro__[1]


class _ClearErrors(TyperGroup):
    """Says what went wrong in one line on stderr; stdout stays empty."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Reads the words up to the command."""
        return _clearly(lambda: super(_ClearErrors, self).make_context(*args, **extra))

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was asked for."""
        try:
            return _clearly(lambda: super(_ClearErrors, self).invoke(ctx))
        except (StartupError, KeysteadError) as error:
            raise typer.Exit(_say(error)) from None


def _clearly(work: Callable[[], T]) -> T:
    """What ``work`` gives; wrong usage becomes one line instead of typer's framed five."""
    try:
        return work()
    except _WrongUsage as error:
        sentence = " ".join(error.format_message().split())
        if not sentence:  # A group was named alone: its help is on the screen already.
            raise
        where = error.ctx.command_path if error.ctx else "keystead"
        print(f"error: {sentence.removesuffix('.')} (see {where} --help)", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    name="keystead",
    help="Login, sessions, API keys and the records around them: one GraphQL server that you run yourself.",
    cls=_ClearErrors,
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
    """Holds what goes before any command."""


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
    """The console entry point. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 78 a bad setting."""
    if sys.argv[1:2] == ["serve"]:
        # SIGHUP waits for its handler: until then it would end the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    plain = serve.parse_plainly(sys.argv[1:])
    if plain is None:
        app()
        return
    try:
        serve.serve(**plain)
    except StartupError as error:
        sys.exit(_say(error))


def _say(error: StartupError | KeysteadError) -> int:
    """Prints the line; returns the exit code."""
    if isinstance(error, StartupError):
        line, exit_code = error.message, error.exit_code
    elif isinstance(error, InternalError):
        # Whoever runs this command holds the database: the private cause is theirs to know.
        line, exit_code = f"this is a fault of ours: {error.cause or type(error).__name__}", 1
    else:
        line, exit_code = _with_field(error), 1
    print(f"error: {line}", file=sys.stderr)
    return exit_code


def _with_field(error: KeysteadError) -> str:
    """The public sentence, with the field in front where the sentence does not name it: an option by its own name."""
    field = error.extensions.get("field")
    if field is None:
        return error.message
    if f"'{field}'" not in error.message:
        return f"{OPTIONS.get(field, field)}: {error.message}"
    return name_options(error.message, field)
