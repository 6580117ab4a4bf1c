"""The gRPC edge: servicers, and the mapping between messages and the domain."""
