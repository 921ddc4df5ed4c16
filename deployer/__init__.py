"""A manifest to running processes, on an engine (docker, ecs, memory).

May import: config.
"""
