"""Typed, strict configuration of a run: TOML in, objects with checked values out.

What a run is told stands here; what is made of it is in `wwfl.experiments.from_config`."""

from .load import load, parse
from .schema import schema
from .sections import (
    Attack,
    Config,
    Data,
    Federation,
    Grid,
    Model,
    Partition,
    PlacementName,
    Privacy,
    Reveal,
    Run,
)
from .tables import differing_keys, keys
from .text import example, to_toml

__all__ = [
    "Attack",
    "Config",
    "Data",
    "Federation",
    "Grid",
    "Model",
    "Partition",
    "PlacementName",
    "Privacy",
    "Reveal",
    "Run",
    "differing_keys",
    "example",
    "keys",
    "load",
    "parse",
    "schema",
    "to_toml",
]
