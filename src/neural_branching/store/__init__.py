"""Artifacts are built once and found again: keys, locks, checkpoints, upkeep, and the folders of runs."""
