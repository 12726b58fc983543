"""The command line: one file per command, and `main`, which finds them.

A command reads its options, calls the library and prints. What it computes belongs to the
library."""

from .main import app

__all__ = [
    "app",
]
