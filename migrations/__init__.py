"""Schema migrations, run by `headcount migrate`; inside the wheel this folder is `daemon.migrations`."""
