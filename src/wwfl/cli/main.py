"""The `wwfl` command."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from wwfl_core.errors import ConfigError, ProtocolError, VerificationFailed, WwflError

app = typer.Typer(
    help="Clusters that run different MPC protocols train one model together; nobody ever sees it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

EXIT_ERROR = 1
EXIT_PROTOCOL = 3
EXIT_CHEATING = 4
EXIT_INTERRUPTED = 130


@contextmanager
def _explained(*outputs: str | None) -> Generator[None]:
    """An error that wwfl raises on purpose, or that the operating system has, becomes its message
    and an exit code (see `root`). Files that the command will write at its end are tried first: it
    may run for hours."""
    try:
        for path in outputs:
            _check_writable(path)
        yield
    except WwflError as error:
        Console(stderr=True).print(
            f"[red]{type(error).__name__}:[/red] {escape(str(error))}", highlight=False
        )
        cheating = isinstance(error, VerificationFailed)
        code = (
            EXIT_CHEATING
            if cheating
            else EXIT_PROTOCOL
            if isinstance(error, ProtocolError)
            else EXIT_ERROR
        )
        raise typer.Exit(code) from error
    except OSError as error:
        Console(stderr=True).print(
            f"[red]{type(error).__name__}:[/red] {escape(str(error))}", highlight=False
        )
        raise typer.Exit(EXIT_ERROR) from error
    except KeyboardInterrupt as error:
        Console(stderr=True).print("interrupted; `wwfl train --resume` goes on with a run")
        raise typer.Exit(EXIT_INTERRUPTED) from error


def _check_writable(path: str | None) -> None:
    if path is None or path == "-":
        return
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise ConfigError(
            f"{path} cannot be written: there is no folder {folder}; make it, or name another file"
        )
    if Path(path).is_dir() or not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise ConfigError(
            f"{path} cannot be written: name a file in a folder that you may write to"
        )


Json = Annotated[
    str | None,
    typer.Option("--json", help="Write the rows to this file ('-' for standard output)."),
]


Protocols = Annotated[
    list[str] | None,
    typer.Argument(
        help="Registered names, or package.module:Class; by default all registered ones."
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, a TOML value; may be given several times."),
]


Jobs = Annotated[
    int | None,
    typer.Option("--jobs", help="Spread the work over so many processes of this machine."),
]

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Spread it over a Ray cluster (auto, host:port); local starts one here.",
    ),
]


@app.callback()
def root() -> None:
    """Exit codes: 0 done, 1 an error that the message explains, 2 wrong usage of the command line,
    3 a party was lost or the parties disagree, 4 a check found that somebody deviated, 130
    interrupted."""


@app.command()
def demo(
    rounds: Annotated[int, typer.Option(help="Rounds of federated training.")] = 10,
    processes: Annotated[
        bool, typer.Option("--processes", help="Every server as its own process, over TLS.")
    ] = False,
    json: Annotated[
        str | None, typer.Option(help="Write all figures to this file ('-' for standard output).")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Public seed of the model, the sampling and (insecurely) all keys.")
    ] = 0,
    test_digits: Annotated[
        int, typer.Option(help="How many test digits to classify after each round.")
    ] = 2000,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Open the final model and add it to the JSON.")
    ] = False,
    servers: Annotated[
        str, typer.Option(help="Protocol of the global servers (as for `conformance`).")
    ] = "2pc",
    clusters: Annotated[
        str, typer.Option(help="Protocols of the clusters, with commas in between.")
    ] = "2pc,3pc,4pc",
    model: Annotated[
        str,
        typer.Option(help="lenet, or small (an MLP 64-32-10 on 8x8 digits, for slow protocols)."),
    ] = "lenet",
    allow_weaker: Annotated[
        bool,
        typer.Option("--allow-weaker", help="Let the model pass clusters that protect it less."),
    ] = False,
) -> None:
    """Clusters with different protocols train one model on real MNIST digits for global servers."""
    from .demo import demo as run_demo

    console = Console(stderr=json == "-")
    with _explained(json):
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
    """Built-in and third-party protocols: security model, parties, who holds what, measured
    costs."""
    from .backends import list_backends

    with _explained():
        list_backends(
            json_path=json, console=Console(stderr=json == "-"), protocols=protocols or ()
        )


@app.command()
def conformance(
    protocol: Annotated[str, typer.Argument(help="A registered name, or package.module:Class.")],
    thorough: Annotated[
        bool, typer.Option("--thorough", help="More cases per check; takes longer.")
    ] = False,
    only: Annotated[
        str, typer.Option(help="Run only the checks whose names start like this.")
    ] = "",
    json: Json = None,
) -> None:
    """Is this protocol correct, private, as cheap as declared, and safe against tampering if it
    claims to be?"""
    from .conformance import judge

    with _explained(json):
        ok = judge(
            protocol,
            thorough=thorough,
            only=only,
            json_path=json,
            console=Console(stderr=json == "-"),
        )
    if not ok:
        raise typer.Exit(EXIT_ERROR)


@app.command()
def matrix(
    protocols: Protocols = None,
    json: Json = None,
    markdown: Annotated[
        str | None,
        typer.Option(
            help="Write the table of the built-in protocols to this file "
            "(docs/reference/matrix.md)."
        ),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="One line per pair, with guarantee, path and bytes.")
    ] = False,
) -> None:
    """Convert shares between every ordered pair of protocols: bytes, rounds and guarantee, every
    value checked."""
    from .matrix import matrix as run_matrix

    with _explained(json, markdown):
        rows = run_matrix(
            json_path=json,
            markdown_path=markdown,
            console=Console(stderr=json == "-"),
            protocols=protocols or (),
            long=long,
        )
    if any(row["error"] is not None for row in rows):
        raise typer.Exit(EXIT_ERROR)


@app.command()
def train(
    config: Annotated[
        str | None, typer.Argument(help="A TOML file; `wwfl config --example` prints one.")
    ] = None,
    set_: Set = None,
    run: Annotated[
        str | None, typer.Option(help="The run's folder; runs/NAME-TIME by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run.")] = False,
    json: Json = None,
    jobs: Jobs = None,
    ray: Ray = None,
) -> None:
    """Run a configuration into a run folder: metrics, ledger, costs, plots and every party's
    checkpoint."""
    from .train import train as run_train

    with _explained(json):
        run_train(
            config_path=config,
            overrides=set_ or (),
            folder=run,
            resume=resume,
            json_path=json,
            console=Console(stderr=json == "-"),
            jobs=jobs,
            ray=ray,
        )


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="A run's folder.")],
    image: Annotated[
        str | None, typer.Option(help="A picture (grey levels, light on dark) or a .npy array.")
    ] = None,
    index: Annotated[int | None, typer.Option(help="An image of the run's test set.")] = None,
    json: Json = None,
) -> None:
    """Classify an image with a run's model, on shares; the asking client alone learns the label."""
    from .train import predict as run_predict

    with _explained(json):
        run_predict(
            folder=run,
            image=image,
            index=index,
            json_path=json,
            console=Console(stderr=json == "-"),
        )


