"""Every SDK through the real daemon to every vendor; `python -m tests.crossings` prints the matrix."""
