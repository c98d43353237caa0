"""A server of files in ranges, which counts what is asked of it and fails on demand."""

import re
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Ranges:
    """Files by their paths; what was asked of them; and what goes wrong."""

    files: dict[str, bytes]
    address: str = ""
    asked: list[tuple[str, int, int]] = field(default_factory=list)  # path, first byte, bytes sent
    now: int = 0  # requests that are being answered
    together: int = 0  # and how many at most
    delay: float = 0.0
    faults: list[str] = field(default_factory=list)  # of the next requests for bytes, one each
    broken: str = ""  # what is wrong with every request
    etags: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path):
        return f"{self.address}/{path}"

    def forget(self):
        """Returns the bytes sent since the last time, and starts anew."""
        sent = sum(size for _, _, size in self.asked)
        self.asked, self.together, self.faults, self.broken, self.delay = [], 0, [], "", 0.0
        return sent

    def fault(self, method):
        with self.lock:
            return self.broken or (self.faults.pop(0) if self.faults and method == "GET" else "")

    @contextmanager
    def counted(self):
        with self.lock:
            self.now += 1
            self.together = max(self.together, self.now)
        try:
            time.sleep(self.delay)
            yield
        finally:
            with self.lock:
                self.now -= 1


class Handler(BaseHTTPRequestHandler):
    """Answers with a part of a file, or as a server in trouble does."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        with self.server.ranges.counted():
            self.answer()

    def answer(self):
        path, fault = self.path.partition("?")[0].strip("/"), self.server.ranges.fault(self.command)
        if path not in self.server.ranges.files:
            self.send_error(404)
        elif fault.isdigit():
            self.send_error(int(fault))
        elif fault == "reset":
            # With no time to linger, closing is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        else:
            self.send(path, fault)

    def send(self, path, fault):
        content = self.server.ranges.files[path]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if fault != "whole" else None
        first, last = (int(asked[1]), int(asked[2] or len(content))) if asked else (0, len(content))
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        if tag := self.server.ranges.etags.get(path, '"1"'):
            self.send_header("ETag", tag)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.send_body(path, first, part, fault)

    def send_body(self, path, first, part, fault):
        if fault == "cut":
            part, self.close_connection = part[: len(part) // 2], True
        with self.server.ranges.lock:
            self.server.ranges.asked.append((path, first, len(part)))
        with suppress(OSError):  # who has asked may want no more of it
            self.wfile.write(part)

    def log_message(self, *_):
        """On no terminal."""


@contextmanager
def served(files):
    """Serves files from memory on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ranges = Ranges(dict(files), f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.ranges
        server.shutdown()
