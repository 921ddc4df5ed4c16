"""Base images: made from a Debian suite where no registry is in reach, shared by every server on an engine.

May import: buildpacks.buildkit, buildpacks.ports, config, third parties.
"""
