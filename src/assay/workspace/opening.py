"""Making a workspace, and opening one.

Opening believes nothing but the digest pinned in ``assay.toml``: from it follow the trust root, the
ledger's key and the workspace's keys, and the state is folded from the ledger they sign.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay import canonical, files, ids, plugins
from assay.clock import Clock, SystemClock, timestamp
from assay.errors import AssayError, Conflict, Unavailable, Usage, Verification
from assay.evidence import envelope as dsse
from assay.evidence import trust
from assay.evidence.facts import FactDeclaration, TrustedProducer
from assay.evidence.ledger import CheckpointMemory, Entry, Ledger
from assay.evidence.signers import FileSigner, Signer
from assay.evidence.state import WORKSPACE, State, fold
from assay.evidence.statement import Statement, predicate_type
from assay.evidence.trust import Root
from assay.policy import bundle as policies
from assay.policy.bundle import Bundle
from assay.policy.engine import Engine
from assay.store import LocalKeyService, Rings, RingSealer, Store, open_service
from assay.store.blobs import Blobs, ObjectBlobs
from assay.types import PROJECT_ROLES, WORKSPACE_ROLE, Digest, check_name
from assay.workspace import layout as layouts
from assay.workspace.directory import Directory
from assay.workspace.door import PRODUCER, Workspace
from assay.workspace.layout import CONFIG, CONFIG_FORMAT, Config, Layout
from assay.workspace.view import PolicyFacts, View

if TYPE_CHECKING:
    from assay.catalog.catalog import Catalog

POLICY_RING = f"{WORKSPACE}/policy"
UNFINISHED = "unfinished"
"""A file that is there while a workspace is made, and marks what an interrupted attempt left."""
_BUNDLE_LIMIT = 16 << 20


def project_rings(project: str) -> tuple[str, ...]:
    """The key rings of a project: its evidence, its data and its models are destroyed apart."""
    return (f"{project}/evidence", f"{project}/data", f"{project}/models")


def first_roles(project: str) -> list[str]:
    """Every role of a project but approver: whoever builds there does not also approve."""
    return [f"{project}/{role}" for role in PROJECT_ROLES if role not in ("approver", "service")]


def declared_facts() -> list[dict[str, Any]]:
    """The fact declarations of everything installed; read when a policy bundle is made."""
    return [fact for _, facts in sorted(plugins.load("assay.facts").items()) for fact in facts]


@dataclass(frozen=True, slots=True)
class Founding:
    """What a new workspace is made from.  `admin` is the founder's own key, not the workspace's."""

    project: str
    name: str
    """What the founder is called in the directory."""
    admin: Signer
    level: str
    recipient: str = ""
    """The offline recovery recipient; empty only with `development`."""
    development: bool = False


def create_workspace(base: Path, founding: Founding, *, clock: Clock | None = None) -> Workspace:
    """Make a workspace in `base`: keys, rings, policy, ledger, and ``assay.toml`` as the last step.

    Until ``assay.toml`` is there nothing counts, and an interrupted attempt is cleared away by the
    next.  Raises `Conflict` when `base` holds a workspace.
    """
    clock = clock or SystemClock()
    check_name(founding.project, what="project")
    if not founding.recipient and not founding.development:
        raise Usage(
            "a workspace needs an offline recovery recipient",
            remedy="confirm the recovery secret, or use --development",
            code="init.recovery",
        )
    if (base / CONFIG).exists():
        raise Conflict(
            f"{base / CONFIG} exists: this folder holds a workspace",
            remedy="change into it and use it; or choose another folder",
            code="init.exists",
        )
    workspace = ids.new_id()
    config = Config(
        CONFIG_FORMAT,
        workspace,
        founding.project,
        "",
        policy=_policy_folder(base),
        development=founding.development,
    )
    layout = Layout(base, config)
    if layout.root.exists():
        # Without assay.toml it was never finished, or belongs to somebody else.
        if (layout.root / UNFINISHED).exists() or not any(_files(layout.root)):
            shutil.rmtree(layout.root)
        else:
            raise Conflict(
                f"{layout.root} exists, but {CONFIG} does not",
                remedy=f"restore {CONFIG} from version control, or move the folder away",
                code="init.exists",
            )
    files.make_folder(layout.root)
    files.write(layout.root / UNFINISHED, b"")
    files.make_folder(layout.keys)
    if not any(layout.policy.glob("*.cedar")):
        _write_policy(layout)
    bundle = policies.build(layout.policy, declared_facts())
    signed = _make_keys(layout, founding, clock)
    config = msgspec.structs.replace(config, trust_root=signed.digest)
    layout = Layout(base, config)
    rings = Rings(layout.rings, _service(layout), clock=clock, recipient=founding.recipient or None)
    for ring in (f"{WORKSPACE}/evidence", POLICY_RING, *project_rings(founding.project)):
        rings.create(ring)
    Store(_blobs(layout), rings).put(POLICY_RING, bundle.encode())
    _write_genesis(layout, founding, signed.root, bundle.digest, rings, clock)
    files.point("init.before_config")
    _ignore(layout)
    files.write(base / CONFIG, layouts.write_config(config).encode(), mode=0o644, replace=False)
    files.point("init.after_config")
    return open_workspace(base, clock=clock)


def _files(folder: Path) -> Iterator[Path]:
    """Every file in a folder, but what an interrupted write of `UNFINISHED` itself left."""
    return (
        path
        for path in folder.rglob("*")
        if not path.is_dir() and not path.match(f".{UNFINISHED}.*.tmp")
    )


def _policy_folder(base: Path) -> str:
    """``policy``; or another name where the repository has a folder of that name for something
    else."""
    taken = base / "policy"
    ours = not taken.exists() or not any(taken.iterdir()) or any(taken.glob("*.cedar"))
    return "policy" if ours else "assay-policy"


def _write_policy(layout: Layout) -> None:
    """Put the default policy in place whole: half of it would be another policy."""
    if layout.policy.exists() and any(layout.policy.iterdir()):
        policies.write_defaults(layout.policy)
        return
    staged = layout.root / "policy"
    policies.write_defaults(staged)
    files.make_folder(layout.policy.parent)
    try:
        staged.rename(layout.policy)
    except OSError as error:
        raise Unavailable(
            f"cannot write {layout.policy}: {error.strerror}", code="write"
        ) from error
    files.sync_folder(layout.policy.parent)


def _make_keys(layout: Layout, founding: Founding, clock: Clock) -> trust.SignedRoot:
    workspace_key = FileSigner.create(layout.workspace_key)
    ledger_key = FileSigner.create(layout.ledger_key)
    LocalKeyService.create(layout.root_key)
    root = Root(
        format=trust.FORMAT,
        version=1,
        workspace=layout.config.workspace,
        # A name, not an address: where a copy is published is said elsewhere.
        origin=f"assay.invalid/{layout.config.workspace}",
        ledger_key=ledger_key.public,
        workspace_keys=(workspace_key.public,),
        root_keys=(founding.admin.public,),
        threshold=1,
        recovery=founding.recipient,
        issued=timestamp(clock.now()),
    )
    signed = trust.sign(root, [founding.admin])
    trust.save(layout.trust, signed)
    return signed


def _write_genesis(
    layout: Layout, founding: Founding, root: Root, bundle: Digest, rings: Rings, clock: Clock
) -> None:
    signer = FileSigner.load(layout.workspace_key)
    admin_id = ids.new_id()
    predicate = {
        "workspace": root.workspace,
        "bundle": bundle,
        "workspace_keys": msgspec.to_builtins(root.workspace_keys),
        "admin": {
            "id": admin_id,
            "key": msgspec.to_builtins(founding.admin.public),
            "level": founding.level,
            "roles": [f"{WORKSPACE}/{WORKSPACE_ROLE}", *first_roles(founding.project)],
        },
        "project": founding.project,
    }
    statement = Statement.new(
        subject={"policy-bundle": bundle},
        predicate_type=predicate_type("genesis"),
        predicate=predicate,
        project=WORKSPACE,
        producer=PRODUCER,
        clock=clock,
    )
    sealer = RingSealer(rings)
    ledger = Ledger.create(
        layout.ledger,
        root.origin,
        FileSigner.load(layout.ledger_key),
        sealer,
        clock,
        remembered=CheckpointMemory(layouts.state_folder()),
    )
    ledger.append([Entry(WORKSPACE, dsse.encode(dsse.sign(statement, signer)))])
    Directory(layout.directory, sealer).put(admin_id, founding.name)


def _ignore(layout: Layout) -> None:
    """Keep the sealed folder out of version control, whatever the repository's own settings."""
    files.write(layout.root / ".gitignore", b"*\n", mode=0o644)


