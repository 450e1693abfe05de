"""Faults of a scripted PSP: what goes wrong between a request and its answer,
whatever protocol it speaks.  The same seed gives the same faults to the same
keys whatever the order of arrival, so a failing run can be repeated.
"""
import hashlib
import re

from book import name_of

FAULTS = {
    # the request is not performed
    "reset_before": "close with RST before performing",
    # performed (hang: unless perform is false), the answer is lost
    "lose_answer": "perform, then close without answering (rst: true closes with RST)",
    "cut_answer": "perform, send half of the response, close",
    "hang": "never answer (perform: false: nor perform)",
    "hold": "performed, answered when control says release",
    # answered with an error; status_NNN works for every number
    "status_401": "wrong API key", "status_403": "key lacks permission",
    "status_409": "not performed, not stored",
    "status_424": "not performed, not stored",
    "status_429": "not performed, not stored; retry_after (of any status): text of Retry-After",
    # page: true (of any status): not the PSP's own answer but the page of something in between
    "status_500": "stored under the key (stored: false: not); perform: true charges all the same",
    "status_502": "a gateway's HTML page, not performed (perform: true: performed), not stored",
    # performed and answered, late
    "delay_ms": "ms: N or [min, max]; when: after (default: perform, wait, answer) or before (wait, perform)",
    # performed, the answer is broken
    "truncated_json": "half of the JSON, with a Content-Length that fits",
    "big_body": "10 MB of valid JSON (bytes: N)",
    "nul_in_json": "\\u0000 in a text field",
    "bad_utf8": "bytes that are no UTF-8 in a text field",
    "deep_json": "200,000 opening brackets",
    "duplicate_fields": "amount and status twice, the second ones wrong; of a list, in each of its objects",
    "huge_amount": "amount 2^63",
    "wrong_id": "the ids and metadata of another payment; of a list, in each of its objects",
    "same_page": "of a list, the first page each time, and more behind it",
    "garbage": "200 with bytes that are no JSON",
    "garbage_http": "bytes that are no HTTP",
    "empty_body": "200 without a body",
    "drip": "one byte every ms: N (default 20)",
    "endless_headers": "header lines for ever",
    # performed and answered well, framed otherwise
    "chunked": "in chunks, with trailers that say something else",
    "no_length": "ends where the connection ends",
}


class Rule:
    """One fault: what, how often, and to which requests.

    {"fault": "lose_answer", "p": 0.1, "count": 3, "skip": 2, "per_key": 1,
     "method": "POST", "path": "/refunds$", "payment_method": "visa", "ref": "^X", "key": "...", ...}

    p        probability, decided by hash of (seed, rule, key, how manieth time this key came)
    count    strikes at most so often in all      skip     lets so many matching requests pass first
    per_key  strikes only the first N requests of each key (of each URL without a key)
    rate     strikes only what exceeds N requests a second; burst: so many at once are none too many (default: rate)
    method, path, payment_method, ref, key: regular expressions that must be found
    """

    def __init__(self, spec, seed, index):
        spec = dict(spec)
        self.name = spec.pop("fault")
        if self.name not in FAULTS and not re.fullmatch(r"status_[345]\d\d", self.name):
            raise ValueError("unknown fault %r" % self.name)
        self.salt = "%s/%s/%s/" % (seed, index, self.name)
        self.p = float(spec.pop("p", 1))
        self.left = spec.pop("count", None)
        self.skip = spec.pop("skip", 0)
        self.per_key = spec.pop("per_key", None)
        self.rate = spec.pop("rate", None)
        self.burst = spec.pop("burst", self.rate)
        self.room, self.counted_at = self.burst, None
        self.patterns = {name: re.compile(spec.pop(name))
                         for name in ("method", "path", "payment_method", "ref", "key") if name in spec}
        self.perform = spec.pop("perform", None)
        self.options = spec
        unknown = set(spec) - {"ms", "when", "rst", "retry_after", "stored", "code", "bytes", "should_retry", "page", "reason"}
        if unknown:
            raise ValueError("unknown option %s of fault %s" % (sorted(unknown), self.name))
        self.seen = {}

    def strikes(self, peer, request):
        """Whether this rule strikes this request; counts it when it does."""
        if self.left == 0:
            return False
        for name, pattern in self.patterns.items():
            if not pattern.search(peer.trait(request, name) or ""):
                return False
        if self.rate is not None and self.has_room(peer.loop.time()):
            return False
        subject = request.key or request.target
        if self.p < 1 or self.per_key is not None:
            time_seen = self.seen.get(subject, 0)
            self.seen[subject] = time_seen + 1
            if self.per_key is not None and time_seen >= self.per_key:
                return False
            if self.p < 1:
                digest = hashlib.blake2b((self.salt + subject + "/%d" % time_seen).encode(), digest_size=8).digest()
                if int.from_bytes(digest, "big") >= self.p * 2 ** 64:
                    return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True

    def has_room(self, now):
        """Whether a limiter lets one more through; counts it when it does."""
        if self.counted_at is not None:
            self.room = min(self.burst, self.room + self.rate * (now - self.counted_at))
        self.counted_at = now
        if self.room < 1:
            return False
        self.room -= 1
        return True

    def delay_s(self, request):
        ms = self.options.get("ms", 100)
        if isinstance(ms, list):
            digest = hashlib.blake2b((self.salt + (request.key or request.target)).encode(), digest_size=2).digest()
            ms = ms[0] + (ms[1] - ms[0]) * int.from_bytes(digest, "big") / 65535
        return ms / 1000


