"""Makes a release: `python tools/release.py VERSION` (`make release VERSION=x`). Publishes nothing.

On a clean main it writes the version into pyproject.toml and CITATION.cff, turns the fragments of
changes/ into a section of CHANGELOG.md, commits, tags `vVERSION` with that section as its message,
and puts a wheel and the notes into dist/. What follows (pushing the tag, uploading the wheel) is
for a person to decide. Whatever fails before the commit leaves the files as they were.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WRITTEN = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "changes")


class Refused(Exception):
    """A release that would not be one; the message says what to do first."""


def run(*command: str) -> str:
    """What a command prints.

    Raises:
        Refused: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise Refused(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def check(version: str) -> None:
    """Raises Refused unless this version can be released from here."""
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise Refused(f"{version!r} is no version: write it like 0.2.0 or 0.2.0rc1")
    if run("git", "status", "--porcelain"):
        raise Refused("there are changes that are not committed: commit or stash them")
    if run("git", "tag", "--list", f"v{version}"):
        raise Refused(f"v{version} exists already")
    if not fragments():
        raise Refused("changes/ has no fragment: a release tells its users what is new")


def fragments() -> list[Path]:
    """The fragments of the changelog that wait for a release."""
    kinds = {"breaking", "feature", "fix"}
    return [
        path
        for path in sorted((ROOT / "changes").glob("*.md"))
        if any(part in kinds for part in path.name.split(".")[1:-1])
    ]


def replace(file: str, pattern: str, new: str) -> None:
    """Replaces the one place that a pattern finds."""
    path = ROOT / file
    text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if count != 1:
        raise Refused(f"{file}: {pattern} is there {count} times, not once")
    path.write_text(text, encoding="utf-8")


def notes(version: str) -> str:
    """The section of CHANGELOG.md about a version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(version)} .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise Refused(f"CHANGELOG.md has no section {version}")
    return found[0].strip() + "\n"


def release(version: str) -> None:
    check(version)
    today = datetime.date.today().isoformat()
    try:
        replace("pyproject.toml", r'^version = ".*"$', f'version = "{version}"')
        dated = f"version: {version}\ndate-released: {today}"
        replace("CITATION.cff", r"^version: .*$(\ndate-released: .*$)?", dated)
        tool = str(Path(sys.executable).parent / "towncrier")
        run(tool, "build", "--yes", "--version", version, "--date", today)
        text = notes(version)

        dist = ROOT / "dist"
        dist.mkdir(exist_ok=True)
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(dist), str(ROOT))
        (dist / f"wwfl-{version}-notes.md").write_text(text, encoding="utf-8")
        run("git", "add", "--all", *WRITTEN)
        run("git", "commit", "--message", f"Release {version}")
    except BaseException:
        run("git", "checkout", "HEAD", "--", *WRITTEN)
        raise

    run("git", "tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", text)
    print(f"v{version} is tagged; the wheel and the notes are in dist/. Nothing was published.")


def main() -> int:
    if len(sys.argv) != 2:
        print("say which version: make release VERSION=0.2.0")
        return 2
    try:
        release(sys.argv[1])
    except Refused as reason:
        print(f"no release: {reason}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
