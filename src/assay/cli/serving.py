"""``assay serve|kill``: answer predictions with a verified version, and stop an endpoint."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.output import emit, escape, note, say
from assay.cli.session import As, AsJson, InProject, Session
from assay.errors import Usage

if TYPE_CHECKING:
    from assay.serve.listen import Listening
    from assay.workspace.segments import Segments

FLUSH_SECONDS = 60.0
"""How long counts of requests stay in memory before they go on the ledger."""


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)
    app.command("kill")(kill)


def serve(
    ref: Annotated[
        str, typer.Argument(metavar="NAME@ALIAS", help="For example credit@production, credit@3.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    stage: Annotated[str, typer.Option(help="Whose gates must be open.")] = "production",
    region: Annotated[str, typer.Option(help="Where this machine is.")] = "local",
    certificate: Annotated[
        Path | None, typer.Option(help="PEM certificate chain, to be reached from elsewhere.")
    ] = None,
    private_key: Annotated[Path | None, typer.Option(help="The certificate's PEM key.")] = None,
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Serve a version over HTTP (Open Inference Protocol v2) from a confined process.

    Every request needs a token (assay token create) and is decided by policy: a revoked or killed
    version answers no further request.  Ctrl-C stops it and records the counts.

    Example: assay serve credit@production --port 8080
    """
    from assay.actions.serving import Deploy, Query
    from assay.govern.passport import approval_level
    from assay.serve.app import Application
    from assay.serve.host import Host
    from assay.serve.listen import Tls, run
    from assay.types import parse_model_ref
    from assay.workspace.segments import Segments

    if (certificate is None) != (private_key is None):
        raise Usage(
            "TLS needs both a certificate and its key", remedy="--certificate --private-key"
        )
    tls = Tls(certificate, private_key) if certificate and private_key else None
    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    held: dict[str, Any] = session.perform(
        Deploy(project=session.project, model=name, version=version, stage=stage, region=region)
    )
    found = session.workspace.view.version(session.project, name, held["version"])
    segments = Segments(session.workspace)
    query = Query(project=session.project, endpoint=name, version=held["version"])
    facts = {
        "stage": stage,
        "approval": approval_level(session.workspace.view.approvals(found, stage)),
    }
    # No less confined than what policy was told.
    with Host(held["onnx"], digest=held["served"], require=held["isolation"]) as worker:
        endpoint = worker.endpoint(
            name, held["version"], permit=_counting(segments, query), facts=facts
        )
        application = Application(endpoint)
        # By default SIGTERM would end the process before the counts are recorded.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            run(application, host, port, tls=tls, ready=lambda at: _ready(at, endpoint, as_json))
        except KeyboardInterrupt:
            note("stopped")
        finally:
            segments.flush()


def _counting(segments: Segments, query: Any) -> Callable[[str], str]:
    """The endpoint's permit, which puts the counts on the ledger now and then."""
    due = time.monotonic() + FLUSH_SECONDS

    def permit(token: str) -> str:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + FLUSH_SECONDS
            segments.flush()
        return segments.permit(token, query)

    return permit


def _ready(at: Listening, endpoint: Any, as_json: bool) -> None:
    url = f"{at.url}/v2/models/{endpoint.model}/infer"
    made = {"url": at.url, "infer": url, "model": endpoint.model, "version": endpoint.version}

    def human() -> None:
        say(
            f"serving [bold]{escape(endpoint.model)}@{escape(endpoint.version)}[/] at "
            f"{escape(at.url)} (isolation: {escape(endpoint.facts['isolation'])}, "
            f"{escape(endpoint.facts['approval'])})"
        )
        say(
            f'  what it takes: curl -H "Authorization: Bearer $ASSAY_TOKEN" {escape(at.url)}'
            f"/v2/models/{escape(endpoint.model)}"
        )
        say("  a token: assay token create --for SERVICE; Ctrl-C stops it")

    emit(as_json, made, human)


def kill(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The endpoint: a model's name.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on the record.")],
    actor: As = "",
    project: InProject = "",
    as_json: AsJson = False,
) -> None:
    """Stop an endpoint at its next request, until it is deployed again.

    Example: assay kill credit --reason "answers look wrong"
    """
    from assay.actions.serving import Kill

    session = Session(actor, project, as_json)
    done = session.perform(Kill(project=session.project, endpoint=name, reason=reason))
    emit(as_json, done, lambda: say(f"[bold]{escape(name)}[/] answers no more"))
