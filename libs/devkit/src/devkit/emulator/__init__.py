"""The Gemini emulator: an HTTP server that the unmodified google-genai client takes for the real one.

Its answers are made up from the pixels it is sent, and say so.
"""
