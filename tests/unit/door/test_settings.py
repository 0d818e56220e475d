"""Settings: every problem at once, each with what fixes it, and no secret in any of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daemon.errors import SettingsInvalid
from daemon.settings import RENAMED, Settings, load

URL = "postgresql://me:s3cret@db.example/headcount"
NEEDED = {"HEADCOUNT_DATABASE_URL": URL, "HEADCOUNT_PROJECT": "p"}

DEFAULTS = {
    "jobs_topic": "jobs",
    "jobs_subscription": "jobs-worker",
    "events_topic": "job-events",
    "handlers": "handlers",
    "slots": 100,
    "prefetch": None,
    "http_port": 9090,
    "drain_seconds": 6.0,
    "worker_ttl_seconds": 30.0,
    "lease_seconds": 60.0,
    "max_worker_losses": 3,
    "republish_after_seconds": 3600.0,
    "unknown_job_grace_seconds": 300.0,
    "buffer_timeout_seconds": 10.0,
    "log_format": "json",
    "log_values": False,
    "http_host": "0.0.0.0",
    "database_pooler": "none",
}


def _refusal(environment: dict[str, str]) -> SettingsInvalid:
    with pytest.raises(SettingsInvalid) as caught:
        load(environment)
    return caught.value


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_what_the_design_says(name: str) -> None:
    assert getattr(load(NEEDED), name) == DEFAULTS[name]


def test_derived_values_follow_the_settings() -> None:
    settings = load(NEEDED | {"HEADCOUNT_HANDLERS": " jobs_a, jobs_b ,", "HEADCOUNT_WORKER_TTL_SECONDS": "12"})
    assert settings.prefetch_limit == 200
    assert settings.heartbeat_seconds == 2.0
    assert settings.packages == ["jobs_a", "jobs_b"]
    assert settings.topic("jobs") == "projects/p/topics/jobs"
    assert settings.subscription("projects/q/subscriptions/s") == "projects/q/subscriptions/s"
    assert load(NEEDED | {"HEADCOUNT_PREFETCH": "0"}).prefetch_limit == 0


def test_every_problem_is_told_at_once_with_what_fixes_it() -> None:
    refusal = _refusal(
        {
            "HEADCOUNT_SLOTS": "many",
            "HEADCOUNT_DRAIN_SECONDS": "9",
            "HEADCOUNT_MAX_WORKER_LOSSES": "0",
            "HEADCOUNT_LOG_FORMAT": "xml",
            "HEADCOUNT_SLOT": "3",
        }
    )
    text = str(refusal)
    for name in ("DATABASE_URL", "PROJECT", "SLOTS", "DRAIN_SECONDS", "MAX_WORKER_LOSSES", "LOG_FORMAT", "SLOT"):
        assert re.search(rf"HEADCOUNT_{name}\b", refusal.problem), name
    assert "did you mean HEADCOUNT_SLOTS?" in text
    assert "over 8" in text
    assert refusal.fix is not None
    assert "export HEADCOUNT_DATABASE_URL=" in refusal.fix
    assert "unset HEADCOUNT_SLOT " in refusal.fix


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://me:s3cret@h/d"),
        ("DATABASE_URL", "s3cret"),
        ("DATABASE_URL", "postgresql://[s3cret"),
        ("DATABASE_URL", "postgresql://u:s3cret/x@h/db"),
        ("DATABASE_URL", "postgresql://u:12/s3cret@h/db"),
        ("DATABASE_URL", "postgresql://u:s3cret#x@h/db"),
        ("DATABASE_URL", "postgresql://u:12#s3cret@h/db"),
        ("DATABASE_URL", "postgresql://u:s3cret?x@h/db"),
        ("DATABASE_URL", "postgresql://u:12?s3cret@h/db"),
        ("DATABASE_URL", "postgresql://u:s3cret@x@h/db"),
        ("DATABASE_URL", "postgresql://u:s3cret[x@h/db"),
        ("DATABASE_URL", "postgresql://u:s3cret\u2100@h/db"),
        ("DATABASE_URL", "postgresql://u:x@h:s3cret/db"),
        ("DATABASE_URL", "postgresql://u:s3cret@h:99999/db"),
        ("DATABASE_URL", "postgresql://u@h/db?password=s3cret#x"),
        ("LOG_VALUES", "s3cret"),
        ("SLOTS", "0"),
        ("SLOTS", "3.5"),
        ("HTTP_PORT", "65536"),
        ("DRAIN_SECONDS", "0"),
        ("DRAIN_SECONDS", "nan"),
        ("WORKER_TTL_SECONDS", "inf"),
        ("LEASE_SECONDS", "5"),
        ("SWEEP_INTERVAL_SECONDS", "-1"),
        ("STREAMS", "0"),
        ("DATABASE_POOLER", "session"),
    ],
)
def test_a_value_that_cannot_work_is_refused_without_showing_secrets(name: str, value: str) -> None:
    refusal = _refusal(NEEDED | {f"HEADCOUNT_{name}": value})
    assert f"HEADCOUNT_{name}" in refusal.problem
    assert "s3cret" not in str(refusal)


def test_an_unknown_setting_without_a_near_one_is_named_alone() -> None:
    refusal = _refusal(NEEDED | {"HEADCOUNT_XYZZY_QQ": "1"})
    assert refusal.problem == "HEADCOUNT_XYZZY_QQ is not a setting of Headcount."


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_an_error_that_names_the_new_one(old: str, new: str) -> None:
    refusal = _refusal(NEEDED | {f"HEADCOUNT_{old}": "7"})
    assert refusal.problem == f"HEADCOUNT_{old} is called HEADCOUNT_{new} now."
    assert refusal.fix == f'export HEADCOUNT_{new}="$HEADCOUNT_{old}" && unset HEADCOUNT_{old}'
    assert new.lower() in Settings.model_fields


def test_only_the_given_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_SLOTS", "7")
    assert load(NEEDED).slots == 100
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    assert load().slots == 7


def test_variables_of_other_programs_are_left_alone() -> None:
    others = {"SLOTS": "many", "PATH": "/bin", "HEADCOUNT_TEST_DATABASE_URL": "x", "HEADCOUNT_PG_BIN": "y"}
    assert load(NEEDED | others).slots == 100


def test_a_command_can_do_without_what_it_has_no_use_for() -> None:
    assert load({}, without=("database_url", "project")).slots == 100
    with pytest.raises(SettingsInvalid, match="HEADCOUNT_PROJECT is not set"):
        load({}, without=("database_url",))


def test_an_override_wins_over_the_environment() -> None:
    assert load(NEEDED | {"HEADCOUNT_SLOTS": "7"}, slots=9, handlers_path=Path("x")).slots == 9


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "postgresql://me:***@db.example/headcount"),
        ("postgresql://db.example/headcount", "postgresql://db.example/headcount"),
        ("postgresql://me:a%40b%3Ac@db/x", "postgresql://me:***@db/x"),
        ("postgresql://worker@p.iam@127.0.0.1/x", "postgresql://worker@p.iam@127.0.0.1/x"),
        ("postgresql://me@db/x?password=s3cret&sslmode=require", "postgresql://me:***@db/x?***"),
        ("postgresql://me:s3cret@[::1]:5432/x", "postgresql://me:***@[::1]:5432/x"),
    ],
)
def test_the_password_is_masked_wherever_settings_are_shown(url: str, shown: str) -> None:
    settings = load(NEEDED | {"HEADCOUNT_DATABASE_URL": url})
    assert settings.redacted()["database_url"] == shown
    assert "s3cret" not in repr(settings) + str(settings.redacted())
    assert set(settings.redacted()) == set(Settings.model_fields)


@pytest.mark.parametrize("variable", ["CLOUD_RUN_REVISION", "CLOUD_RUN_WORKER_POOL_REVISION", "K_REVISION"])
def test_the_revision_is_cloud_runs_unless_it_is_set(variable: str) -> None:
    assert load(NEEDED | {variable: "worker-00007"}).revision == "worker-00007"
    assert load(NEEDED | {variable: "worker-00007", "HEADCOUNT_REVISION": "v3"}).revision == "v3"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(NEEDED).slots = 3


@pytest.mark.parametrize("name", ["default", "gpu", "headcount-eu_1", "a" * 63])
def test_a_pool_is_named_like_a_label(name: str) -> None:
    assert load(NEEDED).pool == "default"
    assert load(NEEDED | {"HEADCOUNT_POOL": name}).pool == name


@pytest.mark.parametrize("name", ["", "GPU", "a b", 'a"b', "-a", "a-", "a" * 64, "a\n"])
def test_a_pool_that_is_not_a_label_is_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="HEADCOUNT_POOL: is not a label"):
        load(NEEDED | {"HEADCOUNT_POOL": name})
