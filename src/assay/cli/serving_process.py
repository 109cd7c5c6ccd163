"""One process that serves an endpoint: what answers, what is written down, and who follows.

Three kinds of threads, each with what is its own.  The event loop decides about requests, over one
workspace; those that answer append to logs and look at nothing else; the keeper, over a workspace
opened for it, seals what was logged and lets another version take over.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.actions.feedback import SealFeedback, feedback_recorder
from assay.actions.feedback_records import spool_of
from assay.actions.prediction_records import extras_of, open_log, spools_of, subject_column
from assay.actions.predictions import SealPredictions
from assay.actions.serving import Deploy, Query
from assay.errors import AssayError, Unavailable
from assay.govern.passport import approval_level
from assay.monitor.spool import waiting
from assay.serve.app import Application
from assay.serve.following import Follower
from assay.serve.host import Host
from assay.serve.protocol import Input
from assay.workspace.segments import Segments

if TYPE_CHECKING:
    from assay.evidence.state import VersionState
    from assay.serve.endpoint import Endpoint
    from assay.workspace.action import Action
    from assay.workspace.credentials import Person
    from assay.workspace.door import Workspace
    from assay.workspace.view import View

FLUSH_SECONDS = 60.0
"""How long counts of requests stay in memory before they go on the ledger."""
SEAL_SECONDS = 300.0
"""How long predictions and labels stay in spools before they are sealed."""
LOOK_SECONDS = 1.0
"""How often it is looked whether another version is to answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which endpoint is served, for which gates."""

    project: str
    name: str
    asked: str
    """A version, or the alias that is followed."""
    stage: str
    region: str

    def deploy(self, version: str, *, replaces: str = "", trial: bool = False) -> Deploy:
        """The action that puts a version here."""
        return Deploy(
            project=self.project,
            model=self.name,
            version=version,
            stage=self.stage,
            region=self.region,
            replaces=replaces,
            trial=trial,
        )


class Server:
    """What runs beside the HTTP server.  `workspace` is the event loop's, `aside` the keeper's;
    `note` is told what happens meanwhile, in sentences."""

    def __init__(
        self,
        place: Place,
        person: Person,
        *,
        workspace: Workspace,
        aside: Workspace,
        note: Callable[[str], None],
        look_seconds: float = LOOK_SECONDS,
        seal_seconds: float = SEAL_SECONDS,
    ) -> None:
        self.place = place
        self.aside = aside
        self._person = person
        self._note = note
        self._noted: dict[str, str] = {}
        self._look_seconds = look_seconds
        self._seal_seconds = seal_seconds
        self._segments = Segments(workspace)
        self._flush_due = time.monotonic() + FLUSH_SECONDS
        self.feedback = feedback_recorder(
            workspace, place.project, place.name, segments=self._segments
        )
        self._stopping = threading.Event()
        self._seen: int | None = None
        self._wanted = ""

    # The event loop's.

    def permit(self, version: str) -> Callable[[str], str]:
        """The permit of a version, which puts the counts on the ledger now and then."""
        query = Query(project=self.place.project, endpoint=self.place.name, version=version)

        def permit(token: str) -> str:
            if time.monotonic() >= self._flush_due:
                self._flush_due = time.monotonic() + FLUSH_SECONDS
                self._segments.flush()
            return self._segments.permit(token, query)

        return permit

    # The keeper's.

    @contextlib.contextmanager
    def serving(self, held: dict[str, Any]) -> Generator[Application]:
        """The application that answers with what was deployed, kept until the block ends; then
        what it logged is sealed and what it counted recorded."""
        with contextlib.ExitStack() as ending:  # In the reverse of this order, whatever happens.
            ending.callback(self._segments.flush)
            ending.callback(self._seal)
            ending.callback(self.feedback.roll)
            first = Served(self, held)
            application = Application(first.endpoint)
            follower = Follower(
                application,
                first,
                wanted=lambda: self._look(application.endpoint.version),
                prepare=lambda version: self._prepare(version, application.endpoint.version),
                say=self._note,
            )
            ending.callback(follower.close)
            keeper = threading.Thread(target=self._keep, args=(follower,), name="keeper")
            keeper.start()
            ending.callback(keeper.join)
            ending.callback(self._stopping.set)
            yield application

    def _keep(self, follower: Follower[Served]) -> None:
        self._seal()  # What a process that was killed had left.
        due = time.monotonic() + self._seal_seconds
        while not self._stopping.wait(self._look_seconds):
            follower.step()
            if time.monotonic() >= due:
                follower.current.log.roll()
                self.feedback.roll()
                self._seal()
                due = time.monotonic() + self._seal_seconds

    def _look(self, now: str) -> str:
        """The version that the alias names, looked for where anything has changed."""
        epoch = self.aside.epoch.read()
        if epoch is None or epoch != self._seen:
            state = self.aside.view.follow()
            alias = f"{self.place.project}/{self.place.name}@{self.place.asked}"
            self._wanted = state.aliases.get(alias, now)
            self._seen = epoch
        return self._wanted

    def _prepare(self, version: str, now: str) -> Served:
        return Served(self, self.perform(self.place.deploy(version, trial=True, replaces=now)), now)

    def put_on_record(self, version: str, replaces: str) -> None:
        """Deploy a version that is ready in the place of another."""
        if self._stopping.is_set():
            raise Unavailable("the server is being stopped", code="serve.closed")
        self.perform(self.place.deploy(version, replaces=replaces))

    def perform(self, action: Action) -> Any:
        """Through the door, for who started this."""
        return self.aside.perform(self._person, action)

    def _seal(self) -> None:
        """Seal every spool that nobody writes any more; what cannot be sealed now stays."""
        project, endpoint = self.place.project, self.place.name
        for spools, seals in ((spools_of, SealPredictions), (spool_of, SealFeedback)):
            try:
                if not waiting(spools(self.aside.layout, project, endpoint)):
                    continue
                told = self.perform(seals(project=project, endpoint=endpoint))
            except Exception as error:  # Whatever it is, the next round tries again.
                why = error.message if isinstance(error, AssayError) else type(error).__name__
                what = f"what was logged is not sealed yet, and is kept: {why}"
                if self._noted.get(seals.__name__) != what:
                    self._noted[seals.__name__] = what
                    self._note(what)
            else:
                self._noted.pop(seals.__name__, None)
                for lost in (*told.get("lost", []), *told.get("damaged", [])):
                    kept = lost.get("kept_as") or lost.get("file") or "nothing"
                    self._note(f"a spool could not be read ({lost['why']}); kept of it: {kept}")


class Served:
    """One version, ready: its process, its log and its permits."""

    def __init__(self, server: Server, held: dict[str, Any], replaces: str = "") -> None:
        place, view = server.place, server.aside.view
        view.follow()
        found = view.version(place.project, place.name, held["version"])
        approval = approval_level(view.approvals(found, place.stage))
        self._server = server
        self._replaces = replaces
        # No less confined than what policy was told.
        self._host = Host(held["onnx"], digest=held["served"], require=held["isolation"])
        try:
            self._host.warm()
            extras = _extras(view, found, self._host.description.inputs)
            self.log = open_log(
                server.aside,
                place.project,
                found.version,
                endpoint=place.name,
                inputs=self._host.description.inputs,
                outputs=self._host.description.outputs,
                extras=extras,
            )
            self.endpoint: Endpoint = self._host.endpoint(
                place.name,
                found.version,
                permit=server.permit(found.version),
                facts={"stage": place.stage, "approval": approval},
                record=self.log.answered,
                extras=extras,
                feedback=server.feedback,
                feedback_permit=server.feedback.permit,
            )
        except BaseException:
            self._host.close()
            raise

    def deploy(self) -> None:
        """Put it on record as what answers."""
        self._server.put_on_record(self.endpoint.version, self._replaces)

    def close(self) -> None:
        """End its process, and let what it answered be sealed."""
        self._host.close()
        self.log.roll()


def _extras(view: View, found: VersionState, inputs: list[Input]) -> list[Input]:
    """What may be given beside `inputs`.  That a number is missing can only be said of a
    floating-point one; whom a row is about is given exactly."""
    subject = subject_column(view, found)
    return [
        Input(
            given.name,
            given.datatype if given.datatype == "BYTES" or given.name == subject else "FP64",
        )
        for given in extras_of(view, found, [taken.name for taken in inputs])
    ]
