#!/usr/bin/python3
"""The PSP that the adapters in test/adapters speak to.

    plain.py --auth apikey|basic|oauth --secret SECRET [--die-with-parent]

Prints "port N" and answers until it is stopped.  A charge or any other
operation is kept by the key that it was sent under, so that a repetition gets
its first answer.  The payment method says what becomes of an operation:
"declined", "pending", "transient" (one 503 that is certainly nothing done,
then done), "lost" (done, and the answer is a 500 that says nothing), else done.

    GET  /_book       what was done, how often who called, what was refused
    POST /_control    {"finish": "REF"}          a pending operation is done
                      {"end_tokens": true}       tokens that were given are no good any more
                      {"refuse_tokens": true}    nor will be those that are given from now on
                      {"valid_s": 5}             so long are tokens valid that are given from now on
                      {"too_many_s": 60}         each operation is answered with 429 and this Retry-After; 0: no more
"""
import argparse
import base64
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Book:
    def __init__(self, auth, secret):
        self.lock = threading.Lock()
        self.auth, self.secret = auth, secret
        self.by_key, self.operations, self.requests, self.failed_once = {}, [], [], set()
        self.tokens_given, self.tokens_good, self.valid_s, self.refuse_tokens = 0, {}, 3600, False
        self.unauthorized = self.tokens_refused = self.too_many_s = 0

    def basic(self):
        return "Basic " + base64.b64encode(self.secret.encode()).decode()

    def authorized(self, headers):
        if self.auth == "apikey":
            return headers.get("X-Api-Key") == self.secret
        if self.auth == "basic":
            return headers.get("Authorization") == self.basic()
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return scheme == "Token" and time.monotonic() < self.tokens_good.get(token, 0)

    def give_token(self, headers, body):
        if headers.get("Authorization") != self.basic() or body != b"grant_type=client_credentials":
            self.tokens_refused += 1
            return 401, {"error": "invalid_client"}
        self.tokens_given += 1
        token = "token-%d" % self.tokens_given
        if not self.refuse_tokens:
            self.tokens_good[token] = time.monotonic() + self.valid_s
        return 200, {"access_token": token, "token_type": "token", "expires_in": self.valid_s}

    def perform(self, key, body):
        if key in self.by_key:
            return 200, self.by_key[key]
        wanted = json.loads(body)
        method = wanted.pop("method", "")
        if method == "transient" and key not in self.failed_once:
            self.failed_once.add(key)
            return 503, {"error": "transient"}
        n = len(self.operations) + 1
        operation = dict(wanted, id="op_%d" % n, payment=wanted.get("payment", "pay_%d" % n),
                         status={"declined": "declined", "pending": "pending"}.get(method, "done"))
        self.operations.append(operation)
        self.by_key[key] = operation
        return (500, {"error": "unknown"}) if method == "lost" else (200, operation)

    def find(self, ref, generation):
        for operation in self.operations:
            if operation["ref"] == ref and operation["generation"] == generation:
                return 200, operation
        return 404, {"error": "not_found"}

    def control(self, orders):
        for operation in self.operations:
            if operation["ref"] == orders.get("finish"):
                operation["status"] = "done"
        if orders.get("end_tokens"):
            self.tokens_good.clear()
        self.refuse_tokens = orders.get("refuse_tokens", self.refuse_tokens)
        self.valid_s = orders.get("valid_s", self.valid_s)
        self.too_many_s = orders.get("too_many_s", self.too_many_s)
        return 200, {}

    def show(self):
        return 200, {"operations": self.operations, "requests": self.requests, "tokens_given": self.tokens_given,
                     "tokens_refused": self.tokens_refused,
                     "unauthorized": self.unauthorized}


def handler(book):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Trace-Id", "req_%d" % len(book.requests))
            if status == 503:
                self.send_header("Transient-Error", "true")
            if status == 429:
                self.send_header("Retry-After", str(book.too_many_s))
            self.end_headers()
            self.wfile.write(body)

        def reply(self, body):
            path = self.path.split("?")[0]
            if path == "/_book":
                return book.show()
            if path == "/_control":
                return book.control(json.loads(body))
            if path == "/token":
                return book.give_token(self.headers, body)
            book.requests.append({"method": self.command, "path": self.path, "body": body.decode(),
                                  "key": self.headers.get("Request-Key")})
            if not book.authorized(self.headers):
                book.unauthorized += 1
                return 401, {"error": "unauthorized"}
            if book.too_many_s > 0:
                return 429, {"error": "too_many"}
            if self.command == "POST" and path == "/operations" and self.headers.get("Request-Key"):
                return book.perform(self.headers["Request-Key"], body)
            parts = path.strip("/").split("/")
            if self.command == "GET" and len(parts) == 3 and parts[0] == "operations":
                return book.find(parts[1], int(parts[2]))
            return 400, {"error": "bad_request"}

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with book.lock:
                status, value = self.reply(body)
            self.answer(status, value)

        do_GET = do_POST

        def log_message(self, *args):
            pass
    return Handler


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--auth", choices=["apikey", "basic", "oauth"], required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--die-with-parent", action="store_true")
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(Book(options.auth, options.secret)))
    server.daemon_threads = True
    if options.die_with_parent:
        # Standard input ends with whoever started us.
        def watch():
            sys.stdin.buffer.read()
            os._exit(0)
        threading.Thread(target=watch, daemon=True).start()
    print("port %d" % server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
