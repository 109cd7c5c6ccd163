"""HDF5, which holds Keras's weights and (version 2) whole models: groups, attributes, datasets.

HDF5 is a file system in a file, and some of its entries lead outside: external links, datasets
whose bytes lie in other files or are assembled from other files, filters that load native code.
Those are reported; attributes that hold a Keras configuration are read as such.
"""

from __future__ import annotations

from assay.supply import texts
from assay.supply.findings import Broken, Report, Severity
from assay.supply.readers import keras, pickled
from assay.supply.readers.hdf5_store import RULE, UNDEFINED, Message, Store
from assay.supply.readers.part import Part

MAGIC = b"\x89HDF\r\n\x1a\n"
_FILTERS = frozenset(range(1, 7))
"""deflate, shuffle, fletcher32, szip, nbit, scaleoffset: those of the library itself."""
_INERT = frozenset({0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0A, 0x0D, 0x0E, 0x12, 0x13, 0x16, 0x17})
"""Messages that describe types, spaces, fill values and times."""
_MOST_OBJECTS = 200_000
_MOST_TEXTS = 100_000
_LONGEST_TEXT = 64 << 20


def read(part: Part) -> str:
    """Walk every group and the header of every dataset; the format."""
    _File(part).read()
    return "hdf5"


class _File:
    def __init__(self, part: Part) -> None:
        self._part = part
        self._store = Store(part)
        self._seen: set[int] = set()
        self._waiting: list[tuple[int, str]] = []

    def _find(self, rule: str, severity: Severity, path: str, what: str) -> None:
        self._part.find(f"hdf5.{rule}", severity, f"{path or '/'}: {what}")

    def read(self) -> None:
        self._waiting.append((self._root(), ""))
        while self._waiting:
            address, path = self._waiting.pop()
            if address in self._seen:  # A second name for the same object.
                continue
            self._seen.add(address)
            if len(self._seen) > _MOST_OBJECTS:
                raise Broken(RULE, self._part.start, "there are too many objects")
            for message in self._store.messages(address):
                self._message(message, path)

    def _root(self) -> int:
        """The address of the root group, from the superblock."""
        store = self._store
        version = store.number(8, 1)
        if version in (0, 1):
            widths, base = store.take(13, 2), 24 if version == 0 else 28
            root, end = base + 40, base + 16
        elif version in (2, 3):
            widths, base = store.take(9, 2), 12
            root, end = 36, 28
        else:
            raise store.broken(8, "the superblock is of an unknown version")
        if widths != b"\x08\x08" or store.number(base):
            raise store.broken(8, "addresses are not of 8 bytes, or do not count from the start")
        if store.number(end) != self._part.size:
            raise store.broken(end, "the file does not end where it says")
        if version in (2, 3) and store.number(20) != UNDEFINED:
            for message in store.messages(store.number(20)):
                if message.kind in (0x0F, 0x14):
                    raise store.broken(message.first, "the file is kept in several parts")
        if version in (0, 1) and store.number(base + 24) != UNDEFINED:
            raise store.broken(base + 24, "the file is kept in several parts")
        return store.number(root)

    def _message(self, message: Message, path: str) -> None:
        store, first = self._store, message.first
        shared = message.flags & 0x02 and message.kind not in (0x03, 0x05)
        if shared:
            raise store.broken(first, "a message lies elsewhere, which is not read")
        match message.kind:
            case kind if kind in _INERT:
                if kind == 0x02:
                    self._dense(message, path, 8)
            case 0x06:
                self._link(first, message.last, path)
            case 0x07:
                what = "a dataset whose bytes lie in another file"
                self._find("external", "malicious", path, what)
            case 0x08:
                self._layout(first, path)
            case 0x0B:
                self._filters(first, path)
            case 0x0C:
                self._attribute(first, message.last, path)
            case 0x11:
                for name, address, cache, scratch in store.symbols(
                    store.number(first), store.number(first + 8)
                ):
                    if cache != 2 and scratch:
                        self._waiting.append((address, f"{path}/{name}"))
            case 0x15:
                self._dense(message, path, 2)
            case kind:
                raise store.broken(first, f"a message of the type {kind} is not read")

    def _dense(self, message: Message, path: str, width: int) -> None:
        """Links (`width` 8) or attributes (2) that are too many for the header."""
        store = self._store
        flags = store.number(message.first + 1, 1)
        at = message.first + 2 + (width if flags & 1 else 0)
        heap, tree = store.number(at), store.number(at + 8)
        if heap == UNDEFINED:
            return
        for first, last in store.dense(heap, tree):
            if width == 8:
                self._link(first, last, path)
            else:
                self._attribute(first, last, path)

    def _link(self, first: int, last: int, path: str) -> None:
        store = self._store
        flags = store.number(first + 1, 1)
        at = first + 2
        kind = 0
        if flags & 0x08:
            kind = store.number(at, 1)
            at += 1
        at += (8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        length = store.number(at, width)
        at += width
        name = store.take(at, length).decode("utf-8", "backslashreplace")
        at += length
        if at > last:
            raise store.broken(first, "a link lies beyond its message")
        if kind == 0:
            self._waiting.append((store.number(at), f"{path}/{name}"))
        elif kind != 1:
            words = store.take(at + 2, store.number(at, 2)).decode("latin-1")
            what = f"the link {name!r} leads out of the file, to {words[:100]!r}"
            self._find("external", "malicious", path, what)

    def _layout(self, first: int, path: str) -> None:
        store = self._store
        version = store.number(first, 1)
        if version not in (1, 2, 3, 4, 5):
            raise store.broken(first, "a dataset's layout is of an unknown version")
        kind = store.number(first + (2 if version < 3 else 1), 1)
        if kind == 3:
            what = "a dataset that is put together from other files"
            self._find("external", "malicious", path, what)
        elif kind == 1 and version >= 3:
            address, size = store.number(first + 2), store.number(first + 10)
            if address != UNDEFINED and address + size > self._part.size:
                raise store.broken(address, f"{path}: the data lie beyond the end")

    def _filters(self, first: int, path: str) -> None:
        store = self._store
        version, count = store.number(first, 1), store.number(first + 1, 1)
        at = first + (8 if version == 1 else 2)
        for _ in range(count):
            identity = store.number(at, 2)
            if identity not in _FILTERS:
                what = f"the filter {identity} is native code from elsewhere"
                self._find("filter", "suspicious", path, what)
            named = version == 1 or identity >= 256
            length = store.number(at + 2, 2) if named else 0
            at += 4 if named else 2
            values = store.number(at + 2, 2)
            at += 4 + (-(-length // 8) * 8 if version == 1 else length) + 4 * values
            at += 4 if version == 1 and values % 2 else 0

    def _attribute(self, first: int, last: int, path: str) -> None:
        store = self._store
        version, flags = store.number(first, 1), store.number(first + 1, 1)
        if version not in (1, 2, 3):
            raise store.broken(first, "an attribute is of an unknown version")
        names, types, spaces = (store.number(first + 2 + 2 * index, 2) for index in range(3))
        at = first + (9 if version == 3 else 8)
        name = store.take(at, names).partition(b"\0")[0].decode("utf-8", "backslashreplace")
        pad = 8 if version == 1 else 1
        at += -(-names // pad) * pad
        kind_at = at
        at += -(-types // pad) * pad
        space_at = at
        at += -(-spaces // pad) * pad
        if at > last:
            raise store.broken(first, "an attribute lies beyond its message")
        if version > 1 and flags & 3:
            raise store.broken(first, "an attribute's type lies elsewhere, which is not read")
        for text in self._texts(kind_at, space_at, at, last):
            self._text(name, text, path)

    def _texts(self, kind: int, space: int, at: int, last: int) -> list[bytes]:
        """The texts of an attribute; none where it holds numbers."""
        store = self._store
        family = store.number(kind, 1) & 0x0F
        if family not in (3, 9):
            return []
        rank = store.number(space + 1, 1)
        dims = space + (8 if store.number(space, 1) == 1 else 4)
        count = 1
        for index in range(min(rank, 32)):
            count *= store.number(dims + 8 * index)
        size = store.number(kind + 4, 4)
        if family == 3:
            size = min(size * count, last - at)
            return [store.take(at, size)]
        if count > _MOST_TEXTS or at + 16 * count > last:
            raise store.broken(at, "an attribute has too many texts")
        found: list[bytes] = []
        for index in range(count):
            length = store.number(at + 16 * index, 4)
            address, number = (
                store.number(at + 4 + 16 * index),
                store.number(at + 12 + 16 * index, 4),
            )
            if length and address not in (0, UNDEFINED):
                if length > _LONGEST_TEXT:
                    raise store.broken(at, "a text is too long")
                found.append(store.heaped(address, number))
        return found

    def _text(self, name: str, text: bytes, path: str) -> None:
        plain = text.rstrip(b"\0 ")
        if name == "PSEUDOATOM" and plain.startswith(b"object"):
            what = "PyTables keeps pickled objects here, which reading unpickles"
            self._find("pickle", "suspicious", path, what)
        scratch = Report()
        pickled.probe(plain, 0, len(plain), f"{self._part.where}#{path}", scratch)
        if scratch.count:
            self._part.report.merge(scratch)
        if plain.lstrip().startswith(b"{") and (b"class_name" in plain or name.endswith("_config")):
            self._config(name, plain, path)

    def _config(self, name: str, text: bytes, path: str) -> None:
        try:
            value = texts.read_json(text)
        except Broken as error:
            what = f"the attribute {name!r} is not strict JSON"
            self._find("config", "unscannable", path, f"{what} ({error.what})")
            return
        keras.check(self._part, value)
