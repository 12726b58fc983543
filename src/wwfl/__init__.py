"""wwfl: clusters that run different MPC protocols train one model together; nobody ever sees it.

Names are loaded when they are first used, so that server processes never import torch; the stub
`__init__.pyi` lists them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from .lazy_imports import lazy_face

__getattr__, __all__ = lazy_face(__name__, __file__)


def _refuse_foreign_packages() -> None:
    """`backends` and `reshare` are common names: one of another project would shadow ours and fail
    in odd ways."""
    ours = Path(__file__).resolve().parent.parent
    for name in ("wwfl_core", "backends", "reshare"):
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != ours:
            raise ImportError(
                f"the package {name!r} that Python finds is {origin or 'missing'}, not the one of "
                f"wwfl in {ours}; rename or remove the other one, or install wwfl in an "
                "environment of its own"
            )


_refuse_foreign_packages()
