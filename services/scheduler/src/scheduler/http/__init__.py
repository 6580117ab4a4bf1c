"""The HTTP edge, read-only."""
