"""Plain `def` handlers in child processes: CPU work that would hold up the worker's own threads, and can be killed.

One child and one pipe per slot, started before a job comes. `executor.py` calls a handler, `pool.py` keeps the
children, `child_process.py` and `remote_run.py` are the worker's ends of a child and of a job in it; `child.py` is what
a child does. Both sides speak the messages of `messages.py`, JSON in frames: no object of a handler is ever pickled.
"""
