"""The handlers of the chaos runs; each keeps the diary."""
