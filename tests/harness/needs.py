"""Programs that a test needs and a machine may lack: found, or the test is skipped by name.

Used by tests and by tests/conftest.py. Under REQUIRE_ALL=1 a skip is a failure, except for the few
programs that continuous integration cannot install; those are listed here with the reason.
"""

import os
import shutil
from pathlib import Path

import pytest

PROGRAMS = {
    "make": (("make", "gmake"), "apt install make"),
    "npm": (("npm",), "apt install npm"),
    "node": (("node", "nodejs"), "apt install nodejs"),
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "apt install chromium"),
    "prometheus": (("prometheus",), "apt install prometheus"),
    "promtool": (("promtool",), "apt install prometheus"),
    "pgbouncer": (("pgbouncer", "/usr/sbin/pgbouncer"), "apt install pgbouncer"),
    "terraform": (("terraform", "tofu"), "see the installation guide of Terraform or OpenTofu"),
    "docker": (("docker", "podman"), "apt install podman"),
    "gcloud": (("gcloud",), "see the installation guide of the Google Cloud CLI"),
    "gcloud emulator": (("gcloud",), "gcloud components install pubsub-emulator"),
}
NOT_IN_CI = {
    "terraform": "no package of the distribution or of PyPI brings it",
    "docker": "images cannot be pulled there",
    "gcloud": "no package of the distribution or of PyPI brings it",
    "gcloud emulator": "no package of the distribution or of PyPI brings it",
}
EXCUSED = "cannot be installed in continuous integration"


def needs(name: str) -> Path:
    """Where the program is; skips the test, naming it and how to get it, if it is not there."""
    candidates, install = PROGRAMS[name]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found and (name != "gcloud emulator" or _has_pubsub_emulator(Path(found))):
            return Path(found)
    excuse = f"; {EXCUSED}: {NOT_IN_CI[name]}" if name in NOT_IN_CI else ""
    pytest.skip(f"needs {name} ({install}){excuse}")


def _has_pubsub_emulator(gcloud: Path) -> bool:
    root = gcloud.resolve().parent.parent
    return (root / "platform" / "pubsub-emulator").is_dir()


def everything_is_required() -> bool:
    """Whether REQUIRE_ALL=1: then a test that can't run is a failure, not a skip."""
    return os.environ.get("REQUIRE_ALL") == "1"


def is_excused(reason: str) -> bool:
    """Whether a skip's reason is that of a program that CI cannot have."""
    return EXCUSED in reason
