"""Places that examples come from, all of them readers of the same table."""
