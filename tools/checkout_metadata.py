"""Writes the metadata of this checkout into a folder, so that its entry points are found there.

    python tools/checkout_metadata.py FOLDER && PYTHONPATH=FOLDER:src python ...

Protocols, rules, devices and the kernels of protocols are found by entry points, which are metadata
of an installed distribution. A machine where nothing can be installed (no network, no setuptools)
has only the checkout; this writes what an installation would say, from `pyproject.toml`.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def write(folder: Path, pyproject: Path = ROOT / "pyproject.toml") -> Path:
    """Writes `NAME-VERSION.dist-info` into `folder` and returns its path."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}

    made = folder / f"{name}-{version}.dist-info"
    made.mkdir(parents=True, exist_ok=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (made / "entry_points.txt").write_text(
        "\n".join(
            "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), ""])
            for group, points in groups.items()
        )
    )
    return made


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/checkout_metadata.py FOLDER")
    print(write(Path(sys.argv[1])))