def rules_of(spec, seed, first_index=0):
    """A list of rules; or a short form: {"seed": 7, "lose_answer": 0.1, "delay_ms": [5, 20], "rules": [...]}."""
    if isinstance(spec, dict) and "fault" not in spec:
        spec = dict(spec)
        seed = spec.pop("seed", seed)
        rules = spec.pop("rules", [])
        for name, value in spec.items():
            if name == "delay_ms":
                rules.append({"fault": name, "ms": value})
            elif isinstance(value, dict):
                rules.append(dict(value, fault=name))
            else:
                rules.append({"fault": name, "p": value})
        spec = rules
    elif isinstance(spec, dict):
        spec = [spec]
    return [Rule(rule, seed, first_index + index) for index, rule in enumerate(spec)]



# --------------------------------------------------------------------------
# What faults do to a good answer.  Each takes and returns (status, body, headers).
# A PSP's own file adds those that have to know its fields: nul_in_json, bad_utf8,
# duplicate_fields, huge_amount, wrong_id.
# --------------------------------------------------------------------------

def with_body(make):
    def breaker(peer, rule, answer):
        status, body, headers = answer
        return status, make(rule, body), headers
    return breaker


BREAKERS = {
    "truncated_json": with_body(lambda rule, body: body[:len(body) // 2]),
    "big_body": with_body(lambda rule, body: body[:-1] + b',"padding":"'
                          + b"x" * max(0, rule.options.get("bytes", 10_000_000) - len(body) - 13) + b'"}'),
    "deep_json": with_body(lambda rule, body: b"[" * 200_000),
    "garbage": with_body(lambda rule, body: bytes(range(256)) * 4),
    "empty_body": with_body(lambda rule, body: b""),
}


# --------------------------------------------------------------------------

class Faulty:
    """Of a peer, the part between a request and its answer.

    The PSP's own class says what a request is and does: route(), parse_body(),
    note(), trait(), perform(), answer_status(), answer_key_in_use().
    """
    breakers = BREAKERS
    asides = ()                     # routes that are of no payment: not counted, and meant by rules that name a path

    def __init__(self):
        self.running = 0
        self.requests_ever = 0

    def reset(self):
        super().reset()
        self.faults_struck = {}
        self.held = []              # answers that wait for release
        self.rules = []
        self.max_running = self.running

    def serve(self, connection, request):
        """Takes one whole request; answers now or later, or never."""
        if request.path.startswith("/_"):
            connection.send(*self.serve_own(request))
            return
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        self.requests_ever += 1
        request.id = "req_" + name_of(self.port, self.requests_ever)[:14]
        self.route(request)
        try:
            request.form = self.parse_body(request)
        except (ValueError, TypeError, AttributeError):     # nesting that contradicts itself, bad UTF-8
            request.form, request.bad_form = {}, True
        if request.method == "POST":
            self.note(request)

        delay_before = delay_after = 0
        struck = None
        for rule in self.rules:
            if request.route in self.asides and "path" not in rule.patterns:
                continue
            if struck is not None and rule.name != "delay_ms":
                continue
            if rule.strikes(self, request):
                self.faults_struck[rule.name] = self.faults_struck.get(rule.name, 0) + 1
                if rule.name != "delay_ms":
                    struck = rule
                elif rule.options.get("when") == "before":
                    delay_before += rule.delay_s(request)
                else:
                    delay_after += rule.delay_s(request)
        if delay_before:
            if self.hold_key(request):
                self.loop.call_later(delay_before, self.serve_struck, connection, request, struck, delay_after)
            else:
                self.finish(connection, request, self.answer_key_in_use(request))
        elif struck is not None or delay_after:
            self.serve_struck(connection, request, struck, delay_after)
        else:
            self.finish(connection, request, self.perform(request))

    def serve_struck(self, connection, request, rule, delay_after):
        """Goes on with a request that has a fault or a delay coming."""
        name = rule.name if rule else None
        answer = None
        if name == "reset_before" or (name == "hang" and rule.perform is False):
            self.release_key(request)
        elif name and name.startswith("status_"):
            answer = self.answer_status(request, rule)
        else:
            answer = self.perform(request)
            if name in self.breakers:
                answer = self.breakers[name](self, rule, answer)
        if delay_after and answer is not None:
            self.hold_key(request)
            self.loop.call_later(delay_after, self.finish, connection, request, answer, rule)
        else:
            self.finish(connection, request, answer, rule)

    def finish(self, connection, request, answer, rule=None):
        """Sends the answer, or does what the fault does to it."""
        self.running -= 1
        self.release_key(request)
        name = rule.name if rule else None
        outcome = "%s %s" % (request.route, name if name and name not in self.breakers else answer[0])
        if request.route not in self.asides:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if name == "reset_before" or (name == "lose_answer" and rule.options.get("rst")):
            connection.reset()
        elif name == "lose_answer":
            connection.close()
        elif name == "cut_answer":
            connection.send_half(*answer)
        elif name == "hang":
            pass
        elif name == "hold":
            self.held.append((connection, answer))
        elif name == "drip":
            connection.send_slowly(rule.options.get("ms", 20) / 1000, *answer)
        elif name == "garbage_http":
            connection.send_raw(b"\x16\x03\x01\x00\xff" + bytes(range(256)))
        elif name == "endless_headers":
            connection.send_headers_for_ever()
        elif name == "chunked":
            connection.send_chunked(*answer)
        elif name == "no_length":
            connection.send_without_length(*answer)
        else:
            connection.send(*answer)
