from typing import Any

from harness.dist.inbox import Call as Call
from harness.dist.inbox import Inbox as Inbox
from harness.dist.pump import ThreadPump
from harness.dist.sockets import SocketStream

class Line:
    fd: int
    def __init__(self, fd: int, stream: SocketStream, traffic: Any, pump: ThreadPump) -> None: ...
    def exchange(self, number: int, call: Call, timeout: float | None) -> float: ...

def splice(head: bytes, number: int, middle: bytes, again: bytes | None, args: bytes, tail: bytes) -> bytes: ...
