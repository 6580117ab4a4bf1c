"""The second provider's edge: one endpoint, what its requests and answers look like."""
