"""Source tree to plan to Dockerfile to image.

May import: config.
"""
