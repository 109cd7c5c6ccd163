"""Files that are two things at once, or that two readers take differently."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from typing import Any

import pytest

from assay.supply.readers import squeezed


def rules(answer: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in answer["findings"]}


# ZIP.


def archive(members: list[tuple[str, bytes, int]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            made.writestr(info, data)
    return stream.getvalue()


def test_a_link_or_device_in_a_zip_archive_is_not_clean(scanned: Any) -> None:
    plain = ("a.txt", b"words\n", 0o100644)
    assert scanned(archive([plain, ("b.txt", b"x\n", 0)]))["clean"]
    for mode in (0o120777, 0o020644, 0o010644):
        answer = scanned(archive([plain, ("link.txt", b"/root/.ssh", mode)]))
        assert rules(answer) == {"zip.link"}, answer


def test_an_archive_whose_two_ends_name_two_directories_is_not_clean(scanned: Any) -> None:
    data = archive([("a.txt", b"words\n", 0)])
    at = data.index(b"PK\5\6")
    count, size, offset = struct.unpack("<HII", data[at + 10 : at + 20])
    wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    assert scanned(data[:at] + wide + locator + data[at:])["clean"]
    for field, value in ((10, b"\2\0"), (12, b"\1\0\0\0"), (16, b"\1\0\0\0")):
        end = data[at : at + field] + value + data[at + field + len(value) :]
        assert "zip.directory" in rules(scanned(data[:at] + wide + locator + end))


def streamed(name: str, content: bytes) -> bytes:
    """An archive as written to a pipe: the sizes follow the content."""

    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as made:  # type: ignore[call-overload]
        made.writestr(name, content)
    return pipe.data


def test_sizes_that_should_follow_a_member_are_there_and_not_before_it(scanned: Any) -> None:
    data = streamed("a.txt", b"words\n")
    assert data[6] & 8
    assert scanned(data)["clean"]
    # A reader that goes by the headers takes the size there.
    assert "zip.directory" in rules(scanned(data[:18] + b"\3\0\0\0\3\0\0\0" + data[26:]))
    at = data.index(b"PK\7\x08")
    cut = data[:at] + data[at + 16 :]
    end = cut.index(b"PK\5\6") + 16
    offset = struct.unpack_from("<I", cut, end)[0]
    cut = cut[:end] + struct.pack("<I", offset - 16) + cut[end + 4 :]
    assert "zip.layout" in rules(scanned(cut))


# Two formats in one file.


def safetensors(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize("filling", ["aa", "é"])
def test_a_file_that_is_a_tar_archive_as_well_is_not_clean(scanned: Any, filling: str) -> None:
    # The fields of a tar header are characters of a text inside the other format's header; bytes
    # above 127 are negative to some readers.
    body = json.dumps({"__metadata__": {"x": "0" * 400}}).encode()
    block = bytearray(safetensors(body + b" " * (504 - len(body)), b""))
    block[160:162] = filling.encode()
    total = sum(block[:148]) + 256 + sum(block[156:]) - 256 * sum(byte > 127 for byte in block)
    block[148:156] = b"%07o " % total
    answer = scanned(bytes(block))
    assert (answer["format"], rules(answer)) == ("safetensors", {"polyglot"}), answer


def test_an_hdf5_file_behind_something_else_is_not_clean(scanned: Any) -> None:
    header = b'{"w":{"dtype":"U8","shape":[2000],"data_offsets":[0,2000]}}'
    plain = safetensors(header + b" " * (504 - len(header)), b"\0" * 2000)
    assert scanned(plain)["clean"]
    for place in (512, 1024, 2048):
        data = plain[:place] + b"\x89HDF\r\n\x1a\n" + plain[place + 8 :]
        assert rules(scanned(data)) == {"polyglot"}


def test_a_compressed_stream_that_looks_like_text_is_not_clean(
    scanned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data in (b"x^2 + y^2\n", b"x^\n", "xڤ\n".encode()):
        assert scanned(data, "notes.txt")["clean"], data
    # Deflate can be written in printable characters alone; that these are not must not matter.
    monkeypatch.setattr(squeezed, "_is_text", lambda _: True)
    packed = zlib.compress(b"cos\nsystem\n(Vid\ntR." + bytes(range(256)) * 40)
    assert "compressed" in rules(scanned(packed, "notes.txt"))
    assert "pickle.global" in rules(scanned(packed[:-40], "notes.txt"))


# Programs.


def test_an_archive_without_constants_is_no_torchscript(scanned: Any) -> None:
    data = b"\x80\x02c__torch__\nEvil\n)\x81."
    members = [("a/data.pkl", data), ("a/version", b"3\n"), ("a/code/x.py", b"")]
    for more in ([], [("a/constants.pkl", pickle.dumps((), 2))]):
        answer = scanned(archive([(n, d, 0) for n, d in (*members, *more)]))
        assert ("pickle.global" in rules(answer)) is not bool(more), answer


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("__torch__.Net", "clean"),
        ("__torch__.torch.classes.quantized.LinearPackedParamsBase", "clean"),
        ("__torch__.torch.classes.c10d.FileStore", "suspicious"),
        ("__torch__.torch.classes", "suspicious"),
        ("torch._nested_view_from_buffer", "suspicious"),
        ("torch._sparse_coo_tensor_unsafe", "suspicious"),
        ("torch.sparse_coo_tensor", "clean"),
    ],
)
def test_what_torchscript_uses_of_pytorchs_own_checks_its_numbers(
    scanned: Any, name: str, verdict: str
) -> None:
    source = f"class Net(Module):\n  def forward(self) -> int:\n    _0 = {name}\n    return 1\n"
    members = {
        "data.pkl": pickle.dumps((), 2),
        "constants.pkl": pickle.dumps((), 2),
        "version": b"3\n",
        "code/__torch__.py": source.encode(),
    }
    answer = scanned(archive([(f"a/{n}", d, 0) for n, d in members.items()]))
    assert answer["verdict"] == verdict, answer


@pytest.mark.parametrize("operator", ["ATen", "PythonOp", "TritonOp", "EPContext"])
def test_operators_of_onnx_runtime_that_run_other_code_are_not_clean(
    scanned: Any, operator: str
) -> None:
    helper = pytest.importorskip("onnx.helper")
    nodes = [helper.make_node(operator, [], ["y"], domain="com.microsoft")]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    assert rules(scanned(model.SerializeToString())) == {"onnx.custom_operator"}


@pytest.mark.parametrize(
    ("loader", "module", "name", "clean"),
    [
        ("ObjectNode", "sklearn.linear_model._base", "LinearRegression", True),
        ("ObjectNode", "_codecs", "encode", False),
        ("LossNode", "_codecs", "encode", False),
        ("LossNode", "sklearn._loss._loss", "CyHalfBinomialLoss", True),
        ("TreeNode", "sklearn.tree._tree", "Tree", True),
        ("TreeNode", "numpy.random._pickle", "__generator_ctor", False),
        ("TupleNode", "builtins", "tuple", True),
        ("TupleNode", "numpy._core.multiarray", "_reconstruct", False),
        ("ListNode", "collections", "deque", False),
    ],
)
def test_the_builders_of_skops_call_only_what_is_theirs(
    scanned: Any, loader: str, module: str, name: str, clean: bool
) -> None:
    schema = {"__loader__": loader, "__module__": module, "__class__": name, "content": []}
    answer = scanned(archive([("schema.json", json.dumps(schema).encode(), 0)]), "a.skops")
    assert answer["clean"] is clean, answer


def test_a_keras_archive_whose_model_has_no_configuration_is_not_clean(scanned: Any) -> None:
    inner = {"class_name": "run", "module": "subprocess", "config": {}, "registered_name": None}
    for value in ({"class_name": "x", "a": inner}, {"class_name": "x"}):
        config = json.dumps(value).encode()
        answer = scanned(archive([("config.json", config, 0), ("metadata.json", b"{}", 0)]))
        assert "keras.config" in rules(answer)
