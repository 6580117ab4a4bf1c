"""The gRPC edge: the stream to a scheduler, its images, and the mapping between messages and the domain."""
