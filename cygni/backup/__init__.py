"""Backup and restore of everything that a server cannot make again.

May import: config, cygni.domain, cygni.store, gitserver.
"""
