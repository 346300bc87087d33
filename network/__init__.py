"""Building components and devices from options, and reading and writing checkpoint files."""
