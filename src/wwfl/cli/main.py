"""The `wwfl` command."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from wwfl_core.errors import WwflError

app = typer.Typer(
    help="Clusters that run different MPC protocols train one model together; nobody ever sees it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

EXIT_ERROR = 1


@contextmanager
def _explained() -> Generator[None]:
    """An error that wwfl raises on purpose becomes its message and exit code 1."""
    try:
        yield
    except WwflError as error:
        Console(stderr=True).print(f"[red]{type(error).__name__}:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(EXIT_ERROR) from error


Json = Annotated[str | None, typer.Option("--json", help="Write the rows to this file ('-' for standard output).")]


Protocols = Annotated[
    list[str] | None, typer.Argument(help="Registered names, or package.module:Class; by default all registered ones.")
]


@app.callback()
def root() -> None:
    """Exit codes: 0 done, 1 an error that the message explains, 2 wrong usage of the command line."""


@app.command()
def demo(
    rounds: Annotated[int, typer.Option(help="Rounds of federated training.")] = 10,
    processes: Annotated[bool, typer.Option("--processes", help="Every server as its own process, over TLS.")] = False,
    json: Annotated[str | None, typer.Option(help="Write all figures to this file ('-' for standard output).")] = None,
    seed: Annotated[int, typer.Option(help="Public seed of the model, the sampling and (insecurely) all keys.")] = 0,
    test_digits: Annotated[int, typer.Option(help="How many test digits to classify after each round.")] = 2000,
    reveal: Annotated[bool, typer.Option("--reveal", help="Open the final model and add it to the JSON.")] = False,
    servers: Annotated[str, typer.Option(help="Protocol of the global servers (as for `conformance`).")] = "2pc",
    clusters: Annotated[str, typer.Option(help="Protocols of the clusters, with commas in between.")] = "2pc,3pc,4pc",
    model: Annotated[
        str, typer.Option(help="lenet, or small (an MLP 64-32-10 on 8x8 digits, for slow protocols).")
    ] = "lenet",
    allow_weaker: Annotated[
        bool, typer.Option("--allow-weaker", help="Let the model pass clusters that protect it less.")
    ] = False,
) -> None:
    """Clusters with different protocols train one model on real MNIST digits for global servers."""
    from .demo import demo as run_demo

    console = Console(stderr=json == "-")
    with _explained():
        run_demo(
            rounds=rounds,
            processes=processes,
            json_path=json,
            seed=seed,
            test_digits=test_digits,
            reveal=reveal,
            servers=servers,
            clusters=clusters.split(","),
            model=model,
            allow_weaker=allow_weaker,
            console=console,
        )


@app.command()
def backends(protocols: Protocols = None, json: Json = None) -> None:
    """Built-in and third-party protocols: security model, parties, who holds what, measured costs."""
    from .backends import list_backends

    with _explained():
        list_backends(json_path=json, console=Console(stderr=json == "-"), protocols=protocols or ())


@app.command()
def conformance(
    protocol: Annotated[str, typer.Argument(help="A registered name, or package.module:Class.")],
    thorough: Annotated[bool, typer.Option("--thorough", help="More cases per check; takes longer.")] = False,
    only: Annotated[str, typer.Option(help="Run only the checks whose names start like this.")] = "",
    json: Json = None,
) -> None:
    """Is this protocol correct, private, as cheap as declared, and safe against tampering if it claims to be?"""
    from .conformance import judge

    with _explained():
        ok = judge(protocol, thorough=thorough, only=only, json_path=json, console=Console(stderr=json == "-"))
    if not ok:
        raise typer.Exit(EXIT_ERROR)


@app.command()
def matrix(
    protocols: Protocols = None,
    json: Json = None,
    markdown: Annotated[
        str | None, typer.Option(help="Write the table of the built-in protocols to this file, as in docs/matrix.md.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="One line per pair, with guarantee, path and bytes.")] = False,
) -> None:
    """Convert shares between every ordered pair of protocols: bytes, rounds and guarantee, every value checked."""
    from .matrix import matrix as run_matrix

    with _explained():
        rows = run_matrix(
            json_path=json,
            markdown_path=markdown,
            console=Console(stderr=json == "-"),
            protocols=protocols or (),
            long=long,
        )
    if any(row["error"] is not None for row in rows):
        raise typer.Exit(EXIT_ERROR)


if __name__ == "__main__":
    app()
