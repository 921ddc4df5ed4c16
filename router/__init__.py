"""The HTTP data plane: its own process, its own memory.

May import: config.
"""
