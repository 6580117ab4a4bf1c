"""The other provider: DeepSeek's chat completions, which answer JSON that is made up from the prompt, and say so."""
