# cython: language_level=3
"""`harness.dist.inbox` at C speed: the same Call, Inbox and splice; and Line, which only exists compiled."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, strerror
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from harness.dist.protocol.framing import LONGEST, MAX_PACKET, Deframer
from harness.errors import EncodeError

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_recv "recv"(int fd, void *data, size_t size, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef extern from *:
    unsigned long HARNESS_SOURCES  # of the build: see harness.etf.compiled

SOURCES = HARNESS_SOURCES

cdef enum:
    ROOM = 4096  # bytes of an answer that Line reads at once
    REPLY = 1
    DOWN = 2
    DOWN_HEAD_SIZE = 7

cdef const char *DOWN_HEAD = b"p\x83h\4a\x1cX"


cdef class Call:
    cdef public bytes frame
    cdef public int kind
    cdef public object packet
    cdef public Py_ssize_t offset
    cdef public bint done
    cdef public bint unsent
    cdef public object waiter

    def __init__(self, bytes frame not None):
        self.frame = frame


cdef class Inbox:
    cdef public bytes reply_prefix
    cdef public bytes spawned_prefix
    cdef public Py_ssize_t spawned_pid_at
    cdef public bytes down_middle
    cdef public Py_ssize_t down_middle_at
    cdef public list others
    cdef public list answered
    cdef object deframer
    cdef bint partial  # the deframer holds the beginning of a packet
    cdef Py_ssize_t max_packet

    def __init__(self, Py_ssize_t max_packet=MAX_PACKET):
        self.reply_prefix = self.spawned_prefix = self.down_middle = b"\0"
        self.others = []
        self.answered = []
        self.max_packet = max_packet
        self.deframer = Deframer(max_packet)

    def receive(self, bytes data not None, dict calls not None):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t length
        cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(data)
        if not self.partial:
            while size - at >= 4:
                length = u32(start + at)
                if length > size - at - 4 or length > self.max_packet:
                    break  # the deframer collects it, or says that it is too long
                self.take(start + at + 4, length, calls)
                at += 4 + length
            if at == size:
                return
            if at:
                data = data[at:]
        for packet in self.deframer.receive(data):
            self.take(<const unsigned char *>PyBytes_AS_STRING(packet), PyBytes_GET_SIZE(packet), calls)
        self.partial = self.deframer.pending

    cdef int take(self, const unsigned char *packet, Py_ssize_t size, dict calls) except -1:
        cdef Py_ssize_t known = PyBytes_GET_SIZE(self.reply_prefix)
        cdef int kind = 0
        cdef Py_ssize_t at = 0
        cdef Call call
        if size > known + 8 and memcmp(packet, PyBytes_AS_STRING(self.reply_prefix), known) == 0:
            kind, at = REPLY, known
        elif size > DOWN_HEAD_SIZE and memcmp(packet, DOWN_HEAD, DOWN_HEAD_SIZE) == 0:
            known = PyBytes_GET_SIZE(self.down_middle)
            at = self.down_middle_at + known
            if (
                size >= at + 10
                and packet[at + 8] == 131
                and memcmp(packet + self.down_middle_at, PyBytes_AS_STRING(self.down_middle), known) == 0
            ):
                kind = DOWN
        else:
            known = PyBytes_GET_SIZE(self.spawned_prefix)
            if (
                size > self.spawned_pid_at
                and size > known
                and packet[self.spawned_pid_at] == b"X"
                and memcmp(packet, PyBytes_AS_STRING(self.spawned_prefix), known) == 0
            ):
                return 0
        if kind == 0:
            self.others.append(PyBytes_FromStringAndSize(<const char *>packet, size))
            return 0
        found = calls.pop(u64(packet + at), None)
        if found is not None:  # None: it came after its caller had given up
            call = <Call?>found
            call.kind = kind
            call.packet = PyBytes_FromStringAndSize(<const char *>packet, size)
            call.offset = at + 7 + kind
            call.done = True
            self.answered.append(call)
        return 0

    cdef bint alone(self, const unsigned char *data, Py_ssize_t size, uint64_t number, Call call) except -1:
        """Whether `data` is the whole reply to call `number` and nothing else; it is done then."""
        cdef Py_ssize_t known = PyBytes_GET_SIZE(self.reply_prefix)
        if (
            self.partial
            or size <= known + 12
            or u32(data) != size - 4
            or memcmp(data + 4, PyBytes_AS_STRING(self.reply_prefix), known) != 0
            or u64(data + 4 + known) != number
        ):
            return False
        call.packet = PyBytes_FromStringAndSize(<const char *>data + 4, size - 4)
        call.kind = REPLY
        call.offset = known + 7 + REPLY
        call.done = True
        return True


cdef class Line:
    """A socket used by a caller who has the connection to himself: one send, one recv, no Python between.

    What is out of the ordinary (others call or write, the answer is not all that came, the connection ends) is left
    to the pump and its traffic, whose way is the same without this class.
    """

    cdef public int fd  # -1 once closed
    cdef object stream, traffic, pump, writing, sending, reading, out
    cdef Inbox inbox
    cdef dict calls

    def __init__(self, int fd, stream, traffic, pump):
        self.fd = fd
        self.stream = stream
        self.traffic = traffic
        self.pump = pump
        self.inbox = <Inbox?>traffic.inbox
        self.calls = traffic.calls
        self.out = traffic.out
        self.writing = traffic.writing.locked
        self.sending = stream.sending.locked
        self.reading = pump.reading

    def exchange(self, uint64_t number, Call call not None, timeout):
        """Send ``call.frame`` and read until the call is done or its time nearly over (see ThreadPump.lead).

        Returns the seconds that took; 0 if it is done, -1 if nothing was sent.
        """
        cdef unsigned char room[ROOM]
        cdef ssize_t size
        cdef ssize_t whole = PyBytes_GET_SIZE(call.frame)
        cdef double began
        pump = self.pump
        if self.out or self.writing() or self.sending() or self.stream.rest or not self.reading.acquire(False):
            return -1.0
        try:
            if self.fd < 0 or pump.inbox:
                return -1.0
            # No other thread comes between: all who write hold the interpreter's lock, as does this one until here
            size = c_send(self.fd, PyBytes_AS_STRING(call.frame), whole, MSG_DONTWAIT | MSG_NOSIGNAL)
            if size <= 0:
                return -1.0
            self.traffic.wrote = True
            if size < whole:
                self.stream.rest = call.frame[size:]  # goes before whatever is written next, a tick too
                self.out.append(b"")  # so that somebody writes
                return 0.0
            began = seconds()
            pump.led += 1
            with nogil:
                size = c_recv(self.fd, room, ROOM, 0)
            if size > 0 and self.inbox.alone(room, size, number, call):
                self.calls.pop(number, None)
                self.traffic.heard = True
                return 0.0
            if size > 0:
                pump.inbox.append(PyBytes_FromStringAndSize(<const char *>room, size))
            elif size < 0 and errno != EINTR and errno != EAGAIN:
                self.traffic.ended(OSError(errno, strerror(errno).decode()))
            PyErr_CheckSignals()
            pump.lead(call, None if timeout is None else began + timeout)
            return seconds() - began
        finally:
            self.reading.release()
            if self.calls or pump.away:
                pump.need()


cdef inline double seconds() noexcept:
    """As time.monotonic."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec / 1e9