# -- opening --------------------------------------------------------------------------------------


def open_workspace(base: Path | None = None, *, clock: Clock | None = None) -> Workspace:
    """The workspace of `base`, or of the nearest folder upwards with ``assay.toml``.

    Raises `Verification` for a trust root, key or ledger that is not the pinned one's, or a ledger
    that was rolled back.
    """
    clock = clock or SystemClock()
    layout = layouts.find(base)
    if (layout.root / UNFINISHED).exists():
        # assay.toml is there, so it was finished: from now on nothing may clear it away.
        with contextlib.suppress(Unavailable):
            files.remove(layout.root / UNFINISHED)
    root = trusted_root(layout)
    rings = Rings(layout.rings, _service(layout), clock=clock, recipient=root.recovery or None)
    store = Store(_blobs(layout), rings)
    sealer = RingSealer(rings)
    ledger = Ledger.open(
        layout.ledger,
        root.origin,
        root.ledger_key,
        sealer,
        signer=_own_key(layout.ledger_key, [root.ledger_key.keyid]),
        remembered=CheckpointMemory(layouts.state_folder()),
        clock=clock,
    )
    view = View(layout, ledger, sealer, clock)
    return Workspace(
        layout,
        ledger=ledger,
        store=store,
        view=view,
        signer=_OwnKeys(layout, view),
        clock=clock,
        load_engine=_Engines(store, view),
        directory=Directory(layout.directory, sealer),
    )


