"""Any graph of steps gives what plain Python gives, in any order, computed or from the cache."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .running import HEAD, Place, Ran

# -- any graph ------------------------------------------------------------------------------------

TINY = (
    HEAD
    + """
@step
def source(n: int) -> int:
    return n

@step
def add(a: int, b: int) -> int:
    return 3 * a + b

@step
def both(a: int, b: int) -> tuple[int, list[int]]:
    return a - b, [a, b]

@step
def total(numbers: list[int]) -> int:
    return sum(n * i for i, n in enumerate(numbers, 1))

@step
def twice(n: int, by: int) -> int:
    return n * by

@pipeline
def main():
    {body}
"""
)

pytestmark = pytest.mark.slow


@st.composite
def _pipelines(draw: st.DrawFn) -> str:
    """The body of a pipeline of some steps, each of which reads what earlier ones gave."""
    lines: list[str] = []
    known: list[str] = []

    def one() -> str:
        if known and draw(st.integers(0, 3)):
            return draw(st.sampled_from(known))
        return str(draw(st.integers(-3, 3)))

    for number in range(draw(st.integers(1, 6))):
        name = f"v{number}"
        match draw(st.integers(0, 4)):
            case 0:
                lines.append(f"{name} = source({draw(st.integers(-5, 5))})")
            case 1:
                lines.append(f"{name} = add({one()}, b={one()})")
            case 2:
                lines.append(f"{name}, {name}x = both({one()}, {one()})")
                lines.append(f"{name}y = total({name}x)")
                known.append(f"{name}y")
            case 3:
                items = ", ".join(one() for _ in range(draw(st.integers(0, 3))))
                lines.append(f"{name} = total([{items}])")
            case _:
                items = ", ".join(one() for _ in range(draw(st.integers(0, 3))))
                lines.append(f"{name}m = twice.map(n=each([{items}]), by={one()})")
                lines.append(f"{name} = total({name}m)")
        known.append(name)
    lines.append(f"return [{', '.join(known)}]")
    return "\n    ".join(lines)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_pipelines(), st.integers(1, 3))
def test_any_graph_gives_what_plain_python_gives_in_any_order(
    place: Place, body: str, jobs: int
) -> None:
    text = TINY.format(body=body)
    place.write("p.py", text)
    plain: dict[str, Any] = {"__name__": "p"}
    exec(compile(text, "p.py", "exec"), plain)  # noqa: S102 - it is ours.
    expected = plain["main"].function()
    ran = place.ok(jobs=jobs)
    assert _results(ran) == expected
    again = place.ok(jobs=1)
    assert set(again.states.values()) == {"cached"}
    assert _results(again) == expected
    assert _results(place.ok(jobs=jobs, cache="ignore")) == expected


def _results(ran: Ran) -> list[Any]:
    found: list[Any] = []
    for reference in ran.record.result:
        found.append(ran.value(reference.node, reference.output))
    return found
