"""Breaks everything on purpose while jobs run, and judges what is left: real processes, signals and servers.

`python -m tests.chaos` runs all of it and prints its figures; the system tests run the short forms.
"""
