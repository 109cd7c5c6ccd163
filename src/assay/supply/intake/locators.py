"""What may be asked for: a locator names a source, a thing in it, and perhaps which one exactly.

==============================================  =============================================
``PATH``                                        a file or a folder of this machine
``hf:ORG/NAME[@REVISION]``                      a repository of a hub that speaks the API of
                                                Hugging Face; a commit, branch or tag
``oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]``     an artifact of an OCI registry
``s3://BUCKET[/PREFIX]``                        an object, or all below a prefix, of a bucket
                                                that is a source of the project
``pypi:NAME==VERSION[@DIGEST]#PATH``            a file or folder inside a wheel
``https://HOST/PATH``                           one file
==============================================  =============================================

A digest is ``sha256:`` and 64 hexadecimal digits.  Nothing in a locator is a secret, and one that
looks as if it held one is refused without being repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from assay.errors import Usage

Scheme: TypeAlias = Literal["file", "hf", "oci", "s3", "pypi", "https"]

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,95})"
_HF = re.compile(rf"(?P<repo>{_PART}(?:/{_PART})?)(?:@(?P<revision>[A-Za-z0-9._/-]{{1,200}}))?")
_OCI = re.compile(
    r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?/"
    r"(?P<repo>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_PYPI = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9.!+_-]{1,64})"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?:#(?P<path>.{1,500}))?"
)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST = 2000


@dataclass(frozen=True, slots=True)
class Locator:
    """One source.  `place` is the locator without the revision: what an upgrade has in common."""

    scheme: Scheme
    place: str
    name: str
    """file: the path; hf: ORG/NAME; oci: the repository; s3: the bucket; pypi: the project;
    https: the URL."""
    revision: str = ""
    """What was asked for: a commit, branch, tag, version or digest; empty for the newest."""
    path: str = ""
    """s3: the prefix; pypi: the path inside the wheel."""
    host: str = ""
    port: int = 443
    digest: str = ""
    """pypi, oci: the digest that what is fetched must have; empty for none."""

    @property
    def exact(self) -> bool:
        """Whether the locator itself names the bytes, so that no one can move what it means."""
        if self.scheme == "hf":
            return _COMMIT.fullmatch(self.revision) is not None
        return bool(self.digest)


def parse(text: str) -> Locator:
    """A locator as typed; raises `Usage`, which repeats nothing that may be a secret."""
    if not text or len(text) > _MOST or not text.isprintable():
        raise _wrong("a locator", "it is empty, too long or has unprintable characters")
    scheme, colon, rest = text.partition(":")
    if colon and scheme in ("hf", "pypi", "oci", "s3", "https", "http"):
        if scheme == "hf":
            return _hf(rest.removeprefix("//"))
        if scheme == "pypi":
            return _pypi(rest)
        if not rest.startswith("//"):
            raise _wrong(f"{scheme}: locator", "it has no // behind its scheme")
        if "@" in rest[2:].partition("/")[0]:
            raise Usage(
                f"{scheme}: locator: it holds a user or a password",
                remedy="keep the secret elsewhere and name it in assay.toml: "
                '[projects.NAME.intake.credentials] "HOST" = "env:NAME"; and change it',
                code="intake.password",
            )
        made = {"oci": _oci, "s3": _s3, "https": _https, "http": _http}[scheme]
        return made(rest[2:])
    if "://" in text or re.match(r"[a-z][a-z0-9+.]{1,15}:", text):
        raise _wrong("the locator", f"its scheme {scheme[:20]!r} is none that is known")
    return Locator("file", text, text)


def _hf(rest: str) -> Locator:
    found = _HF.fullmatch(rest)
    revision = (found["revision"] or "main") if found else ""
    if found is None or any(
        ".." in part or not part for part in (found["repo"], *revision.split("/"))
    ):
        raise _wrong("hf: locator", "it is not hf:ORG/NAME[@REVISION]")
    return Locator("hf", f"hf:{found['repo']}", found["repo"], revision)


def _oci(rest: str) -> Locator:
    found = _OCI.fullmatch(rest)
    if found is None or not 0 < int(found["port"] or 443) < 1 << 16:
        raise _wrong("oci: locator", "it is not oci://REGISTRY/REPOSITORY[:TAG|@sha256:DIGEST]")
    host = found["host"].lower()
    port = int(found["port"] or 443)
    shown = host if found["port"] is None else f"{host}:{port}"
    digest = found["digest"] or ""
    revision = digest or found["tag"] or "latest"
    place = f"oci://{shown}/{found['repo']}"
    return Locator("oci", place, found["repo"], revision, host=host, port=port, digest=digest)


def _s3(rest: str) -> Locator:
    bucket, _, prefix = rest.partition("/")
    parts = prefix.rstrip("/").split("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and any(p in ("", ".", "..") for p in parts)):
        raise _wrong("s3: locator", "it is not s3://BUCKET[/PREFIX]")
    return Locator("s3", f"s3://{rest}", bucket, path=prefix)


def _pypi(rest: str) -> Locator:
    found = _PYPI.fullmatch(rest)
    if found is None:
        raise _wrong("pypi: locator", "it is not pypi:NAME==VERSION[@sha256:DIGEST]#PATH")
    name = re.sub(r"[-_.]+", "-", found["name"]).lower()
    path = (found["path"] or "").strip("/")
    digest = found["digest"] or ""
    place = f"pypi:{name}" + (f"#{path}" if path else "")
    return Locator("pypi", place, name, found["version"], path=path, digest=digest)


def _https(rest: str) -> Locator:
    try:
        parts = urlsplit(f"https://{rest}")
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host, port, parts = None, 0, urlsplit("")
    steps = unquote(parts.path).split("/")
    nowhere = not steps[-1] or {".", ".."} & set(steps)
    if not host or parts.fragment or parts.query or nowhere:
        raise _wrong(
            "https: locator",
            "it is not https://HOST/PATH of one file (what stands behind ? is often a secret)",
        )
    url = f"https://{rest}"
    return Locator("https", url, url, host=host, port=port)


def _http(_: str) -> Locator:
    raise _wrong("the locator", "http: carries files that anybody on the way can change")


def _wrong(what: str, why: str) -> Usage:
    return Usage(
        f"{what}: {why}",
        remedy="a path, hf:ORG/NAME@REVISION, oci://REGISTRY/REPOSITORY@sha256:…, "
        "s3://BUCKET/PREFIX, pypi:NAME==VERSION#PATH or https://HOST/FILE",
        code="intake.locator",
    )
