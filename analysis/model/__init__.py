"""The reference model of the nested reverse map: what the kernel must do, as data and pure steps.

`shadow.Shadow` is the state of one shadow MMU: the entries of its reverse map, the mappings of its
page tables, and what is under way. `rules` only reads it: given a state and what is asked of the
kernel, what has to come. `Shadow`'s methods then change the state, once one knows what did come.
A checker asks the rules, compares, and applies; no state is ever copied.

    entry      canonical range -> VALID_ENTRY | nested IPA, or UNKNOWN_IPA; entries never overlap
    record     a mapping is about to be made: no overlap: a new entry; overlap: one entry of
               UNKNOWN_IPA takes the place of all that overlap
    notifier   unmaps what the entries in its range say, and takes these out; or all of the MMU,
               where the reverse map does not tell (a fallback)
    full unmap empties the reverse map when it begins, and the page tables until it ends
"""
