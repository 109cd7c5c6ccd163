"""`assay scan` and `assay suppressions`: verdicts, exit statuses, reports, without a workspace."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.cli import scan_reports
from assay.cli.scan import EXITS
from assay.supply.batch import Answer, Batch, Found, Scanned
from assay.supply.suppressions import judge

GOOD = pickle.dumps({"a": [1, 2]})
EVIL = b"cposix\nsystem\n(S'id'\ntR."
SUSPICIOUS = b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aNsb."
UNKNOWN = bytes(range(256)) * 3


@pytest.fixture
def models(empty: Any) -> Any:
    """A folder with one file of each verdict that a test needs."""
    for name, data in (("good.pkl", GOOD), ("evil.pkl", EVIL), ("unknown.bin", UNKNOWN)):
        (empty.ws / name).write_bytes(data)
    from assay.supply.scan import scan

    (empty.ws / "odd.pkl").write_bytes(SUSPICIOUS)
    if scan(empty.ws / "odd.pkl")["verdict"] != "suspicious":
        (empty.ws / "odd.pkl").write_bytes(b"\x80\x02cmy_models\nModel\n)\x81.")
    assert scan(empty.ws / "odd.pkl")["verdict"] == "suspicious"
    return empty


# -- verdicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (("good.pkl",), 0),
        (("good.pkl", "odd.pkl"), 1),
        (("odd.pkl", "unknown.bin", "good.pkl"), 3),
        (("unknown.bin", "evil.pkl", "odd.pkl"), 4),
        ((".",), 4),
    ],
)
def test_the_worst_file_decides_the_exit_status(
    models: Any, files: tuple[str, ...], code: int
) -> None:
    done = models("scan", *files)
    assert done.code == code
    assert done.err == ""


def test_each_file_is_told_with_why_it_matters_and_what_to_do(models: Any) -> None:
    done = models("scan", ".")
    for name in ("evil.pkl", "odd.pkl", "unknown.bin", "good.pkl"):
        assert name in done.out
    assert "pickle.global" in done.out
    assert "posix.system" in done.out
    assert "why: " in done.out
    assert "→" in done.out
    assert "4 files: 1 clean, 1 suspicious, 1 unscannable, 1 malicious" in done.out


@pytest.mark.parametrize(
    "args",
    [
        ("nothing.pkl",),
        (),
        ("good.pkl", "--format", "pdf"),
        ("good.pkl", "--output", "no/such/folder/x.json"),
        ("good.pkl", "--suppressions", "nothing.toml"),
        ("good.pkl", "--suppressions", "nothing.toml", "--key", "nothing.pub"),
        ("good.pkl", "--baseline", "b.toml"),
        ("--files-from", "nothing.txt"),
        ("-", "--files-from", "-"),
        ("good.pkl", "--jobs", "-1"),
    ],
)
def test_wrong_usage_is_2_and_one_line_with_a_remedy(models: Any, args: tuple[str, ...]) -> None:
    done = models("scan", *args)
    assert done.code == 2, done
    assert len(done.err.strip().splitlines()) == 2
    assert "→" in done.err


def test_no_exit_status_of_a_verdict_is_that_of_wrong_usage() -> None:
    assert EXITS == {"clean": 0, "suspicious": 1, "unscannable": 3, "malicious": 4}


def test_a_list_of_paths_is_read_with_lines_or_zero_bytes(models: Any) -> None:
    (models.ws / "lines").write_text("good.pkl\n\nodd.pkl\n")
    (models.ws / "zeros").write_bytes(b"good.pkl\0odd.pkl\0")
    assert models("scan", "--files-from", "lines").code == 1
    assert models("scan", "--files-from", "zeros", "--null").code == 1
    (models.ws / "none").write_text("")
    done = models("scan", "--files-from", "none")
    assert (done.code, done.out.strip()) == (0, "0 files: nothing was scanned")


@pytest.mark.parametrize(("data", "code"), [(EVIL, 4), (GOOD, 0), (b"", 3)])
def test_a_model_comes_through_a_pipe(data: bytes, code: int) -> None:
    command = [sys.executable, "-m", "assay", "scan", "-", "--json"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60)
    assert done.returncode == code
    assert json.loads(done.stdout)["files"][0]["path"] == "-"


def test_what_is_left_out_is_counted(models: Any) -> None:
    done = models("scan", ".", "--exclude", "evil.*", "--exclude", "*.bin")
    assert done.code == 1
    assert "2 left out as asked" in done.out


# -- reports ---------------------------------------------------------------------------------------


def test_json_has_every_file_with_its_findings(models: Any) -> None:
    done = models("scan", ".", "--json")
    told = done.json
    assert told == models("scan", ".", "--format", "json").json
    assert told["format"] == "assay/scan-report/v1"
    assert told["verdict"] == "malicious"
    assert told["counts"] == {"clean": 1, "suspicious": 1, "unscannable": 1, "malicious": 1}
    files = {item["path"]: item for item in told["files"]}
    assert files["good.pkl"]["digest"] is None
    assert files["evil.pkl"]["findings"][0]["rule"] == "pickle.global"
    assert {"why", "remedy", "where", "what", "severity"} <= files["evil.pkl"]["findings"][0].keys()


def test_one_scan_writes_several_reports_by_their_endings(models: Any) -> None:
    done = models(
        "scan", "evil.pkl", "--format", "github", "--output", "a.sarif", "--output", "b.xml",
        "--output", "c.json", "--output", "d.txt",
    )  # fmt: skip
    assert done.code == 4
    assert done.out.startswith("::error file=evil.pkl,")
    assert json.loads((models.ws / "a.sarif").read_bytes())["version"] == "2.1.0"
    assert b'failures="1"' in (models.ws / "b.xml").read_bytes()
    assert json.loads((models.ws / "c.json").read_bytes())["verdict"] == "malicious"
    assert "pickle.global" in (models.ws / "d.txt").read_text()
    again = models("scan", "good.pkl", "--output", "a.sarif")
    assert again.code == 2
    assert "exists" in again.err
    assert models("scan", "good.pkl", "--output", "a.sarif", "--force").code == 0


def test_a_file_of_no_known_ending_gets_the_format_and_a_person_reads_on(models: Any) -> None:
    done = models("scan", "evil.pkl", "--format", "sarif", "--output", "report")
    assert json.loads((models.ws / "report").read_bytes())["runs"]
    assert done.out.startswith("malicious")


def judged(*found: tuple[str, str, str, str], path: str = "m.pkl") -> scan_reports.Outcome:
    findings = [Found(rule, severity, where, what) for rule, severity, where, what in found]  # type: ignore[arg-type]
    order = ("malicious", "unscannable", "suspicious")
    verdict: Any = next((s for s in order if s in {f.severity for f in findings}), "clean")
    answer = Answer(verdict, "pickle", 7, findings, len(findings), "sha256:" + "0" * 64)
    return scan_reports.Outcome(judge(Batch([Scanned(path, answer)]), None), None, "full")


ODD = st.text(max_size=60) | st.sampled_from(
    ["::error::x", "a\n::set-output name=x::y", "%0A", "]](http://x)", "../../etc/passwd", "\udcff",
     "</testcase>", "##[add-path]/x", "a:b,c=d%", "\u202egnp.exe", "/etc/passwd", ""]
)  # fmt: skip


@given(path=ODD, where=ODD, what=ODD)
@settings(max_examples=80, deadline=None)
def test_names_of_any_kind_give_no_command_and_break_no_report(
    path: str, where: str, what: str
) -> None:
    outcome = judged(("pickle.global", "malicious", where, what), path=path or "x")
    lines = scan_reports.github(outcome).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=")
    assert lines[1].startswith("::notice title=")
    head = lines[0].removeprefix("::error ").partition("::")[0]
    assert sorted(part.partition("=")[0] for part in head.split(",")) == ["file", "title"]
    ElementTree.fromstring(scan_reports.junit(outcome))  # noqa: S314 - our own
    log = json.loads(scan_reports.sarif(outcome))
    uri = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"][
        "uri"
    ]
    assert not uri.startswith(("/", ".."))
    assert ":" not in uri
    json.dumps(scan_reports.as_json(outcome)).encode()


def test_at_most_ten_annotations_of_each_kind_are_written() -> None:
    many = [("pickle.global", "malicious", f"+{n}", "x") for n in range(40)]
    mild = [("pickle.call", "suspicious", f"+{n}", "x") for n in range(40)]
    lines = scan_reports.github(judged(*many, *mild)).splitlines()
    kinds = [line.split(" ")[0] for line in lines]
    assert (kinds.count("::error"), kinds.count("::warning"), kinds.count("::notice")) == (
        10,
        10,
        1,
    )
    assert "60 findings more" in lines[-1]


def test_at_most_five_thousand_results_are_written_and_the_worst_are_kept() -> None:
    many = [("pickle.call", "suspicious", f"+{n}", "x") for n in range(5_200)]
    log = json.loads(scan_reports.sarif(judged(*many, ("zip.path", "malicious", "+0", "y"))))
    (run,) = log["runs"]
    assert len(run["results"]) == 5_000
    assert run["results"][0]["ruleId"] == "zip.path"
    note = run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert note.startswith("201 less severe results")


def test_no_line_of_the_text_begins_with_what_a_file_is_called(models: Any) -> None:
    for name in ("::error::x.pkl", "##[error]x.pkl", "[red]x.pkl"):
        (models.ws / name).write_bytes(EVIL)
    done = models("scan", ".", "--all")
    ours = {"malicious", "clean", "suspicious", "unscannable", "why:", "→", "digest", "and"}
    for line in done.out.splitlines():
        first = line.split()[0].rstrip(":")
        assert first in ours or first.rstrip(":") in {"why", "read"} or first.isdigit(), line
    assert "##[" not in done.out
    assert "[red]x" in done.out


# -- suppressions ----------------------------------------------------------------------------------


def test_a_suppression_is_made_signed_and_counts(models: Any) -> None:
    models.ok("actor", "new-key", "carol", "--development")
    public = models.folder / "keys" / "carol.pub"
    rule = models("scan", "odd.pkl", "--json").json["files"][0]["findings"][0]["rule"]
    kept = ("--suppressions", "s.toml", "--key", public)
    models.ok(
        "suppressions", "add", "s.toml", "--model", "odd.pkl", "--rule", rule,
        "--reason", "our own", "--owner", "risk",
    )  # fmt: skip
    unsigned = models("scan", "odd.pkl", *kept)
    assert (unsigned.code, "not signed" in unsigned.err) == (2, True)
    models.ok("suppressions", "sign", "s.toml", "--as", "carol")
    done = models("scan", "odd.pkl", *kept)
    assert done.code == 0, done
    assert "suppressed until" in done.out
    assert "1 finding suppressed" in done.out
    told = models("scan", "odd.pkl", *kept, "--json").json["files"][0]
    assert (told["verdict"], told["scanned"]) == ("clean", "suspicious")
    assert told["findings"][0]["suppressed"]["owner"] == "risk"
    log = json.loads(models("scan", "odd.pkl", *kept, "--format", "sarif").out)
    (suppressed,) = log["runs"][0]["results"][0]["suppressions"]
    assert suppressed["kind"] == "external"
    assert models("suppressions", "show", "s.toml", "--key", public).code == 0
    (models.ws / "odd.pkl").write_bytes((models.ws / "odd.pkl").read_bytes() + b"N.")
    assert models("scan", "odd.pkl", *kept).code in (1, 3)
    (models.ws / "s.toml").write_bytes((models.ws / "s.toml").read_bytes() + b"# more\n")
    altered = models("scan", "odd.pkl", *kept)
    assert (altered.code, "changed after" in altered.err) == (2, True)


def test_a_baseline_takes_in_what_is_suspicious_and_counts_only_when_signed(models: Any) -> None:
    models.ok("actor", "new-key", "carol", "--development")
    public = models.folder / "keys" / "carol.pub"
    done = models("scan", ".", "--baseline", "b.toml", "--owner", "risk", "--reason", "in use")
    assert done.code == 4
    assert "do not count until signed" in done.err
    assert "unscannable or malicious" in done.err
    models.ok("suppressions", "sign", "b.toml", "--as", "carol")
    kept = ("--suppressions", "b.toml", "--key", public)
    assert models("scan", "odd.pkl", "good.pkl", *kept).code == 0
    assert models("scan", "evil.pkl", *kept).code == 4
    assert models("scan", "unknown.bin", *kept).code == 3


def test_a_key_in_pem_signs_and_is_trusted_and_another_is_not(models: Any) -> None:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    from assay.evidence.signers import FileSigner

    for name in ("ours", "theirs"):
        FileSigner.create(models.ws / f"{name}.pem")
        key = load_pem_private_key((models.ws / f"{name}.pem").read_bytes(), None)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (models.ws / f"{name}.pub.pem").write_bytes(public)
    models("scan", "odd.pkl", "--baseline", "b.toml", "--owner", "o", "--reason", "r")
    models.ok("suppressions", "sign", "b.toml", "--key", "ours.pem")
    assert models("scan", "odd.pkl", "--suppressions", "b.toml", "--key", "ours.pub.pem").code == 0
    refused = models("scan", "odd.pkl", "--suppressions", "b.toml", "--key", "theirs.pub.pem")
    assert (refused.code, "nobody known" in refused.err) == (2, True)
    assert models("suppressions", "sign", "b.toml").code == 2
    (models.ws / "bad.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
    assert models("suppressions", "show", "b.toml", "--key", "bad.pem").code == 2


# -- alone -----------------------------------------------------------------------------------------

_AUDITED = """
import sys
seen = []
def hook(event, args):
    if event.startswith("socket.") and event not in ("socket.__new__",):
        seen.append((event, str(args[1:])[:100]))
    if event == "socket.__new__" and int(args[1]) != 1:  # 1: AF_UNIX, to our own processes.
        seen.append((event, str(args[1:])[:100]))
