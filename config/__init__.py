"""Settings, logging and the service manager: reads the environment once, at start, and hands frozen values down.

May import: nothing of ours.
"""

from config.settings import Settings, SettingsError, load

__all__ = ["Settings", "SettingsError", "load"]
