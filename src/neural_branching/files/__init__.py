"""Everything final on disk: read as plain values alone, written whole or not at all."""
