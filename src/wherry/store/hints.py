"""Hints that several errors of the store give."""

REBUILD = "`wherry fsck --rebuild` builds a new one from what is in the store"
FULL = (
    "what has arrived is kept; make room (`wherry gc` removes what no name holds),\n"
    "or choose another place with --store"
)
