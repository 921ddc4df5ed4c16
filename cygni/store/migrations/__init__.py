"""Alembic's environment and the migrations, one file a step, forward only.

May import: cygni.store.schema (the environment); a migration imports nothing of ours.
"""
