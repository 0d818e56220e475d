"""Google Pub/Sub: streaming pulls, publishing, unary pulls, and what must exist there.

Built by `service` and by the command line. Besides `local/` this is the only home of google.* and grpc; it knows
nothing of the engine, of Postgres or of telemetry.
"""
