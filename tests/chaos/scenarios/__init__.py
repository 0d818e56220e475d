"""The scenarios: each breaks one kind of thing, measures, and gives a report back."""
