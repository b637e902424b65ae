"""What most rows of a trace are, in compiled code: regular rows, of VMs of which all is known.

A row is regular if a correct kernel's reverse map, one without overlaps, would make it just there.
`loop.advance` runs through a batch and stops, before it changes anything, at the first row that is
not regular. It never finds fault: what stops it is for the reference model to judge, which takes
the VM's state back for that. So it knows of each rule only the case in which all is well.

    record     nothing recorded overlaps (stored), or just this is recorded (unchanged)
    map        of what is recorded
    unmap      what is mapped in a nested range goes; of all: the entries, too
    notifier   one by one, the entries in its range; none is left at its end, and no mapping

Where there is no reverse map, or its decisions are not seen, a mapping is a slot by itself, which a
notifier may unmap in any way; one that leads where another does is not regular. See state.MODE.

State is numbers in arrays. A slot is an entry of a reverse map and, where it is mapped, its
mapping: with a reverse map, no mapping is without an entry of just its range. Slots are found by
canonical IPA and, if mapped, by nested IPA. All sizes are powers of two, and all is aligned.
"""
