"""Each conformance check against the embedded server, and what Google's emulator can do against that as well."""

import pytest

from tests.contract.pubsub.checks import CHECKS, Check
from tests.contract.pubsub.emulator import GAPS
from tests.contract.pubsub.jury import Jury

OURS = sorted(CHECKS, key=lambda check: check.alone)  # what measures comes last, on a quiet server
EMULATOR = [check for check in CHECKS if check.name not in GAPS and not check.alone]


@pytest.mark.parametrize("our_check", OURS, ids=lambda check: f"ours-{check.name}")
def test_the_embedded_server_passes(our_check: Check, our_jury: Jury) -> None:
    verdict = our_jury.verdict(our_check)
    print(verdict.detail)
    assert verdict.passed, verdict.detail


@pytest.mark.emulator
@pytest.mark.parametrize("emulator_check", EMULATOR, ids=lambda check: f"emulator-{check.name}")
def test_the_emulator_passes(emulator_check: Check, emulator_jury: Jury) -> None:
    verdict = emulator_jury.verdict(emulator_check)
    print(verdict.detail)
    assert verdict.passed, verdict.detail


def test_every_gap_of_the_emulator_names_a_check() -> None:
    assert {check.name for check in CHECKS} >= GAPS.keys()
