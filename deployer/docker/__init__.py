"""The engine adapter for Docker on one machine.

May import: deployer, config.
"""
