"""Fetches images from addresses that callers name, and goes nowhere that a caller has no business to send us."""
