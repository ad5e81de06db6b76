"""The `llmux` console command: looks at configurations, routes and decisions, and talks to the running daemon."""
