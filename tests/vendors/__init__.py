"""Scripted providers that refuse what the official services refuse, and answer in their exact grammar.

`python -m tests.vendors` serves all four on one port. What a model says depends on the words of the last thing that
the user said, see `scene`.
"""