def splice(
    bytes head not None,
    uint64_t number,
    bytes middle not None,
    bytes again,
    bytes args not None,
    bytes tail not None,
):
    cdef Py_ssize_t size = 8 + PyBytes_GET_SIZE(head) + PyBytes_GET_SIZE(middle) + PyBytes_GET_SIZE(args)
    cdef bytes made
    cdef unsigned char *at
    size += PyBytes_GET_SIZE(tail)
    if again is not None:
        size += 8 + PyBytes_GET_SIZE(again)
    if size > 0xFFFFFFFFLL:
        raise EncodeError("encode", f"a packet of {size} bytes, the protocol allows {LONGEST}")
    made = PyBytes_FromStringAndSize(NULL, 4 + size)
    at = <unsigned char *>PyBytes_AS_STRING(made)
    at = put(at, <uint64_t>size, 4)
    at = copy(at, head)
    at = put(at, number, 8)
    at = copy(at, middle)
    if again is not None:
        at = put(at, number, 8)
        at = copy(at, again)
    copy(copy(at, args), tail)
    return made


cdef inline unsigned char *copy(unsigned char *at, bytes piece) noexcept:
    memcpy(at, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
    return at + PyBytes_GET_SIZE(piece)


cdef inline unsigned char *put(unsigned char *at, uint64_t value, int count) noexcept:
    cdef int index
    for index in range(count):
        at[index] = (value >> (8 * (count - 1 - index))) & 0xFF
    return at + count


cdef inline uint32_t u32(const unsigned char *p) noexcept:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline uint64_t u64(const unsigned char *p) noexcept:
    return (<uint64_t>u32(p) << 32) | u32(p + 4)
