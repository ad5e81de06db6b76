"""Tests that need Chromium: `.ci/run` installs it and runs them; the README's test command does without."""
