"""The emulator of Gemini and DeepSeek: an HTTP server that their unmodified clients take for the real ones.

Its answers are made up from the pixels or the prompt it is sent, and say so.
"""
