"""Node.js: what makes a Node.js app, how its dependencies are installed, how it is built and started.

May import: buildpacks' vocabulary (`plan`, `messages`, `versions`…), buildpacks.providers.base.
"""
