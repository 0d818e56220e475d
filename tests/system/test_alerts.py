"""The alert rules: valid, tested, explained in the runbook, and asking only for what the code exposes."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from daemon.cli.app import app
from daemon.inspection import MEANING
from tests.harness.needs import needs
from tests.system.promql import complaints

ALERTS = Path("deploy/alerts")
RULES = ALERTS / "headcount.rules.yml"
CASES = ALERTS / "headcount.rules.test.yml"
PLATFORM = ALERTS / "platform.rules.yml"
RUNBOOK = Path("docs/runbook.md")
PAGES = sorted([Path("README.md"), *Path("docs").glob("*.md"), *Path("deploy").rglob("*.md")])

GROUPS = yaml.safe_load(RULES.read_text())["groups"]
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]
RULES_BY_NAME = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {
    "headcount:jobs_ended:rate15m": {"job_name"},
    "headcount:jobs_errored:ratio15m": {"job_name"},
    "headcount:queue_delay_seconds:p90": {"pool"},
    "headcount:slots_used:ratio": {"pool"},
}


def names_in(rules: Path) -> set[str]:
    """The alerts of a file of rules."""
    groups = yaml.safe_load(rules.read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("rules", [RULES, PLATFORM], ids=lambda path: path.name)
def test_the_rules_are_valid(rules: Path) -> None:
    promtool = needs("promtool")
    checked = subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("cases", sorted(ALERTS.glob("*.test.yml")), ids=lambda path: path.name)
def test_every_alert_stays_silent_and_fires_as_its_cases_say(cases: Path) -> None:
    promtool = needs("promtool")
    ran = subprocess.run(
        [promtool, "test", "rules", cases.name], cwd=ALERTS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("rules", [RULES, PLATFORM], ids=lambda path: path.name)
def test_every_alert_has_a_silent_and_a_firing_case(rules: Path) -> None:
    cases = yaml.safe_load(rules.with_name(f"{rules.stem}.test.yml").read_text())["tests"]
    by_name = {case["name"]: case["promql_expr_test"] for case in cases}
    assert by_name.keys() == names_in(rules)
    for name, moments in by_name.items():
        assert all(f'alertname="{name}"' in moment["expr"] for moment in moments)
        assert {bool(moment["exp_samples"]) for moment in moments} == {True, False}, name


def test_the_recorded_series_are_the_ones_this_test_knows() -> None:
    assert {rule["record"] for rule in RECORDS} == RECORDED.keys()


@pytest.mark.parametrize("name", RULES_BY_NAME)
def test_an_alert_asks_only_for_what_the_code_exposes(name: str) -> None:
    assert complaints(RULES_BY_NAME[name]["expr"], RECORDED) == []


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_a_record_asks_only_for_what_the_code_exposes(rule: dict[str, str]) -> None:
    assert complaints(rule["expr"], RECORDED) == []


@pytest.mark.parametrize("name", RULES_BY_NAME)
def test_an_alert_says_how_bad_it_is_and_where_its_section_of_the_runbook_is(name: str) -> None:
    rule = RULES_BY_NAME[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    address, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert address.endswith("/docs/runbook.md")
    assert anchor == name.lower()
    assert re.search(rf"^### {name}$", RUNBOOK.read_text(), re.M), f"the runbook has no section {name}"


def test_the_runbook_has_no_section_for_an_alert_that_is_gone() -> None:
    sections = set(re.findall(r"^### (Headcount\w+)$", RUNBOOK.read_text(), re.M))
    assert sections == RULES_BY_NAME.keys()


@pytest.mark.parametrize("name", RULES_BY_NAME)
def test_a_label_in_an_alerts_text_is_one_that_the_alert_has(name: str) -> None:
    rule = RULES_BY_NAME[name]
    text = " ".join(rule["annotations"].values())
    used = set(re.findall(r"\$labels\.(\w+)", text))
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for label in group.split(",")}
    recorded = {label for series, labels in RECORDED.items() if series in rule["expr"] for label in labels}
    aggregated = re.search(r"\b(sum|max|min|count|absent)\b", rule["expr"]) is not None
    assert used <= grouped | recorded | (set() if aggregated else {"instance"})


def test_the_checks_would_notice_a_series_or_a_label_that_does_not_exist() -> None:
    assert complaints("sum(headcount_jobs_started)", {}) == ["no series is named headcount_jobs_started"]
    assert complaints('headcount_jobs_started_total{job="x"}', {}) == []
    assert complaints('headcount_jobs_started_total{queue="x"}', {}) == [
        "headcount_jobs_started_total has no label queue"
    ]
    assert complaints("sum by (queue) (headcount_slots)", {}) == ["nothing here has the label queue"]


@pytest.mark.parametrize("query", re.findall(r"```promql\n(.*?)\n```", RUNBOOK.read_text(), re.S))
def test_a_query_of_the_runbook_asks_only_for_what_the_code_exposes(query: str) -> None:
    assert query.startswith("up{") or complaints(query, RECORDED) == []


def test_links_inside_the_runbook_lead_somewhere() -> None:
    text = RUNBOOK.read_text()
    headings = {
        line.lstrip("# ").strip().lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


@pytest.mark.parametrize("verdict", MEANING)
def test_every_verdict_of_explain_has_a_section(verdict: str) -> None:
    assert re.search(rf"^### {verdict}$", RUNBOOK.read_text(), re.M)


def typed_in(text: str) -> set[tuple[str, ...]]:
    """Every `headcount ...` of a text: the words after it, up to the end of the code or a comment."""
    found = re.findall(r"(?:^|`|&& |\$ )headcount ((?:[a-z-]+|-)[^`\n#|;&]*)", text, re.M)
    return {tuple(shlex.split(one)) for one in found}


def complaint(words: tuple[str, ...]) -> str | None:
    """What is wrong with a typed command: a name or an option that does not exist."""
    command = get_command(app)
    names = []
    for word in words:
        commands = getattr(command, "commands", None)
        if commands is None:
            break
        if word not in commands:
            return f"{' '.join(words)}: no command {word}"
        command = commands[word]
        names.append(word)
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    options = {word.split("=")[0] for word in words[len(names) :] if word.startswith("--")}
    return f"{' '.join(names)} has no {', '.join(sorted(options - known))}" if options - known else None


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    assert [wrong for words in typed_in(page.read_text()) if (wrong := complaint(words))] == []


def test_the_runbook_shows_commands_and_a_wrong_one_would_be_noticed() -> None:
    assert len({words[0] for words in typed_in(RUNBOOK.read_text())}) > 8
    assert typed_in("`headcount rejected show ID --json`") == {("rejected", "show", "ID", "--json")}
    assert complaint(("rejected", "show", "ID", "--json")) is None
    assert complaint(("doctors",)) == "doctors: no command doctors"
    assert complaint(("rejected", "eat", "ID")) == "rejected eat ID: no command eat"
    assert complaint(("doctor", "--cheap")) == "doctor has no --cheap"
