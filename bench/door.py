"""The door: what a cached question costs, and that a change of state ends the cache at once."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from assay import ids
from assay.actions.people import CreateToken, EnrolActor, ManageRole
from assay.actions.serving import Query
from assay.errors import AssayError, Denied, NotFound
from assay.evidence.signers import MemorySigner
from assay.evidence.state import WORKSPACE
from assay.policy import vocabulary as cedar
from assay.workspace.action import Target
from assay.workspace.credentials import Person
from assay.workspace.opening import Founding, create_workspace
from assay.workspace.segments import Segments
from assay.workspace.view import View

CACHED = 200_000
PERFORMED = 50


class Ask(Query, frozen=True, kw_only=True):
    """`Query` of an endpoint that is not deployed: the cost does not depend on the model."""

    def target(self, view: View) -> Target:
        plain = {"stage": "production", "region": "local"}
        entity = cedar.endpoint_entity(
            self.project, self.endpoint, **plain, killed=False, revoked=False, hold=False
        )
        uid = cedar.endpoint_uid(self.project, self.endpoint)
        return Target(uid=uid, entities=[entity, view.project_entity(self.project)])


def main() -> None:
    base = Path(tempfile.mkdtemp())
    os.environ["XDG_STATE_HOME"] = str(base / "state")
    admin = MemorySigner.generate()
    founding = Founding("bench", "ada", admin, "development-key", development=True)
    workspace = create_workspace(base, founding)
    person = Person(admin)
    service = ids.new_id()
    enrol = EnrolActor(project=WORKSPACE, actor=service, kind="service", roles=("bench/service",))
    workspace.perform(person, enrol)
    token = workspace.perform(person, CreateToken(project="bench", actor=service))["secret"]
    segments, ask = Segments(workspace), Ask(project="bench", endpoint="e", version="1")

    segments.permit(token, ask)
    start = time.process_time()
    for _ in range(CACHED):
        segments.permit(token, ask)
    each = (time.process_time() - start) / CACHED * 1e6
    print(f"a cached query decision      {each:8.2f} µs CPU   at most 20")

    start = time.process_time()
    for number in range(PERFORMED):
        granted = bool(number % 2)
        change = ManageRole(project=WORKSPACE, actor=service, role="bench/service", granted=granted)
        workspace.perform(person, change)
        try:
            segments.permit(token, ask)
            allowed = True
        except (Denied, NotFound):
            allowed = False
        assert allowed is granted, "a stale answer"
    each = (time.process_time() - start) / PERFORMED * 1e3
    print(f"a change of state, and a new decision after it {each:8.2f} ms CPU")
    print(f"{PERFORMED} changes: each was seen by the very next question")


if __name__ == "__main__":
    try:
        main()
    except AssayError as error:
        raise SystemExit(f"{error.message} ({error.remedy})") from error
