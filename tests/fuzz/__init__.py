"""Fuzzing: targets that take any bytes, and drivers that make them. Run `python -m tests.fuzz --help`."""
