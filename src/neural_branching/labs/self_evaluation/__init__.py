"""Laboratory: does a branch know whether its parent is right?

Imported by nothing but its command, ``judge``.
"""
