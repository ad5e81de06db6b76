"""What llmux costs beside nginx and Caddy, measured on one machine in one run; see docs/performance.md."""
