"""A small town to test in: two projects, one person for each role, data, and a model ready to go.

It is built once (`build`) through the door, with a real model converted in confinement, and copied
for every test, together with the user's memory of its ledger.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay import canonical, files
from assay.actions.administration import CreateProject, Examine
from assay.actions.assessment import AssessModel
from assay.actions.datasets import RegisterDataset, as_declared
from assay.actions.models import RegisterModel
from assay.actions.people import CreateToken, EnrolActor, ManageRole
from assay.actions.release import Approve, Promote
from assay.actions.serving import Deploy
from assay.clock import FixedClock
from assay.errors import Denied
from assay.evidence import envelope as dsse
from assay.evidence.ledger import Entry
from assay.evidence.signers import FileSigner, MemorySigner, Signer
from assay.evidence.state import kind_of
from assay.evidence.statement import Statement, Subject, predicate_type
from assay.types import check_digest
from assay.workspace.action import Action
from assay.workspace.credentials import Credential, Person, Token
from assay.workspace.door import Workspace
from assay.workspace.opening import Founding, create_workspace, first_roles, open_workspace

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
WORKSPACE = "_workspace"

ROLES = {
    "sam": "alpha/data_scientist",
    "eve": "alpha/ml_engineer",
    "ann": "alpha/approver",
    "abe": "alpha/approver",
    "oli": "alpha/operator",
    "una": "alpha/auditor",
    "bea": "beta/ml_engineer",
    "bob": "beta/approver",
}
"""Who lives here, besides Ada, the administrator, a service in each project, and the continuous
integration of alpha."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product may catch it."""


@dataclass
class Town:
    """One copy of the town, with the workspace open in it."""

    base: Path
    people: dict[str, MemorySigner]
    ids: dict[str, str]
    tokens: dict[str, str]
    clock: FixedClock
    _open: list[Workspace] = field(default_factory=list)

    @property
    def repo(self) -> Path:
        return self.base / "repo"

    @property
    def root(self) -> Path:
        return self.repo / ".assay"

    @property
    def ws(self) -> Workspace:
        """The workspace, opened once."""
        return self._open[0] if self._open else self.reopen()

    def reopen(self) -> Workspace:
        """The workspace as another process would open it."""
        self._open[:] = [open_workspace(self.repo, clock=self.clock)]
        return self._open[0]

    def close(self) -> None:
        self._open.clear()

    # -- asking -----------------------------------------------------------------------------------

    def who(self, name: str) -> Credential:
        if name in self.tokens:
            return Token(self.tokens[name])
        return Person(self.people[name])

    def do(self, name: str, action: Action) -> Any:
        return self.ws.perform(self.who(name), action)

    def refused(self, name: str, action: Action) -> list[str]:
        """The gates that deny `action`; fails when it is allowed."""
        with pytest.raises(Denied) as caught:
            self.do(name, action)
        return [reason["gate"] for reason in caught.value.details["reasons"]]

    def approve(self, *names: str) -> None:
        for name in names:
            self.do(name, Approve(project="alpha", model="score", version="1"))

    def promote(self, name: str = "eve", stage: str = "production") -> Any:
        return self.do(name, Promote(project="alpha", model="score", version="1", stage=stage))

    def deploy(self) -> Any:
        """Approve, promote and deploy ``alpha/score@1``."""
        self.approve("ann", "abe")
        self.promote()
        action = Deploy(project="alpha", model="score", version="production", stage="production")
        return self.do("eve", action)

    def enrol(self, name: str, *roles: str, signer: MemorySigner | None = None) -> str:
        """Ada enrols somebody new."""
        self.people[name] = signer or MemorySigner.generate()
        self.ids[name] = f"id-{name}"
        self.do("ada", enrolment(self.ids[name], self.people[name], *roles, label=name))
        return self.ids[name]

    # -- looking ----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self.ws.view.follow().size

    def statements(self, kind: str = "", since: int = 0) -> list[Statement]:
        """The statements on the ledger, in order."""
        self.ws.view.follow()
        found: list[Statement] = []
        for leaf in self.ws.view.leaves():
            if leaf.envelope is None or leaf.index < since:
                continue
            statement = dsse.decode(leaf.envelope).statement()
            if not kind or kind_of(statement) == kind:
                found.append(statement)
        return found

    def kinds(self, since: int) -> list[str]:
        """The kinds of the leaves from `since` on."""
        return [kind_of(statement) for statement in self.statements(since=since)]

    def check(self) -> None:
        """Everything that must hold of any workspace, whatever happened to it."""
        ws = self.reopen()
        state = ws.view.follow()
        assert state.rejected == []
        assert ws.ledger.check() == []
        problems = [p for p in ws.store.check() if p.kind in ("missing", "altered")]
        assert problems == []

    # -- forging ----------------------------------------------------------------------------------

    @property
    def workspace_key(self) -> FileSigner:
        return FileSigner.load(self.root / "keys" / "workspace.pem")

    def check_data(self, dataset: str = "train", *, undeclared: int = 0) -> int:
        """Write down what a check of a dataset of alpha for personal data found."""
        found = self.ws.view.dataset("alpha", dataset)
        told = {"undeclared_personal": undeclared}
        about = [found.content, as_declared(found)]
        made = self.statement(
            "data-check", told, "alpha", about=about[1], producer="assay.data.check/1"
        )
        subject = [Subject(d, {"sha256": d.removeprefix("sha256:")}) for d in about]
        made = msgspec.structs.replace(made, subject=subject)
        return self.slip_in(made, self.workspace_key)

    def statement(
        self,
        kind: str,
        predicate: dict[str, Any],
        project: str,
        *,
        about: str = "thing",
        producer: str = "assay.door/1",
    ) -> Statement:
        """A statement made by hand."""
        plain = about.startswith("sha256:")
        digest = check_digest(about) if plain else canonical.digest(about.encode())
        return Statement.new(
            subject={"thing": digest},
            predicate_type=predicate_type(kind),
            predicate=predicate,
            project=project,
            producer=producer,
            clock=self.clock,
        )

    def slip_in(self, statement: Statement, *signers: Signer) -> int:
        """Append by hand, past the door, as who holds the files could; the index."""
        envelope = dsse.encode(dsse.sign(statement, *signers))
        return self.ws.ledger.append([Entry(statement.header.project, envelope)])[0]


