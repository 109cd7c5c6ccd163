"""A stretch of bytes on its way through the scanner: where it lies, its name, its report."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from assay.supply.findings import Broken, Report, Severity
from assay.supply.machine import Buffer

Scan: TypeAlias = Callable[["Part"], str]

_LEAVES = re.compile(r"[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://|~")


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
    depth: int = 0

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
