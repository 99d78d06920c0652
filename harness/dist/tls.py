"""Distribution over TLS (guide chapter Using TLS for Erlang Distribution): a Stream inside a Stream.

TLS comes first, whole; the ordinary handshake follows inside it, with 4-byte lengths, and after it the ordinary
packets. Both sides show a certificate, and the one who dials looks for the host part of the node's name in the
other's.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.dist.runtime import Runtime, Stream
from harness.dist.ticks import NativeLock
from harness.dist.tls_words import TlsFailed, plain, told_of
from harness.errors import NotSent, UsageError

__all__ = ["HEADER", "Credentials", "TlsFailed", "TlsStream", "secured"]

HEADER = 4
"""Bytes of the length before a message of the distribution handshake inside TLS."""

_RECORD = 1 << 14  # the most that one TLS record holds, and so the most that one read gives
_RECEIVE = 1 << 18
_ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # OpenSSL's; without it a node that dialled us leaves when its keys are old
_SEALED = 1 << 18  # bytes encrypted at a time: what waits for the socket stays small beside what is sent


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are and whom we trust, in PEM: the authority's certificate, our own, our private key.

    As a folder: ``ca.pem``, ``cert.pem``, ``key.pem``.
    """

    ca: str
    cert: str
    key: str = field(repr=False)

    @classmethod
    def read(cls, folder: str | Path) -> Credentials:
        """Raises UsageError."""
        try:
            return cls(*((Path(folder) / f"{name}.pem").read_text() for name in ("ca", "cert", "key")))
        except (OSError, UnicodeDecodeError) as error:
            cause = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else f"{folder}: {error}"
            raise UsageError("tls", cause, "name a folder with ca.pem, cert.pem and key.pem") from error

    @classmethod
    def given(cls, text: str) -> Credentials:
        """From an environment variable: what `told` made, or the name of a folder. Raises UsageError."""
        return cls(**json.loads(text)) if text.startswith("{") else cls.read(text)

    def told(self) -> str:
        """For an environment variable, where no file is to hold the key."""
        return json.dumps(asdict(self))

    def client_context(self, *, check_name: bool = True) -> ssl.SSLContext:
        """For dialling. ``check_name``: the host part of the node's name must be in its certificate."""
        context = self._into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        context.check_hostname = check_name
        return context

    def server_context(self) -> ssl.SSLContext:
        """For being dialled: whoever does must show a certificate of the same authority."""
        context = self._into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.verify_mode = ssl.CERT_REQUIRED
        context.options |= _ALLOW_CLIENT_RENEGOTIATION
        return context

    def _into(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(cadata=self.ca)
            with tempfile.NamedTemporaryFile("w", prefix="harness-", suffix=".pem") as file:  # 0600, gone right after
                file.write(f"{self.key}\n{self.cert}")
                file.flush()
                context.load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError("tls", f"certificates cannot be used: {error}", "is the key the certificate's?") from error
        return context


class TlsStream:
    """A Stream over `stream`: one reads while another writes. ``lock``: for threads of the operating system.

    `handshake` first. ``server_hostname`` is what the peer's certificate must be for, unless the context does not
    check names.
    """

    def __init__(
        self,
        stream: Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str = "",
        lock: Callable[[], NativeLock],
    ) -> None:
        self._stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side, server_hostname or None)
        self._state = lock()  # around the three above: work in memory only, nobody holds it while he waits
        self._sending = lock()  # records leave in the order in which they were sealed
        self._sealed = b""  # sealed, and not yet taken by the stream
        self._unsealed: deque[bytes] = deque()  # while a peer of TLS 1.2 renegotiates (OTP: after 2^28 records)
        self._young = True  # nothing was heard from the peer inside TLS
        self._closed = False
        self.settimeout: Callable[[float | None], None] = stream.settimeout

    def handshake(self, left: Callable[[], float]) -> None:
        """Until TLS stands; ``left`` tells the seconds that remain. Raises TlsFailed, TimeoutError, OSError."""
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):  # an alert: why we do not want the peer
                    self._send_sealed()
                raise told_of(error) from error
            self.settimeout(left())
            self._send_sealed()
            if not done:
                self._feed(self._stream.recv(_RECEIVE))

    def recv(self, size: int, /) -> bytes:
        while True:
            try:
                data: bytes | None = self._locked(self._opened, size)
                if self._unsealed and data != b"":
                    self._locked(self._seal_waiting)
            finally:
                with contextlib.suppress(ConnectionError):  # to be read before: what the peer said before it left
                    self._pass_on()
            if data is not None:
                self._young = False
                return data
            more = self._stream.recv(_RECEIVE)
            self._locked(self._feed, more)

    def sendall(self, data: bytes, /, wait: bool = True) -> bool:
        view = memoryview(data)
        taken = True
        self._sending.acquire()
        try:
            for start in range(0, len(view), _SEALED):
                if start and taken:  # else the stream gets all the rest at once
                    taken = self._send_sealed(wait)
                self._locked(self._seal, view[start : start + _SEALED])
            taken = self._send_sealed(wait)
        except ssl.SSLError as error:
            raise told_of(error) from error
        except ConnectionError:
            if self._young:  # TLS 1.3: the peer looks at our certificate after we may send, and says why it leaves
                self._last_words()
            raise
        finally:
            self._sending.release()
        self._pass_on()
        return taken

    def offer(self, data: bytes, /) -> bool:
        if not self._sending.acquire(False):
            return self._stream.offer(b"")  # he who sends may be kept from his next look at the socket
        try:
            if not self._sealed:
                self._locked(self._seal, data)
            self._offer_sealed()
        except ssl.SSLError as error:
            raise told_of(error) from error
        finally:
            self._sending.release()
        return True

    def arrived(self) -> bool:
        return self._in.pending > 0 or self._stream.arrived()

    def close(self) -> None:
        if not self._closed and self._sending.acquire(False):  # a write that waits is not waited for
            self._closed = True
            try:
                with contextlib.suppress(OSError, ValueError):
                    self._locked(self._say_goodbye)
                    self._offer_sealed()
            finally:
                self._sending.release()
        self._stream.close()

    # --- under the lock of the state --------------------------------------------------------------------------------

    def _locked(self, act: Callable[..., Any], *args: Any) -> Any:
        self._state.acquire()
        try:
            return act(*args)
        finally:
            self._state.release()

    def _opened(self, size: int) -> bytes | None:
        """Data that can be read now, b"" at the end, None when more has to come first."""
        try:
            return self._tls.read(min(size, _RECORD))
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # a killed peer says no goodbye
            return b""
        except ssl.SSLError as error:
            raise told_of(error) from error

    def _seal(self, data: bytes | memoryview) -> None:
        """Encrypt, or where more has to be read first, keep it until then."""
        if self._unsealed:
            self._unsealed.append(bytes(data))
            return
        try:
            self._tls.write(data)
        except ssl.SSLWantReadError:
            self._unsealed.append(bytes(data))

    def _seal_waiting(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            while self._unsealed:
                self._tls.write(self._unsealed[0])
                self._unsealed.popleft()

    def _feed(self, data: bytes) -> None:
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def _say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):  # the peer's own goodbye is not waited for
            self._tls.unwrap()

    # --- sending ----------------------------------------------------------------------------------------------------

    def _send_sealed(self, wait: bool = True) -> bool:
        sealed, self._sealed = self._sealed + self._locked(self._out.read), b""
        return self._stream.sendall(sealed, wait)

    def _offer_sealed(self) -> None:
        """As `_send_sealed`, without waiting: what the stream does not take goes before whatever is sent next."""
        self._sealed += self._locked(self._out.read)
        if self._sealed and self._stream.offer(self._sealed):
            self._sealed = b""

    def _pass_on(self) -> None:
        """Send what reading made necessary (an alert, the answer to a KeyUpdate), unless somebody sends: he does it."""
        if self._out.pending and self._sending.acquire(False):
            try:
                self._offer_sealed()
            finally:
                self._sending.release()

    def _last_words(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while self._locked(self._opened, 1) is None:
                self._locked(self._feed, self._stream.recv(_RECEIVE))


def secured(
    stream: Stream,
    context: ssl.SSLContext,
    peer: str,
    runtime: Runtime,
    left: Callable[[], float],
    *,
    server_side: bool = False,
) -> TlsStream:
    """TLS with `peer` over `stream`, standing: its certificate is one of the authority's and, where we dialled, for
    the host in its name. Raises HandshakeRefused (with a reason that begins with ``tls``), NotSent.
    """
    host = "" if server_side else peer.partition("@")[2]
    tls = TlsStream(stream, context, server_side=server_side, server_hostname=host, lock=runtime.ticker.lock)
    try:
        tls.handshake(left)
    except TlsFailed as error:
        raise error.refused(peer) from error
    except TimeoutError as error:
        remedy = "does it run with -proto_dist inet_tls? It may also be paused, overloaded or cut off"
        raise NotSent("tls", "no answer in time", remedy, node=peer) from error
    except OSError as error:
        raise plain(f"TLS handshake: {error.strerror or error}").refused(peer) from error
    return tls
