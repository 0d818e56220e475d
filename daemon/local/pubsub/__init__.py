"""A Pub/Sub server for `demo`, `dev` and the tests: the google.pubsub.v1 protocol over gRPC, in memory.

Started as a process of its own (`python -m daemon.local.pubsub --port 0`); the unmodified Google client talks to it
through PUBSUB_EMULATOR_HOST. Tests steer it through `control.Control`. It keeps nothing on disk, and it must never
be used for production: no authentication, loopback only.
"""
