"""What operators see of a worker: metrics, log lines, traces and the health port.

Subscribers of `daemon/observe.py`, built by the service. Nothing here decides anything about a job, and nothing here
may raise into, or wait on, the code that reports.
"""
