"""Writes the lock files: `python tools/lock.py [--upgrade]` (`make lock`).

    requirements.lock        what `make` installs: wwfl's needs, tests, types, docs, the engines of
                             other people; every file with its hashes
    requirements-tools.lock  what maintainers use now and then: audit, changelog, lock, pre-commit
    constraints.txt          the versions of both and torch's, a line each: for people who install
                             wwfl by themselves (`pip install -c constraints.txt wwfl`)

torch is in no lock: its build differs by package index (CPU, CUDA), and so do its hashes. What its
CPU build needs is in the lock; `make` installs it after the lock, at the version of
constraints.txt. CrypTen's wheel asks for packages that cannot be installed and that its protocols
never use, so its needs are named here (extra `crypten`), and `make` installs the lock with
--no-deps: a lock is complete by itself.

Without --upgrade the versions of constraints.txt stay.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYTHON = "3.11"  # the oldest that wwfl supports (pyproject.toml)

TORCH_NEEDS = ["filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions"]
ALONE = ["crypten==0.4.1"]
EXTRAS = ["dev", "docs", "report", "images", "crypten", "mpyc"]


def compiled(inputs: list[str], *options: str) -> str:
    """What uv resolves, for every platform and Python from PYTHON on."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--generate-hashes"]
    command += ["--python-version", PYTHON, "--no-header", "--no-annotate", "--quiet"]
    done = subprocess.run([*command, *options, *inputs], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"uv could not resolve:\n{done.stderr}")
    return done.stdout


def entries(text: str) -> list[str]:
    """The requirements of a lock, each with its hashes."""
    return [e.strip() for e in re.split(r"\n(?=\S)", text.strip()) if e.strip()]


def name_and_version(entry: str) -> tuple[str, str, str]:
    """(name, version, marker or "") of a requirement of a lock."""
    head = entry.splitlines()[0].removesuffix("\\").strip()
    requirement, _, marker = head.partition(" ; ")
    name, _, version = requirement.partition("==")
    return name, version, marker.strip()


def versions(found: list[str]) -> list[str]:
    """The pins of a lock, without hashes."""
    lines = []
    for entry in found:
        name, version, marker = name_and_version(entry)
        lines.append(f"{name}=={version}" + (f" ; {marker}" if marker else ""))
    return lines


def main_lock(kept: list[str], folder: Path) -> list[str]:
    """The entries of requirements.lock."""
    old, needs, never = folder / "old.txt", folder / "needs.in", folder / "never.txt"
    old.write_text("\n".join(kept))
    needs.write_text("\n".join(TORCH_NEEDS))
    never.write_text('torch ; sys_platform == "never"\n')

    options = [word for extra in EXTRAS for word in ("--extra", extra)]
    options += ["--constraint", str(old), "--override", str(never)]
    found = entries(compiled(["pyproject.toml", str(needs)], *options))
    found = [e for e in found if "'never'" not in name_and_version(e)[2]]

    needs.write_text("\n".join(ALONE))
    return found + entries(compiled([str(needs)], "--no-deps"))


def tools_lock(kept: list[str], folder: Path) -> list[str]:
    """The entries of requirements-tools.lock, at the versions of the other one where both have a
    package."""
    old, wanted = folder / "old.txt", folder / "wanted.in"
    old.write_text("\n".join(kept))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted.write_text("\n".join(project["optional-dependencies"]["maintain"]))
    return entries(compiled([str(wanted)], "--constraint", str(old)))


def main() -> int:
    parser = argparse.ArgumentParser(description="Write requirements*.lock and constraints.txt.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    options = parser.parse_args()

    pins = CONSTRAINTS.read_text().splitlines()
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    kept = [] if options.upgrade else [p for p in pins if p and not p.startswith(("#", "torch=="))]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        main = main_lock(kept, folder)
        tools = tools_lock(list({*versions(main), *kept}) if kept else versions(main), folder)

    for file, found in (("requirements.lock", main), ("requirements-tools.lock", tools)):
        head = "# Made by `make lock` (tools/lock.py), which says what belongs here.\n"
        text = "\n".join(sorted(found, key=lambda e: name_and_version(e)[0]))
        (ROOT / file).write_text(f"{head}{text}\n")
        print(f"{file}: {len(found)} packages")

    names = {name_and_version(entry)[0] for entry in main}
    others = [entry for entry in tools if name_and_version(entry)[0] not in names]
    lines = sorted({torch, *versions(main), *versions(others)}, key=str.lower)
    head = "# The versions that CI installs. Made by `make lock`; torch's is chosen here by hand.\n"
    CONSTRAINTS.write_text(head + "\n".join(lines) + "\n")
    print(f"constraints.txt: {len(lines)} versions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
