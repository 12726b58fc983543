"""Builds a wheel and uses it where no checkout is near: `python tools/wheel_check.py`.

In a temporary folder it makes an empty environment, installs the wheel with the versions of
constraints.txt, and runs from there `wwfl --version`, `wwfl demo --rounds 1`, every Python block of
the README and `import` of every public name. What the tests see of a checkout (files that are not
packaged, folders on the path) is not there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent

NAMES = """
import importlib, pathlib, sys
for root in ("wwfl_core", "backends", "reshare", "wwfl"):
    module = importlib.import_module(root)
    assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__
    for name in module.__all__:
        getattr(module, name)
print("all public names are there, from", sys.prefix)
"""


def readme_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def step(what: str, command: list[str], folder: Path) -> None:
    """Runs a command in `folder`, without this process's Python settings; exits if it fails."""
    print(f"--- {what}", flush=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=clean)
    if done.returncode:
        raise SystemExit(f"failed: {what} ({' '.join(command[:4])} ...)")
    print(f"--- {time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build a wheel, and use it without a checkout.")
    parser.add_argument("--wheel", type=Path, help="this one, instead of a fresh build")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="wwfl-wheel-") as name:
        folder = Path(name)
        pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"]

        wheel = options.wheel and options.wheel.resolve()
        if wheel is None:
            build = [sys.executable, *pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)]
            step("build a wheel", build, folder)
            [wheel] = folder.glob("wwfl-*.whl")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")

        venv.create(folder / "env", with_pip=True)
        python = str(folder / "env" / "bin" / "python")
        wwfl = str(folder / "env" / "bin" / "wwfl")
        constraints = ["-c", str(ROOT / "constraints.txt")]
        step("install it", [python, *pip, "install", *constraints, str(wheel)], folder)

        empty = folder / "empty"
        empty.mkdir()
        step("import every public name", [python, "-c", NAMES], empty)
        step("wwfl --version", [wwfl, "--version"], empty)
        step("wwfl demo --rounds 1", [wwfl, "demo", "--rounds", "1"], empty)
        for number, code in enumerate(readme_blocks(), 1):
            (empty / "example.py").write_text(code, encoding="utf-8")
            step(f"example {number} of the README", [python, "example.py"], empty)

    print("the wheel works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