def trusted_root(layout: Layout) -> Root:
    """The newest trust root, followed from the pinned one."""
    root = trust.verify_chain(trust.load(layout.trust), layout.pinned)
    if root.workspace != layout.config.workspace:
        raise Verification(
            f"the trust root is of workspace {root.workspace}, {CONFIG} names another",
            remedy="restore assay.toml from version control",
            code="trust.workspace",
        )
    return root


class _OwnKeys:
    """The workspace key to sign by now; looked for again when the ledger says that keys changed."""

    def __init__(self, layout: Layout, view: View) -> None:
        self._layout = layout
        self._view = view
        view.follow()
        self._held = self._find()

    def __call__(self) -> FileSigner:
        if self._held[0] != self._view.state.revisions.get("keys"):
            self._held = self._find()
        return self._held[1]

    def _find(self) -> tuple[int | None, FileSigner]:
        signer = _workspace_key(self._layout, trusted_root(self._layout), self._view)
        return self._view.state.revisions.get("keys"), signer


def _workspace_key(layout: Layout, root: Root, view: View) -> FileSigner:
    """The newest workspace key that the trust root names and the ledger knows as valid.

    A rotation that was interrupted leaves a key file that the ledger does not know: not that one.
    """
    state = view.state
    known = [key.keyid for key in root.workspace_keys]
    for version in range(root.version, 1, -1):
        path = layout.keys / f"workspace.{version}.pem"
        if path.exists():
            signer = _own_key(path, known)
            if state.workspace_key_valid(signer.public.keyid, state.size):
                return signer
    return _own_key(layout.workspace_key, known)


