"""Strict reader and atomic writer of the IDX format, plain or inside .gz or .xz.

An IDX file is: two zero bytes, one dtype code, the number of dimensions, each dimension as a
big-endian uint32, then the elements, big-endian, in C order. Nothing may follow them."""

from __future__ import annotations

import gzip
import lzma
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wwfl_core.errors import DataError, Misuse
from wwfl_core.files import write_whole

SUFFIXES = ("", ".gz", ".xz")
"""File name endings in the order of preference: plain, gzip, xz."""

MAX_BYTES = 4 << 30
"""Largest payload that is read. A header may claim anything; this bounds what a bad file can
fill."""

_DTYPES = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES = {dtype.newbyteorder("="): code for code, dtype in _DTYPES.items()}
_SIGNATURES = {b"\x1f\x8b": "gzip", b"\xfd7": "xz"}
_CHUNK = 1 << 20


def read_idx(path: str | Path) -> np.ndarray:
    """Read one IDX file; the name's ending (.gz, .xz or neither) says how it is packed.

    Returns a new writable array in native byte order, with the dtype (u1, i1, i2, i4, f4, f8) and
    the shape that the header declares. Raises DataError, naming the file, for anything that is not
    exactly one well-formed array."""
    path = Path(path)
    try:
        with _open(path) as stream:
            array = _parse(stream, path)
        _check_tail(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except EOFError:
        raise DataError(
            f"{path}: truncated: the compressed stream stops before its end marker; fetch the "
            "file again"
        ) from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        kind = "gzip" if path.suffix == ".gz" else "xz"
        raise DataError(
            f"{path}: not a valid {kind} file ({error}); fetch it again, or rename it if it is "
            "not packed"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the file"
        ) from error
    return array


def idx_header(array: np.ndarray) -> bytes:
    """The IDX header of `array` (any shape of 1 to 255 dimensions, dtype u1, i1, i2, i4, f4 or
    f8)."""
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise Misuse(
            f"IDX cannot hold dtype {array.dtype}; use uint8, int8, int16, int32, float32 or "
            "float64"
        )
    if not 1 <= array.ndim <= 255 or max(array.shape) > 0xFFFFFFFF:
        raise Misuse(
            f"IDX cannot hold shape {array.shape}; it needs 1 to 255 dimensions, each below 2^32"
        )
    return bytes([0, 0, code, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()


def encode_idx(array: np.ndarray) -> bytes:
    """The one and only plain IDX file content of `array`: header, then the elements big-endian in C
    order."""
    return (
        idx_header(array)
        + array.astype(array.dtype.newbyteorder(">"), order="C", copy=False).tobytes()
    )


def write_idx(path: str | Path, array: np.ndarray) -> None:
    """Write `array` as IDX, packed as the name's ending says; the same array always gives the same
    bytes.

    The file appears under its name only when it is complete: it is written beside it and then
    renamed. (The same bytes need the same zlib or liblzma version too; the unpacked content never
    depends on it.)"""
    path = Path(path)
    data = encode_idx(array)
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=9, mtime=0)  # no time stamp: reproducible
    elif path.suffix == ".xz":
        data = lzma.compress(data, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    try:
        write_whole(path, [data])
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder"
        ) from error


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".xz":
        return lzma.open(path, "rb", format=lzma.FORMAT_XZ)  # type: ignore[return-value]
    return open(path, "rb")


def _read(stream: BinaryIO, count: int) -> bytearray:
    """Up to `count` bytes, in chunks, so that memory follows what is really there, not what is
    claimed."""
    data = bytearray()
    while len(data) < count:
        chunk = stream.read(min(_CHUNK, count - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def _parse(stream: BinaryIO, path: Path) -> np.ndarray:
    head = bytes(_read(stream, 4))
    if len(head) < 4:
        raise DataError(f"{path}: truncated: only {len(head)} bytes, an IDX header has at least 8")
    if head[:2] != b"\0\0":
        packed = _SIGNATURES.get(head[:2])
        hint = (
            (
                f"it looks like {packed} data: give the file its "
                f".{'gz' if packed == 'gzip' else 'xz'} ending"
            )
            if packed
            else "use a standard IDX file such as train-images-idx3-ubyte"
        )
        raise DataError(
            f"{path}: byte 0: bad magic {head.hex()}, an IDX file begins with 0000; {hint}"
        )
    dtype = _DTYPES.get(head[2])
    if dtype is None:
        known = ", ".join(f"{code:#04x}" for code in _DTYPES)
        raise DataError(
            f"{path}: byte 2: unknown IDX dtype code {head[2]:#04x}; known codes: {known}"
        )
    if head[3] == 0:
        raise DataError(f"{path}: byte 3: zero dimensions declared; an IDX array has at least one")
    raw = _read(stream, 4 * head[3])
    if len(raw) < 4 * head[3]:
        raise DataError(
            f"{path}: byte {4 + len(raw)}: truncated header, {head[3]} dimensions need "
            f"{4 + 4 * head[3]} bytes"
        )
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4"))
    start, need = 4 + len(raw), dtype.itemsize
    for size in shape:  # Python integers: a product of hostile dimensions cannot wrap around
        need *= size
    if need > MAX_BYTES:
        raise DataError(
            f"{path}: byte 4: shape {shape} needs {need} bytes, the limit is {MAX_BYTES}"
        )
    data = _read(stream, need)
    if len(data) < need:
        raise DataError(
            f"{path}: byte {start + len(data)}: truncated: shape {shape} needs {need} bytes of "
            f"{dtype.name}, found {len(data)}; fetch the file again"
        )
    if stream.read(1):  # also makes gzip and xz verify their checksums, which stand at the very end
        raise DataError(
            f"{path}: byte {start + need}: more data than shape {shape} declares; not a plain IDX "
            "file"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _check_tail(path: Path) -> None:
    """Python's xz reader ignores garbage after the stream; every xz stream ends with the bytes
    YZ."""
    if path.suffix != ".xz":
        return
    with open(path, "rb") as stream:
        stream.seek(-2, os.SEEK_END)
        if stream.read(2) != b"YZ":
            raise DataError(
                f"{path}: trailing bytes after the end of the xz stream; fetch the file again"
            )
