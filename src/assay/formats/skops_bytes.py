"""skops archives with one spelling: the same fitted estimator always gives the same bytes.

skops writes memory addresses, random file names, times and the order of sets.  Here nodes are
numbered in the order in which skops reads them, files are named by that order, sets are sorted, the
padding inside structured arrays is zero, and everything is stored uncompressed at one fixed time.
An object that occurs twice is written once and referred to, so that it is one object again when it
is loaded.

`dump` only answers with bytes that it has loaded, dumped again and found to be the same.  `load`
reads names as `assay.formats.skops_names` allows them.  It hands arrays to the native code of the
libraries, so call it only inside a confined process.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from assay.errors import Usage
from assay.formats import skops_names
from assay.formats.npy import rewrite_npy
from assay.formats.skops_values import (
    damaged,
    frozen,
    in_order,
    json_text,
    part,
    slice_of,
    without_address,
)

_PROTOCOL = 2
"""Earlier ones choose older readers, which archives of assay never needed."""
_MOST_BYTES = 4 << 30
_SCHEMA = "schema.json"
_SHARED = frozenset(
    {
        *("BytearrayNode", "BytesNode", "DefaultDictNode", "DictNode", "ListNode", "LossNode"),
        *("MaskedArrayNode", "NdArrayNode", "ObjectNode", "PartialNode", "RandomGeneratorNode"),
        *("RandomStateNode", "SetNode", "SparseMatrixNode", "TreeNode"),
    }
)
"""What can be one object in two places.  Others are values: each place gets its own."""


def dump(estimator: Any) -> bytes:
    """A fitted scikit-learn estimator as a skops archive in its one spelling.

    Raises `Usage` (``skops.*``) for one that skops cannot write, that holds code or classes of
    other origin than the model libraries, or that would not come back the same.
    """
    made = _dump(estimator)
    try:
        same = _dump(load(made)) == made
    except Usage:
        raise
    except Exception as error:  # What a library raises while it rebuilds its object is its own.
        raise _unfaithful(estimator, f"{type(error).__name__}: {str(error)[:200]}") from error
    if not same:
        raise _unfaithful(estimator, "what comes back is not what was written")
    return made


def load(data: bytes) -> Any:
    """The estimator in a skops archive; raises `Usage` (``skops.*``)."""
    from skops import io as skops

    rewriter = _Rewriter(*_open(data))
    archive = rewriter.archive()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return skops.loads(archive, trusted=sorted(rewriter.names))
    except MemoryError:
        raise
    except Exception as error:  # A library's reader raises what it likes for state of others.
        raise Usage(
            f"the skops archive cannot be loaded: {type(error).__name__}: {str(error)[:200]}",
            remedy="save the model again with the installed versions of its libraries",
            code="skops.load",
        ) from error


def normalise(data: bytes) -> bytes:
    """The one spelling of a skops archive; raises `Usage` (``skops.*``) as `load` does."""
    return _Rewriter(*_open(data)).archive()


def _dump(estimator: Any) -> bytes:
    from skops import io as skops

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = skops.dumps(estimator)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # skops asks each object for its state: that is library code.
        raise Usage(
            f"{type(estimator).__name__} cannot be written as skops: {str(error)[:300]}",
            remedy="use an estimator that skops supports, or convert it to ONNX in the step",
            code="skops.unsupported",
        ) from error
    return _Rewriter(*_open(data), fresh=True).archive()


def _unfaithful(estimator: Any, why: str) -> Usage:
    return Usage(
        f"{type(estimator).__name__} does not survive being written as skops: {why}",
        remedy="leave out what is not part of the fitted model, or convert it to ONNX in the step",
        code="skops.unfaithful",
    )


def _open(data: bytes) -> tuple[Any, dict[str, bytes]]:
    """The schema and the other members."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > min(_MOST_BYTES, 64 * len(data) + 4096):
                raise damaged("holds far more than its size")
            members = {entry.filename: archive.read(entry) for entry in entries}
            schema = json.loads(members.pop(_SCHEMA), object_pairs_hook=_unique)
    except Usage:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, RecursionError) as error:
        raise damaged(f"cannot be read ({type(error).__name__}: {error})") from error
    except NotImplementedError as error:
        raise damaged("is compressed in an unusual way") from error
    if len(members) != len(entries) - 1:
        raise damaged("holds a name twice")
    if not isinstance(schema, dict) or schema.get("protocol") != _PROTOCOL:
        raise damaged(f"is not of protocol {_PROTOCOL}")
    return schema, members


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A dict whose keys are 1 and "1" would lose one of them."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("two keys of a dict have the same text")
    return made


