"""What cannot be told beforehand: modules by computed names, the time, chance."""

from __future__ import annotations

from typing import Any

import pytest

from assay.pipeline import plan

from .running import Place

MAIN = """
@pipeline
def main() -> object:
    return work()
"""

# -- what cannot be told beforehand ---------------------------------------------------------------

COMPUTED = (
    "import importlib\n"
    "@step\ndef work(name: str = 'part') -> int:\n"
    "    return importlib.import_module('pkg.' + name).VALUE\n"
)


def test_a_computed_import_is_named_and_its_result_is_never_used_again(place: Place) -> None:
    place.code("import pkg\n" + COMPUTED + MAIN)
    place.write("pkg/__init__.py", "")
    place.write("pkg/part.py", "VALUE = 1\n")
    first = place.ok()
    assert first.value("work") == 1
    assert first.task("work").unstored == ["it read pkg/part.py"]
    place.write("pkg/part.py", "VALUE = 2\n")
    again = place.ok()
    assert again.states == {"work": "done"}
    assert again.value("work") == 2
    third = place.ok()
    assert third.states == {"work": "done"}
    assert third.why("work") == "its last result was not stored: it read pkg/part.py"


def test_a_computed_import_of_what_is_imported_elsewhere_is_covered(place: Place) -> None:
    place.code("import pkg.part\n" + COMPUTED + MAIN)
    place.write("pkg/__init__.py", "")
    place.write("pkg/part.py", "VALUE = 1\n")
    place.ok()
    assert place.ok().states == {"work": "cached"}
    place.write("pkg/part.py", "VALUE = 2\n")
    assert place.ok().value("work") == 2


@pytest.mark.parametrize(
    "looks",
    [
        "importlib.util.find_spec('pkg.' + name) is not None",
        "bool(sorted(p.name for p in Path(pkg.__file__).parent.iterdir() if p.stem == name))",
        "name in [m.name for m in pkgutil.iter_modules(pkg.__path__)]",
    ],
)
def test_looking_whether_a_module_is_there_counts_as_reading_it(place: Place, looks: str) -> None:
    place.code(
        "import importlib.util, pkgutil\nfrom pathlib import Path\nimport pkg\n"
        f"@step\ndef work(name: str = 'part') -> bool:\n    return {looks}\n" + MAIN
    )
    place.write("pkg/__init__.py", "")
    assert place.ok().value("work") is False
    place.write("pkg/part.py", "")
    assert place.ok().value("work") is True
    (place.repo / "pkg/part.py").unlink()
    assert place.ok().value("work") is False


def test_a_pipeline_that_computes_its_imports_is_traced_anew(place: Place) -> None:
    place.code(
        """
        import importlib
        import pkg

        @step
        def work(n: int) -> int:
            return n

        @pipeline
        def main(name: str = "part") -> object:
            return work(importlib.import_module("pkg." + name).VALUE)
        """
    )
    place.write("pkg/__init__.py", "")
    place.write("pkg/part.py", "VALUE = 1\n")
    assert place.ok().value("work") == 1
    place.write("pkg/part.py", "VALUE = 2\n")
    assert place.ok().value("work") == 2


@pytest.mark.parametrize(
    ("imports", "value"),
    [
        ("import time", "time.time()"),
        ("from datetime import datetime", "datetime.now().timestamp()"),
        ("import random", "random.SystemRandom().random()"),
        ("import os", "float(int.from_bytes(os.urandom(6), 'big'))"),
        ("import uuid", "float(uuid.uuid4().int >> 80)"),
    ],
)
def test_a_pipeline_that_asks_for_the_time_or_for_chance_is_traced_anew(
    place: Place, imports: str, value: str
) -> None:
    place.code(
        f"""
        {imports}

        @step
        def work(n: float) -> float:
            return n

        @pipeline
        def main() -> object:
            return work({value})
        """
    )
    first, second = place.ok(), place.ok()
    assert second.states == {"work": "done"}
    assert first.value("work") != second.value("work")


def test_a_default_that_is_computed_on_import_is_computed_anew(place: Place) -> None:
    place.code(
        """
        import time

        @step
        def work(n: float) -> float:
            return n

        @pipeline
        def main(n: float = time.time()) -> object:
            return work(n)
        """
    )
    assert place.ok().value("work") != place.ok().value("work")


def test_a_graph_is_remembered_with_what_libraries_loaded_by_themselves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # msgspec, which every step loads, takes typing_extensions where it is installed.
    place.code("@step\ndef work() -> int:\n    return 1\n" + MAIN)
    place.ok()
    traced: list[str] = []
    trace = plan._trace

    def counted(*arguments: Any) -> Any:
        traced.append("again")
        return trace(*arguments)

    monkeypatch.setattr(plan, "_trace", counted)
    place.ok()
    assert traced == []
    # Were one of them another now, the graph might be another, too.
    monkeypatch.setattr(plan, "_distributions", lambda *_: {"typing-extensions": "5.0 sha256:0"})
    place.ok()
    assert traced == ["again"]
