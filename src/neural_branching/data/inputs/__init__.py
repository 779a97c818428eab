"""Input adapters: what an example is, how examples are stored, compared, and handed to a network."""
