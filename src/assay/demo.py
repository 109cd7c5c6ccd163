"""``make demo``: the whole life of a model on real data, computed live.

Every step is a command of the ``assay`` command line, run as printed.  Data: 30,000 credit card
clients in Taiwan (I-Cheng Yeh, UCI Machine Learning Repository, 2009), taken from a package on the
Python index.  Nothing is staged: the models are trained here, and what is refused is refused by the
policy that ``assay init`` writes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from assay.cli.app import run
from assay.data import samples
from assay.errors import AssayError

out = Console(highlight=False, soft_wrap=True)

LABEL = "default-payment-next-month"
ROWS = 8_000
CACHE = Path(".cache/samples")
PLACE = Path("build/demo")
_MARK = "made by assay.demo: removed when it runs again\n"
_HOST = "127.0.0.1"
_PATIENCE = 60.0
_DESCRIBE = (
    *("--owner", "credit risk department", "--origin", "UCI Machine Learning Repository"),
    *("--licence", "CC BY 4.0", "--purpose", "credit-scoring", "--legal-basis", "contract"),
    *("--residency", "local"),
)
_MODEL = (
    *("--purpose", "credit-scoring", "--train", "train", "--test", "test", "--label", LABEL),
    *("--positive", "1", "--sensitive", "SEX,AGE"),
)


class Failed(Exception):
    """A step did not end as the story says: the demo stops and says so."""


def main() -> None:
    began = time.monotonic()
    try:
        story()
    except (Failed, AssayError, OSError) as error:
        out.print(f"\n[bold red]the demo stopped[/]: {escape(str(error))}")
        sys.exit(1)
    out.print(f"\n[bold green]done[/] in {time.monotonic() - began:.0f} s")


def story() -> None:
    """The road from a table to a revoked endpoint."""
    source = samples.fetch(
        samples.find("credit-default"), CACHE, progress=lambda text: out.print(f"  … {text}")
    ).resolve()
    place = _fresh(PLACE)
    os.environ["ASSAY_KEYS"] = str(place / "keys")
    os.environ["XDG_STATE_HOME"] = str(place / "state")
    os.environ["ASSAY_ACTOR"] = "you"
    repository = place / "repository"
    repository.mkdir()
    with contextlib.chdir(repository):
        _act_1_begin(source)
        _act_2_candidates()
        _act_3_release()
        with _serving() as (url, token):
            _act_4_serve(url, token)
            _act_5_tamper()
            _act_6_revoke(url, token)
        _act_7_prove()


def _act_1_begin(source: Path) -> None:
    chapter("A workspace, and data that somebody answers for")
    assay("init", "--development", "--project", "credit", "--name", "you")
    _split(source)
    assay("data", "register", "train.csv", *_DESCRIBE)
    assay("data", "register", "test.csv", *_DESCRIBE)


def _act_2_candidates() -> None:
    chapter("Candidate 1 learns its training data by heart")
    _train_by_heart()
    assay("model", "register", "by-heart.joblib", "--name", "credit", *_MODEL)
    assay("model", "assess", "credit@1", "--data", "test", "--train", "train")
    assay("promote", "credit@1", "--to", "production", expect=3)
    note("Refused, and it says why: it is much better on rows it has seen, and tells who they are.")

    chapter("Candidate 2 arrives with a pickle that runs a command when it is opened")
    _poison()
    assay("model", "register", "gift.pkl", "--name", "credit", *_MODEL, expect=4)
    if Path("gift-was-opened").exists():
        raise Failed("the pickle was opened")
    note("Quarantined: it was scanned, never opened. It stays under seal for examination.")


def _act_3_release() -> None:
    chapter("Candidate 3 generalises")
    _train_well()
    assay("model", "register", "steady.joblib", "--name", "credit", *_MODEL)
    assay("model", "assess", "credit@3", "--data", "test", "--train", "train")
    assay("doctor")
    assay("model", "check", "credit@3", "--for", "production", expect=3)
    note("Only people are missing now: two of them, and not the author.")
    for name in ("bo", "cy"):
        key = assay("actor", "new-key", name, "--development", "--json", quiet=True)
        Path(f"{name}.json").write_text(key)
        assay("actor", "enrol", name, "--key", f"{name}.json", "--role", "credit/approver")
        assay("approve", "credit@3", "--for", "production", "--as", name)
    assay("promote", "credit@3", "--to", "production")


def _act_4_serve(url: str, token: str) -> None:
    status, answer = _predict(url, token)
    if status != 200:
        raise Failed(f"the endpoint answers {status}: {answer}")
    out.print(f"  answer: {escape(json.dumps(answer['outputs']))}")
    status, _ = _predict(url, "")
    note(f"Without a token: {status}.")


def _act_5_tamper() -> None:
    chapter("Somebody flips one bit in the store")
    blob = max(Path(".assay/blobs/blobs").glob("*/*/*"), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    kept, mode = blob.read_bytes(), blob.stat().st_mode
    blob.chmod(0o600)
    blob.write_bytes(content)
    assay("store", "check", expect=4)
    assay("serve", "credit@production", "--port", "0", expect=4)
    note("The worker refuses to start.")
    blob.write_bytes(kept)
    blob.chmod(mode)


def _act_6_revoke(url: str, token: str) -> None:
    chapter("The model is withdrawn while it serves")
    assay("revoke", "credit@3", "--reason", "a customer contests the decision")
    status, answer = _predict(url, token)
    if status != 403:
        raise Failed(f"the endpoint still answers {status}: {answer}")
    note(f"The next request gets {status}: {answer['error']}")


def _act_7_prove() -> None:
    chapter("What an auditor gets")
    assay("export", "credit@3", "--out", "credit-3.assay")
    pinned = next(
        line.split('"')[1]
        for line in Path("assay.toml").read_text().splitlines()
        if line.startswith("trust_root")
    )
    command = ["verify", "credit-3.assay", "--trust-root", pinned]
    note("Verified by a new process in an empty folder: no workspace, no keys, no network.")
    out.print(f"\n[bold]$ assay {' '.join(command)}[/]")
    with _empty_folder() as elsewhere:
        bundle = Path("credit-3.assay").resolve()
        shutil.copy(bundle, elsewhere)
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith("ASSAY") and "XDG" not in k
        }
        done = subprocess.run(  # noqa: S603 - our own command, fixed arguments
            [*_itself(), *command],
            cwd=elsewhere,
            env={**clean, "HOME": str(elsewhere)},
            capture_output=True,
            text=True,
            check=False,
        )
    out.print(escape(done.stdout.rstrip()))
    if done.returncode != 0:
        raise Failed(f"the bundle does not verify: {done.stderr}")
    assay("passport", "credit@3", "--out", "passport.html")
    out.print(f"\nThe passport: [bold]{Path('passport.html').resolve()}[/]")


# -- models ---------------------------------------------------------------------------------------


def _split(source: Path) -> None:
    """Two samples without a row in common, drawn at random."""
    import polars as pl

    table = pl.read_csv(source).drop("ID").sample(fraction=1, seed=1, shuffle=True)
    table[:ROWS].write_csv("train.csv")
    table[ROWS : 2 * ROWS].write_csv("test.csv")
    note(f"{ROWS:,} clients to learn from, {ROWS:,} others to judge on.")


def _training() -> tuple[Any, Any]:
    import polars as pl

    table = pl.read_csv("train.csv")
    return table.drop(LABEL).to_numpy(), table[LABEL].to_numpy()


def _train_by_heart() -> None:
    import joblib
    from sklearn.ensemble import RandomForestClassifier

    joblib.dump(RandomForestClassifier(40, random_state=0).fit(*_training()), "by-heart.joblib")


def _train_well() -> None:
    import joblib
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_depth=3, max_iter=40, min_samples_leaf=100, random_state=0
    )
    joblib.dump(model.fit(*_training()), "steady.joblib")


class _Gift:
    """Pickles as a call: whoever unpickles it runs the command."""

    def __reduce__(self) -> tuple[Any, tuple[list[str]]]:
        return subprocess.call, (["touch", "gift-was-opened"],)


def _poison() -> None:
    Path("gift.pkl").write_bytes(pickle.dumps({"model": _Gift()}))


# -- the endpoint ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _serving() -> Generator[tuple[str, str]]:
    """``assay serve`` in a process of its own; yields its address and a token for it."""
    chapter("Serve it, confined, to whoever holds a token")
    assay("actor", "enrol", "shop", "--kind", "service", "--role", "credit/service")
    made = json.loads(assay("token", "create", "--for", "shop", "--json", quiet=True))
    port = _free_port()
    command = ["serve", "credit@production", "--port", str(port)]
    out.print(f"\n[bold]$ assay {' '.join(command)} &[/]")
    server = subprocess.Popen(  # noqa: S603 - our own command, fixed arguments
        [*_itself(), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    url = f"http://{_HOST}:{port}"
    try:
        until = time.monotonic() + _PATIENCE
        while not _lives(url):
            if server.poll() is not None or time.monotonic() > until:
                server.kill()
                raise Failed(f"the endpoint did not start: {server.communicate()[0]}")
            time.sleep(0.05)
        yield url, made["secret"]
    finally:
        server.terminate()
        server.wait(_PATIENCE)


def _lives(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v2/health/live", timeout=1) as answer:  # noqa: S310
            return answer.status == 200
    except OSError:
        return False


def _predict(url: str, token: str) -> tuple[int, Any]:
    """One client of the test rows, in the Open Inference Protocol."""
    import polars as pl

    row = pl.read_csv("test.csv", n_rows=1).drop(LABEL).row(0, named=True)
    inputs = [
        {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [float(value)]}
        for name, value in row.items()
    ]
    request = urllib.request.Request(  # noqa: S310 - our own loopback address
        f"{url}/v2/models/credit/infer",
        data=json.dumps({"inputs": inputs}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


# -- telling --------------------------------------------------------------------------------------


def chapter(title: str) -> None:
    out.rule(f"[bold]{escape(title)}", align="left")


def note(text: str) -> None:
    out.print(f"[italic]{escape(text)}[/]")


def assay(*arguments: str, expect: int = 0, quiet: bool = False) -> str:
    """Run a command as the command line runs it, show it, and hold it to its exit status."""
    shown = " ".join(f"'{a}'" if " " in a else a for a in arguments)
    out.print(f"\n[bold]$ assay {escape(shown)}[/]")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed) if quiet else contextlib.nullcontext():
        status = run(list(arguments))
    if status != expect:
        raise Failed(f"`assay {shown}` ended with {status}, and {expect} was expected")
    if expect:
        out.print(f"  exit status {status}, as it should be")
    return printed.getvalue()


def _itself() -> list[str]:
    return [sys.executable, "-m", "assay"]


@contextlib.contextmanager
def _empty_folder() -> Generator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _fresh(place: Path) -> Path:
    """An empty folder: what an earlier demo left is removed, and nothing else ever is."""
    mark = place / "README"
    if place.exists():
        if not mark.exists() or mark.read_text() != _MARK:
            raise Failed(f"{place} was not made by the demo: move it away")
        shutil.rmtree(place)
    place.mkdir(parents=True)
    mark.write_text(_MARK)
    return place.resolve()


if __name__ == "__main__":
    main()
