"""A child process that lets the real readers of pickles read hostile bytes, with nothing to reach.

Each name that a pickle asks for is written down and answered with an inert stand-in, so that no
code of any module is called.  For joblib's reader, numpy's own constructors are the real ones,
because the length of its raw arrays depends on them; the process has no more to lose than memory.

It reads requests (a letter, four bytes of length, the bytes) and answers with a line of JSON each:
the names that each reader reached.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import pickle
import resource
import sys
import warnings
from typing import Any

REAL = {
    ("numpy", "dtype"), ("numpy", "ndarray"), ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode"),
}  # fmt: skip


class Inert(type):
    """A class whose instances take anything and do nothing."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)


def stand_in() -> Any:
    def nothing(*_: Any, **__: Any) -> None:
        return None

    def make(cls: Any, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    names = ("__init__", "__setstate__", "__setitem__", "append", "extend", "add", "__call__")
    return Inert("StandIn", (), {**dict.fromkeys(names, nothing), "__new__": make})


def recording(reader: Any, real: bool = False) -> Any:
    class Recording(reader):
        def find_class(self, module: str, name: str) -> Any:
            self.reached.add((module, name))
            if real and (module, name) in REAL:
                return super().find_class(module, name)
            return stand_in()

    return Recording


class NoPeek(io.RawIOBase):
    """A file that cannot be looked ahead in: the C reader then reads exactly what it needs."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)

    def readline(self, size: int | None = -1) -> bytes:
        return self._inner.readline(size)


def run(unpickler: Any) -> list[list[str]]:
    unpickler.reached = set()
    with contextlib.suppress(Exception):  # Whatever it raises, it reached what it reached.
        unpickler.load()
    return sorted([module, name] for module, name in unpickler.reached)


def plain(data: bytes) -> dict[str, Any]:
    c_reader, python_reader = recording(pickle.Unpickler), recording(pickle._Unpickler)
    return {
        "c": run(c_reader(io.BytesIO(data))),
        "c file": run(c_reader(io.BufferedReader(io.BytesIO(data)))),  # type: ignore[arg-type]
        "c no peek": run(c_reader(NoPeek(data))),
        "python": run(python_reader(io.BytesIO(data))),
    }


def joblib_reader(data: bytes) -> dict[str, Any]:
    from joblib.numpy_pickle import NumpyUnpickler

    reader = recording(NumpyUnpickler, real=True)
    return {"joblib": run(reader("model", io.BytesIO(data), False))} | plain(data)


def main() -> None:
    warnings.simplefilter("ignore")
    importlib.import_module("numpy")  # Before the limit on memory.

    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout
    sys.stdout = sys.stderr
    while kind := requests.read(1):
        data = requests.read(int.from_bytes(requests.read(4), "little"))
        answer = joblib_reader(data) if kind == b"j" else plain(data)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
