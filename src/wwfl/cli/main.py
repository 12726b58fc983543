"""The `wwfl` command: which commands there are, and what their errors become.

A command is a function with its own signature in a file of its own. Its module is imported when it
is called, and only then: torch and numba take seconds, and `wwfl --help` needs neither."""

from __future__ import annotations

import ast
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module, metadata, resources
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

COMMANDS: Mapping[str, str] = {
    name: f"wwfl.cli.{name}"
    for name in (
        "demo",
        "backends",
        "conformance",
        "matrix",
        "train",
        "predict",
        "attack",
        "report",
        "reproduce",
        "config",
        "data",
    )
}
"""Every command with the module that has the function of its name."""

EXIT_ERROR = 1
EXIT_PROTOCOL = 3
EXIT_CHEATING = 4
EXIT_INTERRUPTED = 130


class Commands(TyperGroup):
    """Knows commands by the text of their files, and imports the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=_help(name)) for name in COMMANDS}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that is called, with its signature."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Calls the command; an error becomes a message and an exit code."""
        with _explained():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help="Clusters that run different MPC protocols train one model together; nobody ever sees it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def load(name: str) -> Any:
    """A command with its signature, from its module."""
    single = typer.Typer(pretty_exceptions_enable=False)
    single.command(name)(getattr(import_module(COMMANDS[name]), name))
    return typer.main.get_command(single)


def _help(name: str) -> str:
    """The docstring of a command's function; its file is read, not run."""
    text = (resources.files("wwfl.cli") / f"{name}.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
    return ""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wwfl {metadata.version('wwfl')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Exit codes: 0 done, 1 an error that the message explains, 2 wrong usage of the command line,
    3 a party was lost or the parties disagree, 4 a check found that somebody deviated, 130
    interrupted."""


@contextmanager
def _explained() -> Generator[None]:
    """An error that wwfl raises on purpose, or that the operating system has, becomes its message
    and an exit code (see `root`)."""
    try:
        yield
    except KeyboardInterrupt as error:
        Console(stderr=True).print("interrupted; `wwfl train --resume` goes on with a run")
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        Console(stderr=True).print(
            f"[red]{type(error).__name__}:[/red] {escape(str(error))}", highlight=False
        )
        raise typer.Exit(code) from error


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error; None for one that is not wwfl's, such as wrong usage."""
    # Imported here, after an error: --help need not wait for the library.
    from wwfl_core.errors import ProtocolError, VerificationFailed, WwflError

    if isinstance(error, VerificationFailed):
        return EXIT_CHEATING
    if isinstance(error, ProtocolError):
        return EXIT_PROTOCOL
    return EXIT_ERROR if isinstance(error, WwflError | OSError) else None


if __name__ == "__main__":
    app()