def _own_key(path: Path, known: Sequence[str]) -> FileSigner:
    signer = FileSigner.load(path)
    if signer.public.keyid not in known:
        raise Verification(
            f"{path} is not a key that the trust root names",
            remedy="restore the key file from a backup",
            code="trust.key",
        )
    return signer


def _service(layout: Layout) -> Any:
    url = layout.config.keys
    return open_service(url) if url else LocalKeyService.load(layout.root_key)


def _blobs(layout: Layout) -> Path | Blobs:
    url = layout.config.blobs
    if not url:
        return layout.blobs
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise Usage(
            f"{CONFIG}: blobs = {url[:80]!r} is not s3://BUCKET[/PREFIX]", code="config.blobs"
        )
    # The names that every S3 tool uses; assay.toml holds no secret.
    missing = [n for n in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if n not in os.environ]
    if missing:
        raise Usage(
            f"{CONFIG} keeps blobs in {url}, and {' and '.join(missing)} is not set",
            remedy="export the bucket's credentials",
            code="config.env",
        )
    return ObjectBlobs.s3(
        bucket,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        prefix=prefix,
        endpoint=os.environ.get("AWS_ENDPOINT_URL"),
        region=os.environ.get("AWS_REGION", "us-east-1"),
    )


class _Engines:
    """Policy bundle → engine, kept while it is the active one; sets what the view's facts need."""

    def __init__(self, store: Store, view: View) -> None:
        self._store = store
        self._view = view
        self._held: tuple[Digest, Engine] | None = None

    def __call__(self, digest: Digest) -> Engine:
        if self._held is None or self._held[0] != digest:
            bundle = Bundle.decode(self._store.read(POLICY_RING, digest, _BUNDLE_LIMIT))
            self._view.policy = policy_facts(bundle)
            self._held = (digest, Engine(bundle))
        return self._held[1]


def policy_facts(bundle: Bundle) -> PolicyFacts:
    """What the facts layer needs of a bundle."""
    return PolicyFacts(
        [msgspec.convert(declared, FactDeclaration) for declared in bundle.declarations],
        [msgspec.convert(producer, TrustedProducer) for producer in bundle.producers],
        dict(bundle.settings),
        bundle.roles,
    )


def open_catalog(workspace: Workspace, progress: Callable[[int], None] | None = None) -> Catalog:
    """The index for lists and searches, brought up to the ledger.

    It is filled when somebody asks, never by the door: what it lacks or loses stops no action.
    """
    from assay.catalog.catalog import Catalog

    state = workspace.view.follow()
    catalog = Catalog.open(workspace.layout.catalog_url)
    fill(catalog, workspace.ledger, progress, state)
    return catalog


def fill(
    catalog: Catalog,
    ledger: Ledger,
    progress: Callable[[int], None] | None = None,
    state: State | None = None,
) -> None:
    """Index every leaf up to `state` that a catalog does not have yet.

    Without a state the whole ledger is folded anew, so that what is made from it, or compared with
    it, rests on nothing that was kept.
    """
    from assay.catalog.catalog import Entry as Row

    if state is None:
        state = State()
        for leaf in ledger.read(0, ledger.checkpoint.size):
            fold(state, leaf.index, leaf.envelope)
    size, rejected = state.size, {index for index, _ in state.rejected}

    def rows() -> Any:
        for leaf in ledger.read(catalog.position(), size):
            statement, digest = None, ""
            if leaf.envelope is not None:
                try:
                    envelope = dsse.decode(leaf.envelope)
                    statement, digest = envelope.statement(), dsse.envelope_digest(envelope)
                except AssayError:
                    digest = canonical.digest(leaf.envelope)
            if progress is not None:
                progress(leaf.index)
            yield Row(leaf.index, leaf.project, digest, statement, leaf.index not in rejected)

    if catalog.position() < size:
        catalog.index_all(rows())
