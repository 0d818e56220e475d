"""How a process ended, in words: its exit code or its signal, by name.

Used by the executors that start processes. The names are those of signal(7), of sysexits.h, and of POSIX shells, which
end with 128 + N when a signal N killed what they ran.
"""

from __future__ import annotations

import signal

_SYSEXITS = (
    "EX_USAGE", "EX_DATAERR", "EX_NOINPUT", "EX_NOUSER", "EX_NOHOST", "EX_UNAVAILABLE", "EX_SOFTWARE", "EX_OSERR",
    "EX_OSFILE", "EX_CANTCREAT", "EX_IOERR", "EX_TEMPFAIL", "EX_PROTOCOL", "EX_NOPERM", "EX_CONFIG",
)  # fmt: skip
_NAMES = {
    **{64 + number: name for number, name in enumerate(_SYSEXITS)},
    126: "a shell's word for a program that can't be run",
    127: "a shell's word for a program that was not found",
}


def exit_status(code: int) -> str:
    """An exit code, or minus the number of the signal that killed the process, as `subprocess` counts them."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, which the worker did not send: perhaps the kernel, for memory"
    if code < 0:
        return f"killed by {_signal(-code)}"
    if 128 < code < 128 + signal.NSIG:
        return f"exit code {code} (a shell's word for {_signal(code - 128)})"
    return f"exit code {code} ({_NAMES[code]})" if code in _NAMES else f"exit code {code}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals between the first and the last have no names
        return f"signal {number}"
