"""Experiments from Python: declared with objects, run by the same code and keys as the command line."""
