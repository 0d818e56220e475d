"""What of a job's work is recorded and not done again: its durable steps, and the waits that suspend it.

Used by the runner and by every handler's context. It knows no database: what is stored goes through a StepStore.
"""
