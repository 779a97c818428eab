"""Commands: one module per command, whose ``main`` takes what is typed behind its name."""
