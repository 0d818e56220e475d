"""The client of Cloud Run Jobs, whose executions it starts, reads, finds again and cancels. Needs the extra `cloudrun`.

Built by the service and called by the `cloud_run_job` executor. It decides nothing about jobs.
"""
