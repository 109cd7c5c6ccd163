"""``junit.xml``: each gate and each step a test case, as Jenkins' ``junit-10.xsd`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from assay.ci.escaping import shown
from assay.ci.model import Gate, Report, Step

_MOST = 4_000


def render(report: Report) -> bytes:
    """The document.  A closed gate is a failure, a failed step an error."""
    suites = [_gates(report.gates), _steps(report.steps)]
    root = ElementTree.Element("testsuites", {"name": "assay", **_totals(suites)})
    root.extend(suites)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _totals(suites: Sequence[ElementTree.Element]) -> dict[str, str]:
    return {
        name: str(sum(int(suite.attrib[name]) for suite in suites))
        for name in ("tests", "failures", "errors")
    }


def _gates(gates: Sequence[Gate]) -> ElementTree.Element:
    cases = [_gate(gate) for gate in gates]
    return _suite("gates", cases, failures=sum(not gate.passed for gate in gates))


def _gate(gate: Gate) -> ElementTree.Element:
    case = _case("assay.gates", gate.id, 0.0)
    if not gate.passed:
        lines = [gate.advice, *(f"{m.name}: {m.value} (limit {m.limit})" for m in gate.measured)]
        lines += [f"run: {gate.remedy}"] if gate.remedy else []
        _told(case, "failure", gate.control or "gate", gate.advice or "closed", lines)
    return case


def _steps(steps: Sequence[Step]) -> ElementTree.Element:
    states = [step.state for step in steps]
    skipped = sum(state in ("skipped", "waiting", "running") for state in states)
    return _suite(
        "steps",
        [_step(step) for step in steps],
        errors=states.count("failed"),
        skipped=skipped,
        seconds=sum(step.seconds for step in steps),
    )


def _step(step: Step) -> ElementTree.Element:
    case = _case("assay.steps", step.name, step.seconds)
    why = "; ".join(step.why) or step.state
    if step.state == "failed":
        lines = [step.problem or why, *([step.remedy] if step.remedy else [])]
        _told(case, "error", "step", step.problem or why, lines)
    elif step.state in ("skipped", "waiting", "running"):
        ElementTree.SubElement(case, "skipped").text = _text(why)
    else:
        ElementTree.SubElement(case, "system-out").text = _text(f"{step.state}: {why}")
    return case


def _suite(
    name: str,
    cases: Sequence[ElementTree.Element],
    *,
    failures: int = 0,
    errors: int = 0,
    skipped: int = 0,
    seconds: float = 0.0,
) -> ElementTree.Element:
    counts = {"tests": len(cases), "failures": failures, "errors": errors, "skipped": skipped}
    attributes = {"name": f"assay.{name}", **{key: str(count) for key, count in counts.items()}}
    suite = ElementTree.Element("testsuite", {**attributes, "time": _time(seconds)})
    suite.extend(cases)
    return suite


def _case(kind: str, name: str, seconds: float) -> ElementTree.Element:
    attributes = {"classname": kind, "name": shown(name), "time": _time(seconds)}
    return ElementTree.Element("testcase", attributes)


def _told(
    case: ElementTree.Element, tag: str, kind: str, message: str, lines: Sequence[str]
) -> None:
    attributes = {"type": shown(kind), "message": shown(message)}
    told = ElementTree.SubElement(case, tag, attributes)
    told.text = "\n".join(_text(line) for line in lines if line)


def _text(text: str) -> str:
    return shown(text, _MOST)


def _time(seconds: float) -> str:
    return f"{min(max(seconds, 0.0), 1e9):.3f}"
