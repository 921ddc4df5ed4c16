"""The engine adapter that needs no engine: instances live in this process and answer HTTP on loopback.

May import: deployer, config.
"""

from deployer.memory.engine import MemoryEngine
from deployer.memory.machine import Machine
from deployer.memory.program import Program, ProgramError, Programs, parse

__all__ = ["Machine", "MemoryEngine", "Program", "ProgramError", "Programs", "parse"]
