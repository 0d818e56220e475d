"""What the tests share: real servers, a fresh database each, waiting on conditions, a worker as a process.

Used by tests/conftest.py, which loads the fixtures. Nothing here asserts anything about Headcount.
"""
