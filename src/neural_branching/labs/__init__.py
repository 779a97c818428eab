"""Laboratories: questions about networks that nothing else in the package rests on."""
