"""`wwfl conformance`: one protocol, judged by the conformance kit; and the page that shows the
built-in ones.

The page is made by `python -m wwfl.cli.conformance docs/reference/conformance.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from wwfl.experiments import search_current_folder
from wwfl.testing import conformance as judged
from wwfl.testing import providers
from wwfl_core.protocol import Factory, backends, resolve
from wwfl_core.sharing import Security
from wwfl_core.testing import Check, Report, Verdict, check_backend

from .options import Json, console_beside, write_json

COMMAND = "python -m wwfl.cli.conformance docs/reference/conformance.md"


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
    console = console_beside(json)

    def say(line: str) -> None:
        console.print(escape(line), highlight=False, soft_wrap=True)

    search_current_folder(protocol)  # a protocol need not be installed to be judged
    report = judged(resolve(protocol), thorough, only=only, progress=say)
    say(report.summary())
    write_json(report.to_json(), json)
    if not report.ok:
        raise typer.Exit(1)


# ---------------------------------------------------------------------- the page

INTRODUCTION = f"""# Conformance of the built-in protocols

Made by `{COMMAND}`.

The same checks judge every protocol (`wwfl conformance NAME`). Is it correct? Does it cost exactly
what it declares? Does it leak nothing that tests see? Does it abort under tampering? Does it
convert to and from every other protocol? Does it train? "n –" counts checks of what a protocol does
not promise; the reasons are below.

The kit finds what it is made to find; it does not prove a protocol secure. This is the bounded
form; `--thorough` enumerates what it samples.

Protocols that another runtime executes (crypten, shamir) are not on this page, because every check
would start their processes anew, which takes ten minutes and more. `wwfl conformance NAME` judges
them, and `wwfl backends` lists their known defects.
"""


def built_in() -> dict[str, Factory]:
    """The protocols of this package by name, without those that another runtime executes."""
    found = {
        name: entry.factory
        for name, entry in backends().items()
        if entry.built_in and entry.factory is not None
    }
    return {name: factory for name, factory in found.items() if not getattr(factory, "runtime", "")}


def every_check(factory: Factory, others: Mapping[str, Factory]) -> list[Check]:
    """The kit's checks, then conversion and training."""
    return list(check_backend(factory, extra=providers(others)))


def page(path: str, console: Console) -> bool:
    """Judges all built-in protocols and writes the page; whether none failed."""
    protocols = built_in()
    reports: list[Report] = []
    for factory in protocols.values():
        reports.append(judged(factory))
        console.print(escape(reports[-1].summary()), highlight=False, soft_wrap=True)
        for failure in reports[-1].failures:
            console.print(escape(str(failure)), highlight=False, soft_wrap=True)
    checks = every_check(next(iter(protocols.values())), protocols)
    Path(path).write_text(
        markdown(reports, [protocols[r.protocol]().sharing.security for r in reports], checks)
    )
    return all(report.ok for report in reports)


def markdown(
    reports: Sequence[Report], securities: Sequence[Security], checks: Sequence[Check]
) -> str:
    """The page: deterministic, without times."""
    groups = list(dict.fromkeys(group_of(check.name) for check in checks))
    head = ["protocol", "security", *groups]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * len(groups)]
    for report, security in zip(reports, securities, strict=True):
        cells = [
            cell([v for v in report.verdicts if group_of(v.name) == group]) for group in groups
        ]
        lines.append(f"| {report.protocol} | {_words(security)} | " + " | ".join(cells) + " |")
    badges = [f"    {badge(report)}" for report in reports]
    silent = [line for report in reports for line in reasons(report)]
    known = [
        f"- {report.protocol}, `{v.name}`: {v.known}" for report in reports for v in report.known
    ]
    claims = [f"- `{check.name}`: {' '.join(check.claim.split())}" for check in checks]
    parts = [
        INTRODUCTION,
        "\n".join(badges) + "\n",
        "\n".join(lines) + "\n",
        "## Not promised\n\n" + "\n".join(silent) + "\n",
        *(["## Known defects\n\n" + "\n".join(known) + "\n"] if known else []),
        "## The checks\n\n" + "\n".join(claims) + "\n",
    ]
    return "\n".join(parts)


def group_of(name: str) -> str:
    """The part of a check's name before the slash."""
    return name.split("/")[0]


def cell(verdicts: Sequence[Verdict]) -> str:
    """How many checks of a group passed, failed and are not promised."""
    counts = {mark: sum(v.mark == mark for v in verdicts) for mark in ("✓", "✗", "!", "–")}
    return ", ".join(f"{n} {mark}" for mark, n in counts.items() if n)


def badge(report: Report) -> str:
    """One line: the verdict on a protocol."""
    passed = sum(v.passed is True for v in report.verdicts)
    verdict = "conforms" if report.ok else "DOES NOT CONFORM"
    promised = passed + len(report.failures) + len(report.known)
    silent = len(report.verdicts) - promised
    known = f" | {len(report.known)} known defects" if report.known else ""
    return (
        f"[ wwfl {report.protocol} | {verdict} | {passed} of {promised} checks{known} | {silent} "
        "not promised ]"
    )


def reasons(report: Report) -> list[str]:
    """Why checks do not apply, one line per reason."""
    found: dict[str, list[str]] = {}
    for verdict in report.verdicts:
        if verdict.passed is None:
            found.setdefault(verdict.detail, []).append(f"`{verdict.name}`")
    return [
        f"- {report.protocol}: {reason} ({', '.join(names)})" for reason, names in found.items()
    ]


def _words(security: Security) -> str:
    return str(security) if security.corruptions else "none"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {COMMAND}")
    sys.exit(0 if page(sys.argv[1], Console()) else 1)
