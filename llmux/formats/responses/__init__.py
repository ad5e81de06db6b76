"""The wire format OpenAI Responses."""
