"""Migrations `NNNN_what.py`, in order.

May import: nothing of ours, so that an old step means the same for ever.
"""
