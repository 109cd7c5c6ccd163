"""The schema that facts make, and text that would end Cedar's process."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import Corrupt, Usage
from assay.policy import schema, text
from assay.policy.bundle import Bundle
from assay.policy.engine import Engine


def fact(**changes: Any) -> dict[str, Any]:
    return {
        "name": "x.y",
        "type": "long",
        "predicate_type": "https://example.com/x/v1",
        "path": "y",
        "worse": "lower",
        "order": [],
        "description": "y",
        "remedy": "",
        "seconds": 0,
        **changes,
    }


# -- the schema -----------------------------------------------------------------------------------


def test_the_table_of_actions_is_that_of_the_base_schema() -> None:
    plain = re.sub(r"//[^\n]*", "", schema.base())
    found: dict[str, str] = {}
    contexts: dict[str, str] = {}
    pattern = r"action ([\w,\s]+?)\s+appliesTo \{\s*principal: Actor,\s*resource: (\w+),\s*context: (.*?)\s*,?\s*\};"  # noqa: E501
    for names, resource, context in re.findall(pattern, plain, re.DOTALL):
        for name in re.split(r",\s*", names.strip()):
            found[name], contexts[name] = resource, context
    assert len(re.findall("appliesTo", plain)) == len(re.findall(pattern, plain, re.DOTALL))
    assert found == schema.ACTIONS
    assert {name for name, text in contexts.items() if "Facts" in text} == schema.WITH_FACTS
    explained = {name for name, text in contexts.items() if "Explained" in text or "reason" in text}
    assert explained == schema.WITH_REASON
    for text_of in contexts.values():
        assert text_of in ("Asked", "Explained") or "now: datetime" in text_of


@given(
    st.lists(
        st.tuples(
            st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), min_size=2, max_size=4),
            st.sampled_from(["long", "decimal", "bool", "string", "datetime"]),
        ),
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_accepted_declarations_make_a_schema_that_cedar_reads(
    bundle: Bundle, names: list[tuple[list[str], str]]
) -> None:
    worse = {"bool": "false", "string": ""}
    raw = [
        fact(name=".".join(parts), type=kind, worse=worse.get(kind, "lower"))
        for parts, kind in names
    ]
    try:
        declared = schema.read_declarations(raw)
    except Usage:
        return
    Engine(
        msgspec.structs.replace(
            bundle,
            schema=schema.generate(declared),
            declarations=raw,
            policies={"x.cedar": '@id("x.y") permit (principal, action, resource);'},
        )
    )


# -- text that would end the process --------------------------------------------------------------

DEEP = {
    "brackets": "(" * 5000 + "true" + ")" * 5000,
    "sets": "[" * 5000 + "1" + "]" * 5000,
    "records": "{a:" * 5000 + "1" + "}" * 5000,
    "calls": "context.x.contains(" * 5000 + "1" + ")" * 5000,
    "conditionals": "if true then " * 50_000 + "true" + " else true" * 50_000,
    "chains": "true" + " && true" * 50_000,
    "attributes": "principal" + ".x" * 50_000,
    "behind a comment": "// \r" + "(" * 5000 + "true" + ")" * 5000,
    "behind a string": '"\\"" == "" && ' + "(" * 5000 + "true" + ")" * 5000,
    "between wrong brackets": "(]" * 5000,
    "in a row": "true" + " && true" * 200,
}


@pytest.mark.parametrize("name", DEEP)
def test_text_that_would_end_the_process_is_refused_before_cedar_reads_it(
    bundle: Bundle, name: str
) -> None:
    policy = (
        f'@id("x.y") @advice("x") forbid (principal, action, resource) when {{ {DEEP[name]} }};'
    )
    with pytest.raises(Corrupt, match=r"x\.cedar"):
        Engine(msgspec.structs.replace(bundle, policies={**bundle.policies, "x.cedar": policy}))


@pytest.mark.parametrize("shape", ["{a:" * 20_000 + "Long" + "}" * 20_000, "Set<" * 50_000])
def test_a_schema_that_would_end_the_process_is_refused(bundle: Bundle, shape: str) -> None:
    with pytest.raises(Corrupt, match="schema"):
        Engine(msgspec.structs.replace(bundle, schema=f"{bundle.schema}\ntype X = {shape};"))


def test_cedar_would_indeed_not_survive_such_text() -> None:
    policy = f"forbid (principal, action, resource) when {{ {DEEP['brackets']} }};"
    script = "import sys, cedarpy; cedarpy.policies_to_json_str(sys.stdin.read())"
    done = subprocess.run(
        [sys.executable, "-c", script], input=policy.encode(), capture_output=True
    )
    if done.returncode == 0:
        pytest.fail("Cedar reads nested text without recursion now: assay.policy.text can go")
    assert done.returncode < 0


def test_brackets_in_strings_and_comments_do_not_count() -> None:
    harmless = '// ((((\n@id("' + "(" * 100 + '") permit (principal, action, resource);'
    text.check_policies(harmless, "x.cedar")
