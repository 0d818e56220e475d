"""Programs as jobs: what they are given, what they say, and how they end by themselves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from daemon.command import Command
from daemon.context import JobContext
from daemon.errors import GiveUp, TooManyNotes
from daemon.job import Claim, Failed, Kind, Progress, Returned
from tests.fakes.delivery import JOB, ORCHESTRATION, a_claim
from tests.unit.engine.attempts import Recorded, failure
from tests.unit.engine.commands import (
    RESULT_LIMIT,
    a_command_runner,
    no_descriptor_is_left,
    python,
    run_command,
    sh,
)


async def test_a_program_is_given_its_params_and_its_place_by_standard_input_and_environment() -> None:
    claim = a_claim(params='{"source":"ä.png"}', index=3, count=6, attempt=9, failures=2)
    script = """
import json, os, sys
names = "JOB_NAME JOB_ID ORCHESTRATION_ID CLOUD_RUN_TASK_INDEX CLOUD_RUN_TASK_COUNT CLOUD_RUN_TASK_ATTEMPT JOB_PARAMS"
print("::result " + json.dumps([sys.stdin.read(), *(os.environ[name] for name in names.split())]))
"""
    result = await run_command(python(script), claim=claim)
    assert isinstance(result, Returned)
    assert json.loads(result.result) == [
        claim.params, "paint", str(JOB), str(ORCHESTRATION), "3", "6", "2", claim.params,
    ]  # fmt: skip


async def test_a_program_does_not_see_the_worker_s_secrets_and_gets_what_its_author_gives() -> None:
    environment = {**os.environ, "HEADCOUNT_DATABASE_URL": "x", "DATABASE_URL": "x", "TOKEN": "theirs", "LEVEL": "1"}
    command = Command(["sh", "-c", 'echo "::result \\"$HEADCOUNT_DATABASE_URL$DATABASE_URL$TOKEN$LEVEL$PWD\\""'],
        env={"LEVEL": "2"}, cwd="/")  # fmt: skip
    result = await run_command(command, runner=a_command_runner(environment=environment))
    assert result == Returned('"theirs2/"')


@pytest.mark.parametrize(("size", "given"), [(128 * 1024 - 12, True), (128 * 1024 - 11, False)])
async def test_params_that_no_variable_can_hold_come_by_standard_input_alone(size: int, given: bool) -> None:
    params = json.dumps({"text": "x" * (size - len('{"text": ""}'))})
    script = "import os, sys; print(f\"::result [{len(sys.stdin.read())}, {len(os.environ.get('JOB_PARAMS', ''))}]\")"
    result = await run_command(python(script), claim=a_claim(params=params))
    assert result == Returned(f"[{size},{size if given else 0}]")


async def test_a_program_that_reads_nothing_of_many_params_completes() -> None:
    params = json.dumps({"text": "x" * 5_000_000})
    async with no_descriptor_is_left():
        assert await run_command(sh("exec <&-; echo '::result 1'"), claim=a_claim(params=params)) == Returned("1")


async def test_lines_of_a_program_are_its_progress_and_notes_and_all_others_are_log() -> None:
    recorder = Recorded()
    script = """
