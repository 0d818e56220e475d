"""The handlers of the fleets that alerts are tried on."""
