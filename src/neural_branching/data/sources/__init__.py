"""Places that images come from, all of them readers of the same table."""
