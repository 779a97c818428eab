"""Laboratory: does a branch know whether its parent is right?

Imported by its command, ``judge``, and by what loads, exports and declares one.
"""
