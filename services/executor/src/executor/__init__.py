"""The executor: receives jobs over one stream, calls Gemini, streams results back."""
