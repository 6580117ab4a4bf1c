"""The gRPC edge: the stream to a scheduler, and the mapping of its messages."""
