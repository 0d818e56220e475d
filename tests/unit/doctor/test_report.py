"""How findings are read: order, exit codes, JSON and text."""

import pytest

from daemon.doctor import report
from daemon.doctor.deployment import check_dockerfile, check_environment
from daemon.doctor.finding import Finding, advice, fatal, loses_work, unchecked
from daemon.settings import load

HINT = advice("worker", "m", "why", "fix m")
BAD = loses_work("pubsub", "b", "why", "fix b")
WORST = fatal("database", "w", "why", "fix w")
UNKNOWN = unchecked("database", "u", "why", "fix u")


@pytest.mark.parametrize(
    ("findings", "code"),
    [([], 0), ([HINT], 0), ([BAD], 1), ([WORST, HINT], 1), ([UNKNOWN], 2), ([WORST, UNKNOWN], 2)],
)
def test_the_exit_code_says_fine_broken_or_unknown(findings: list[Finding], code: int) -> None:
    assert report.exit_code(findings) == code
    assert report.as_json(findings)["exit_code"] == code


def test_the_worst_comes_first() -> None:
    assert report.by_severity([HINT, UNKNOWN, BAD, WORST]) == [WORST, BAD, UNKNOWN, HINT]


def test_each_finding_is_a_sentence_a_reason_and_a_command() -> None:
    lines = [text for text, _ in report.lines([BAD])]
    assert lines == ["loses work (pubsub): b", "  why", "  fix b"]


def test_nothing_found_is_said_too() -> None:
    ((text, _),) = report.lines([])
    assert text.startswith("nothing found")


def test_production_settings_have_no_finding() -> None:
    settings = load({}, database_url="postgresql://w@db.example/jobs", project="shop")
    assert list(check_environment(settings, {})) == []


@pytest.mark.parametrize(
    ("values", "environment", "fix"),
    [
        ({}, {"PUBSUB_EMULATOR_HOST": "x:1"}, "unset PUBSUB_EMULATOR_HOST"),
        ({"project": "local"}, {}, "export HEADCOUNT_PROJECT=$GOOGLE_CLOUD_PROJECT"),
        ({"log_format": "console"}, {}, "export HEADCOUNT_LOG_FORMAT=json"),
        ({"http_port": 0}, {}, "export HEADCOUNT_HTTP_PORT=9090"),
    ],
)
def test_a_developer_s_setting_is_found_before_a_deploy(
    values: dict[str, object], environment: dict[str, str], fix: str
) -> None:
    settings = load({}, **{"database_url": "postgresql://w@db.example/jobs", "project": "shop", **values})  # type: ignore[arg-type]
    assert [finding.fix for finding in check_environment(settings, environment)] == [fix]


@pytest.mark.parametrize(
    ("text", "fixes"),
    [
        ('ENTRYPOINT ["headcount"]\nCMD ["run"]\n', []),
        ("FROM x\n", []),
        ("CMD headcount run\n", ['CMD ["headcount", "run"]']),
        ('ENTRYPOINT old\nENTRYPOINT ["headcount"]\n', []),
        ("entrypoint exec headcount run\n", ['ENTRYPOINT ["headcount", "run"]']),
    ],
)
def test_a_shell_in_the_dockerfile_is_found(tmp_path, text: str, fixes: list[str]) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "Dockerfile"
    path.write_text(text)
    assert [finding.fix for finding in check_dockerfile(path)] == fixes
