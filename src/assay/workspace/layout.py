"""The files of a workspace, and how one is made.

::

    assay.toml              committed: which workspace, its pinned trust root, the default project
    policy/                 committed: the policy bundle's sources
    .assay/                 not committed
        trust/N.json        the trust root, version by version
        keys/               workspace.pem, ledger.pem, root key of the local key service (0600)
        rings/ blobs/       sealed storage
        ledger/             C2SP tlog-tiles, sealed envelopes
        snapshot            the folded state at some checkpoint, sealed
        epoch               counts state changes; cached decisions end when it moves
        directory           names of actors, sealed and erasable
        catalog.sqlite      the index; can be rebuilt
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from assay import files
from assay.errors import Corrupt, NotFound, Usage
from assay.types import Digest, check_digest, check_name

CONFIG = "assay.toml"
CONFIG_FORMAT = "assay/config/v1"


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[projects.NAME.sources.SOURCE]``: where a project takes data from, see
    `assay.data.sources`."""

    url: str
    credential: str = ""
    """Where the secret is, never the secret: ``env:NAME`` or ``file:PATH``."""
    endpoint: str = ""
    region: str = ""
    timeout: int = 300
    """Seconds after which reading is given up."""


class IntakeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[projects.NAME.intake]``: what people allow beyond the defaults when models are taken in,
    see `assay.supply.intake.settings`."""

    hosts: list[str] = []
    """``HOST[:PORT]`` that may have a private address."""
    plain: list[str] = []
    """``HOST:PORT`` that may be reached without TLS."""
    credentials: dict[str, str] = {}
    """By ``HOST[:PORT]`` where the secret is, never the secret: ``env:NAME`` or ``file:PATH``."""
    hub: str = ""
    """Another hub that speaks the API of Hugging Face."""
    trust: str = ""
    """The trust list: whose signatures count."""
    licences: str = ""
    """Which licences are allowed; empty for the defaults."""
    most_bytes: int = 20 << 30
    files: int = 10_000
    seconds: int = 3600


class ProjectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[projects.NAME]``."""

    sources: dict[str, SourceConfig] = {}
    intake: IntakeConfig = IntakeConfig()


class ChannelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[alerts.channels]]``: where alerts are told, see `assay.monitor.channels`."""

    name: str
    kind: str
    url: str
    """The address, or where it is kept if it holds a secret: ``env:NAME`` or ``file:PATH``."""
    credential: str = ""
    """Where the token or USER:PASSWORD is, never the secret: ``env:NAME`` or ``file:PATH``."""
    least: str = "warning"
    projects: list[str] = []
    repeat: str | None = None
    timeout: int = 10
    plain: bool = False
    ca: str = ""


class AlertsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[alerts]``."""

    channels: list[ChannelConfig] = []


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``assay.toml``: committed, and free of secrets."""

    format: str
    workspace: str
    project: str
    trust_root: str
    folder: str = ".assay"
    policy: str = "policy"
    catalog: str = ""
    """A SQLAlchemy URL, or ``env:NAME`` for one with a password; empty means SQLite inside."""
    keys: str = ""
    """The key service's URL (see `assay.store.keys`); empty means ``root.key`` inside."""
    blobs: str = ""
    """``s3://BUCKET[/PREFIX]`` for sealed blobs in an object store; empty means inside."""
    development: bool = False
    """Made with ``assay init --development``: no recovery recipient, and everybody is told so."""
    projects: dict[str, ProjectConfig] = {}
    alerts: AlertsConfig = AlertsConfig()


class Layout(msgspec.Struct, frozen=True):
    """Where each thing lies, under the folder that holds ``assay.toml``."""

    base: Path
    config: Config

    @property
    def root(self) -> Path:
        return self.base / self.config.folder

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def workspace_key(self) -> Path:
        return self.keys / "workspace.pem"

    @property
    def ledger_key(self) -> Path:
        return self.keys / "ledger.pem"

    @property
    def root_key(self) -> Path:
        return self.keys / "root.key"

    @property
    def rings(self) -> Path:
        return self.root / "rings"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def snapshot(self) -> Path:
        return self.root / "snapshot"

    @property
    def epoch(self) -> Path:
        return self.root / "epoch"

    @property
    def directory(self) -> Path:
        return self.root / "directory"

    @property
    def policy(self) -> Path:
        return self.base / self.config.policy

    @property
    def pinned(self) -> Digest:
        return check_digest(self.config.trust_root)

    @property
    def catalog_url(self) -> str:
        """The catalog's URL, with ``env:NAME`` resolved."""
        url = self.config.catalog
        if url.startswith("env:"):
            name = url.removeprefix("env:")
            if name not in os.environ:
                raise Usage(
                    f"{CONFIG} takes the catalog's URL from ${name}, which is not set",
                    remedy=f"export {name}=postgresql+psycopg://…",
                    code="config.env",
                )
            return os.environ[name]
        return url or f"sqlite:///{self.root / 'catalog.sqlite'}"


def find(start: Path | None = None) -> Layout:
    """The layout of the nearest folder, upwards, that holds ``assay.toml``."""
    here = (start or Path.cwd()).resolve()
    for folder in [here, *here.parents]:
        if (folder / CONFIG).is_file():
            return Layout(folder, read_config(folder / CONFIG))
    raise NotFound(
        f"no {CONFIG} in {here} or above it",
        remedy="run `assay init` in your repository, or change into it",
        code="workspace",
    )


def read_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """``assay.toml`` with ``ASSAY_PROJECT`` and ``ASSAY_CATALOG`` over it."""
    env = os.environ if environment is None else environment
    raw = files.read(path, limit=1 << 16, what="configuration")
    try:
        data = tomllib.loads(raw.decode())
        if env.get("ASSAY_PROJECT"):
            data["project"] = env["ASSAY_PROJECT"]
        if env.get("ASSAY_CATALOG"):
            data["catalog"] = env["ASSAY_CATALOG"]
        config = msgspec.convert(data, Config)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Usage(f"{path}: {error}", remedy="mend the file", code="config") from error
    if config.format != CONFIG_FORMAT:
        raise Corrupt(
            f"{path}: unknown format {config.format!r}",
            remedy=f"this assay reads {CONFIG_FORMAT}; a newer one wrote this file",
            code="config",
        )
    check_name(config.project, what="project")
    for project, of in config.projects.items():
        check_name(project, what="project")
        for source in of.sources:
            check_name(source, what="source")
    for name in (config.folder, config.policy):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise Usage(f"{path}: {name!r} must lie inside the repository", code="config.folder")
    return config


def write_config(config: Config) -> str:
    """The text of a new ``assay.toml``."""
    return (
        "# assay: the secure MLOps platform. Commit this file; it holds no secret.\n"
        f'format = "{config.format}"\n'
        f'workspace = "{config.workspace}"\n'
        f'project = "{config.project}"\n'
        "# The digest of the first trust root: whoever has this file can verify everything else.\n"
        f'trust_root = "{config.trust_root}"\n'
        f'folder = "{config.folder}"\n'
        f'policy = "{config.policy}"\n' + ("development = true\n" if config.development else "")
    )


def state_folder() -> Path:
    """Where this user keeps the newest checkpoint seen, outside every workspace."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "assay"


def key_folder() -> Path:
    """Where this user keeps personal keys (``ASSAY_KEYS``, else ``~/.config/assay/keys``)."""
    if os.environ.get("ASSAY_KEYS"):
        return Path(os.environ["ASSAY_KEYS"])
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "assay" / "keys"
