"""A database to extract from, for this example alone.

    python database.py start FOLDER ROWS.csv     load table `loans`; prints a source for assay.toml
    python database.py stop FOLDER

A private PostgreSQL server on a Unix socket in FOLDER, where it is installed: its reader may SELECT
and nothing else, and shows the password that WAREHOUSE_PASSWORD holds.  Elsewhere a SQLite file.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import polars as pl

READER = "reader"


def main() -> None:
    match sys.argv[1:]:
        case ["start", folder, rows]:
            print(start(Path(folder).resolve(), pl.read_csv(rows)))
        case ["stop", folder]:
            stop(Path(folder).resolve())
        case _:
            sys.exit(__doc__)


def start(folder: Path, rows: pl.DataFrame) -> str:
    """Make the database; gives the lines that name it in assay.toml."""
    missing = why_not()
    folder.mkdir(mode=0o700)
    if missing:
        print(f"SQLite stands in for PostgreSQL: {missing}", file=sys.stderr)
        return f'url = "sqlite:///{into_sqlite(folder / "warehouse.sqlite", rows)}"'
    if (user := server_user()) is not None:
        shutil.chown(folder, user)
    owner = secrets.token_urlsafe(24)
    password = folder / "password"
    password.touch(0o600)
    password.write_text(owner)
    if user is not None:
        shutil.chown(password, user)
    pg(
        folder,
        "initdb",
        *("--username=owner", f"--pwfile={password}", "--auth=scram-sha-256"),
        *("--encoding=UTF8", "--no-sync"),
    )
    password.unlink()
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    pg(folder, "pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    into_postgresql(folder, owner, rows)
    return f"""\
url = "postgresql://{READER}@/postgres?host={folder}"
credential = "env:WAREHOUSE_PASSWORD\""""


def stop(folder: Path) -> None:
    if (folder / "data" / "postmaster.pid").exists():
        pg(folder, "pg_ctl", "-w", "-m", "immediate", "stop")


# -- PostgreSQL -----------------------------------------------------------------------------------


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs: Debian keeps them out of PATH."""
    found = [Path(path) for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[::-1]
    return next((path.resolve().parent for path in found), None)


def server_user() -> str | None:
    """Whom the server runs as; None for this user.  PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), "")


def why_not() -> str:
    """Why there is no PostgreSQL here; empty where there is."""
    if programs() is None:
        return "initdb is neither in PATH nor in /usr/lib/postgresql"
    if server_user() == "":
        return "it does not run as root, and there is no user postgres or nobody"
    if importlib.util.find_spec("psycopg") is None:
        return "the package psycopg is not installed"
    return ""


def pg(folder: Path, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs."""
    done = subprocess.run(  # noqa: S603 - ours, as this file spells them.
        [str((programs() or Path()) / program), "-D", str(folder / "data"), *arguments],
        user=server_user(),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        # Not a pipe: the server would hold it open.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        log = folder / "log"
        said = log.read_text(errors="replace")[-2000:] if log.exists() else "it left no log"
        sys.exit(f"{program} failed: {said}")


def into_postgresql(folder: Path, owner: str, rows: pl.DataFrame) -> None:
    import psycopg
    from psycopg.sql import SQL, Identifier, Literal

    columns = SQL(", ").join(
        SQL("{} {}").format(Identifier(name), SQL("bigint" if kind.is_integer() else "float8"))
        for name, kind in rows.schema.items()
    )
    opened = psycopg.connect(host=str(folder), user="owner", password=owner, dbname="postgres")
    with opened as connection, connection.cursor() as cursor:
        cursor.execute(SQL("CREATE TABLE loans ({})").format(columns))
        with cursor.copy("COPY loans FROM STDIN WITH (FORMAT csv, HEADER true)") as copy:
            copy.write(rows.write_csv())
        password = Literal(os.environ["WAREHOUSE_PASSWORD"])
        role = Identifier(READER)
        cursor.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
        cursor.execute(SQL("GRANT SELECT ON loans TO {}").format(role))


# -- SQLite ---------------------------------------------------------------------------------------


def into_sqlite(path: Path, rows: pl.DataFrame) -> Path:
    columns = ", ".join(
        f'"{name}" {"INTEGER" if kind.is_integer() else "REAL"}'
        for name, kind in rows.schema.items()
    )
    places = ", ".join("?" * rows.width)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"CREATE TABLE loans ({columns})")
        connection.executemany(f"INSERT INTO loans VALUES ({places})", rows.iter_rows())  # noqa: S608
    connection.close()
    return path


if __name__ == "__main__":
    main()
