"""What a trained branch is worth: everything learned on calibration, judged once on test."""
