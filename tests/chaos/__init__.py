"""Breaks everything on purpose while jobs run, and checks what is left: real processes, signals and servers.

`python -m tests.chaos` runs all of it and prints its figures; the system tests run the short forms.
"""

import os

# Workers are forked from a process that has gRPC's threads: its own handling of forks can crash the child.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