sys.addaudithook(hook)
from assay.cli.app import run
code = run(sys.argv[1:])
print(seen, file=sys.stderr)
raise SystemExit(code)
"""


def test_scanning_opens_no_socket_but_to_its_own_processes(models: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AUDITED, "scan", ".", "--json"],
        cwd=models.ws, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_help_loads_neither_the_scanner_nor_a_library_that_computes() -> None:
    code = (
        "import sys; from assay.cli.app import run; run(['scan', '--help']);"
        "heavy = {'numpy', 'onnx', 'sqlalchemy', 'cryptography', 'assay.supply.scan',"
        " 'assay.supply.content', 'assay.isolation.worker', 'assay.cli.scan_reports'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"


def test_a_scan_without_suppressions_loads_no_cryptography_and_no_library_of_models(
    models: Any,
) -> None:
    code = (
        "import sys; from assay.cli.app import run; run(['scan', 'good.pkl', '--json']);"
        "heavy = {'numpy', 'onnx', 'sqlalchemy', 'cryptography', 'bandit', 'torch'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=models.ws, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr.strip() == "[]"


def test_a_scan_reads_no_workspace_and_no_keys(models: Any) -> None:
    (models.ws / "assay.toml").write_text("this is no configuration [")
    before = sorted(models.folder.iterdir())
    assert models("scan", "good.pkl").code == 0
    assert sorted(models.folder.iterdir()) == before
