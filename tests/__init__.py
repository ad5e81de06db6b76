"""Tests of llmux; run with `python -m twisted.trial tests`."""
