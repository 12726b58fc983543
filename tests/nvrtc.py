"""NVIDIA's run-time compiler through ctypes: it compiles for a GPU without one, without driver and headers."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import distribution


class Nvrtc:
    """The library of the wheel `nvidia-cuda-nvrtc`."""

    def __init__(self) -> None:
        files = [f for f in distribution("nvidia-cuda-nvrtc").files or [] if ".so" in f.name and ".alt." not in f.name]
        builtins = next(f for f in files if f.name.startswith("libnvrtc-builtins"))
        library = next(f for f in files if f.name.startswith("libnvrtc.so"))
        ctypes.CDLL(str(builtins.locate()), ctypes.RTLD_GLOBAL)  # else it is searched on the loader's path only
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

    def compile(self, text: str, name: str, options: tuple[str, ...]) -> tuple[str, bytes]:
        """The PTX and, for a real architecture, the machine code. Raises AssertionError with the compiler's log."""
        program = ctypes.c_void_p()
        self._check(self._lib.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None))
        try:
            words = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            code = self._lib.nvrtcCompileProgram(program, len(options), words)
            assert code == 0, f"{name}: {self._text(program, 'ProgramLog').decode()}"
            return self._text(program, "PTX").decode(errors="replace"), self._text(program, "CUBIN")
        finally:
            self._lib.nvrtcDestroyProgram(ctypes.byref(program))


@cache
def nvrtc() -> Nvrtc:
    """Loaded once. Not finding it is an error, not a reason to skip: `make test` installs it."""
    return Nvrtc()
