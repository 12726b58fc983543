"""The wire format, without any I/O.

A frame is a fixed prefix, a header and a payload; all numbers are little-endian:

    prefix   4s magic  B version  B kind  H header size  Q payload size
    header   data:   Q run  Q op  Q stamp round  d stamp seconds  B phase  B dtype  B ndim
                     ndim * Q shape, text name, text label
             abort:  Q run, text origin, text reason
             hello:  text sender, text receiver
    payload  the array's bytes in C order (data only)

where text is `H size` followed by UTF-8. A `Decoder` owns the buffers into which the bytes of a
frame are read, so a payload goes from the socket straight into the memory of the array that is
handed out."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from wwfl_core.errors import Desync, Misuse
from wwfl_core.numbers import contiguous, to_host

from .cost import Phase

Array = npt.NDArray[Any]

MAGIC: Final = b"WWFL"
VERSION: Final = 1
MAX_HEADER: Final = 16 * 1024
MAX_PAYLOAD: Final = 1 << 33
MAX_DIMENSIONS: Final = 16
MAX_ROUND: Final = 1 << 48
MAX_SECONDS: Final = 1e12
"""Where the stamps of messages stop: who lies about its own must not spoil the frames of those who
believe it."""

_PREFIX: Final = struct.Struct("<4sBBHQ")
_DATA: Final = struct.Struct("<QQQdBBB")
_U64: Final = struct.Struct("<Q")
_TEXT: Final = struct.Struct("<H")
_KIND_DATA, _KIND_ABORT, _KIND_HELLO = 1, 2, 3
_MAX_TEXT: Final = 4096

_PHASES: Final[tuple[Phase, ...]] = (Phase.OFFLINE, Phase.ONLINE)
# Explicitly little-endian, so that a big-endian machine refuses its native arrays instead of
# misreading.
_DTYPES: Final[tuple[np.dtype[Any], ...]] = tuple(
    np.dtype(code) for code in ("|u1", "<u8", "<i8", "<f8", "<u4")
)


class Tag(NamedTuple):
    """Which operation a message belongs to; sender and receiver must agree on all of it."""

    run: int
    op: int
    name: str
    phase: Phase


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One array on its way: its tag, the label it is accounted under, its arrival stamp and the
    payload."""

    tag: Tag
    label: str
    stamp_round: int
    stamp_s: float
    payload: Array = field(repr=False)
    mark: Any = (
        None  # within one process: what a reader on another stream must wait for (`Device.mark`)
    )


