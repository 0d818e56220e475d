"""Handlers for the tests of what happens to a job that is ended while it runs."""
