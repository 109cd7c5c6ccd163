"""numpy's arrays in files: ``.npy`` headers, and the raw arrays between joblib's opcodes.

Sources: ``numpy/lib/format.py`` (NEP 1) and ``joblib/numpy_pickle.py`` (`NumpyArrayWrapper`).
"""

from __future__ import annotations

import ast
import math
import re
from typing import TYPE_CHECKING, Any, cast

from assay.supply.findings import Broken
from assay.supply.stand_ins import Global, Instance

if TYPE_CHECKING:
    from assay.supply.machine import Buffer
    from assay.supply.pickles import Walk

MAGIC = b"\x93NUMPY"
_HEADER_LIMIT = 1 << 20
_ALIGNMENT = 16
"""What joblib aligns its arrays to.  Above 32, the length of a padding could be an opcode."""
_SUBCLASSES = ("numpy ndarray", "numpy matrix")
_CODE = re.compile(r"([biufcOSUVmM])(\d{1,9})")
_WIDTHS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8, 16),
           "c": (8, 16, 32), "O": (4, 8), "m": (8,), "M": (8,)}  # fmt: skip
_SIMPLE = re.compile(r"[<>|=]?([a-zA-Z]\d{1,9}|O)(\[[0-9A-Za-z]{1,8}\])?")


def element_size(code: str) -> int | None:
    """Bytes of an element by its code as numpy writes it (``f8``, ``U5``); None when unknown.

    numpy reads many more codes, with other meanings on other platforms; it writes only these.
    """
    parsed = _CODE.fullmatch(code)
    if parsed is None:
        return None
    kind, width = parsed[1], int(parsed[2])
    if kind in _WIDTHS:
        return width if width in _WIDTHS[kind] else None
    return 4 * width if kind == "U" else width


def raw_array(walk: Walk, wrapper: Instance) -> int | None:
    """The bytes of the array that a joblib wrapper announces, its padding crossed.

    None where the array follows as a pickle of its own.  Raises `Broken`.
    """

    def wrong(what: str) -> Broken:
        return Broken("joblib.array", walk.position, what)

    items = wrapper.state.items if wrapper.state is not None else None
    if items is None:
        raise wrong("an array's description cannot be followed")
    subclass, shape, dtype = items.get("subclass"), items.get("shape"), items.get("dtype")
    if not isinstance(subclass, Global) or (subclass.full not in _SUBCLASSES):
        raise wrong("an array is of an unknown kind")
    if not isinstance(dtype, Instance) or not dtype.code or items.get("order") not in ("C", "F"):
        raise wrong("an array's element type or order cannot be followed")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):  # pyright: ignore[reportUnknownVariableType]
        raise wrong("an array's shape cannot be followed")
    dtype.sealed = True
    if dtype.has_objects:
        if items.get("allow_mmap", False) is not False:
            raise wrong("an array of objects would be mapped into memory")
        return None
    if dtype.size < 1:
        raise wrong("an array's elements have no size")
    count = dtype.size * math.prod(cast("tuple[int, ...]", shape))
    if count > walk.end - walk.position:
        raise wrong("an array is longer than the file")
    if "numpy_array_alignment_bytes" not in items:
        # joblib before 1.2: without padding the bytes of the array follow the opcodes directly.
        walk.unpadded = True
        return count
    alignment = items["numpy_array_alignment_bytes"]
    if alignment.__class__ is not int or alignment != _ALIGNMENT or walk.position >= walk.end:
        raise wrong("an array's alignment is unusual")
    padding = alignment - (walk.position - walk.base + 1) % alignment
    first = walk.position
    if walk.buffer[first : first + 1 + padding] != bytes([padding]) + b"\xff" * padding:
        # No opcode is that small: a plain unpickler that comes here ends here.
        raise wrong("an array's padding is not as joblib writes it")
    walk.position = first + 1 + padding
    if count > walk.end - walk.position:
        raise wrong("an array is longer than the file")
    return count


def read_npy_header(buffer: Buffer, start: int, end: int) -> tuple[int, int | None]:
    """Where the content of a ``.npy`` file begins, and its size; None for a pickle.

    Raises `Broken`.
    """
    if end - start < 10:
        raise Broken("npy.header", start, "the header is cut short")
    major = buffer[start + 6]
    width = 2 if major == 1 else 4
    length = int.from_bytes(buffer[start + 8 : start + 8 + width], "little")
    first = start + 8 + width
    if major not in (1, 2, 3) or buffer[start + 7] != 0:
        raise Broken("npy.header", start, "the version is not known")
    if length > min(_HEADER_LIMIT, end - first):
        raise Broken("npy.header", start, "the header is longer than the file")
    try:
        text = buffer[first : first + length].decode("utf-8" if major == 3 else "latin-1")
        header: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise Broken("npy.header", first, "the header is not a literal") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise Broken("npy.header", first, "the header has the wrong keys")
    shape: Any = header["shape"]
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Broken("npy.header", first, "the shape is not a tuple of counts")
    size = _item_size(header["descr"], first)
    if size is None:
        return first + length, None
    for dimension in shape:
        size *= dimension
    return first + length, size


def _item_size(description: Any, position: int, depth: int = 0) -> int | None:
    """Bytes of an element; None when it holds Python objects."""
    if depth > 8:
        raise Broken("npy.header", position, "the element type is nested too deep")
    if isinstance(description, str):
        parsed = _SIMPLE.fullmatch(description)
        if parsed is not None and parsed[1][0] == "O":
            return None
        size = element_size(parsed[1]) if parsed is not None else None
        if size is None:
            raise Broken("npy.header", position, "the element type is not known")
        return size
    if isinstance(description, tuple) and len(description) == 2:
        size = _item_size(description[0], position, depth + 1)
        shape = description[1] if isinstance(description[1], tuple) else (description[1],)
        for dimension in shape:
            if type(dimension) is not int or dimension < 0:
                raise Broken("npy.header", position, "the element type is not known")
            size = None if size is None else size * dimension
        return size
    if not isinstance(description, list) or not description:
        raise Broken("npy.header", position, "the element type is not known")
    total = 0
    objects = False
    for part in description:
        if not isinstance(part, tuple) or len(part) not in (2, 3):
            raise Broken("npy.header", position, "the element type is not known")
        inner = part[1] if len(part) == 2 else (part[1], part[2])
        size = _item_size(inner, position, depth + 1)
        objects = objects or size is None
        total += size or 0
    return None if objects else total
