"""The executor: receives jobs over one stream, calls Gemini, reports what came of them."""
