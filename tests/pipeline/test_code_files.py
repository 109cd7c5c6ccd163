"""Which files are read and staged, how, and what is refused; and the archive of them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError, Conflict, Corrupt, Usage
from assay.pipeline import staging
from assay.pipeline.code import Codebase, pack_code, unpack_code, write_code

ROOT = os.geteuid() == 0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name, text in {
        "run.py": "import pkg\n",
        "pkg/__init__.py": "",
        "pkg/data/table.csv": "a\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def read(folder: Path, target: str = "run.py") -> Codebase:
    return Codebase.read(target, folder=folder, path=())


def test_the_very_bytes_that_were_read_are_staged(project: Path) -> None:
    code = read(project)
    files = code.files()
    before = code.closure("run")
    (project / "pkg/__init__.py").write_text("edited = 1\n")
    assert code.files() == files
    assert code.closure("run") == before
    assert read(project).digest != code.digest


@pytest.mark.parametrize("name", ["pkg/leak.py", "pkg/leak.txt", "pkg/leak"])
def test_a_link_out_of_the_project_is_refused(project: Path, name: str) -> None:
    secret = project.parent / "secret"
    secret.mkdir()
    (secret / "file").write_text("s")
    (project / name).symlink_to(secret if name == "pkg/leak" else secret / "file")
    with pytest.raises(Usage, match=r"leads out of the project") as caught:
        read(project)
    assert "copy the file" in caught.value.remedy


def test_a_package_that_is_a_link_out_of_the_project_is_refused(project: Path) -> None:
    (project / "pkg").rename(project.parent / "away")
    (project / "pkg").symlink_to(project.parent / "away")
    with pytest.raises(Usage, match="leads out of the project"):
        read(project)


def test_a_link_to_nothing_is_refused(project: Path) -> None:
    (project / "pkg/gone.py").symlink_to(project / "nowhere")
    with pytest.raises(Usage, match="link to nothing"):
        read(project)


def test_a_link_in_the_project_is_staged_as_what_it_leads_to(project: Path) -> None:
    (project / "shared.json").write_text("{}")
    (project / "pkg/linked.json").symlink_to(project / "shared.json")
    (project / "more").mkdir()
    (project / "more/x.txt").write_text("x")
    (project / "pkg/folder").symlink_to(project / "more")
    files = read(project).files()
    assert files["0/pkg/linked.json"] == b"{}"
    assert files["0/pkg/folder/x.txt"] == b"x"


def test_a_link_to_the_folder_it_lies_in_is_refused(project: Path) -> None:
    (project / "pkg/again").symlink_to(project / "pkg")
    with pytest.raises(Usage, match="inside of itself"):
        read(project)


def test_pipes_and_sockets_in_a_package_are_left_out(project: Path) -> None:
    os.mkfifo(project / "pkg/pipe")
    os.mkfifo(project / "pkg/pipe.py")
    assert "0/pkg/pipe" not in read(project).files()
    assert "0/pkg/pipe.py" not in read(project).files()


def test_a_module_that_is_a_pipe_does_not_hang(project: Path) -> None:
    (project / "run.py").write_text("import pipe\n")
    os.mkfifo(project / "pipe.py")
    assert read(project).closure("run").third_party == ("pipe",)


@pytest.mark.skipif(ROOT, reason="root can read everything")
def test_a_file_that_cannot_be_read_is_named(project: Path) -> None:
    (project / "pkg/data/table.csv").chmod(0)
    with pytest.raises(Usage, match=r"cannot read pkg/data/table.csv"):
        read(project)


def test_a_read_that_fails_names_the_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refusing(path: str | Path, flags: int, *rest: int, **more: int) -> int:
        if str(path).endswith("table.csv"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(Usage, match=r"cannot read pkg/data/table.csv: Permission denied"):
        read(project)


def test_a_file_that_changes_while_it_is_read_is_a_conflict(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project / "pkg/data/table.csv"
    real = os.read

    def meanwhile(handle: int, size: int) -> bytes:
        data = real(handle, size)
        if data == path.read_bytes():
            with path.open("ab") as stream:
                stream.write(b"b\n")
        return data

    monkeypatch.setattr(os, "read", meanwhile)
    with pytest.raises(Conflict, match=r"table.csv changes while it is read"):
        read(project)


def test_too_many_files_are_refused_naming_the_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MOST_FILES", 10)
    for number in range(10):
        (project / f"pkg/data/{number}.txt").write_text("")
    with pytest.raises(Usage, match=r"^pkg brings the code to 13 files; 10 are allowed") as caught:
        read(project)
    assert "declare it as an input" in caught.value.remedy


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_FILE_BYTES"])
def test_too_much_data_is_refused_before_it_is_read(
    project: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(staging, limit, 5 << 20)
    with (project / "pkg/data/big.bin").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(Usage, match=r"the largest is pkg/data/big\.bin"):
        read(project)


@pytest.mark.slow
def test_ten_thousand_files_are_staged_and_come_back(project: Path, tmp_path: Path) -> None:
    for number in range(10_000):
        (project / f"pkg/data/{number}.txt").write_text(str(number))
    code = read(project)
    files = code.files()
    assert len(files) == 10_003
    assert unpack_code(pack_code(files)) == files
    write_code(files, tmp_path / "staged")
    assert sum(path.is_file() for path in (tmp_path / "staged").rglob("*")) == 10_003


@pytest.mark.parametrize("name", [b"a\xff.txt", b"a\nb.txt", b"a\\b.txt"])
def test_names_that_no_other_machine_can_have_are_refused(project: Path, name: bytes) -> None:
    (Path(os.fsdecode(os.fsencode(project / "pkg/data") + b"/" + name))).write_text("")
    with pytest.raises(Usage, match="control signs"):
        read(project)


def test_a_broken_module_is_refused_with_file_and_line(project: Path) -> None:
    (project / "pkg/__init__.py").write_text("x = 1\ny = (\n")
    with pytest.raises(Usage, match=r"^pkg/__init__.py, line 2: is not valid Python"):
        read(project)


def test_a_broken_module_that_nothing_imports_does_no_harm(project: Path) -> None:
    (project / "pkg/draft.py").write_text("y = (\n")
    (project / "beside.py").write_text("y = (\n")
    assert read(project).closure("run").modules.keys() == {"run", "pkg"}


def test_library_folders_are_no_place_for_first_party_code(project: Path) -> None:
    path = [sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), "", "relative", "/none"]
    (project / "run.py").write_text("import msgspec, packaging\n")
    code = Codebase.read("run.py", folder=project, path=path)
    assert code.closure("run").third_party == ("msgspec", "packaging")
    assert code.roots == ("0",)


def test_a_virtual_environment_on_the_path_is_no_place_for_first_party_code(
    project: Path,
) -> None:
    (project / "env/bin").mkdir(parents=True)
    (project / "env/pyvenv.cfg").write_text("")
    (project / "env/bin/tool.py").write_text("")
    (project / "run.py").write_text("import tool\n")
    code = Codebase.read("run.py", folder=project, path=[str(project / "env/bin")])
    assert code.closure("run").third_party == ("tool",)


@pytest.mark.parametrize("name", ["build", "dist", "node_modules", "env"])
def test_bare_folders_of_tools_are_no_packages(project: Path, name: str) -> None:
    (project / name).mkdir()
    (project / name / "x.py").write_text("")
    (project / "run.py").write_text(f"import {name}.x\n")
    assert read(project).closure("run").third_party == (name,)


def test_what_is_found_is_what_python_imports_from_the_staged_files(
    project: Path, tmp_path: Path
) -> None:
    for name, text in {
        "run.py": "import pkg.a, both, spaced.b, src_only\nfrom pkg import *\n",
        "pkg/__init__.py": "__all__ = ['c']\n",
        "pkg/a.py": "from . import d\n",
        "pkg/c.py": "",
        "pkg/d/__init__.py": "from ..e import f\n",
        "pkg/e/f.py": "",
        "both.py": "",
        "both/__init__.py": "",
        "spaced/b.py": "",
        "src/src_only.py": "",
        "src/both.py": "",
        "src/spaced/b.py": "",
        "src/spaced/g.py": "",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    code = read(project)
    staged = tmp_path / "staged"
    write_code(code.files(), staged)
    program = (
        "import sys\n"
        f"staged = {str(staged)!r}\n"
        f"sys.path[:0] = [staged + '/' + root for root in {code.roots!r}]\n"
        "import run\n"
        "for m in sorted(sys.modules.values(), key=lambda m: m.__name__):\n"
        "    f = getattr(m, '__file__', None) or ''\n"
        "    if f.startswith(staged): print(m.__name__, f[len(staged) + 1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program],
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = dict(line.split(" ") for line in done.stdout.splitlines())
    closure = code.closure("run")
    assert loaded.keys() == closure.modules.keys()
    assert set(loaded.values()) <= closure.paths


# The archive.

PARTS = st.text(st.sampled_from("ab.é_-"), min_size=1, max_size=5).filter(
    lambda part: part not in (".", "..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATHS, st.binary(max_size=50), max_size=6)


@settings(max_examples=100, deadline=None)
@given(FILES)
def test_an_archive_gives_back_its_files_and_is_the_same_each_time(files: dict[str, bytes]) -> None:
    packed = pack_code(files)
    assert unpack_code(packed) == files
    assert pack_code(dict(reversed(files.items()))) == packed


@settings(max_examples=200, deadline=None)
@given(FILES, st.data())
def test_an_archive_with_any_byte_changed_is_refused(
    files: dict[str, bytes], data: st.DataObject
) -> None:
    packed = bytearray(pack_code(files))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack_code(bytes(packed))
    except Corrupt:
        return
    # Another archive, in its one form: a changed name or content, with its checksum.
    assert found != files


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", how) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            archive.writestr(name, data)
    return stream.getvalue()


def linked() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("0/link", (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        zipped(("../x", b"")),
        zipped(("/etc/x", b"")),
        zipped(("0/../../x", b"")),
        zipped(("0/a\\b", b"")),
        zipped(("0//a", b"")),
        zipped(("0/", b"")),
        zipped((linked(), b"/etc/passwd")),
        zipped(("0/a", b"1"), ("0/a", b"2")),
        zipped(("0/a", b"0" * 100_000), how=zipfile.ZIP_DEFLATED),
        pack_code({"0/a": b"1"}) + b"more",
        b"more" + pack_code({"0/a": b"1"}),
        pack_code({"0/a": b"1"})[:-1],
        zipped(("0/b", b""), ("0/a", b"")),
    ],
)
def test_an_archive_that_is_not_in_its_one_form_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack_code(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_unpack_or_be_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack_code(data)


def test_staging_writes_each_file_and_nothing_over_another(tmp_path: Path) -> None:
    into = tmp_path / "new/folder"
    write_code({"0/pkg/a.py": b"x", "1/b.py": b"y"}, into)
    assert (into / "0/pkg/a.py").read_bytes() == b"x"
    assert (into / "1/b.py").read_bytes() == b"y"
    with pytest.raises(Usage, match="not empty"):
        write_code({"0/c.py": b""}, into)


@pytest.mark.parametrize("path", ["../x", "/x", "0/../x", "", "0/./x", "0/x\n", "a\\b"])
def test_staging_never_leaves_its_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(AssayError):
        write_code({path: b""}, tmp_path / "into")
    assert not (tmp_path / "x").exists()
