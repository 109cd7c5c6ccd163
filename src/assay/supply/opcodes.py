"""Which step of the walk each opcode of protocols 0 to 5 is: a method's name and its arguments.

Source: ``Lib/pickletools.py``, CPython 3.14, whose list a test compares with this one.
"""

from __future__ import annotations

from typing import Any

STEPS: dict[int, tuple[Any, ...]] = {
    ord(code): (step,) if isinstance(step, str) else step
    for code, step in {
        "(": "_mark", ".": "_stop", "0": "_drop", "1": "_drop_to_mark", "2": "_duplicate",
        # Constants and numbers.
        "N": ("_constant", None), "\x88": ("_constant", True), "\x89": ("_constant", False),
        "F": "_text_float", "G": "_float", "I": "_text_int", "L": "_text_long",
        "J": ("_int", 4, True), "K": ("_int", 1, False), "M": ("_int", 2, False),
        "\x8a": ("_long", 1), "\x8b": ("_long", 4),
        # Bytes and texts.
        "B": ("_bytes", 4), "C": ("_bytes", 1), "\x8e": ("_bytes", 8), "\x96": ("_bytes", 8),
        "S": "_quoted", "V": "_unicode", "T": ("_string", 4, "latin-1"),
        "U": ("_string", 1, "latin-1"), "X": ("_string", 4, "utf-8"),
        "\x8c": ("_string", 1, "utf-8"), "\x8d": ("_string", 8, "utf-8"),
        # Containers.
        "]": "_new_list", "}": "_new_dict", "\x8f": "_new_set", ")": ("_constant", ()),
        "l": "_marked_list", "d": "_marked_dict", "t": "_marked_tuple",
        "\x91": "_marked_frozenset", "\x85": ("_tuple", 1), "\x86": ("_tuple", 2),
        "\x87": ("_tuple", 3), "a": "_append", "e": "_appends", "s": "_setitem", "u": "_setitems",
        "\x90": "_additems",
        # The memo.
        "p": "_put_line", "q": ("_put_number", 1), "r": ("_put_number", 4), "\x94": "_memoize",
        "g": "_get_line", "h": ("_get_number", 1), "j": ("_get_number", 4),
        # Names and calls.
        "c": "_global", "\x93": "_stack_global", "i": "_inst", "o": "_obj", "R": "_reduce",
        "\x81": "_newobj", "\x92": "_newobj_ex", "b": "_build", "P": "_persistent_line",
        "Q": "_persistent_top", "\x82": ("_extension", 1), "\x83": ("_extension", 2),
        "\x84": ("_extension", 4),
        # The stream.
        "\x80": "_proto", "\x95": "_frame", "\x97": "_out_of_band", "\x98": "_out_of_band",
    }.items()
}  # fmt: skip
