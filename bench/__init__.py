"""What the queue itself costs: measured with executors whose model answers at once, on one machine."""