class _Rewriter:
    """Writes a schema anew.  `fresh`: this process made it, so that its names can be resolved."""

    def __init__(self, schema: Any, members: Mapping[str, bytes], *, fresh: bool = False) -> None:
        self.names: set[str] = set()
        self._members = members
        self._fresh = fresh
        self._numbers: dict[Any, tuple[int, str, str, str]] = {}
        self._count = 0
        self._files: list[tuple[str, bytes]] = []
        try:
            root = self._node(schema, "")
        except RecursionError as error:
            raise damaged("is nested too deep") from error
        root["protocol"] = _PROTOCOL
        root["_skops_version"] = str(schema.get("_skops_version"))
        self._schema = root

    def archive(self) -> bytes:
        """The archive: the schema, then the files in the order in which it names them."""
        text = json.dumps(self._schema, separators=(",", ":")).encode("ascii")
        return pack([(_SCHEMA, text), *self._files])

    def _node(self, node: Any, place: str, *, key: bool = False) -> dict[str, Any]:
        if not isinstance(node, dict):
            raise damaged(f"has no node at {place or 'its root'}")
        loader, module, name = (node.get(f"__{word}__") for word in ("loader", "module", "class"))
        if not (isinstance(loader, str) and isinstance(module, str) and isinstance(name, str)):
            raise damaged(f"has an unnamed node at {place or 'its root'}")
        known = self._numbers.get(node.get("__id__"))
        if loader == "CachedNode" or (known and loader in _SHARED):
            return self._again(known, loader, place)
        if self._fresh and loader == "FunctionNode":
            module = _home(module, name)
        if not skops_names.allowed(loader, module, name, key=key):
            _refuse(loader, module, name, place, key=key)
        self.names.add(f"{module}.{name}")
        self._count += 1
        number = self._count
        if loader in _SHARED:
            self._numbers[node.get("__id__")] = (number, loader, module, name)
        made: dict[str, Any] = {"__class__": name, "__module__": module, "__loader__": loader}
        made["__id__"] = number
        made |= self._inside(loader, node, place, number)
        return made

    def _again(
        self, known: tuple[int, str, str, str] | None, loader: str, place: str
    ) -> dict[str, Any]:
        if known is None or loader not in ("CachedNode", known[1]):
            raise damaged(f"refers to another object than it holds at {place}")
        number, _, module, name = known
        return {
            "__class__": name,
            "__module__": module,
            "__loader__": "CachedNode",
            "__id__": number,
        }

    def _inside(self, loader: str, node: Any, place: str, number: int) -> dict[str, Any]:
        """What a node holds, its parts in the order in which skops reads them."""
        content = node.get("content")
        match loader:
            case "JsonNode":
                return {"content": json_text(content, place), "is_json": True}
            case "TypeNode" | "FunctionNode":
                return {}
            case "SliceNode":
                return {"content": slice_of(content, place)}
            case "DictNode":
                return self._dict(node, place)
            case "ListNode" | "TupleNode":
                return {"content": self._list(content, place)}
            case "SetNode":
                return {"content": self._list(in_order(content, place), place)}
            case "ConstructorFromReduceNode":
                if node.get("__class__") == "frozenset":
                    content = frozen(content, place)
                return {"content": self._node(content, place)}
            case "ObjectNode" if content is None:
                return {}
            case "ObjectNode" if str(node.get("__module__")) == "sklearn.feature_extraction.text":
                return {"content": self._node(without_address(content), place)}
            case "ObjectNode" | "RandomStateNode" | "DTypeNode":
                return {"content": self._node(content, place)}
            case "TreeNode" | "LossNode":
                arguments = part(node, "__reduce__", place)
                return {
                    "content": self._node(content, place),
                    "__reduce__": {"args": self._node(part(arguments, "args", place), place)},
                }
            case "DefaultDictNode":
                return {"content": self._parts(content, ("main", "default_factory"), place)}
            case "MaskedArrayNode":
                return {"content": self._parts(content, ("data", "mask"), place)}
            case "RandomGeneratorNode":
                return {"content": self._parts(content, ("bit_generator", "seed_seq"), place)}
            case "PartialNode":
                if part(part(content, "func", place), "__loader__", place) != "FunctionNode":
                    raise damaged(f"calls something else than a function at {place}")
                parts = ("func", "args", "kwds", "namespace")
                return {"content": self._parts(content, parts, place)}
            case "NdArrayNode" if node.get("type") == "json":
                return {
                    "type": "json",
                    "content": self._list(content, place),
                    "shape": self._node(node.get("shape"), place),
                }
            case "NdArrayNode":
                return {"type": "numpy", "file": self._file(node, f"{number}.npy", place)}
            case "SparseMatrixNode":
                return {"type": "scipy", "file": self._file(node, f"{number}.npz", place)}
            case _:  # BytesNode, BytearrayNode
                return {"file": self._file(node, f"{number}.bin", place)}

    def _parts(self, content: Any, parts: Sequence[str], place: str) -> dict[str, Any]:
        return {name: self._node(part(content, name, place), place) for name in parts}

    def _list(self, content: Any, place: str) -> list[Any]:
        if not isinstance(content, list):
            raise damaged(f"has no list at {place}")
        return [self._node(item, f"{place}[{index}]") for index, item in enumerate(content)]

    def _dict(self, node: Any, place: str) -> dict[str, Any]:
        content, types = node.get("content"), node.get("key_types")
        keys = part(types, "content", place)
        if not isinstance(content, dict) or not isinstance(keys, list):
            raise damaged(f"has no dict at {place}")
        listed = types.get("__loader__") == "ListNode" and types.get("__class__") == "list"
        if len(keys) != len(content) or not listed or types.get("__module__") != "builtins":
            raise damaged(f"does not know the type of each key of the dict at {place}")
        self._count += 1
        made: dict[str, Any] = {"__class__": "list", "__module__": "builtins"}
        made |= {"__loader__": "ListNode", "__id__": self._count}
        for item in keys:
            if part(item, "__loader__", place) != "TypeNode":
                raise damaged(f"does not name the type of each key of the dict at {place}")
        made["content"] = [self._node(item, f"the keys of {place}", key=True) for item in keys]
        self.names.add("builtins.list")
        return {
            "key_types": made,
            "content": {
                name: self._node(value, f"{place}.{name}" if place else name)
                for name, value in content.items()
            },
        }

    def _file(self, node: Any, name: str, place: str) -> str:
        data = self._members.get(str(node.get("file")))
        if data is None:
            raise damaged(f"lacks the file of {place}")
        try:
            if name.endswith(".npy"):
                data = rewrite_npy(data)
            elif name.endswith(".npz"):
                data = _rewrite_npz(data)
        except (ValueError, zipfile.BadZipFile, OSError) as error:
            raise damaged(f"has a damaged array at {place} ({error})") from error
        self._files.append((name, data))
        return name


