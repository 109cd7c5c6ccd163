"""The built-in steps of a pipeline: each is a nested action, decided for whoever started the run.

They may be asked again: a dataset that has not changed, a model that is registered already, and an
assessment that was made are found, not made anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay import files, plugins
from assay.actions.datasets import ReadDataset, RegisterDataset, as_declared, ring_of
from assay.actions.material import models_ring
from assay.errors import Usage
from assay.evidence.state import VersionState, kind_of
from assay.govern import origin
from assay.pipeline import codecs
from assay.pipeline.arguments import Resolver
from assay.pipeline.graph import From, Node
from assay.pipeline.host import Effect
from assay.pipeline.plan import Plan
from assay.pipeline.records import Artifact
from assay.types import Digest, check_name
from assay.workspace.action import Doing

if TYPE_CHECKING:
    from assay.actions.runs import RunPipeline

DATASET = "dataset/1"
"""The codec of a registered dataset: what was registered, which becomes Parquet where a step reads
it."""


class Effects:
    """Does the built-in steps of one run."""

    def __init__(self, doing: Doing, action: RunPipeline, plan: Plan, work: Path) -> None:
        self._doing = doing
        self._action = action
        self._plan = plan
        self._work = work
        self._names: dict[Digest, str] = {}

    def do(self, node: Node, resolver: Resolver) -> Effect:
        given = _Given(node, resolver)
        return {
            "read": self._read,
            "extract": self._extract,
            "publish": self._publish,
            "check": self._check,
            "register": self._register,
            "assess": self._assess,
            "promote": self._promote,
        }[node.target](given)

    def place(self, artifact: Artifact, path: Path) -> bool:
        """Write a registered dataset as Parquet; False where the artifact is none."""
        if artifact.codec != DATASET:
            return False
        name = self._names[artifact.digest]
        details = self._doing.view.dataset(self._doing.project, name).details
        ring = ring_of(self._doing.project)
        with self._doing.store.open(ring, artifact.digest) as stream:
            if details["format"] == "parquet":
                with files.new_file(path) as out:
                    while piece := stream.read(1 << 20):
                        out.write(piece)
                return True
            from assay.data import tables

            table = tables.read_stream(stream, name, expect=details["schema"])
        import polars as pl

        codecs.by_name("parquet/1").encode(table.frame, pl.DataFrame, path)
        return True

    # -- data -------------------------------------------------------------------------------------

    def _dataset(self, name: str, *, value: Any, unchanged: bool) -> Effect:
        found = self._doing.view.dataset(self._doing.project, name)
        self._names[found.content] = name
        rows = Artifact(found.content, DATASET, "data", 0)
        return Effect(value, rows, (name,), unchanged)

    def _read(self, given: _Given) -> Effect:
        name, purpose = given.text("dataset"), given.text("purpose")
        self._ask_to_read(name, purpose)
        return self._dataset(name, value={"dataset": name}, unchanged=True)

    def _ask_to_read(self, name: str, purpose: str = "") -> None:
        wanted = ReadDataset(
            project=self._doing.project,
            dataset=name,
            purpose=purpose or self._plan.graph.purpose,
            ticket=self._action.ticket,
        )
        self._doing.nested(wanted).close()

    def _extract(self, given: _Given) -> Effect:
        from assay.actions.extraction import ExtractDataset

        plain = given.plain()
        plain["purposes"] = tuple(plain["purposes"])
        plain["residency"] = tuple(plain["residency"])
        plain["personal_columns"] = tuple(plain["personal_columns"])
        done = self._doing.nested(
            ExtractDataset(
                project=self._doing.project,
                personal=plain["legal_basis"] != "not-personal",
                **plain,
            )
        )
        name = given.text("dataset")
        self._ask_to_read(name)
        value = {"dataset": name, "content": done["content"]}
        return self._dataset(name, value=value, unchanged=bool(done.get("unchanged")))

    def _publish(self, given: _Given) -> Effect:
        # Before it becomes part of a path: it is the word of foreign code.
        name = check_name(given.text("dataset"), what="dataset name")
        origins = sorted(given.resolver.datasets(given.node.arguments["rows"]))
        if not origins:
            raise Usage(
                f"{name} is made from no registered dataset, so nothing is known of whose it is",
                remedy="register it with extract, or with assay data register",
                code="publish.origin",
            )
        artifact = given.resolver.artifact(given.node.arguments["rows"], "what is published")
        sheets = [self._doing.view.dataset(self._doing.project, o).details for o in origins]
        content = artifact.digest
        key = f"{self._doing.project}/{name}"
        there = self._doing.view.state.datasets.get(key)
        if there is None or there.content != content:
            path = self._work / "publish" / f"{name}.parquet"
            files.make_folder(path.parent)
            path.unlink(missing_ok=True)
            self._plain(artifact, path)
            self._doing.nested(
                RegisterDataset(
                    project=self._doing.project,
                    dataset=name,
                    path=str(path),
                    owner=self._doing.view.dataset(self._doing.project, origins[0]).owner,
                    origin=f"pipeline {self._plan.graph.name} from {', '.join(origins)}",
                    licence=" AND ".join(sorted({s["licence"] for s in sheets})),
                    purposes=_common(sheets, "purposes"),
                    legal_basis=_basis(sheets),
                    residency=_common(sheets, "residency"),
                    personal=any(s["personal"] for s in sheets),
                    special=any(s["special"] for s in sheets),
                    retain_until=min(
                        (s["retain_until"] for s in sheets if s["retain_until"]), default=""
                    ),
                    personal_columns=tuple(given.plain()["personal_columns"]),
                )
            )
        unchanged = there is not None and there.content == content
        self._ask_to_read(name)
        return self._dataset(name, value={"dataset": name}, unchanged=unchanged)

    def _plain(self, artifact: Artifact, path: Path) -> None:
        ring = (
            models_ring(self._doing.project)
            if artifact.kind == "model"
            else ring_of(self._doing.project)
        )
        with self._doing.store.open(ring, artifact.digest) as stream, files.new_file(path) as out:
            while piece := stream.read(1 << 20):
                out.write(piece)

    def _check(self, given: _Given) -> Effect:
        from assay.actions.extraction import ExamineDataset

        (name,) = given.datasets("rows")
        found = self._doing.view.dataset(self._doing.project, name)
        label = given.text("label")
        facts = self._doing.view.facts(self._doing.project, as_declared(found))
        wanted_facts = ["data.undeclared_personal", *(["data.label_outlier_share"] * bool(label))]
        known = all(fact in facts.sources for fact in wanted_facts)
        if not known:
            wanted = ExamineDataset(
                project=self._doing.project,
                dataset=name,
                purpose=self._plan.graph.purpose,
                label=label,
                ticket=self._action.ticket,
            )
            self._doing.nested(wanted)
        return self._dataset(name, value={"dataset": name}, unchanged=known)

    # -- models -----------------------------------------------------------------------------------

    def _register(self, given: _Given) -> Effect:
        from assay.actions.models import RegisterModel

        artifact = given.resolver.artifact(given.node.arguments["model"], "what is registered")
        if artifact.kind != "model":
            raise Usage(
                "what is registered is not a model",
                remedy="annotate the step that trains it with the type of its model",
                code="register.model",
            )
        train = given.datasets("train") or given.datasets("model")
        test = given.datasets("test")
        plain = given.plain()
        model = check_name(given.text("name"), what="model name")
        wanted: dict[str, Any] = {
            "train": train[0] if len(train) == 1 else "",
            "test": test[0] if test else "",
            "label": plain["label"],
            "positive": plain["positive"],
            "threshold": plain["threshold"],
            "sensitive": tuple(plain["sensitive"]),
            "leave_out": tuple(plain["leave_out"]),
            "description": plain["description"],
        }
        there = self._registered(model, artifact, wanted)
        if there is not None:
            value = {"model": there.name, "version": there.version}
            return Effect(value, unchanged=True)
        codec = codecs.by_name(artifact.codec)
        path = self._work / "register" / f"{model}{codec.suffix}"
        files.make_folder(path.parent)
        path.unlink(missing_ok=True)
        self._plain(artifact, path)
        done = self._doing.nested(
            RegisterModel(
                project=self._doing.project,
                model=model,
                path=str(path),
                purpose=self._plan.graph.purpose,
                run=self._made_by(artifact),
                ticket=self._action.ticket,
                **wanted,
            )
        )
        return Effect({"model": done["model"], "version": done["version"]})

    def _made_by(self, artifact: Artifact) -> str:
        """The run whose provenance statement is about this model: an earlier one, on a hit."""
        for item in reversed(self._doing.view.evidence(self._doing.project, artifact.digest)):
            run = origin.run_of(item.statement.predicate)
            if item.producer == origin.RUNNER and run:
                return run
        return self._doing.decision

    def _registered(
        self, name: str, artifact: Artifact, wanted: dict[str, Any]
    ) -> VersionState | None:
        """A version of the same model, registered from the same data in the same words."""
        view = self._doing.view
        for found in reversed(view.versions(self._doing.project, name)):
            d = found.details
            same = found.artifact == artifact.digest and not found.revoked
            said = {
                "train": d["dataset"],
                **{key: d[key] for key in ("test", "label", "positive", "threshold")},
                "sensitive": tuple(d["sensitive"]),
                "leave_out": tuple(c for c in d["leave_out"] if c != d["label"]),
                "description": d["description"],
            }
            now = view.dataset(self._doing.project, wanted["train"]) if wanted["train"] else None
            rows = now is None or d.get("trained_on") == now.content
            if same and rows and said == wanted:
                return found
        return None

    def _assess(self, given: _Given) -> Effect:
        from assay.actions.assessment import AssessModel

        version = given.version()
        found = self._doing.view.version(self._doing.project, version["model"], version["version"])
        data = given.datasets("data")
        name = data[0] if data else str(found.details["test"])
        if not name:
            raise Usage(
                f"{found.name}@{found.version} was registered without held-out rows",
                remedy="register(..., test=rows), or assess(version, data=rows)",
                code="assess.data",
            )
        content = self._doing.view.dataset(self._doing.project, name).content
        seed = int(given.plain()["seed"])
        if self._is_assessed(found, content):
            return Effect(version, unchanged=True)
        self._doing.nested(
            AssessModel(
                project=self._doing.project,
                model=found.name,
                version=found.version,
                data=name,
                seed=seed,
                ticket=self._action.ticket,
            )
        )
        return Effect(version)

    def _is_assessed(self, found: VersionState, content: Digest) -> bool:
        """Whether every installed assessor has judged it on these rows."""
        about = self._doing.view.evidence(found.project, found.served or found.artifact)
        judged = {
            kind_of(item.statement)
            for item in about
            if item.statement.predicate.get("datasets", {}).get("data", {}).get("content")
            == content
        }
        wanted = {assessor.kind for assessor in plugins.load("assay.assessors").values()}
        return wanted <= judged

    def _promote(self, given: _Given) -> Effect:
        from assay.actions.release import Promote

        version, plain = given.version(), given.plain()
        found = self._doing.view.version(self._doing.project, version["model"], version["version"])
        if found.stage == plain["stage"]:
            return Effect(version, unchanged=True)
        self._doing.nested(
            Promote(
                project=self._doing.project,
                model=found.name,
                version=found.version,
                stage=plain["stage"],
                **({"region": plain["region"]} if plain["region"] else {}),
            )
        )
        return Effect({**version, "stage": plain["stage"]})


class _Given:
    """The arguments of a built-in step."""

    def __init__(self, node: Node, resolver: Resolver) -> None:
        self.node = node
        self.resolver = resolver

    def plain(self) -> dict[str, Any]:
        """Those that are plain values."""
        return {
            name: self.resolver.value(value)
            for name, value in self.node.arguments.items()
            if not isinstance(value, From)
        }

    def text(self, name: str) -> str:
        return str(self.resolver.value(self.node.arguments[name]) or "")

    def datasets(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(self.resolver.datasets(self.node.arguments[name])))

    def version(self) -> dict[str, Any]:
        """The model version that `register`, `assess` or `promote` gave."""
        found = self.resolver.value(self.node.arguments["version"])
        if not isinstance(found, dict) or "version" not in found:
            raise Usage(
                f"{self.node.id} takes what register, assess or promote gave",
                remedy="version = register(model, ...); assess(version)",
                code="pipeline.argument",
            )
        return found


def _common(sheets: list[dict[str, Any]], field: str) -> tuple[str, ...]:
    """What is allowed for all of them."""
    found = set(sheets[0][field]).intersection(*(s[field] for s in sheets))
    if not found:
        raise Usage(
            f"the datasets that this is made from have no {field} in common",
            remedy="make it from datasets that may be used together",
            code="publish.purposes",
        )
    return tuple(sorted(found))


def _basis(sheets: list[dict[str, Any]]) -> str:
    """The one legal basis of the personal data among them."""
    found = {s["legal_basis"] for s in sheets if s["personal"]} or {"not-personal"}
    if len(found) > 1:
        raise Usage(
            f"the datasets that this is made from stand on different legal bases: "
            f"{', '.join(sorted(found))}",
            remedy="make it from datasets of one legal basis",
            code="publish.basis",
        )
    return found.pop()
