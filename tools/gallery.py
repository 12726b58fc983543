"""Runs the examples of examples/gallery; without `--quick`, writes their pages to docs/gallery.

    python tools/gallery.py --quick            bounded forms, to see that they run (CI)
    python tools/gallery.py                    in full, with pages and pictures (`make gallery`)
    python tools/gallery.py conversion         only these

An example is a script with a docstring that tells its story and a function `main(quick)` that
prints what it finds and returns a picture (a matplotlib figure). Each runs in a process of its own,
on one core if there are several, so that times can be compared. A page says at which commit and on
which machine it was made and how long that took; one made from a tree with changes says so.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "examples" / "gallery"
PAGES = ROOT / "docs" / "gallery"

CHILD = """
import runpy, sys
import matplotlib
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "wwfl"})
script, picture, quick = sys.argv[1], sys.argv[2], sys.argv[3] == "quick"
figure = runpy.run_path(script)["main"](quick)
figure.savefig(picture, metadata={"Date": None})
"""


@dataclass(frozen=True)
class Ran:
    """What came of an example."""

    name: str
    output: str
    picture: str
    seconds: float
    error: str


def examples() -> list[str]:
    """The names of all examples."""
    return sorted(path.stem for path in SCRIPTS.glob("*.py"))


def run(name: str, quick: bool, core: int | None) -> Ran:
    """One example in a process of its own."""

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.svg"
        path = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-c", CHILD, str(SCRIPTS / f"{name}.py"), str(picture)]
        began = time.monotonic()
        done = subprocess.run(
            [*command, "quick" if quick else "full"],
            capture_output=True,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            preexec_fn=pin if hasattr(os, "sched_setaffinity") else None,
        )
        seconds = time.monotonic() - began
        drawn = picture.read_text(encoding="utf-8") if picture.exists() else ""

    error = done.stderr if done.returncode else ""
    if not error and not (drawn and done.stdout.strip()):
        error = f"{name}: an example prints what it found and returns a picture; this one did not\n"
    return Ran(name, done.stdout, drawn, seconds, error)


def run_all(names: list[str], quick: bool) -> Iterator[Ran]:
    """Two at a time at most, each on a core of its own, in the order of `names`."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    free: SimpleQueue[int] = SimpleQueue()
    for core in cores[:2]:
        free.put(core)

    def one(name: str) -> Ran:
        core = free.get()
        try:
            return run(name, quick, core if len(cores) > 1 else None)
        finally:
            free.put(core)

    with ThreadPoolExecutor(len(cores[:2])) as pool:
        yield from pool.map(one, names)


def page(ran: Ran, made: str) -> str:
    """The text of an example's page."""
    code = (SCRIPTS / f"{ran.name}.py").read_text(encoding="utf-8")
    story = ast.get_docstring(ast.parse(code)) or ""
    first, _, rest = story.partition("\n\n")

    return "\n".join(
        [
            f"# {title(ran.name)}",
            "",
            f"**{first}**",
            "",
            rest,
            "",
            f"![What examples/gallery/{ran.name}.py draws]({ran.name}.svg)",
            "",
            "It prints:",
            "",
            "```text",
            ran.output.rstrip(),
            "```",
            "",
            f"The script, `examples/gallery/{ran.name}.py`:",
            "",
            "```python",
            code.rstrip(),
            "```",
            "",
            f"Made by `make gallery` {made}, in {ran.seconds:.0f} s.",
            "",
        ]
    )


def title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def where() -> str:
    """The commit and the machine, in words."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], capture_output=True, text=True, cwd=ROOT)
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    changed = " with changes" if git("status", "--porcelain", "src", "examples") else ""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        cpu = models[0].split(":", 1)[1].strip() if models else cpu
    python = platform.python_version()
    return f"at commit {commit}{changed} on {cpu}, one core of {os.cpu_count()}, Python {python}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="which ones (default: all)")
    parser.add_argument("--quick", action="store_true", help="bounded forms; write no page")
    options = parser.parse_args()

    unknown = sorted(set(options.names) - set(examples()))
    if unknown:
        parser.error(f"no such example: {', '.join(unknown)}; there are {', '.join(examples())}")

    failed = []
    for ran in run_all(options.names or examples(), options.quick):
        print(f"{'failed' if ran.error else 'ran':6s} {ran.name} ({ran.seconds:.1f} s)", flush=True)
        if ran.error:
            failed.append(ran.name)
            print(ran.error)
        elif not options.quick:
            PAGES.mkdir(parents=True, exist_ok=True)
            (PAGES / f"{ran.name}.md").write_text(page(ran, where()), encoding="utf-8")
            (PAGES / f"{ran.name}.svg").write_text(ran.picture, encoding="utf-8")

    print(f"{len(failed)} of the examples failed: {', '.join(failed)}" if failed else "all ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