def enrolment(
    actor: str, signer: MemorySigner | None, *roles: str, label: str = "", kind: str = "person"
) -> EnrolActor:
    keys = (signer.public,) if signer else ()
    return EnrolActor(
        project=WORKSPACE, actor=actor, kind=kind, keys=keys, roles=roles, label=label
    )


@contextlib.contextmanager
def killed_at(number: int) -> Generator[list[str]]:
    """Kill the process at the `number`-th operation on the disk or crash point passed."""
    passed: list[str] = []

    def count(name: str) -> None:
        if len(passed) == number:
            raise Killed(name)
        passed.append(name)

    files.failpoint = count
    files.recorder = lambda operation, path, _: count(f"{operation} {path.name}")
    try:
        yield passed
    finally:
        files.failpoint = files.recorder = None


@contextlib.contextmanager
def killed_at_point(number: int) -> Generator[list[str]]:
    """Kill the process at the `number`-th crash point passed."""
    passed: list[str] = []

    def count(name: str) -> None:
        if len(passed) == number:
            raise Killed(name)
        passed.append(name)

    files.failpoint = count
    try:
        yield passed
    finally:
        files.failpoint = None


@contextlib.contextmanager
def at_point(name: str, happening: Any) -> Generator[None]:
    """Do something the first time that a crash point is passed."""
    waiting = [happening]

    def hook(passed: str) -> None:
        if passed == name and waiting:
            waiting.pop()()

    files.failpoint = hook
    try:
        yield
    finally:
        files.failpoint = None
    assert not waiting, f"{name} was never passed"


# -- building it ----------------------------------------------------------------------------------


def numbers(count: int, seed: int) -> list[list[float]]:
    """Rows of three numbers and a label that mostly follows from them."""
    rows: list[list[float]] = []
    for row in range(count):
        digits = hashlib.sha256(f"{seed}/{row}".encode()).digest()
        a, b, c, noise = (int.from_bytes(digits[i : i + 4], "big") / 2**32 for i in (0, 4, 8, 12))
        rows.append([round(a, 6), round(b, 6), round(c, 6), int(a + b / 2 + noise > 1.25)])
    return rows