echo '::progress 3/6 Creating image 3 of 6'; echo '::progress 40%'; echo '::progress 2.5 of 7'; echo '::progress Soon'
echo '::note Analysing your brand'; echo ':: note'; echo 'progress 9/9'; echo '::progressive 1'; echo '::note'
printf '::note no newline'
"""
    assert await run_command(sh(script), recorder=recorder) == Returned("null")
    assert recorder.progressed == [
        Progress(3.0, 6.0, "Creating image 3 of 6"),
        Progress(40.0, 100.0, None),
        Progress(2.5, None, "of 7"),
        Progress(None, None, "Soon"),
    ]
    assert recorder.notes == ["Analysing your brand", "no newline"]


async def test_the_last_result_line_counts_and_a_program_without_one_returns_null() -> None:
    assert await run_command(sh("echo '::result 1'; echo '::result {\"a\": [2]}'")) == Returned('{"a":[2]}')
    assert await run_command(sh("true")) == Returned("null")


@pytest.mark.parametrize(
    "printed", ["{'a': 1}", "NaN", "[" * 100_000, '"\\\\u0000"', '"' + "x" * RESULT_LIMIT + '"', '\\377"'],
    ids=["not JSON", "NaN", "deep", "NUL", "large", "not UTF-8"],
)  # fmt: skip
async def test_a_result_that_cannot_be_stored_fails_for_good(printed: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"printf '::result {printed}\\n'" if "'" not in printed else f'echo "::result {printed}"')
    result = await run_command(Command(["sh", script]))
    failure(result, Kind.RESULT_NOT_STORABLE)
    assert isinstance(result, Failed)
    assert result.final


async def test_a_result_of_just_the_limit_is_kept_whole() -> None:
    result = await run_command(python(f"print('::result \"' + 'x' * {RESULT_LIMIT - 2} + '\"')"))
    assert result == Returned('"' + "x" * (RESULT_LIMIT - 2) + '"')


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "sh: exit code 3"),
        ("echo no such colour >&2; echo >&2; exit 65", "sh: exit code 65 (EX_DATAERR): no such colour"),
        ("no-such-program-here 2>/dev/null", "sh: exit code 127 (a shell's word for a program that was not found)"),
        ("sh -c 'kill -SEGV $$' 2>/dev/null; exit $?", "sh: exit code 139 (a shell's word for SIGSEGV)"),
        ("kill -ABRT $$", "sh: killed by SIGABRT"),
        ("kill -KILL $$", "sh: killed by SIGKILL, which the worker did not send: perhaps the kernel, for memory"),
        (f"kill -{signal.SIGRTMIN + 3} $$", f"sh: killed by signal {signal.SIGRTMIN + 3}"),
    ],
)
async def test_exit_codes_and_signals_are_named_with_the_last_line_of_stderr(script: str, said: str) -> None:
    result = await run_command(sh(script))
    error = failure(result, Kind.EXITED)
    assert error.message == said
    assert isinstance(result, Failed)
    assert not result.final


async def test_the_last_lines_of_stderr_are_kept_bounded_and_fit_to_be_stored() -> None:
    script = "import sys; e = sys.stderr.buffer\nfor n in range(5000): e.write(b'line %d\\n' % n)\n"
    script += "e.write(b'10%\\r50%\\rbad \\xff and \\0 bytes' + b'y' * 100_000); sys.exit(1)"
    error = failure(await run_command(python(script)), Kind.EXITED)
    assert error.traceback is not None
    assert len(error.traceback) <= 8_000
    assert "line 100\n" not in error.traceback
    assert "\x00" not in error.message + error.traceback
    first, _, last = failure(
        await run_command(sh("seq 1 100 >&2; printf 'a\\000b \\377' >&2; exit 1")), Kind.EXITED
    ).traceback.partition("\n")  # type: ignore[union-attr]
    assert (first, last[-5:]) == ("82", "a\N{REPLACEMENT CHARACTER}b \N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (Command(["no-such-program-here"]), "there is no such program on PATH"),
        (Command(["./no-such-program"]), "No such file or directory"),
        (Command(["/etc/passwd"]), "Permission denied"),
        (Command(["true"], cwd="/no-such-folder"), "its folder '/no-such-folder' does not exist"),
        (Command(["true", "x" * 200_000]), "larger than the system allows"),
    ],
)
async def test_a_program_that_cannot_be_started_fails_for_good_and_says_why(command: Command, why: str) -> None:
    async with no_descriptor_is_left():
        result = await run_command(command)
    assert why in failure(result, Kind.NOT_STARTED).message
    assert isinstance(result, Failed)
    assert result.final


@pytest.mark.parametrize(
    ("arguments", "error"),
    [([], ValueError), ([""], ValueError), ("ls -l", TypeError), (["ls", "a\0b"], ValueError), (["ls", 3], TypeError)],
)
def test_a_command_that_no_system_could_start_is_refused_where_it_is_made(
    arguments: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Command(arguments)


class Picture(BaseModel):
    source: Path
    key: SecretStr


async def test_the_arguments_come_from_typed_params_and_the_context() -> None:
    def convert(params: Picture, ctx: JobContext) -> Command:
        key = {"KEY": params.key.get_secret_value()}
        return Command(
            ["sh", "-c", 'echo "::result [\\"$0\\", \\"$1\\", \\"$KEY\\"]"', params.source, str(ctx.index)], env=key
        )

    claim = a_claim(params='{"source": "-rf; rm *", "key": "s3cret"}', index=4)
    assert await run_command(convert, claim=claim) == Returned('["-rf; rm *","4","s3cret"]')


async def test_an_error_in_the_handler_is_the_job_s_as_with_every_handler() -> None:
    def gives_up(params: dict[str, object]) -> Command:
        raise GiveUp("no such customer")

    def forgets(params: dict[str, object]) -> object:
        return ["ls"]

    assert failure(await run_command(gives_up), Kind.GAVE_UP).message == "no such customer"
    assert "returned list, not a Command" in failure(await run_command(forgets), Kind.RAISED).message


async def test_a_program_with_more_notes_than_can_be_stored_is_stopped() -> None:
    class Full(Recorded):
        def note(self, claim: Claim, text: str) -> None:
            raise TooManyNotes("1,000 notes are not stored yet")

    error = failure(await run_command(sh("echo '::note a'; exec sleep 60"), recorder=Full()), Kind.RAISED)
    assert "TooManyNotes" in error.message


async def test_a_hundred_megabytes_without_a_newline_take_no_memory() -> None:
    script = """
import sys
for stream in (sys.stdout.buffer, sys.stderr.buffer):
    for _ in range(100): stream.write(b"x" * 1_000_000)
print("\\n::result 7")
"""
    async with no_descriptor_is_left():
        _forget_peak()
        before = _peak()
        assert await run_command(python(script)) == Returned("7")
        assert _peak() - before < 20_000


def _peak() -> int:
    """The most memory that this process has had at one time since `_forget_peak`, in KiB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5)


async def test_an_exit_code_to_give_up_on_is_final_and_any_other_is_tried_again() -> None:
    for code, is_final in ((65, True), (1, False)):
        script = Command(["sh", "-c", f"echo no such colour >&2; exit {code}"], give_up_on=(64, 65))
        result = await run_command(script)
        assert isinstance(result, Failed)
        assert result.final is is_final
        assert ("not retried: the code is in give_up_on" in result.error.message) is is_final
        assert "no such colour" in result.error.message


@pytest.mark.parametrize("code", [0, -9, 256])
def test_what_is_no_exit_code_of_a_failure_can_not_be_given_up_on(code: int) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        Command(["true"], give_up_on=(code,))
