"""NVIDIA's run-time compiler through ctypes: it compiles for a GPU without one, without driver and
headers."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from importlib.metadata import distribution
from typing import NamedTuple


class Compiled(NamedTuple):
    """The PTX, for a real architecture the machine code, and what the compiler said."""

    ptx: str
    cubin: bytes
    log: str

    def spilled(self) -> dict[str, int]:
        """Bytes that each kernel moves between registers and local memory, where the options ask
        ptxas to tell."""
        pattern = (
            r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
        )
        found = re.findall(pattern, self.log, re.DOTALL)
        return {kernel: int(stores) + int(loads) for kernel, stores, loads in found}


class Nvrtc:
    """The library of the wheel `nvidia-cuda-nvrtc`."""

    def __init__(self) -> None:
        files = [
            f
            for f in distribution("nvidia-cuda-nvrtc").files or []
            if ".so" in f.name and ".alt." not in f.name
        ]
        builtins = next(f for f in files if f.name.startswith("libnvrtc-builtins"))
        library = next(f for f in files if f.name.startswith("libnvrtc.so"))
        ctypes.CDLL(
            str(builtins.locate()), ctypes.RTLD_GLOBAL
        )  # else it is searched on the loader's path only
        self._lib = ctypes.CDLL(str(library.locate()))
        self._lib.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _text(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._lib, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    def _check(self, code: int) -> None:
        assert code == 0, self._lib.nvrtcGetErrorString(code).decode()

    def compile(self, text: str, name: str, options: tuple[str, ...]) -> Compiled:
        """What the compiler makes of a source. Raises AssertionError with the compiler's log."""
        program = ctypes.c_void_p()
        self._check(
            self._lib.nvrtcCreateProgram(
                ctypes.byref(program), text.encode(), name.encode(), 0, None, None
            )
        )
        try:
            words = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            code = self._lib.nvrtcCompileProgram(program, len(options), words)
            log = self._text(program, "ProgramLog").decode(errors="replace")
            assert code == 0, f"{name}: {log}"
            return Compiled(
                self._text(program, "PTX").decode(errors="replace"),
                self._text(program, "CUBIN"),
                log,
            )
        finally:
            self._lib.nvrtcDestroyProgram(ctypes.byref(program))


@cache
def nvrtc() -> Nvrtc:
    """Loaded once. Not finding it is an error, not a reason to skip: `make test` installs it."""
    return Nvrtc()
