#!/usr/bin/python3
"""Tollgate, the made-up PSP of docs/adapter.md.

    tollgate.py --secret SECRET --webhook-secret SECRET [--die-with-parent]

Prints "port N" and answers until it is stopped.  What was done under a key is
done once; the answer to its repetition is the first.  The card says what becomes
of an operation: "declined", "pending", "lost" (done, and the connection ends
without an answer), "page" (done, and the answer is a page of HTML), "wrong" (done,
of another amount), else done.  Who comes with name and password, "client:" and the
secret, gets a token at /v1/token.

    GET  /_book       objects, requests, and how often somebody came without the secret
    POST /_control    {"event": "REFERENCE"}     that object as an event, signed: {"headers": {...}, "body": "..."}
                      {"finish": "REFERENCE"}    a pending one is done
"""
import argparse
import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MADE = {"captures": "capture", "voids": "void", "refunds": "refund"}


class Book:
    def __init__(self, secret, webhook_secret):
        self.lock = threading.Lock()
        self.secret, self.webhook_secret = secret, webhook_secret
        self.by_key, self.objects, self.requests, self.unauthorized = {}, [], [], 0

    def client(self):
        return "Basic " + base64.b64encode(("client:" + self.secret).encode()).decode()

    def perform(self, path, key, wanted):
        if key in self.by_key:
            return 200, self.by_key[key]
        if not key or not isinstance(wanted.get("reference"), str):
            return 400, {"error": {"code": "bad_request", "message": "no key, or no reference"}}
        parts = path.strip("/").split("/")
        n = len(self.objects) + 1
        if parts == ["v1", "payments"]:
            kind, payment = "charge" if wanted["capture"] else "authorization", "pay_%d" % n
        elif len(parts) == 4 and parts[3] in MADE and any(o["payment"] == parts[2] for o in self.objects):
            kind, payment = MADE[parts[3]], parts[2]
        else:
            return 400, {"error": {"code": "no_such_payment", "message": path}}
        card = wanted.get("card")
        made = {"object": kind, "id": "obj_%d" % n, "payment": payment, "reference": wanted["reference"],
                "generation": wanted["generation"], "currency": wanted["currency"],
                "amount": wanted["amount"] + (card == "wrong"),
                "status": {"declined": "declined", "pending": "pending"}.get(card, "done")}
        if card == "declined":
            made.update(code="stolen_card", message="Not with this card.")
        self.objects.append(made)
        self.by_key[key] = made
        return {"lost": 0, "page": 502}.get(card, 402 if card == "declined" else 200), made

    def find(self, query):
        wanted = parse_qs(query)
        return 200, {"objects": [o for o in self.objects if [o["reference"]] == wanted.get("reference")
                                 and [str(o["generation"])] == wanted.get("generation")]}

    def control(self, orders):
        made = next(o for o in self.objects if o["reference"] in (orders.get("event"), orders.get("finish")))
        if "finish" in orders:
            made["status"] = "done"
        body = json.dumps({"id": "evt_" + made["id"] + made["status"], "type": made["object"], "data": made})
        now = str(int(time.time()))
        code = hmac.new(self.webhook_secret.encode(), (now + "." + body).encode(), hashlib.sha256).hexdigest()
        return 200, {"headers": {"Tollgate-Signature": code, "Tollgate-Time": now}, "body": body}


def handler(book):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, value):
            if status == 0:
                self.close_connection = True
                return
            page = status == 502
            body = b"<html>Bad gateway</html>" if page else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if page else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Tollgate-Request", "req_%d" % len(book.requests))
            self.end_headers()
            self.wfile.write(body)

        def reply(self, body):
            url = urlsplit(self.path)
            if url.path == "/_book":
                return 200, {"objects": book.objects, "requests": book.requests, "unauthorized": book.unauthorized}
            if url.path == "/_control":
                return book.control(json.loads(body))
            book.requests.append({"method": self.command, "path": self.path, "key": self.headers.get("Tollgate-Key")})
            known = self.headers.get("Authorization")
            if url.path == "/v1/token" and known == book.client() and body == b"grant_type=client_credentials":
                return 200, {"access_token": "token_" + book.secret, "expires_in": 3600}
            if known not in ("Bearer " + book.secret, "Bearer token_" + book.secret):
                book.unauthorized += 1
                return 401, {"error": {"code": "unauthorized", "message": "who are you?"}}
            if self.command == "POST":
                return book.perform(url.path, self.headers.get("Tollgate-Key"), json.loads(body))
            return book.find(url.query) if url.path == "/v1/objects" else (400, {"error": {"code": "bad_path"}})

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
    parser.add_argument("--secret", required=True)
    parser.add_argument("--webhook-secret", required=True)
    parser.add_argument("--die-with-parent", action="store_true")
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(Book(options.secret, options.webhook_secret)))
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
