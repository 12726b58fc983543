"""Files are there whole or not at all, and a sealed one is what was written or an error."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wwfl_core.errors import DataError
from wwfl_core.files import PRIVATE, read_sealed, write_sealed, write_whole

HEADER: dict[str, Any] = {"stamp": "round 3", "shape": [2, 3], "none": None}
BODY = [b"abc", b"", b"\x00" * 100]


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    write_sealed(tmp_path / "new" / "x.share", "note", HEADER, BODY, PRIVATE)
    return tmp_path / "new" / "x.share"


def test_what_is_written_is_read(sealed: Path) -> None:
    header, body = read_sealed(sealed, "note")
    assert header == HEADER and bytes(body) == b"".join(BODY)
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    assert [path.name for path in sealed.parent.iterdir()] == ["x.share"]  # nothing temporary


def test_the_seal_tells_files_apart(sealed: Path) -> None:
    same = write_sealed(sealed, "note", HEADER, BODY)
    assert same == write_sealed(sealed, "note", HEADER, [b"".join(BODY)])
    assert same != write_sealed(sealed, "note", HEADER, [b"abd"])
    assert same != write_sealed(sealed, "page", HEADER, BODY)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_altered_byte_and_no_cut_passes(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        write_sealed(path, "note", HEADER, BODY)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            path.write_bytes(whole[:at])
        else:
            flipped = whole[at] ^ data.draw(st.integers(1, 255))
            path.write_bytes(whole[:at] + bytes([flipped]) + whole[at + 1 :])
        with pytest.raises(DataError, match="x "):
            read_sealed(path, "note")


def test_files_that_are_something_else_say_so(sealed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a note, not a page"):
        read_sealed(sealed, "page")
    with pytest.raises(DataError, match="cannot read this note"):
        read_sealed(tmp_path / "none", "note")
    (tmp_path / "old").write_bytes(b"WWFLSHR1" + bytes(100))
    with pytest.raises(DataError, match="not a note of this version of wwfl"):
        read_sealed(tmp_path / "old", "note")


# ---------------------------------------------------------------------- whole or not at all


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
