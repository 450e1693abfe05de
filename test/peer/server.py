"""HTTP/1.1 for a scripted PSP, as much as is needed, and fast; and how it is started.

    PEER.py --port 0 --secret SECRET [--webhook-secret SECRET]
            [--ready-file PATH] [--faults JSON] [--seed N] [--die-with-parent]

It prints "port N" when it listens.  It ends on SIGTERM, and with
--die-with-parent also when its standard input closes.

(Not http.py: the standard library has a package of that name.)
"""
import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import socket
import struct
import time
from email.utils import formatdate
from urllib.parse import unquote

from faults import rules_of

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 4 * 1024 * 1024

REASONS = {
    200: "OK", 202: "Accepted", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden",
    404: "Not Found", 409: "Conflict", 424: "Failed Dependency", 429: "Too Many Requests",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Request:
    __slots__ = ("method", "target", "path", "query", "headers", "body", "key", "body_hash", "id", "form",
                 "bad_form", "route", "object_id", "first_byte_at")


class Connection(asyncio.Protocol):
    """One client connection.  Requests are answered strictly in order."""

    def __init__(self, peer):
        self.peer = peer
        self.transport = None
        self.buffer = b""
        self.first_byte_at = 0.0
        self.busy = False           # a request is out and not answered
        self.keep_alive = True
        self.told_to_continue = False

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer.connections.add(self)
        self.peer.max_connections = max(self.peer.max_connections, len(self.peer.connections))

    def connection_lost(self, error):
        self.peer.connections.discard(self)
        self.transport = None

    def data_received(self, data):
        if not self.buffer:
            self.first_byte_at = time.time()
        self.buffer += data
        if not self.busy:
            self.parse()

    def parse(self):
        while self.buffer and not self.busy and self.transport is not None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self.buffer) > HEAD_BYTES_MAX:
                    self.refuse(400)
                return
            lines = self.buffer[:end].split(b"\r\n")
            headers = {}
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            try:
                method, target, version = lines[0].decode("ascii").split(" ")
                length = int(headers.get(b"content-length", 0))
            except (ValueError, UnicodeError):
                return self.refuse(400)
            if b"transfer-encoding" in headers:
                return self.refuse(501)
            if not 0 <= length <= BODY_BYTES_MAX:
                return self.refuse(400)
            total = end + 4 + length
            if len(self.buffer) < total:
                if headers.get(b"expect", b"").lower() == b"100-continue" and not self.told_to_continue:
                    self.told_to_continue = True
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            request = Request()
            request.method = method
            request.target = target
            path, _, request.query = target.partition("?")
            request.path = unquote(path) if "%" in path else path
            request.headers = headers
            request.body = self.buffer[end + 4:total]
            key = headers.get(self.peer.key_header) if method == "POST" else None
            request.key = None if key is None else key.decode("latin-1")
            request.first_byte_at = self.first_byte_at
            self.told_to_continue = False
            self.keep_alive = version == "HTTP/1.1" and headers.get(b"connection", b"").lower() != b"close"
            self.buffer = self.buffer[total:]
            if self.buffer:
                self.first_byte_at = time.time()
            self.busy = True
            self.peer.serve(self, request)

    def refuse(self, status):
        self.keep_alive = False
        self.send(status, self.peer.refusal, "")

    def response(self, status, body, headers):
        kind = "" if "Content-Type" in headers else "Content-Type: application/json\r\n"
        date = formatdate(time.time() + self.peer.settings["clock_skew_s"], usegmt=True)
        return ("HTTP/1.1 %d %s\r\nServer: peer\r\nDate: %s\r\n%s%sContent-Length: %d\r\n%s\r\n" % (
            status, REASONS.get(status, "Status"), date, kind, headers, len(body),
            "" if self.keep_alive else "Connection: close\r\n")).encode("latin-1") + body

    def send(self, status, body, headers):
        """Answers the request and goes on with the next one."""
        if self.transport is None:
            return
        self.transport.write(self.response(status, body, headers))
        self.busy = False
        if not self.keep_alive:
            self.transport.close()
        elif self.buffer:
            self.peer.loop.call_soon(self.parse)

    def send_chunked(self, status, body, headers):
        if self.transport is None:
            return
        head = self.response(status, b"", headers).replace(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n")
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]) if part)
        self.transport.write(head + chunks + b"0\r\nRetry-After: 3600\r\n\r\n")
        self.busy = False
        self.parse()

    def send_without_length(self, status, body, headers):
        if self.transport is not None:
            self.transport.write(self.response(status, b"", headers).replace(b"Content-Length: 0\r\n", b"") + body)
            self.transport.close()

    def send_half(self, status, body, headers):
        if self.transport is not None:
            whole = self.response(status, body, headers)
            self.transport.write(whole[:max(len(whole) - len(body) // 2 - 1, 1)])
            self.transport.close()

    def send_raw(self, data):
        if self.transport is not None:
            self.transport.write(data)
            self.transport.close()

    def send_slowly(self, pause_s, status, body, headers):
        whole = self.response(status, body, headers)

        def step(at):
            if self.transport is None:
                return
            self.transport.write(whole[at:at + 1])
            if at + 1 < len(whole):
                self.peer.loop.call_later(pause_s, step, at + 1)
            else:
                self.busy = False
                self.parse()
        step(0)

    def send_headers_for_ever(self):
        def step(number):
            if self.transport is not None:
                self.transport.write(b"X-Filler-%d: %s\r\n" % (number, b"x" * 1000))
                self.peer.loop.call_later(0.002, step, number + 1)
        if self.transport is not None:
            self.transport.write(b"HTTP/1.1 200 OK\r\n")
            step(0)

    def close(self):
        if self.transport is not None:
            self.transport.close()

    def reset(self):
        """Closes with RST."""
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class Listening:
    """Of a peer, the part that waits for connections.  What it answers with when it cannot read a request: refusal."""
    refusal = b'{}'
    key_header = b"idempotency-key"

    def __init__(self):
        self.loop = self.server = self.other_server = self.port = None
        self.connections = set()

    def reset(self):
        super().reset()
        self.max_connections = len(self.connections)

    async def listen(self, port):
        self.loop = asyncio.get_running_loop()
        self.server = await self.loop.create_server(lambda: Connection(self), "127.0.0.1", port, backlog=4096,
                                                    reuse_address=True)
        self.port = self.server.sockets[0].getsockname()[1]
        try:
            self.other_server = await self.loop.create_server(lambda: Connection(self), "::1", self.port)
        except OSError:             # a host without IPv6, or somebody else has that port
            self.other_server = None


# --------------------------------------------------------------------------

async def serve(peer, options):
    if options.faults:
        peer.rules = rules_of(json.loads(options.faults), options.seed)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.die_with_parent:
        def look_at_stdin():
            if not os.read(0, 4096):
                stop.set()
        loop.add_reader(0, look_at_stdin)
    await peer.listen(options.port)
    print("port %d" % peer.port, flush=True)
    if options.ready_file:
        unfinished = options.ready_file + ".tmp"
        with open(unfinished, "w") as file:
            file.write("%d\n" % peer.port)
        os.rename(unfinished, options.ready_file)
    await stop.wait()


def parse_arguments(description, secret, webhook_secret):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--secret", default=secret)
    parser.add_argument("--webhook-secret", default=webhook_secret)
    parser.add_argument("--ready-file", help="write the port here once listening")
    parser.add_argument("--faults", help="fault rules as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--die-with-parent", action="store_true", help="end when standard input closes")
    return parser.parse_args()


def main(peer_class, description, secret, webhook_secret):
    """Runs a peer; secrets are those of whoever names none."""
    options = parse_arguments(description, secret, webhook_secret)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(200_000, 50, 100)      # the book only grows: scanning it often finds nothing
    asyncio.run(serve(peer_class(options.secret, options.webhook_secret, options.seed), options))
