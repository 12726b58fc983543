"""Typed, strict configuration of a run: TOML in, objects with checked values out."""

from .example import example, to_toml
from .load import load, parse
from .sections import Config

__all__ = ["Config", "example", "load", "parse", "to_toml"]
