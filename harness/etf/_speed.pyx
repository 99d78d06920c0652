# cython: language_level=3
"""The common terms at C speed: `decode` and `encode` with the meaning of the pure ones beside them.

What is not plain sailing (damaged input, options that change what a value looks like, nesting beyond MAX_DEPTH, a fun)
is given up: the decoder hands the whole job to the pure one, the encoder the term it has come to (what it has written
may have called Python code, and that is not called twice). So what there is to say about wrong input is said in one
place, and here a reader needs no error but NULL. Rare terms go to their pure readers and writers one at a time.

Reference counting is by hand: a function that returns ``PyObject *`` returns a reference of the caller's own, or NULL,
with an exception set (Python code was called and raised) or without (given up).
"""

cdef extern from *:
    unsigned long HARNESS_SOURCES  # of the build: see harness.etf.compiled

SOURCES = HARNESS_SOURCES

include "_speed_api.pxi"
include "_speed_decode.pxi"
include "_speed_read_atoms.pxi"
include "_speed_read_containers.pxi"
include "_speed_read_identifiers.pxi"
include "_speed_encode.pxi"
include "_speed_write.pxi"
