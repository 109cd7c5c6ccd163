"""Contents in which everything is known, and how they are made with Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from assay.supply.bom.model import (
    Code,
    Contents,
    Dataset,
    Library,
    Licence,
    Metric,
    Model,
    Signature,
    Step,
    Told,
    Tool,
    declared,
    evidence,
    unknown,
)

SAID = "sha256:" + "5a" * 32
"""The envelope of the statement that says it all."""


def digest(byte: str) -> str:
    return "sha256:" + byte * 32


def full(**changes: Any) -> Contents:
    """A bill without a gap: each value known, each library pinned, licensed and supplied."""
    values: dict[str, Any] = {
        "project": "credit",
        "workspace": "0199",
        "issued": "2026-11-24T14:37:09.123Z",
        "author": evidence("actor 1", SAID),
        "assay": "0.9.0",
        "model": model(),
        "system": evidence(["score"], SAID),
        "data_flow": declared("rows in, scores out", "actor 1"),
        "data_usage": declared("nothing is kept", "actor 1"),
        "application_area": declared("credit-scoring", "actor 1"),
        "hardware": declared("a processor", "actor 1"),
        "controls": evidence(["file scanned: clean"], SAID),
        "compliance": declared("ISO/IEC 27001", "actor 1"),
        "security_policy": declared("https://example.org/security", "actor 1"),
        "vulnerabilities": evidence("0 critical", digest("77")),
        "datasets": (dataset("train", "training", "11"), dataset("test", "test", "12")),
        "code": (Code("code:credit", digest("22"), SAID),),
        "libraries": (
            library("numpy", "2.4.6", "33"),
            library("scikit-learn", "1.9.1", "34", requires=("numpy",)),
        ),
        "libraries_known": "incomplete",
        "libraries_why": "as the runner verified them",
        "tools": (Tool("assay.supply.scan", "2", "scan", SAID),),
        "steps": (
            Step(
                "fit",
                "credit:main",
                "run-1",
                {"seed": "0"},
                (digest("11"),),
                (digest("aa"),),
                "locked",
                "full",
                "2026-11-24T14:37:09.123Z",
                SAID,
            ),
        ),
        "signatures": (Signature("ed25519:" + "ab" * 16, "workspace", "model-version", SAID),),
    }
    return Contents(**{**values, **changes})


def model(**changes: Any) -> Model:
    values: dict[str, Any] = {
        "name": "credit",
        "version": "3",
        "artifact": evidence(digest("aa"), SAID),
        "served": evidence(digest("bb"), SAID),
        "producer": evidence("actor 1", SAID),
        "registered": evidence("2026-11-24T14:37:09.123Z", SAID),
        "purpose": declared("credit-scoring", "actor 1", SAID),
        "description": declared("says who pays", "actor 1", SAID),
        "limitations": declared("not for companies", "actor 1"),
        "licence": Licence("Apache-2.0", "declared", "", "actor 1", spdx=True),
        "format": evidence("skops", SAID),
        "family": declared("LogisticRegression", "the file"),
        "architecture": declared("sklearn.linear_model.LogisticRegression", "the file"),
        "task": evidence("classification", SAID),
        "inputs": evidence(["AGE", "SEX"], SAID),
        "outputs": evidence(["0", "1"], SAID),
        "approach": declared("supervised", "actor 1", SAID),
        "training": declared("trained on train", "actor 1", SAID),
        "parent": evidence(digest("cc"), SAID),
        "references": declared("https://example.org/credit", "actor 1"),
        "metrics": (
            Metric("auc", "0.77", "0.75", "0.79", source=SAID),
            Metric("findings of the scan", "0", kind="security", source=SAID),
        ),
    }
    return Model(**{**values, **changes})


def dataset(name: str, use: str, byte: str, **changes: Any) -> Dataset:
    values: dict[str, Any] = {
        "content": evidence(digest(byte), SAID),
        "description": declared("clients of a bank", "its owner", SAID),
        "owner": declared("credit risk", "its owner", SAID),
        "origin": declared("UCI", "its owner", SAID),
        "licence": Licence("CC-BY-4.0", "declared", SAID, "its owner", spdx=True),
        "personal": declared(True, "its owner", SAID),
        "special": declared(False, "its owner", SAID),
        "legal_basis": declared("contract", "its owner", SAID),
        "purposes": declared(["credit-scoring"], "its owner", SAID),
        "format": evidence("parquet", SAID),
        "columns": evidence(["AGE: float"], SAID),
        "statistics": evidence({"rows": 8000, "missing_values": 0}, SAID),
        "made_from": evidence([digest("13")], SAID),
    }
    return Dataset(name, use, **{**values, **changes})


def library(name: str, version: str, byte: str, **changes: Any) -> Library:
    values: dict[str, Any] = {
        "digest": evidence(digest(byte), SAID),
        "licence": Licence("BSD-3-Clause", "declared", "", "its own metadata", spdx=True),
        "supplier": declared(f"{name} developers", "its own metadata"),
        "source": SAID,
    }
    return Library(name, version, **{**values, **changes})


# -- anything --------------------------------------------------------------------------------------

texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=30
)
digests = st.integers(0, 255).map(lambda n: digest(f"{n:02x}"))
sources = st.sampled_from(["", SAID])


def told(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Told]:
    return st.one_of(
        st.builds(unknown, texts),
        st.builds(lambda v, s: Told(v, "evidence", s), values, sources),
        st.builds(lambda v, w, s: Told(v, "declared", s, w), values, texts, sources),
    )


licences = st.one_of(
    st.builds(lambda why: Licence(why=why), texts),
    st.builds(lambda name: Licence(name, "declared", "", "somebody"), texts),
    st.just(Licence("MIT OR Apache-2.0", "declared", "", "somebody", spdx=True)),
)
_datasets = st.lists(
    st.builds(
        Dataset,
        texts,
        st.sampled_from(["training", "test"]),
        told(digests),
        owner=told(texts),
        licence=licences,
        personal=told(st.booleans()),
        special=told(st.booleans()),
        statistics=told(st.dictionaries(texts, st.integers(0, 10**9) | st.floats(0, 1))),
        columns=told(st.lists(texts, min_size=1, max_size=3)),
    ),
    max_size=3,
    unique_by=lambda d: (d.use, d.name),
)
_libraries = st.lists(
    st.builds(
        Library,
        texts,
        st.one_of(st.just(""), texts),
        told(digests),
        licence=licences,
        supplier=told(texts),
        use=st.sampled_from(["training", "the model file"]),
        basis=st.sampled_from(["evidence", "declared"]),
        requires=st.lists(texts, max_size=2).map(tuple),
    ),
    max_size=4,
    unique_by=lambda x: (x.name, x.version),
)
_steps = st.lists(
    st.builds(
        Step,
        texts,
        texts,
        texts,
        st.dictionaries(texts, texts, max_size=2),
        st.lists(digests, max_size=2).map(tuple),
        st.lists(digests, max_size=2).map(tuple),
        source=digests,
    ),
    max_size=3,
    unique_by=lambda s: s.source,
)
contents = st.builds(
    Contents,
    texts,
    texts,
    st.just("2026-11-24T14:37:09.123Z"),
    told(texts),
    st.builds(
        Model,
        texts,
        texts,
        told(digests),
        served=told(digests),
        purpose=told(texts),
        licence=licences,
        architecture=told(texts),
        inputs=told(st.lists(texts, min_size=1, max_size=3)),
        approach=told(st.sampled_from(["supervised", "unsupervised"])),
        parent=told(st.one_of(texts, digests)),
        metrics=st.lists(st.builds(Metric, texts, texts, source=sources), max_size=2).map(tuple),
    ),
    datasets=_datasets.map(tuple),
    libraries=_libraries.map(tuple),
    libraries_known=st.sampled_from(["complete", "incomplete", "unknown"]),
    code=st.lists(st.builds(Code, texts, digests), max_size=2, unique_by=lambda c: c.name).map(
        tuple
    ),
    tools=st.lists(
        st.builds(Tool, texts, texts, texts), max_size=2, unique_by=lambda t: (t.use, t.name)
    ).map(tuple),
    steps=_steps.map(tuple),
    signatures=st.lists(st.builds(Signature, texts, texts, texts, digests), max_size=2).map(tuple),
)
