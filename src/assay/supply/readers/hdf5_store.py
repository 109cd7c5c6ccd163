"""The structures inside HDF5 that hold names and texts: headers of objects, trees and heaps.

Only what the library writes for groups and attributes is read, each structure at most once, and
everything is bounded by the file; anything else raises `Broken`.

Source: the HDF5 File Format Specification 3.0, sections III and IV.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from assay.supply.findings import Broken
from assay.supply.readers.part import Part

RULE = "hdf5"
UNDEFINED = 0xFFFFFFFFFFFFFFFF
_MOST_BLOCKS = 500_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an object's header: its type, flags, and where its body lies."""

    kind: int
    flags: int
    first: int
    last: int


class Store:
    """Bounded access to the bytes of a file whose addresses count from `part.start`."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._blocks = 0

    def broken(self, address: int, what: str) -> Broken:
        return Broken(RULE, self._part.start + min(address, self._part.size), what)

    def take(self, address: int, count: int) -> bytes:
        """Bytes at an address; raises `Broken` beyond the end."""
        if count < 0 or address < 0 or address + count > self._part.size:
            raise self.broken(address, "something lies beyond the end")
        first = self._part.start + address
        return self._part.buffer[first : first + count]

    def number(self, address: int, width: int = 8) -> int:
        return int.from_bytes(self.take(address, width), "little")

    def block(self, address: int, signature: bytes) -> int:
        """The address behind a block's signature; each counts against the bound."""
        self._blocks += 1
        if self._blocks > _MOST_BLOCKS:
            raise self.broken(address, "there are too many blocks, or they form a circle")
        if self.take(address, len(signature)) != signature:
            raise self.broken(address, f"a block is not {signature.decode('latin-1')}")
        return address + len(signature)

    def text(self, address: int, limit: int = 65536) -> str:
        """Text up to its NUL."""
        first = self._part.start + address
        end = min(self._part.end, first + limit)
        last = self._part.buffer.find(b"\0", first, end) if 0 <= address < self._part.size else -1
        if last < 0:
            raise self.broken(address, "a name has no end")
        return self._part.buffer[first:last].decode("utf-8", "backslashreplace")

    # Headers of objects.

    def messages(self, address: int) -> Iterator[Message]:
        """The messages in an object's header, through its continuations."""
        self.block(address, b"")
        if self.take(address, 4) == b"OHDR":
            yield from self._header_2(address)
            return
        if self.number(address, 1) != 1:
            raise self.broken(address, "an object has no header")
        waiting = [(address + 16, self.number(address + 8, 4))]
        while waiting:
            position, size = waiting.pop(0)
            self.block(position, b"")
            last = position + size
            while position + 8 <= last:
                kind, length = self.number(position, 2), self.number(position + 2, 2)
                first = position + 8
                position = first + length
                if position > last:
                    raise self.broken(first, "a message lies beyond its header")
                if kind == 0x10:
                    waiting.append((self.number(first), self.number(first + 8)))
                else:
                    yield Message(kind, self.number(first - 4, 1), first, position)

    def _header_2(self, address: int) -> Iterator[Message]:
        flags = self.number(address + 5, 1)
        if self.number(address + 4, 1) != 2 or flags & 0xC0:
            raise self.broken(address, "an object's header is of an unknown version")
        position = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        waiting = [(position + width, self.number(position, width))]
        order = 2 if flags & 0x04 else 0
        while waiting:
            position, size = waiting.pop(0)
            self.block(position, b"")
            last = position + size
            while position + 4 + order <= last:
                kind, length = self.number(position, 1), self.number(position + 1, 2)
                first = position + 4 + order
                if first + length > last:
                    raise self.broken(first, "a message lies beyond its header")
                if kind == 0x10:
                    at, count = self.number(first), self.number(first + 8)
                    if count < 8:
                        raise self.broken(first, "a header's continuation is too short")
                    waiting.append((self.block(at, b"OCHK"), count - 8))
                else:
                    yield Message(kind, self.number(position + 3, 1), first, first + length)
                position = first + length

    # Groups of the first kind: a B-tree of names, and a heap for their text.

    def symbols(self, tree: int, heap: int) -> Iterator[tuple[str, int, int, int]]:
        """Name, address, kind of cache (2 for a soft link) and scratch of each entry."""
        names = self.number(self.block(heap, b"HEAP") + 20)
        waiting = [tree]
        while waiting:
            here = waiting.pop()
            if self.take(here, 4) == b"SNOD":
                first = self.block(here, b"SNOD") + 4
                for index in range(self.number(here + 6, 2)):
                    entry = first + 40 * index
                    name = self.text(names + self.number(entry))
                    yield name, self.number(entry + 8), self.number(entry + 16, 4), entry + 24
                continue
            if self.number(self.block(here, b"TREE"), 1) != 0:
                raise self.broken(here, "a tree is not one of names")
            count = self.number(here + 6, 2)
            waiting += [self.number(here + 32 + 16 * index) for index in range(count)]

    # Texts of any length.

    def heaped(self, address: int, index: int) -> bytes:
        """An object of the global heap."""
        position = self.block(address, b"GCOL") + 4
        last = address + self.number(position)
        position += 8
        while position + 16 <= last:
            number, size = self.number(position, 2), self.number(position + 8)
            if number == index:
                return self.take(position + 16, size)
            if number == 0:
                break
            position += 16 + -(-size // 8) * 8
        raise self.broken(address, "a text is not in the heap that is named")

    # Many links or attributes: a fractal heap, and a B-tree (version 2) of what is in it.

    def dense(self, heap: int, tree: int) -> Iterator[tuple[int, int]]:
        """Where each link or attribute in a heap lies: first, last."""
        self.block(heap, b"FRHP")
        if self.number(heap + 7, 2):
            raise self.broken(heap, "a heap is compressed, which is not read")
        bits = self.number(heap + 128, 2)
        offset_width = -(-bits // 8)
        longest = min(self.number(heap + 120), self.number(heap + 10, 4))
        length_width = max(1, -(-longest.bit_length() // 8))
        blocks = sorted(self._heap_blocks(heap, bits))
        for identity in self._tree_ids(tree):
            raw = self.take(identity, 1 + offset_width + length_width)
            if raw[0]:
                raise self.broken(identity, "a heap's object is stored apart, which is not read")
            offset = int.from_bytes(raw[1 : 1 + offset_width], "little")
            length = int.from_bytes(raw[1 + offset_width :], "little")
            for start, size, address in blocks:
                if start <= offset and offset + length <= start + size:
                    yield address + offset - start, address + offset - start + length
                    break
            else:
                raise self.broken(identity, "a heap's object lies in no block")

    def _heap_blocks(self, heap: int, bits: int) -> Iterator[tuple[int, int, int]]:
        """The blocks of a heap: where each begins in the heap, its size, its address."""
        width, first = self.number(heap + 110, 2), self.number(heap + 112)
        largest = self.number(heap + 120)
        root, rows = self.number(heap + 132), self.number(heap + 140, 2)
        if not (0 < width <= 1024 and 0 < first <= largest <= 1 << 32 and rows <= 64):
            raise self.broken(heap, "a heap's table is unusual")
        direct_rows = largest.bit_length() - first.bit_length() + 2
        if root == UNDEFINED:
            return
        if rows == 0:
            self.block(root, b"FHDB")
            yield 0, first, root
            return
        if rows > direct_rows:
            raise self.broken(heap, "a heap has blocks of blocks, which are not read")
        position = self.block(root, b"FHIB") + 9 + -(-bits // 8)
        start = 0
        for row in range(rows):
            size = first << max(0, row - 1)
            for _ in range(width):
                address = self.number(position)
                if address != UNDEFINED:
                    self.block(address, b"FHDB")
                    yield start, size, address
                position += 8
                start += size

    def _tree_ids(self, tree: int) -> Iterator[int]:
        """Where the heap's ids lie in the records of a tree."""
        self.block(tree, b"BTHD")
        kind, node = self.number(tree + 5, 1), self.number(tree + 6, 4)
        size, depth = self.number(tree + 10, 2), self.number(tree + 12, 2)
        root, count = self.number(tree + 16), self.number(tree + 24, 2)
        skip = {5: 4, 8: 0}.get(kind)
        if skip is None or depth > 1 or size < 11 or node < 32:
            raise self.broken(tree, "a tree is of a kind that is not read")
        if root == UNDEFINED:
            return
        if depth == 0:
            yield from self._records(root, b"BTLF", size, count, skip)
            return
        yield from self._records(root, b"BTIN", size, count, skip)
        width = max(1, -(-((node - 10) // size).bit_length() // 8))
        position = root + 6 + size * count
        for _ in range(count + 1):
            inner = self.number(position + 8, width)
            yield from self._records(self.number(position), b"BTLF", size, inner, skip)
            position += 8 + width

    def _records(
        self, node: int, signature: bytes, size: int, count: int, skip: int
    ) -> Iterator[int]:
        first = self.block(node, signature) + 2
        for index in range(count):
            yield first + size * index + skip
