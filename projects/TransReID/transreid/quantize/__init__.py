"""int8 with a guarantee: calibration, smoothing, sensitivity, and a paired test."""
