"""The Dockerfile's steps, carried out in a throw-away root file system on top of this machine's own.

Used by test_image. An overlay in a mount namespace of its own holds everything that the steps write, accounts included;
it vanishes with the namespace. It stands in for the base image: this machine's Python is that of `FROM python`.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon.local.child import end_with_owner

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = ["nsenter", "chroot", "setpriv", "unshare"]
ENVIRONMENT = "/opt/headcount/bin/python"
LOCKED = (
    f"pip --python {ENVIRONMENT} install --require-hashes --no-deps --only-binary :all: -r requirements-worker.lock"
)
MOUNTS = re.compile(r"(--mount=\S+ )+")


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile, continuation lines joined; `stage` counts the FROMs."""

    stage: int
    word: str
    text: str


def steps(dockerfile: Path) -> list[Step]:
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found, stage = [], 0
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        word, _, text = line.partition(" ")
        stage += word.upper() == "FROM"
        found.append(Step(stage, word.upper(), " ".join(text.split())))
    return found


def context(into: Path) -> Path:
    """What .dockerignore lets into the build, and nothing else."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "the list has to begin with nothing"
    for name in (line[1:] for line in lines if line.startswith("!")):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, into / name)
    for name in (line for line in lines if "*" not in line and not line.startswith(("!", "#"))):
        (into / name).unlink()
    return into


@dataclass
class Image:
    """A root file system in which steps are carried out, and what they said about running it."""

    folder: Path
    holder: "subprocess.Popen[bytes]"
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @property
    def root(self) -> str:
        return f"{self.folder}/merged"

    def enter(self, *words: str) -> list[str]:
        """The command that runs these words in the namespace, outside the new root."""
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", *words]

    def sh(self, script: str, *, user: str = "0:0") -> str:
        """Run a script in the root, in its WORKDIR and environment; all it printed."""
        done = subprocess.run(
            self.enter("chroot", f"--userspec={user}", self.root, "sh", "-ec", f"cd {self.workdir}\n{script}"),
            env=self._variables(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def as_process_1(self, *words: str, **variables: str) -> list[str]:
        """The command that runs the image's entry point as process 1 of its own, and the variables it gets."""
        run = " ".join(shlex.quote(word) for word in [*self.entrypoint, *(words or self.command)])
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in {**self.environment, **variables}.items())
        inner = shlex.quote(f"cd {self.workdir} && exec env -i {given} {run}")
        chroot = f"exec chroot --userspec={self.user} {self.root} sh -ec {inner}"
        script = f"mount -t proc proc {self.root}/proc && {chroot}"
        return self.enter("unshare", "--pid", "--fork", "--mount", "sh", "-ec", script)

    def carry_out(self, step: Step, source: Path) -> None:
        words = shlex.split(step.text)
        match step.word:
            case "ENV":
                self.environment |= {
                    name: self._filled(value) for name, value in (word.split("=", 1) for word in words)
                }
            case "ARG":
                self.arguments[words[0].split("=")[0]] = words[0].partition("=")[2]
            case "WORKDIR":
                self.sh(f"mkdir -p {words[0]}")
                self.workdir = words[0]
            case "USER":
                self.user = words[0]
            case "COPY" if not words[0].startswith("--from"):
                self._copy(words[:-1], words[-1], source)
            case "RUN":
                self.sh(_quick(MOUNTS.sub("", step.text)))  # secrets of a build, which has none here
            case "ENTRYPOINT":
                self.entrypoint = json.loads(step.text)
            case "CMD":
                self.command = json.loads(step.text)

    def _copy(self, names: list[str], target: str, source: Path) -> None:
        path = f"{self.root}{target if target.startswith('/') else f'{self.workdir}/{target}'}"
        for name in names:
            assert (source / name.rstrip("/")).exists(), f"COPY {name}: .dockerignore keeps it out"
            into_folder = name.endswith("/") or (source / name).is_dir()
            what = f"{source / name.rstrip('/')}{'/.' if into_folder else ''}"
            made = f"mkdir -p {path}" if into_folder or target.endswith("/") else "true"
            subprocess.run(self.enter("sh", "-ec", f"{made} && cp -r {what} {path}"), check=True)

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self.arguments.get(found[1]) or self._variables()[found[1]], text)

    def _variables(self) -> dict[str, str]:
        python = str(Path(sys.base_prefix) / "bin")
        kept = {
            name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_")) or "proxy" in name
        }
        return {"PATH": f"{python}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **kept, **self.environment}


def new_root(folder: Path) -> Iterator[Image]:
    """An image with nothing done yet; skips the test where this machine does not allow a namespace."""
    missing = [program for program in HERE if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"needs root and {', '.join(HERE)} (apt install util-linux)")
    hold = ["unshare", "--mount", "--propagation", "private", "sleep", "900"]
    holder = subprocess.Popen(hold, preexec_fn=end_with_owner(signal.SIGKILL))
    image = Image(folder, holder)
    mounts = (
        f"mount -t tmpfs none {folder} && cd {folder} && mkdir upper work merged"
        f" && mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/merged"
        f" && mount --rbind /dev {folder}/merged/dev && chmod o+x {folder}/merged/root"
    )
    try:
        _until_apart(holder.pid)
        if subprocess.run(image.enter("sh", "-ec", mounts), capture_output=True, check=False).returncode != 0:
            pytest.skip("needs a kernel that lets root mount an overlay in a namespace (not in a plain container)")
        yield image
    finally:
        holder.kill()
        holder.wait()


def _until_apart(pid: int) -> None:
    own = Path("/proc/self/ns/mnt").readlink()
    while Path(f"/proc/{pid}/ns/mnt").readlink() == own:
        assert Path(f"/proc/{pid}").exists()


def _quick(script: str) -> str:
    """Unless LONG=1, what is locked is taken from this environment instead of being downloaded again."""
    if LOCKED not in script or os.environ.get("LONG") == "1":
        return script
    here = sysconfig.get_path("purelib")
    linked = f"echo {here} > $(echo /opt/headcount/lib/python3*/site-packages)/locked.pth"
    return script.replace(LOCKED, linked)
