"""Python: what makes a Python app, how its dependencies are installed, how it is started.

May import: buildpacks' vocabulary (`plan`, `messages`, `versions`…), buildpacks.providers.base.
"""
