"""The `wwfl` command."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from wwfl_core.errors import WwflError

app = typer.Typer(
    help="Clusters that run different MPC protocols train one model together; nobody ever sees it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

EXIT_ERROR = 1


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
) -> None:
    """Three clusters with three protocols (2PC, 3PC, 4PC) train LeNet on real MNIST digits for 2PC global servers."""
    from .demo import demo as run_demo

    console = Console(stderr=json == "-")
    try:
        run_demo(
            rounds=rounds,
            processes=processes,
            json_path=json,
            seed=seed,
            test_digits=test_digits,
            reveal=reveal,
            console=console,
        )
    except WwflError as error:
        Console(stderr=True).print(f"[red]{type(error).__name__}:[/red] {error}", highlight=False, markup=True)
        raise typer.Exit(EXIT_ERROR) from error


if __name__ == "__main__":
    app()