def _refuse(loader: str, module: str, name: str, place: str, *, key: bool) -> NoReturn:
    if key:
        raise Usage(
            f"{place} are of the type {module}.{name}, which skops does not give back as it was",
            remedy="use whole numbers or text (classes 0 and 1 instead of False and True)",
            code="skops.keys",
        )
    what = {
        "FunctionNode": "the function",
        "MethodNode": "a method of",
        "OperatorFuncNode": "the operator",
        "TypeNode": "the type",
    }.get(loader, "an object of")
    where = f" in {place}" if place else ""
    raise Usage(
        f"the estimator holds {what} {module}.{name}{where}: loading it would import or call code "
        "that the file names, and only the model libraries' own estimators and functions of "
        "numbers are loaded",
        remedy="compose the estimator from scikit-learn's parts (FunctionTransformer(numpy.log1p), "
        "ColumnTransformer, Pipeline), prepare the data in a step of its own, or register a codec "
        "for the type (entry point group assay.codecs)",
        code="skops.untrusted",
        details={"loader": loader, "name": f"{module}.{name}", "place": place},
    )


def _home(module: str, name: str) -> str:
    """Where everybody finds a function that does not know its module.

    skops takes the first module that mentions it, which may be the user's own.
    """
    found = getattr(sys.modules.get(module), name, None)
    for public in ("numpy", "scipy.special"):
        if found is not None and getattr(sys.modules.get(public), name, None) is found:
            return public
    return module


def _rewrite_npz(data: bytes) -> bytes:
    """A sparse matrix: its arrays, stored."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _MOST_BYTES:
            raise ValueError("it is too large")
        return pack([(e.filename, rewrite_npy(archive.read(e))) for e in entries])


def pack(members: Sequence[tuple[str, bytes]]) -> bytes:
    """An archive of these members in this order: stored, at one fixed time."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, data)
    return made.getvalue()
