"""``assay serve|kill``: answer predictions with a verified version, and stop an endpoint."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.output import emit, escape, note, say
from assay.cli.session import As, AsJson, InProject, Session
from assay.errors import Usage

if TYPE_CHECKING:
    from assay.serve.listen import Listening


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
    version answers no further request.  Every prediction is written down, sealed, before it is
    answered.  An alias is followed: when another version is promoted, that one takes over without
    a failed request.  Ctrl-C stops it.

    Example: assay serve credit@production --port 8080
    """
    from assay.cli.serving_process import Place, Server
    from assay.serve.listen import Tls, run
    from assay.types import parse_model_ref

    if (certificate is None) != (private_key is None):
        raise Usage(
            "TLS needs both a certificate and its key", remedy="--certificate --private-key"
        )
    tls = Tls(certificate, private_key) if certificate and private_key else None
    name, version = parse_model_ref(ref)
    session = Session(actor, project, as_json)
    place = Place(session.project, name, version, stage, region)
    held: dict[str, Any] = session.perform(place.deploy(version))
    server = Server(
        place,
        session.person,
        workspace=session.workspace,
        aside=Session(actor, project).workspace,
        note=_noted,
    )
    with server.serving(held) as application:
        # By default SIGTERM would end the process before what was logged is sealed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            run(
                application,
                host,
                port,
                tls=tls,
                ready=lambda at: _ready(at, application.endpoint, as_json),
            )
        except KeyboardInterrupt:
            note("stopped")


def _noted(text: str) -> None:
    """What happens meanwhile, on standard error if anybody is there to read it."""
    with contextlib.suppress(OSError):
        note(escape(text))


def _ready(at: Listening, endpoint: Any, as_json: bool) -> None:
    model = f"{at.url}/v2/models/{endpoint.model}"
    made = {
        "url": at.url,
        "infer": f"{model}/infer",
        "feedback": f"{model}/feedback",
        "metrics": f"{at.url}/metrics",
        "model": endpoint.model,
        "version": endpoint.version,
    }

    def human() -> None:
        say(
            f"serving [bold]{escape(endpoint.model)}@{escape(endpoint.version)}[/] at "
            f"{escape(at.url)} (isolation: {escape(endpoint.facts['isolation'])}, "
            f"{escape(endpoint.facts['approval'])})"
        )
        say(f'  what it takes: curl -H "Authorization: Bearer $ASSAY_TOKEN" {escape(model)}')
        say(f"  what it answered: assay predictions list {escape(endpoint.model)}")
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
