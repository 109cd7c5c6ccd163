"""A stretch of bytes on its way through the scanner: where it lies, its name, its report."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from assay.supply.findings import Broken, Report, Severity
from assay.supply.machine import Buffer

Scan: TypeAlias = Callable[["Part"], str]

MOST_PARTS = 300_000
_MOST_READS = 16
_MOST_SOURCES = 2000
_SMALL = 1 << 20

_LEAVES = re.compile(r"[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://|~")


@dataclass(slots=True)
class Budget:
    """What may still be looked at in one file: an archive decides how often its bytes are read.

    Members that overlap, or archives in archives that are each other's end, would take exponential
    time.  Honest nesting reads each byte once a level.
    """

    room: int
    parts: int = MOST_PARTS
    sources: int = _MOST_SOURCES
    directories: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """Ends of ZIP directories that were followed: the buffer's identity, and where."""

    def follows(self, buffer: Buffer, position: int) -> bool:
        """Whether the directory that ends at `position` is new; each is followed once."""
        key = (id(buffer), position)
        new = key not in self.directories
        self.directories.add(key)
        return new

    def spend(self, size: int, position: int) -> None:
        """Count one part; raises `Broken` beyond the bound."""
        self.parts -= 1
        self.room -= size
        if self.parts < 0 or self.room < 0:
            raise Broken("nested", position, "the parts overlap or repeat beyond measure")


@dataclass(frozen=True, slots=True)
class Part:
    """``buffer[start:end]``, found at `where` under the file name `name`.

    `scan` reads another part, however deep it lies; readers of containers call it through `inside`.
    """

    buffer: Buffer
    start: int
    end: int
    where: str
    name: str
    report: Report
    scan: Scan
    budget: Budget
    depth: int = 0

    @classmethod
    def whole(
        cls, buffer: Buffer, start: int, end: int, where: str, name: str, report: Report, scan: Scan
    ) -> Part:
        """A file of its own, with a budget of its own."""
        budget = Budget(_MOST_READS * (end - start) + _SMALL)
        return cls(buffer, start, end, where, name, report, scan, budget)

    @property
    def size(self) -> int:
        return self.end - self.start

    def head(self, count: int) -> bytes:
        """The first bytes, at most `count` of them."""
        return self.buffer[self.start : min(self.end, self.start + count)]

    def tail(self, count: int) -> bytes:
        """The last bytes, at most `count` of them."""
        return self.buffer[max(self.start, self.end - count) : self.end]

    def data(self, limit: int, rule: str) -> bytes:
        """A copy of all of it; raises `Broken` where that is more than `limit` bytes."""
        if self.size > limit:
            raise Broken(rule, self.start, f"there are more than {limit} bytes, which is not read")
        return self.buffer[self.start : self.end]

    def text(self, limit: int, rule: str) -> str:
        """All of it as UTF-8; raises `Broken` where it is not, or is more than `limit` bytes."""
        try:
            return self.data(limit, rule).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Broken(rule, self.start + error.start, "the text is not UTF-8") from error

    def find(self, rule: str, severity: Severity, what: str, position: int | None = None) -> None:
        """A finding; `position` counts in the buffer, and is the start when it is not given."""
        at = 0 if position is None else position - self.start
        self.report.add(rule, severity, self.where, at, what)

    def inflated(self, count: int) -> None:
        """Count bytes that were inflated, here and in the budget."""
        self.report.inflated += count
        self.budget.room += _MOST_READS * count

    def inside(self, buffer: Buffer, start: int, end: int, name: str) -> str:
        """Scan something that lies in this part: its format."""
        inner = replace(
            self,
            buffer=buffer,
            start=start,
            end=end,
            where=f"{self.where}!{name}",
            name=name.rpartition("/")[2],
            depth=self.depth + 1,
        )
        return self.scan(inner)


def leaves_folder(name: str) -> bool:
    """Whether a relative name could reach outside its folder, on any operating system."""
    parts = name.replace("\\", "/").split("/")
    return (
        name.startswith(("/", "\\"))
        or ".." in parts
        or "\0" in name
        or _LEAVES.match(name) is not None
    )