@dataclass(frozen=True, slots=True)
class Abort:
    """`run` cannot go on: `origin` is the party that failed first, `reason` is what it said."""

    run: int
    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame on a connection: who speaks, and to whom it believes to speak."""

    sender: str
    receiver: str


AnyFrame = Frame | Abort | Hello


def check_payload(payload: Array) -> None:
    """Raise Misuse unless the array can travel in a frame."""
    if payload.dtype not in _DTYPES:
        known = ", ".join(dtype.name for dtype in _DTYPES)
        raise Misuse(
            f"cannot send an array of dtype {payload.dtype.str}: convert it to one of {known}"
        )
    if payload.ndim > MAX_DIMENSIONS:
        raise Misuse(
            f"cannot send an array of {payload.ndim} dimensions: at most {MAX_DIMENSIONS} fit"
        )
    if payload.nbytes > MAX_PAYLOAD:
        raise Misuse(f"cannot send {payload.nbytes} bytes at once: split it below {MAX_PAYLOAD}")


def encode(frame: AnyFrame) -> list[bytes | memoryview]:
    """The bytes of a frame as buffers to send in order. A contiguous payload is not copied, unless
    from a device."""
    payload = memoryview(b"")
    if isinstance(frame, Frame):
        check_payload(frame.payload)
        kind, header = _KIND_DATA, _data_header(frame)
        flat = contiguous(to_host(frame.payload)).reshape(-1)
        payload = flat.view(np.uint8).data
    elif isinstance(frame, Abort):
        kind = _KIND_ABORT
        header = (
            _U64.pack(frame.run) + _text(frame.origin, cut=True) + _text(frame.reason, cut=True)
        )
    else:
        kind, header = _KIND_HELLO, _text(frame.sender) + _text(frame.receiver)
    prefix = _PREFIX.pack(MAGIC, VERSION, kind, len(header), payload.nbytes)
    return [prefix + header, payload] if payload.nbytes else [prefix + header]


def _data_header(frame: Frame) -> bytes:
    tag, payload = frame.tag, frame.payload
    fixed = _DATA.pack(
        tag.run,
        tag.op,
        min(frame.stamp_round, MAX_ROUND),
        min(frame.stamp_s, MAX_SECONDS),
        _PHASES.index(tag.phase),
        _DTYPES.index(payload.dtype),
        payload.ndim,
    )
    shape = struct.pack(f"<{payload.ndim}Q", *payload.shape)
    return fixed + shape + _text(tag.name) + _text(frame.label)


def _text(text: str, *, cut: bool = False) -> bytes:
    raw = text.encode(errors="replace")
    if len(raw) > _MAX_TEXT:
        if not cut:
            raise Misuse(
                f"{text[:40]!r}... has {len(raw)} bytes; names and labels have at most {_MAX_TEXT}"
            )
        raw = raw[:_MAX_TEXT].decode(errors="ignore").encode()
    return _TEXT.pack(len(raw)) + raw


class Decoder:
    """Turns a stream of bytes into frames.

    Either `feed` it whatever arrived, or, without a copy, read into `buffer()` and tell `wrote(n)`.
    Anything that is not a well-formed frame raises Desync; the stream is then unusable.
    """

    def __init__(self, *, max_payload: int = MAX_PAYLOAD) -> None:
        self._max_payload = max_payload
        self._on_piece: Callable[[], AnyFrame | None] = self._on_prefix
        self._kind = 0
        self._payload_size = 0
        self._frame: Frame | None = None
        self._expect_prefix()

    @property
    def idle(self) -> bool:
        """Whether the stream is between two frames (where it may end)."""
        return self._filled == 0 and self._on_piece == self._on_prefix

    def buffer(self) -> memoryview:
        """Where the next bytes of the stream belong; never empty."""
        return self._piece[self._filled :]

    def wrote(self, count: int) -> AnyFrame | None:
        """Say that `count` bytes were written to `buffer()`; returns the frame if that completed
        one."""
        self._filled += count
        return self._on_piece() if self._filled == len(self._piece) else None

    def feed(self, data: bytes | bytearray | memoryview) -> list[AnyFrame]:
        """Take any part of the stream; returns the frames that it completed."""
        frames: list[AnyFrame] = []
        rest = memoryview(data)
        while len(rest):
            room = self.buffer()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            rest = rest[count:]
            frame = self.wrote(count)
            if frame is not None:
                frames.append(frame)
        return frames

    def _expect(self, piece: memoryview, on_piece: Callable[[], AnyFrame | None]) -> None:
        self._piece, self._filled, self._on_piece = piece, 0, on_piece

    def _expect_prefix(self) -> None:
        self._expect(memoryview(bytearray(_PREFIX.size)), self._on_prefix)

    def _on_prefix(self) -> None:
        magic, version, self._kind, header_size, self._payload_size = _PREFIX.unpack(self._piece)
        if magic != MAGIC:
            raise Desync(
                f"malformed frame: it starts with {magic!r}, not {MAGIC!r}; this is no wwfl peer"
            )
        if version != VERSION:
            raise Desync(
                f"the peer speaks wire version {version}, this is {VERSION}: install equal versions"
            )
        if self._kind not in (_KIND_DATA, _KIND_ABORT, _KIND_HELLO):
            raise Desync(f"malformed frame: unknown kind {self._kind}")
        if not 0 < header_size <= MAX_HEADER:
            raise Desync(
                f"malformed frame: header of {header_size} bytes, expected 1 to {MAX_HEADER}"
            )
        if self._payload_size > (self._max_payload if self._kind == _KIND_DATA else 0):
            raise Desync(
                f"malformed frame: payload of {self._payload_size} bytes is over the limit"
            )
        self._expect(memoryview(bytearray(header_size)), self._on_header)

    def _on_header(self) -> AnyFrame | None:
        fields = _Fields(bytes(self._piece))
        if self._kind == _KIND_DATA:
            self._frame = _parse_data(fields, self._payload_size)
            if not self._payload_size:
                return self._on_payload()
            self._expect(self._frame.payload.reshape(-1).view(np.uint8).data, self._on_payload)
            return None
        self._expect_prefix()
        if self._kind == _KIND_ABORT:
            frame = Abort(fields.u64(), fields.text(), fields.text())
        else:
            frame = Hello(fields.text(), fields.text())
        fields.finish()
        return frame

    def _on_payload(self) -> Frame:
        frame = self._frame
        assert frame is not None
        self._frame = None
        self._expect_prefix()
        # Received arrays are read-only on every transport, so that code behaves the same on all of
        # them.
        frame.payload.flags.writeable = False
        return frame


class _Fields:
    """Reads the fields of a header one after the other."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self._bytes(layout.size))

    def u64(self) -> int:
        return self.take(_U64)[0]

    def text(self) -> str:
        (size,) = self.take(_TEXT)
        try:
            return self._bytes(size).decode()
        except UnicodeDecodeError as error:
            raise Desync(f"malformed frame: a text field is not UTF-8 ({error})") from error

    def finish(self) -> None:
        if self._at != len(self._raw):
            raise Desync(
                f"malformed frame: {len(self._raw) - self._at} unexpected bytes end the header"
            )

    def _bytes(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._raw):
            raise Desync(
                f"malformed frame: the header of {len(self._raw)} bytes ends inside a field"
            )
        part, self._at = self._raw[self._at : end], end
        return part


def _parse_data(fields: _Fields, payload_size: int) -> Frame:
    """The frame of a data header, with an uninitialised payload that the caller fills."""
    run, op, stamp_round, stamp_s, *codes = fields.take(_DATA)
    phase, dtype, ndim = map(int, codes)
    if phase >= len(_PHASES) or dtype >= len(_DTYPES) or ndim > MAX_DIMENSIONS:
        raise Desync(f"malformed frame: phase code {phase}, dtype code {dtype}, {ndim} dimensions")
    element = _DTYPES[dtype]
    if not 0 <= stamp_s <= MAX_SECONDS or stamp_round > MAX_ROUND:
        raise Desync(f"malformed frame: arrival stamp of {stamp_s} seconds, round {stamp_round}")
    shape = tuple(fields.u64() for _ in range(ndim))
    tag = Tag(run, op, fields.text(), _PHASES[phase])
    label = fields.text()
    fields.finish()
    declared = math.prod(shape) * element.itemsize
    if declared != payload_size:
        raise Desync(
            f"malformed frame: operation {op} {tag.name!r} declares {element.name} {shape}, which "
            f"is {declared} bytes, but carries {payload_size}"
        )
    try:
        payload = np.empty(shape, element)
    except (ValueError, MemoryError) as error:
        # An empty array may still have a dimension that numpy cannot index.
        raise Desync(f"malformed frame: cannot make an array of shape {shape} ({error})") from error
    return Frame(tag, label, stamp_round, stamp_s, payload)
