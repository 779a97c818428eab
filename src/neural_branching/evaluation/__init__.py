"""What a trained branch is worth: everything learned on calibration, evaluated once on test."""
