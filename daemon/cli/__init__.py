"""The command line: one file per command or noun, registered in `app`.

Called by `daemon.__main__`. Modules here import nothing heavy before a command runs, so that `headcount --help` and
shell completion answer at once; what a command needs is imported inside it.
"""
