"""llmux: a streaming proxy that routes each model request to the provider its user chose."""

__version__ = "1.0.0"
