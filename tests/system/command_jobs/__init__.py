"""Handlers for the tests of programs as jobs."""
