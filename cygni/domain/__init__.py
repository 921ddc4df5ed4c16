"""The nouns of the platform as plain values, and the rules that need no database.

May import: nothing of ours.
"""
