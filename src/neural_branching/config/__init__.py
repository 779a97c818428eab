"""From a composed configuration to small frozen specs, checked without importing torch."""
