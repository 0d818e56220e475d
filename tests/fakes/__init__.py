"""Small stand-ins for the database, the bus and a delivery, for tests that count every step.

Used by unit and property tests. Each has up to 80 lines; the store passes the same contract suite as the real one.
"""
