"""assay: the secure MLOps platform.

What lives here
    The package root and floor 0 (`errors`, `clock`, `ids`, `canonical`, `types`, `files`), one
    small file each.  Everything above is imported by name, never from here, so that
    ``import assay`` stays fast and pulls no machine-learning framework.

May import
    The standard library, `rfc8785`, `msgspec` and `uuid6` (floor 0 only).

An attacker who owns it can
    do anything the process can: floor 0 is trusted code.
"""

__version__ = "0.1.0"
