"""What the digest of an environment depends on, on library folders made up for it."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.errors import Conflict, Usage
from assay.pipeline import installed
from assay.pipeline.environment import Environment, environment

LATER = 10**20
"""A time at which every file has settled."""


class Kept:
    """A memory that counts."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.puts = 0

    def get(self, key: str) -> bytes | None:
        return self.held.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.held[key] = value
        self.puts += 1


def record_of(site: Path, paths: list[str]) -> str:
    lines: list[str] = []
    for path in paths:
        data = (site / path).read_bytes()
        told = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={told},{len(data)}")
    return "\n".join(lines)


def install(
    site: Path,
    name: str,
    version: str,
    files: dict[str, str],
    *,
    requires: tuple[str, ...] = (),
    notes: dict[str, str] | None = None,
) -> Path:
    """Install a distribution as pip would."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {text}\n" for text in requires)
    texts = {
        **files,
        f"{info}/METADATA": f"Name: {name}\nVersion: {version}\n{needs}\nA text.\n",
        **{f"{info}/{note}": text for note, text in (notes or {"INSTALLER": "pip"}).items()},
    }
    for path, text in texts.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    record = f"{record_of(site, list(texts))}\n{info}/RECORD,,\nx/__pycache__/a.pyc,,\n"
    (site / info / "RECORD").write_text(record)
    return site / info


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site.parent / "project").mkdir()
    install(
        site,
        "big-lib",
        "1.0",
        {"lib/__init__.py": "x = 1\n", "lib/part.py": "y = 1\n", "lib.libs/native.so": "n"},
        requires=("helper>=1", "never; python_version < '3'", "optional; extra == 'more'"),
    )
    install(site, "helper", "1.1", {"helper.py": "z = 1\n"})
    install(site, "optional", "1.0", {"optional.py": "o = 1\n"})
    install(site, "other", "3.0", {"other/__init__.py": ""})
    return site


def check(site: Path, memo: Kept | None = None, imports: tuple[str, ...] = ("lib",)) -> Environment:
    return environment(
        imports,
        memo=memo or Kept(),
        folder=site.parent / "project",
        sites=[site],
        now=lambda: LATER,
    )


def test_an_environment_is_what_imports_require(site: Path) -> None:
    found = check(site)
    assert found.state == "verified"
    assert set(found.distributions) == {"assay", "big-lib", "helper"}
    assert found.distributions["big-lib"].startswith("1.0 sha256:")
    assert found.python.startswith("cpython-3.")
    assert {"lib", "lib.libs", "helper.py", "assay"} <= found.covers
    assert "other" not in found.covers


def test_extras_bring_what_they_name(site: Path) -> None:
    install(site, "user", "1.0", {"user.py": ""}, requires=("big-lib[more]",))
    assert set(check(site, imports=("user",)).distributions) == {
        *("assay", "big-lib", "helper", "optional", "user")
    }


def test_imports_of_what_is_not_installed_count_once_it_is(site: Path) -> None:
    before = check(site, imports=("lib", "absent"))
    assert before == check(site)
    install(site, "absent-lib", "1.0", {"absent/__init__.py": ""})
    after = check(site, imports=("lib", "absent"))
    assert after.digest != before.digest
    assert after.state == "verified"


def write(path: str, text: str) -> Callable[[Path], None]:
    def edit(site: Path) -> None:
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)

    return edit


def upgrade(site: Path) -> None:
    for item in (site / "helper-1.1.dist-info").iterdir():
        item.unlink()
    (site / "helper-1.1.dist-info").rmdir()
    install(site, "helper", "1.2", {"helper.py": "z = 1\n"})


def reinstall(site: Path) -> None:
    """Another build of the same version."""
    install(site, "helper", "1.1", {"helper.py": "z = 2\n"})


def linked(site: Path) -> None:
    (site / "lib/linked").symlink_to(site / "other")


INFO = "big_lib-1.0.dist-info"
ALTERED: dict[str, tuple[Callable[[Path], None], str]] = {
    "an edited file": (write("lib/part.py", "y = 2\n"), "lib/part.py was changed"),
    "an edited file of another length": (write("lib/part.py", ""), "lib/part.py was changed"),
    "an edited native library": (write("lib.libs/native.so", "m"), "native.so was changed"),
    "an edited requirement": (write("helper.py", "z = 3"), "helper 1.1: helper.py was changed"),
    "a missing file": (lambda site: (site / "lib/part.py").unlink(), "part.py is missing"),
    "an added module": (write("lib/added.py", ""), "lib/added.py is not part of it"),
    "an added package": (write("lib/sub/__init__.py", ""), "sub/__init__.py is not part of it"),
    "an added module without its source": (write("lib/a.pyc", ""), "lib/a.pyc is not part of it"),
    "an added extension": (write("lib/part.abi3.so", ""), "part.abi3.so is not part of it"),
    "an added native library": (write("lib.libs/b.so", ""), "lib.libs/b.so is not part of it"),
    "an added folder behind a link": (linked, "lib/linked is not part of it"),
    "added entry points": (write(f"{INFO}/entry_points.txt", ""), "entry_points.txt is not part"),
    "edited metadata": (
        write(f"{INFO}/METADATA", "Name: big-lib\nVersion: 1.0\n"),
        "METADATA was changed",
    ),
    "no RECORD": (
        lambda site: (site / INFO / "RECORD").unlink(),
        "belongs to no installed distribution",
    ),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_is_not_as_installed_is_named_and_changes_the_digest(site: Path, what: str) -> None:
    memo = Kept()
    before = check(site, memo)
    edit, words = ALTERED[what]
    edit(site)
    after = check(site, memo)
    assert after.state == "altered"
    assert any(words in problem for problem in after.problems), after.problems
    assert after.digest != before.digest
    assert after == check(site), "the same without memory"


@pytest.mark.parametrize("change", [upgrade, reinstall])
def test_another_version_or_build_changes_the_digest(
    site: Path, change: Callable[[Path], None]
) -> None:
    memo = Kept()
    before = check(site, memo)
    change(site)
    after = check(site, memo)
    assert after.state == "verified"
    assert after.digest != before.digest


def test_two_alterations_differ(site: Path) -> None:
    write("lib/part.py", "y = 2\n")(site)
    first = check(site)
    write("lib/part.py", "y = 3\n")(site)
    assert check(site).digest != first.digest


def upgrade_another(site: Path) -> None:
    install(site, "other", "4.0", {"other/__init__.py": "2"})


def install_with_another_program(site: Path) -> None:
    install(site, "helper", "1.1", {"helper.py": "z = 1\n"}, notes={"INSTALLER": "uv"})


UNCHANGED: dict[str, Callable[[Path], None]] = {
    "an unrelated distribution": upgrade_another,
    "compiled files": write("lib/__pycache__/part.cpython-311.pyc", "x"),
    "a new time": lambda site: os.utime(site / "lib/part.py"),
    "who installed it": install_with_another_program,
}


@pytest.mark.parametrize("what", UNCHANGED)
def test_what_does_not_run_keeps_the_digest(site: Path, what: str) -> None:
    memo = Kept()
    before = check(site, memo)
    UNCHANGED[what](site)
    after = check(site, memo)
    assert after.digest == before.digest
    assert after.state == "verified"


def test_what_was_not_touched_is_not_read_again(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memo = Kept()
    first = check(site, memo)
    read: list[str] = []
    real = installed.hash_file

    def counted(path: str) -> str | None:
        read.append(path)
        return real(path)

    monkeypatch.setattr(installed, "hash_file", counted)
    assert check(site, memo) == first
    assert not read
    write("helper.py", "z = 1\n")(site)
    assert check(site, memo) == first
    assert {Path(path).name for path in read} == {"helper.py", "METADATA", "INSTALLER"}


def test_an_edit_of_the_same_size_with_its_time_set_back_is_seen(site: Path) -> None:
    memo = Kept()
    check(site, memo)
    path = site / "lib/part.py"
    status = path.stat()
    path.write_text("y = 9\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check(site, memo).state == "altered"


def test_nothing_is_remembered_of_files_changed_a_moment_ago(site: Path) -> None:
    memo = Kept()
    newest = max(path.stat().st_ctime_ns for path in site.rglob("*"))
    environment(["lib"], memo=memo, folder=site, sites=[site], now=lambda: newest + 1)
    assert not [key for key in memo.held if "/files/" in key and b"helper" in memo.held[key]]
    kept = len(memo.held)
    check(site, memo)
    assert len(memo.held) > kept


def test_a_memory_of_another_form_counts_for_nothing(site: Path) -> None:
    memo = Kept()
    first = check(site, memo)
    memo.held = dict.fromkeys(memo.held, b"\xc1 not msgpack")
    assert check(site, memo) == first


def test_files_that_change_all_the_time_are_a_conflict(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = installed.hash_file

    def meanwhile(path: str) -> str | None:
        told = real(path)
        if path.endswith("part.py"):
            with Path(path).open("a") as stream:
                stream.write("#\n")
        return told

    monkeypatch.setattr(installed, "hash_file", meanwhile)
    with pytest.raises(Conflict, match="changes while it is checked"):
        check(site)


def test_a_namespace_is_verified_with_all_who_share_it(site: Path) -> None:
    install(site, "space-a", "1.0", {"space/a.py": "a = 1\n"})
    install(site, "space-b", "1.0", {"space/b.py": "b = 1\n"})
    found = check(site, imports=("space",))
    assert found.state == "verified"
    assert {"space-a", "space-b"} <= set(found.distributions)
    write("space/c.py", "")(site)
    after = check(site, imports=("space",))
    assert after.state == "altered"
    assert any("space/c.py" in problem for problem in after.problems)


def test_a_module_of_no_distribution_is_named_and_hashed(site: Path) -> None:
    write("loose.py", "x = 1\n")(site)
    before = check(site, imports=("loose",))
    assert before.state == "altered"
    assert "belongs to no installed distribution" in before.problems[0]
    write("loose.py", "x = 2\n")(site)
    assert check(site, imports=("loose",)).digest != before.digest


def test_a_distribution_installed_twice_is_a_problem(site: Path) -> None:
    install(site, "helper", "1.2", {"helper.py": "z = 1\n"})
    found = check(site)
    assert found.state == "altered"
    assert any("helper is installed twice" in problem for problem in found.problems)


def test_old_metadata_cannot_be_verified_and_says_so(site: Path) -> None:
    write("old-1.0.egg-info/PKG-INFO", "Name: old\nVersion: 1.0\n")(site)
    write("old-1.0.egg-info/top_level.txt", "old\n")(site)
    write("old/__init__.py", "x = 1\n")(site)
    before = check(site, imports=("old",))
    assert before.state == "altered"
    assert any("old 1.0 has no RECORD" in problem for problem in before.problems)
    write("old/__init__.py", "x = 2\n")(site)
    assert check(site, imports=("old",)).digest != before.digest


def test_an_editable_installation_is_first_party_code(site: Path) -> None:
    info = install(
        site,
        "mine",
        "1.0",
        {"_editable_mine.pth": "/somewhere"},
        notes={"direct_url.json": '{"url": "file:///x", "dir_info": {"editable": true}}'},
    )
    assert info.exists()
    install(site, "user", "1.0", {"user.py": ""}, requires=("mine",))
    assert check(site, imports=("user",)).state == "verified"
    by_hook = check(site, imports=("mine",))
    assert "import hook" in by_hook.problems[0]


def test_a_record_that_cannot_be_read_is_refused(site: Path) -> None:
    (site / INFO / "RECORD").write_text("lib/part.py,sha256=x\n")
    with pytest.raises(Usage, match="RECORD cannot be read"):
        check(site)


def test_a_file_without_a_digest_is_a_problem(site: Path) -> None:
    record = site / INFO / "RECORD"
    record.write_text(
        "\n".join(
            "lib/part.py,," if line.startswith("lib/part.py,") else line
            for line in record.read_text().splitlines()
        )
    )
    before = check(site)
    assert any("part.py is listed without a digest" in text for text in before.problems)
    write("lib/part.py", "y = 7\n")(site)
    assert check(site).digest != before.digest


UV = (
    '[[package]]\nname = "big-lib"\nversion = "{}"\n[[package]]\nname = "helper"\nversion = "1.1"\n'
)
PYLOCK = UV.replace("[[package]]", "[[packages]]")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.lock", UV),
        ("poetry.lock", UV),
        ("pylock.toml", PYLOCK),
        (
            "requirements.txt",
            "# pins\nBig.Lib=={} \\\n    --hash=sha256:0\n-r x\nhelper==1.1\n",
        ),
        ("requirements-all.txt", "big_lib=={}; python_version > '3'\nhelper===1.1 # why\n"),
    ],
)
def test_locked_versions_are_the_installed_ones(site: Path, name: str, text: str) -> None:
    project = site.parent / "project"
    (project / name).write_text(text.format("1.0"))
    found = check(site)
    assert found.state == "locked"
    (project / name).write_text(text.format("2.0"))
    other = check(site)
    assert other.state == "altered"
    assert other.problems == (f"big-lib 1.0 is installed, {name} says 2.0",)
    assert other.digest == found.digest


def test_a_lock_of_everything_names_everything(site: Path) -> None:
    text = '[[package]]\nname = "big-lib"\nversion = "1.0"\n'
    (site.parent / "project/uv.lock").write_text(text)
    found = check(site)
    assert found.problems == ("helper 1.1 is installed, uv.lock does not name it",)
    (site.parent / "project/uv.lock").unlink()
    (site.parent / "project/requirements.txt").write_text("big-lib==1.0\nhelper>=1\n")
    assert check(site).state == "verified"


def test_a_lock_is_looked_for_up_to_the_repository(site: Path) -> None:
    (site.parent / "uv.lock").write_text(UV.format("1.0"))
    assert check(site).state == "verified"
    (site.parent / ".git").mkdir()
    assert check(site).state == "locked"


@pytest.mark.parametrize(
    "text",
    [
        "[[package",
        "package = 1\n",
        '[[package]]\nversion = "1"\n',
        "[[package]]\nname=1\nversion=2",
    ],
)
def test_a_lock_that_cannot_be_read_is_refused(site: Path, text: str) -> None:
    (site.parent / "project/uv.lock").write_text(text)
    with pytest.raises(Usage, match="cannot read the lock file") as caught:
        check(site)
    assert caught.value.remedy


def test_this_very_environment_is_as_it_was_installed(tmp_path: Path) -> None:
    found = environment(["msgspec", "packaging", "threadpoolctl"], memo=Kept(), folder=tmp_path)
    assert found.state == "verified"
    assert {"msgspec", "packaging", "threadpoolctl", "assay"} <= set(found.distributions)
