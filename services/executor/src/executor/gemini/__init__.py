"""The provider's edge: one google-genai client in native schema mode, and what its requests and answers look like."""
