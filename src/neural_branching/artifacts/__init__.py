"""Every artifact of an experiment, found in the store or built."""
