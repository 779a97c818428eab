"""Timings side by side: run with `make bench`."""
