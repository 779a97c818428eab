"""Confidence scores: one finite real per answer, higher = surer."""
