"""Values to messages and back. The only package that knows what the messages look like."""
