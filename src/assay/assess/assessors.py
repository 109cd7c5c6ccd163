"""The built-in assessors: entry points of the group ``assay.assessors``, like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.assess import privacy as membership
from assay.assess import quality as measured
from assay.errors import AssayError, Usage
from assay.formats.schema import Column
from assay.plugins import Assessment, Rows

_MEMBERS = 5_000
"""Rows of each kind that membership inference is tried on: its interval is then about ±0.01."""


class Quality:
    """Discrimination, calibration, lift, generalisation and slices; see `assay.assess.quality`."""

    kind = measured.KIND
    producer = measured.PRODUCER

    def assess(self, given: Assessment) -> dict[str, Any]:
        classes = given.classes or None
        train = None
        if given.train is not None:
            train = (given.train.labels, given.score(given.train.columns))
        return measured.quality(
            given.test.labels,
            given.score(given.test.columns),
            classes=classes,
            positive=given.positive,
            threshold=given.threshold,
            champion=_of_champion(given),
            train=train,
            sensitive=given.test.sensitive or None,
        )


def _of_champion(given: Assessment) -> Any:
    """The champion's scores on the same rows; None when it takes other columns."""
    if given.champion is None:
        return None
    try:
        return given.champion(given.test.columns)
    except AssayError:
        return None


class Privacy:
    """Membership inference by loss, and by RMIA with two shadows where the algorithm is known."""

    kind = membership.KIND
    producer = membership.PRODUCER

    def assess(self, given: Assessment) -> dict[str, Any] | None:
        if given.train is None:
            return None
        generator = np.random.default_rng(given.seed)
        members = _Table.of(given.train, generator)
        others = _Table.of(given.test, generator)
        both = members.joined(others)
        labels = np.array([*members.labels, *others.labels])
        mask = np.arange(len(labels)) < len(members.labels)
        shadow = given.shadow

        def train(rows: _Table, y: Any, seed: int) -> Any:
            assert shadow is not None  # noqa: S101 - passed only when there is one
            given.progress("training a shadow model")
            ask = shadow(rows.columns(), y.tolist(), seed)
            return lambda asked: ask(asked.columns())

        found = membership.privacy(
            both,
            labels,
            mask,
            lambda asked: given.score(asked.columns()),
            train=train if shadow is not None else None,
            classes=given.classes or None,
            positive=given.positive,
            seed=given.seed,
        )
        return {**found, "seed": given.seed}


@dataclass(frozen=True, slots=True)
class _Table:
    """Columns that can be cut by rows, as `assay.assess.privacy` cuts them."""

    heads: list[tuple[str, Any]]
    """Name and type of each column."""
    values: list[np.ndarray[Any, Any]]
    labels: list[int | str]

    @classmethod
    def of(cls, rows: Rows, generator: np.random.Generator) -> _Table:
        """At most `_MEMBERS` rows, drawn without replacement."""
        count = len(rows.labels)
        chosen = np.sort(generator.permutation(count)[:_MEMBERS])
        values = [np.array(c.values, dtype=object)[chosen] for c in rows.columns]
        heads = [(c.name, c.dtype) for c in rows.columns]
        return cls(heads, values, [rows.labels[i] for i in chosen])

    def joined(self, other: _Table) -> _Table:
        """The rows of both; `other` may have further columns, which are left out."""
        places = {name: at for at, (name, _) in enumerate(other.heads)}
        missing = [name for name, _ in self.heads if name not in places]
        if missing:
            raise Usage(
                f"the rows to judge on lack columns of those trained on: {', '.join(missing)}",
                remedy="give rows that have them, or leave those columns out of both",
                code="assess.columns",
            )
        pairs = [
            (v, other.values[places[n]]) for v, (n, _) in zip(self.values, self.heads, strict=True)
        ]
        values = [np.concatenate(pair) for pair in pairs]
        return _Table(self.heads, values, [*self.labels, *other.labels])

    def columns(self) -> list[Column]:
        """As the model side takes them."""
        return [
            Column(name, dtype, values.tolist())
            for (name, dtype), values in zip(self.heads, self.values, strict=True)
        ]

    def __getitem__(self, rows: Any) -> _Table:
        return _Table(self.heads, [v[rows] for v in self.values], [])


QUALITY = Quality()
PRIVACY = Privacy()
