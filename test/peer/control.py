"""How tests give orders to a scripted PSP, and look into its book.

Its own endpoints, without authorization:
    GET  /_book            the book as JSON (?brief=1: counters only)
    GET  /_book.tsv        the charges for psql's \\copy (?header=1)
    GET  /_transactions    every movement of the balance, oldest first, late ones too
    GET  /_events          events with a ready signature
                           (?from=N ?type=T ?ref=R ?limit=N ?t=UNIXTIME)
    POST /_control         JSON, see Control.control()
and what the PSP's own file adds in serve_page().
"""
import json
import re
from urllib.parse import parse_qs

from book import name_of, to_json
from faults import rules_of

SETTINGS = {
    "honour_keys": True,            # false: a PSP that is not idempotent at all
    "events": True,                 # false: record none (saves memory in benchmarks)
    "list_delay_ms": 0,             # lists of transactions and events show what is created from now on so much later
    "list_clock_s": None,           # what is created from now on has this `created` instead of the clock's second
    "clock_skew_s": 0,              # the peer's clock, in its lists and in Date, is so much ahead; negative: behind
}


class Control:
    """Of a peer, the part that tests talk to."""
    default_settings = SETTINGS
    # What the PSP's own file knows beside: name of the order -> name of its method, which takes the options and returns
    # what it adds to the answer.
    orders = {}

    def reset(self):
        super().reset()
        self.settings = dict(self.default_settings)

    def serve_own(self, request):
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        try:
            if request.path == "/_book" and request.method == "GET":
                return 200, to_json(self.book(bool(query.get("brief")))).encode(), ""
            if request.path == "/_book.tsv" and request.method == "GET":
                return (200, self.book_tsv(bool(query.get("header"))).encode(),
                        "Content-Type: text/tab-separated-values\r\n")
            if request.path == "/_transactions" and request.method == "GET":
                return 200, to_json([one.book_row() for one in self.transactions.values()]).encode(), ""
            if request.path == "/_events" and request.method == "GET":
                return 200, to_json(self.signed_events(query)).encode(), ""
            if request.path == "/_control" and request.method == "POST":
                return 200, to_json(self.control(json.loads(request.body or b"{}"))).encode(), ""
            page = self.serve_page(request, query)
            if page is not None:
                return page
        except (ValueError, KeyError, TypeError, AttributeError, re.error) as error:
            return 400, to_json({"ok": False, "error": "%s: %s" % (type(error).__name__, error)}).encode(), ""
        return 404, b'{"ok":false,"error":"no such endpoint"}', ""

    def serve_page(self, request, query):
        """A page of the PSP's for people, or None."""
        return None

    def control(self, orders):
        """POST /_control.  Several orders in one call are done in the order of this text.

        reset: true              forget everything, faults and settings too
        seed: N                  for faults and ids
        faults: SPEC             replaces the fault rules (see rules_of); [] ends all faults
        add_faults: SPEC         appends rules
        settings: {...}          see SETTINGS, and what the PSP adds to them
        what the PSP's own file adds
        emit: {type, object}     an event of any type around any object
        forget_keys: true|[..]   as if these keys had been pruned
        release: true            sends the answers that the fault hold keeps back
        down_for_ms: N           drop all connections and refuse new ones for so long
        """
        known = {"reset", "seed", "faults", "add_faults", "settings", *self.orders, "emit", "forget_keys", "release", "down_for_ms"}
        if not isinstance(orders, dict) or set(orders) - known:
            raise ValueError("unknown control %s" % sorted(set(orders) - known))
        done = {"ok": True}
        if orders.get("reset"):
            self.reset()
        if "seed" in orders:
            self.seed = orders["seed"]
        if "faults" in orders:
            self.rules = rules_of(orders["faults"], self.seed)
        if "add_faults" in orders:
            self.rules += rules_of(orders["add_faults"], self.seed, len(self.rules))
        if "settings" in orders:
            unknown = set(orders["settings"]) - set(self.default_settings)
            if unknown:
                raise ValueError("unknown settings %s" % sorted(unknown))
            self.settings.update(orders["settings"])
        for name, method in self.orders.items():
            if name in orders:
                done.update(getattr(self, method)(orders[name]))
        if "emit" in orders:
            self.note_event(id="evt_" + name_of("emit", len(self.events), self.loop.time()), type=orders["emit"]["type"],
                            picture=dict(orders["emit"]["object"]))
        if orders.get("forget_keys"):
            for key in list(self.keys) if orders["forget_keys"] is True else orders["forget_keys"]:
                if key in self.keys:
                    self.keys[key].answer = None
        if orders.get("release"):
            held, self.held = self.held, []
            for connection, answer in held:
                connection.send(*answer)
            done["released"] = len(held)
        if "down_for_ms" in orders:
            self.loop.call_soon(self.go_down, orders["down_for_ms"] / 1000)
        return done

    def go_down(self, seconds):
        self.server.close()
        if self.other_server is not None:
            self.other_server.close()
        for connection in list(self.connections):
            connection.reset()

        def come_back():
            self.loop.create_task(self.listen(self.port))
        self.loop.call_later(seconds, come_back)
