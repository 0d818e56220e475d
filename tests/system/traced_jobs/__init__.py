"""The handlers of the tests of tracing."""
