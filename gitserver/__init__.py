"""The SSH front door: keys, git receive-pack and upload-pack, and the command channel.

May import: config.
"""