@app.command()
def attack(
    config: Annotated[
        str, typer.Argument(help="A TOML file whose section [grid] says what to combine.")
    ],
    set_: Set = None,
    plot: Annotated[
        str | None, typer.Option(help="Write a plot with error bars over seeds to this SVG file.")
    ] = None,
    json: Json = None,
    jobs: Jobs = None,
    ray: Ray = None,
) -> None:
    """Run attacks x placements x rates x rules x seeds of one configuration."""
    from .attack import attack as run_attack

    with _explained(json, plot):
        run_attack(
            config_path=config,
            overrides=set_ or (),
            plot_path=plot,
            json_path=json,
            console=Console(stderr=json == "-"),
            jobs=jobs,
            ray=ray,
        )


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(help="Folders of runs.")],
    out: Annotated[
        str | None, typer.Option(help="The page; report.html in the run's folder by default.")
    ] = None,
) -> None:
    """One self-contained HTML page: accuracy, bytes per layer and link, ledger, configuration,
    versions."""
    from .report import report as run_report

    with _explained(out):
        run_report(folders=runs, out=out, console=Console())


@app.command()
def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="What to reproduce; without it, what there is.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The paper's size; may take hours.")] = False,
    data: Annotated[str | None, typer.Option(help="Folder with the full data set.")] = None,
    plot: Annotated[
        str | None, typer.Option(help="Write the plot, where there is one, to this SVG file.")
    ] = None,
    json: Json = None,
    jobs: Jobs = None,
    ray: Ray = None,
) -> None:
    """Tables and figures of the WW-FL paper (arXiv 2302.09904), with what was run and where it
    differs."""
    from .reproduce import reproduce as run_reproduce

    with _explained(json, plot):
        run_reproduce(
            name,
            full=full,
            folder=data,
            plot_path=plot,
            json_path=json,
            console=Console(stderr=json == "-"),
            jobs=jobs,
            ray=ray,
        )


@app.command()
def config(
    example: Annotated[
        bool, typer.Option("--example", help="A commented TOML file with every default.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON schema.")] = False,
    check: Annotated[
        str | None, typer.Option(help="Check this TOML file and print what it is resolved to.")
    ] = None,
    set_: Set = None,
) -> None:
    """Print an example of a configuration, its schema, or what a file is resolved to."""
    from .config import show

    with _explained():
        if not show(example=example, schema=schema, check=check, overrides=set_ or ()):
            raise typer.BadParameter("say one of --example, --schema and --check FILE")


@app.command()
def data(
    folder: Annotated[str, typer.Argument(help="A folder with a data set.")],
    json: Json = None,
) -> None:
    """Describe the data set in a folder."""
    from .data import describe

    with _explained(json):
        describe(folder, json_path=json, console=Console(stderr=json == "-"))


if __name__ == "__main__":
    app()
