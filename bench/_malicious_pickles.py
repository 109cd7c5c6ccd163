"""Hostile pickles, assembled byte by byte: nothing here is ever loaded or run."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from _malicious_names import PAYLOADS


def payloads() -> Iterator[tuple[str, str]]:
    for part in PAYLOADS.replace("\n", ";").split(";"):
        if part.strip():
            module, name = part.split()
            yield module, name


ARGUMENT = b"touch /tmp/never"


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def protocol_0(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n(S'{ARGUMENT.decode()}'\ntR.".encode()


def protocol_2(module: str, name: str) -> bytes:
    return f"\x80\x02c{module}\n{name}\n".encode("latin-1") + text(ARGUMENT) + b"\x85R."


def protocol_4(module: str, name: str) -> bytes:
    def short(value: bytes) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value

    body = short(module.encode()) + b"\x94" + short(name.encode()) + b"\x94\x93\x94"
    body += short(ARGUMENT) + b"\x94\x85\x94R\x94."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def inst(module: str, name: str) -> bytes:
    return b"(" + text(ARGUMENT) + f"i{module}\n{name}\n.".encode()


def obj(module: str, name: str) -> bytes:
    return f"\x80\x02(c{module}\n{name}\n".encode("latin-1") + text(ARGUMENT) + b"o."


def new_object(module: str, name: str) -> bytes:
    return f"\x80\x02c{module}\n{name}\n".encode("latin-1") + text(ARGUMENT) + b"\x85\x81."


DIALECTS = {
    "p0": protocol_0, "p2": protocol_2, "p4": protocol_4,
    "inst": inst, "obj": obj, "newobj": new_object,
}  # fmt: skip

EVIL = protocol_2("posix", "system")
FRAMED = protocol_4("posix", "system")


def tricks() -> Iterator[tuple[str, bytes]]:
    """One payload, hidden in a pickle."""
    benign = b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x01.".replace(b"\x03", b"\x03", 1)
    yield "second-pickle", b"\x80\x02K\x01." + EVIL
    yield "frame-too-long", FRAMED[:3] + struct.pack("<Q", len(FRAMED) + 50) + FRAMED[11:]
    yield "frame-too-short", FRAMED[:3] + struct.pack("<Q", 4) + FRAMED[11:]
    yield "frame-empty", b"\x80\x04\x95" + bytes(8) + EVIL[2:]
    yield "no-stop", EVIL[:-1]
    yield "garbage-behind", EVIL + b"\xff" * 40
    yield "garbage-opcode", EVIL[:-1] + b"\xff."
    yield "benign-prefix", benign[:-1] + b"0" + EVIL[2:]
    yield "memo-global", b"\x80\x02cposix\nsystem\nq\x000h\x00" + text(ARGUMENT) + b"\x85R."
    yield (
        "memo-strings",
        b"\x80\x04\x8c\x05posix\x940\x8c\x06system\x940h\x00h\x01\x93" + text(ARGUMENT) + b"\x85R.",
    )
    yield "extension", b"\x80\x02\x82\x01" + text(ARGUMENT) + b"\x85R."
    yield "persistent", b"\x80\x02" + text(b"system") + b"Q."
    yield "nested", b"\x80\x03cpickle\nloads\nC" + bytes([len(EVIL)]) + EVIL + b"\x85R."
    yield (
        "getattr-chain",
        b"\x80\x02c__builtin__\ngetattr\nc__builtin__\n__import__\n"
        + text(b"os")
        + b"\x85R"
        + text(b"system")
        + b"\x86R"
        + text(ARGUMENT)
        + b"\x85R.",
    )
    yield (
        "dotted-name",
        b"\x80\x04\x8c\x02os\x8c\x0bpath.os.system\x93".replace(
            b"\x0bpath.os.system", b"\x0epath.os.system"
        )
        + text(ARGUMENT)
        + b"\x85R.",
    )
    yield "reduce-in-list", b"\x80\x02](" + EVIL[2:-1] + b"e."
    yield "build-state", b"\x80\x02c__main__\nModel\n)\x81}" + text(b"a") + EVIL[2:-1] + b"sb."
    yield (
        "build-slots",
        b"\x80\x02ccollections\nOrderedDict\n)RN}"
        + text(b"__class__")
        + b"cposix\nsystem\ns\x86b.",
    )
    yield "bytes-carried", b"\x80\x03C" + bytes([len(EVIL)]) + EVIL + b"."
    yield (
        "numpy-subclass",
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncposix\nsystem\nK\x00\x85U\x01b\x87R."),
    )
    yield "defaultdict-factory", b"\x80\x02ccollections\ndefaultdict\ncos\nsystem\n\x85R."
    yield "odd-name", b"cposix\nsystem \n(S'x'\ntR."
    yield "unicode-name", "\x80\x04\x8c\x05os\u2024a\x8c\x06system\x93.".encode("latin-1", "ignore")
    yield "put-get-swap", b"(dp0\ncposix\nsystem\np1\n0g1\n(S'x'\ntR."
    yield "dup-mark", b"((cposix\nsystem\nS'x'\no1."


SYSTEM = b"cposix\nsystem\n"


def misuses() -> Iterator[tuple[str, bytes]]:
    """Names that every scanner has to allow, used to carry a payload."""
    array = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    objects = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
    call = EVIL[2:-1]
    yield (
        "array-objects",
        b"\x80\x02" + array + b"(K\x01K\x01\x85" + objects + b"\x89](" + call + b"etb.",
    )
    yield "array-state-class", b"\x80\x02" + array + b"}" + text(b"__reduce__") + SYSTEM + b"sb."
    scalar = b"\x80\x03cnumpy._core.multiarray\nscalar\n" + objects
    yield "scalar-carries-pickle", scalar + b"C" + bytes([len(EVIL)]) + EVIL + b"\x86R."
    yield (
        "reconstruct-other-class",
        (b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n" + SYSTEM + b"K\x00\x85C\x01b\x87R."),
    )
    yield (
        "copyreg-other-class",
        (b"\x80\x02ccopyreg\n_reconstructor\n" + SYSTEM + b"c__builtin__\nobject\nN\x87R."),
    )
    yield (
        "hooks-of-a-tensor",
        (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89ccollections\nOrderedDict\n)R}"
            b"K\x01" + SYSTEM + b"sbtR."
        ),
    )
    yield (
        "parameter-state",
        (
            b"\x80\x02ctorch._utils\n_rebuild_parameter_with_state\n(N\x89)}"
            + text(b"__class__")
            + SYSTEM
            + b"stR."
        ),
    )
    yield (
        "transformer-function",
        (
            b"\x80\x02csklearn.preprocessing._function_transformer\nFunctionTransformer\n)\x81}"
            + text(b"func")
            + SYSTEM
            + b"sb."
        ),
    )
    yield (
        "estimator-class-swap",
        (
            b"\x80\x02csklearn.linear_model._logistic\nLogisticRegression\n)\x81}"
            + text(b"__class__")
            + b"csubprocess\nPopen\nsb."
        ),
    )
    yield (
        "estimator-setstate",
        (
            b"\x80\x02csklearn.linear_model._logistic\nLogisticRegression\n)\x81}"
            + text(b"__setstate__")
            + SYSTEM
            + b"sb}"
            + text(b"x")
            + b"Nsb."
        ),
    )
    yield "key-is-a-call", b"\x80\x02}" + call + b"Ns."
    yield "deque-of-calls", b"\x80\x02ccollections\ndeque\n)R(" + call + b"e."
    yield (
        "bit-generator-by-name",
        (b"\x80\x02cnumpy.random._pickle\n__bit_generator_ctor\n" + SYSTEM + b"\x85R."),
    )
    yield (
        "ufunc-by-name",
        (
            b"\x80\x02cnumpy._core\n_ufunc_reconstruct\n"
            + text(b"posix")
            + text(b"system")
            + b"\x86R"
            + text(ARGUMENT)
            + b"\x85R."
        ),
    )
    yield (
        "codecs-other-encoding",
        (b"\x80\x02c_codecs\nencode\n" + text(b"x") + text(b"my_codec") + b"\x86R."),
    )
    yield (
        "joblib-array-then-call",
        (
            b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
            + text(b"subclass")
            + b"cnumpy\nndarray\n"
            + text(b"shape")
            + b"K\x01\x85"
            + text(b"order")
            + text(b"C")
            + text(b"dtype")
            + objects
            + text(b"allow_mmap")
            + b"\x89ub"
            + EVIL
        ),
    )
    yield (
        "wrapper-other-subclass",
        (
            b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
            + text(b"subclass")
            + SYSTEM
            + text(b"shape")
            + b"K\x01\x85"
            + text(b"order")
            + text(b"C")
            + text(b"dtype")
            + b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R"
            + text(b"allow_mmap")
            + b"\x89ub\x00."
        ),
    )
    yield "out-of-band", b"\x80\x05\x97\x98."
    yield "long-bytes", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x."
    yield (
        "reduce-builtins",
        b"\x80\x02c__builtin__\ngetattr\nc__builtin__\ndict\n"
        + text(b"__subclasses__")
        + b"\x86R)R.",
    )