def write_table(path: Path, rows: Sequence[Sequence[float]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["a", "b", "c", "y"])
        writer.writerows(rows)
    return path


def dataset(repo: Path, name: str, project: str = "alpha", *, file: str = "") -> RegisterDataset:
    return RegisterDataset(
        project=project,
        dataset=name,
        path=str(repo / (file or f"{name}.csv")),
        owner="risk",
        origin="made for tests",
        licence="CC0",
        purposes=("scoring",),
        legal_basis="contract",
        residency=("local",),
    )


def model(repo: Path, name: str = "score", project: str = "alpha", **changed: Any) -> RegisterModel:
    made: dict[str, Any] = {
        "project": project,
        "model": name,
        "path": str(repo / "model.joblib"),
        "purpose": "scoring",
        "train": "train",
        "test": "test",
        "label": "y",
        "positive": 1,
        "description": "who pays back",
    }
    return RegisterModel(**{**made, **changed})


_built: list[Town] = []


def built_once(factory: pytest.TempPathFactory) -> Town:
    """The town as it was built, once for each process that runs tests."""
    if not _built:
        with pytest.MonkeyPatch.context() as environment:
            _built.append(build(factory.mktemp("town"), environment))
    return _built[0]


def build(base: Path, environment: pytest.MonkeyPatch) -> Town:
    """Build the town in `base`, every step of it through the door."""
    import joblib
    from sklearn.linear_model import LogisticRegression

    inside(base, environment)
    repo = base / "repo"
    repo.mkdir()
    people = {name: MemorySigner.generate() for name in ("ada", *ROLES)}
    clock = FixedClock(START)
    founding = Founding("alpha", "ada", people["ada"], "personal-key", development=True)
    ws = create_workspace(repo, founding, clock=clock)
    (ada,) = ws.view.follow().actors
    ids = {"ada": ada, **{name: f"id-{name}" for name in (*ROLES, "web", "beta-web", "ci")}}
    town = Town(base, people, ids, {}, clock, [ws])
    for name in ROLES:
        town.do("ada", enrolment(ids[name], people[name], label=name))
    town.do("ada", CreateProject(project=WORKSPACE, new="beta", owner=ids["bea"]))
    # One person for each role, so that the tests tell the roles apart.
    unwanted = [(ids["ada"], role) for role in first_roles("alpha")]
    unwanted += [(ids["bea"], role) for role in first_roles("beta") if "engineer" not in role]
    for actor, role in unwanted:
        town.do("ada", ManageRole(project=WORKSPACE, actor=actor, role=role, granted=False))
    for name, role in ROLES.items():
        granting = ManageRole(project=WORKSPACE, actor=ids[name], role=role, granted=True)
        town.do("ada", granting)
    services = {"web": "alpha/service", "beta-web": "beta/service", "ci": "alpha/pipeline"}
    for service, role in services.items():
        town.do("ada", enrolment(ids[service], None, role, label=service, kind="service"))
    for maker, service in (("oli", "web"), ("eve", "ci")):
        made = town.do(maker, CreateToken(project="alpha", actor=ids[service]))
        town.tokens[service] = made["secret"]

    train = numbers(600, 1)
    write_table(repo / "train.csv", train)
    write_table(repo / "test.csv", numbers(500, 2))
    for name in ("train", "test"):
        town.do("sam", dataset(repo, name))
    town.do("bea", dataset(repo, "train", "beta"))
    fitted = LogisticRegression().fit([r[:3] for r in train], [int(r[3]) for r in train])
    joblib.dump(fitted, repo / "model.joblib")
    value = town.do("eve", model(repo))
    assert value["served"], value["details"]
    onnx = ws.store.read("alpha/models", value["served"], 1 << 20)
    (repo / "model.onnx").write_bytes(onnx)
    town.do("bea", model(repo, "secretive", "beta", test="", description="beta only"))
    assess = AssessModel(project="alpha", model="score", version="1", data="test", train="train")
    town.do("eve", assess)
    town.do("ada", Examine(project=WORKSPACE))
    clock.advance(timedelta(minutes=1))
    ws.close()
    town.close()
    return town


def inside(base: Path, environment: pytest.MonkeyPatch) -> None:
    """Keep what belongs to the user (keys, remembered checkpoints) in `base` as well."""
    environment.setenv("ASSAY_KEYS", str(base / "keys"))
    environment.setenv("XDG_STATE_HOME", str(base / "state"))
    environment.delenv("ASSAY_PROJECT", raising=False)
    environment.delenv("ASSAY_CATALOG", raising=False)


def copy_of(built: Town, base: Path, environment: pytest.MonkeyPatch) -> Town:
    """A town of its own for one test."""
    shutil.copytree(built.base, base, symlinks=True)
    inside(base, environment)
    return Town(
        base,
        dict(built.people),
        dict(built.ids),
        dict(built.tokens),
        FixedClock(built.clock.at),
    )
