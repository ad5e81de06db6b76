"""The built-in provider `demo`: deterministic, offline, fluent in all formats (DESIGN 6)."""
