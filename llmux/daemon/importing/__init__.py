"""Configurations of other tools, read and written anew as llmux's own: pure, values in and values out."""
