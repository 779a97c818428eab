"""Pictures of one run, and of many together."""
