"""Files are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wwfl_core.files import PRIVATE, write_whole


def breaks() -> Iterator[bytes]:
    yield b"half"
    raise OSError("the disk is full")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, [b"old ", b"content"])
    with pytest.raises(OSError, match="full"):
        write_whole(path, breaks())
    assert path.read_bytes() == b"old content" and os.listdir(tmp_path) == ["file"]


def test_only_the_owner_reads_what_is_private_even_over_a_public_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, [b"public"])
    write_whole(path, [b"shares"], PRIVATE)
    assert path.read_bytes() == b"shares" and path.stat().st_mode & 0o777 == PRIVATE


def test_a_folder_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "file", [b""])
    assert not os.listdir(tmp_path)
