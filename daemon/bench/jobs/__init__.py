"""The handlers that are measured; a worker under test is started with HEADCOUNT_HANDLERS=daemon.bench.jobs.

They do next to nothing, so that what remains is the worker's own cost.
"""
