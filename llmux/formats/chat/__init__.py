"""The wire format OpenAI Chat Completions."""
