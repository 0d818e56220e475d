"""The handlers of the worker pool whose dashboard is drawn."""
