"""One module a language: what it looks for in a tree, and how it is built and started.

May import: config, and the modules of `buildpacks` that hold data.
"""
