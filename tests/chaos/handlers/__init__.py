"""The handlers of the chaos runs; each writes to the attempt log."""
