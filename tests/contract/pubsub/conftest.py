"""The two juries of the conformance tests: one judges the embedded server, one Google's emulator.

A jury hands out all its checks as soon as the first one is asked for, so that their waiting is done at the same time.
"""

from collections.abc import Iterator

import pytest

from tests.contract.pubsub.checks import Check
from tests.contract.pubsub.emulator import emulator_launcher, running_emulator
from tests.contract.pubsub.jury import Jury
from tests.harness.needs import everything_is_required


def selected(request: pytest.FixtureRequest, parameter: str) -> list[Check]:
    """The checks that are part of this run under a test's parameter."""
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    return [one.params[parameter] for one in callspecs if one is not None and parameter in one.params]


@pytest.fixture(scope="module")
def our_jury(request: pytest.FixtureRequest, pubsub_server: str) -> Jury:
    return Jury(pubsub_server, selected(request, "our_check"))


@pytest.fixture(scope="module")
def emulator_jury(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jury]:
    launcher = emulator_launcher()
    if launcher is None:
        report = pytest.fail if everything_is_required() else pytest.skip
        report("Google's emulator is not on this machine: gcloud components install pubsub-emulator, and Java")
    with running_emulator(launcher, tmp_path_factory.mktemp("emulator") / "log") as address:
        yield Jury(address, selected(request, "emulator_check"))
