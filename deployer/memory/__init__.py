"""An engine in memory: real listening sockets, no containers. Ships for tests and trials.

May import: deployer, config.
"""
