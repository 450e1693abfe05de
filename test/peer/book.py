"""The book of a scripted PSP: what it writes down, whatever protocol it speaks.

Every charge that it made, every idempotency key that it saw and every byte
sequence that came under each key, in this process, without a look at any
database.  "Charged exactly once" is proved against this book.

A PSP's own file adds to the records what its protocol shows of them.
"""
import hashlib
import json
import time

to_json = json.JSONEncoder(separators=(",", ":")).encode

# Ids are hashes spelled in letters: stable for a key (so a run repeats exactly),
# and never with thirteen digits in a row, which a card number screen would trip over.
LETTERS = str.maketrans("0123456789abcdef", "ABCDEFGHJKmnpqrs")


def name_of(*parts):
    text = "/".join(map(str, parts))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest().translate(LETTERS)


# --------------------------------------------------------------------------
# Records.  Nested values are replaced, never changed in place, so that a
# shallow clone is a faithful picture: that is what an event carries.
# --------------------------------------------------------------------------

class Record:
    __slots__ = ()
    fields = ()         # the slots of all classes that it is made of

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.fields = tuple(name for one in reversed(cls.__mro__) for name in one.__dict__.get("__slots__", ()))

    def __init__(self, **values):
        for name in self.fields:
            setattr(self, name, values.get(name))

    def clone(self):
        other = object.__new__(type(self))
        for name in self.fields:
            setattr(other, name, getattr(self, name))
        return other


class Charge(Record):
    """payment: what the PSP calls the payment that it is of."""
    __slots__ = ("id", "payment", "ref", "key", "amount", "captured", "refunded", "released", "currency", "status", "created",
                 "method", "fee", "disputed")

    def book_row(self):
        return {
            "payment": self.payment, "charge": self.id, "payments_ref": self.ref,
            "amount": self.amount, "currency": self.currency, "captured": self.captured,
            "refunded": self.refunded, "status": self.status, "created": self.created,
            "fee": self.fee or 0, "disputed": bool(self.disputed), "idempotency_key": self.key,
            "payment_method": self.method,
        }


class OfCharge(Record):
    """What is done to a charge afterwards."""
    __slots__ = ("id", "charge", "amount", "currency", "reason", "status", "created")

    @property
    def payment(self):
        return self.charge.payment


class Refund(OfCharge):
    __slots__ = ("ref", "key")

    def book_row(self):
        return {
            "refund": self.id, "payment": self.payment, "charge": self.charge.id,
            "payments_ref": self.ref, "amount": self.amount, "currency": self.currency, "status": self.status,
            "created": self.created, "idempotency_key": self.key,
        }


class Dispute(OfCharge):
    __slots__ = ()

    def book_row(self):
        return {
            "dispute": self.id, "payment": self.payment, "charge": self.charge.id,
            "payments_ref": self.charge.ref, "amount": self.amount, "currency": self.currency,
            "reason": self.reason, "status": self.status, "created": self.created,
        }


class Event(Record):
    """What a PSP tells unasked; `picture` is the object as it was then."""
    __slots__ = ("id", "type", "created", "key", "picture", "ref", "shown_at")


class Transaction(Record):
    """A movement of the balance: what settles.  Written when the money moves, and never changed.

    shown_at: from when on lists show it; a PSP's list may show one late.
    """
    __slots__ = ("id", "type", "category", "amount", "fee", "currency", "created", "source", "description", "shown_at")

    def book_row(self):
        source = self.source
        return {
            "id": self.id, "type": self.type, "category": self.category, "amount": self.amount, "fee": self.fee,
            "net": self.amount - self.fee, "currency": self.currency, "created": self.created, "source": source.id,
            "payment": source.payment, "payments_ref": getattr(source, "ref", None),
        }


class KeyRecord:
    """What came under one idempotency key.

    bodies: hashes of every distinct body ever received, answered or not.
    path, body_hash, answer: of the first request whose execution began.
    holder: the request being executed now.
    """
    __slots__ = ("bodies", "path", "body_hash", "answer", "request_id", "holder", "executions")

    def __init__(self):
        self.bodies = ()
        self.path = self.body_hash = self.answer = self.request_id = self.holder = None
        self.executions = 0


# --------------------------------------------------------------------------

class Book:
    """Of a peer, the part that remembers.  The records are of the classes that the PSP's own file names."""
    transaction_class = Transaction
    event_class = Event

    def reset(self):
        self.charges = {}           # id -> Charge, oldest first
        self.refunds = {}
        self.disputes = {}
        self.transactions = {}      # id -> Transaction, in the order in which they were made
        self.list_requests = []     # the last ones for transactions and events, as asked
        self.keys = {}              # key -> KeyRecord
        self.events = []
        self.event_counts = {}
        self.first_byte = {}        # ref -> time.time() of the first POST's first byte
        self.outcomes = {}
        self.replays = self.key_conflicts = self.keys_in_use = self.keyed_posts = self.unkeyed_posts = 0
        self.key_conflict_samples = []

    # ---- idempotency ------------------------------------------------------

    def note_post(self, request, ref):
        """Writes down what arrived, before anything is decided about it."""
        if ref and ref not in self.first_byte:
            self.first_byte[ref] = request.first_byte_at
        request.body_hash = hashlib.blake2b(request.body, digest_size=16).digest()
        if request.key is None:
            self.unkeyed_posts += 1
            return
        self.keyed_posts += 1
        record = self.keys.get(request.key)
        if record is None:
            record = self.keys[request.key] = KeyRecord()
        if request.body_hash not in record.bodies:
            record.bodies += (request.body_hash,)

    def known_key(self, request):
        """The record of a key that has been answered, or is being executed for another request."""
        record = self.keys.get(request.key) if self.settings["honour_keys"] else None
        if record is not None and (record.answer is not None or record.holder not in (None, request)):
            return record
        return None

    def hold_key(self, request):
        """Marks the key as in use.  Returns False when another request holds it."""
        record = self.keys.get(request.key)
        if record is None or not self.settings["honour_keys"]:
            return True
        if record.holder is None:
            record.holder = request
        return record.holder is request

    def release_key(self, request):
        record = self.keys.get(request.key)
        if record is not None and record.holder is request:
            record.holder = None

    def note_conflict(self, key):
        self.key_conflicts += 1
        if len(self.key_conflict_samples) < 20:
            self.key_conflict_samples.append(key)

    def store(self, request, answer):
        """Keeps an answer under the key."""
        record = self.keys.get(request.key)
        if record is not None:
            record.path, record.body_hash, record.request_id = request.path, request.body_hash, request.id
            record.answer = answer

    def new_name(self, request):
        """The body of a new object's id: the same for the same key, another one when a key is executed again."""
        record = self.keys.get(request.key)
        if record is None:
            return name_of(self.seed, self.port, request.id)
        record.executions += 1
        return name_of(self.seed, request.route, request.key, record.executions)

    # ---- what happened ----------------------------------------------------

    def now_created(self):
        forced = self.settings["list_clock_s"]
        return int(time.time()) + self.settings["clock_skew_s"] if forced is None else forced

    def record(self, name, kind, category, amount, fee, source, description=None):
        """Writes a movement of the balance into the book."""
        self.transactions[name] = self.transaction_class(
            id=name, type=kind, category=category, amount=amount, fee=fee, currency=source.currency,
            created=self.now_created(), source=source, description=description,
            shown_at=time.time() + self.settings["list_delay_ms"] / 1000)

    def emit(self, kind, subject, request=None, **more):
        """Records an event; tests deliver it themselves, in any order."""
        if not self.settings["events"]:
            return
        count = self.event_counts.get(subject.id, 0)
        self.event_counts[subject.id] = count + 1
        self.note_event(id="evt_" + name_of(subject.id, kind, count), type=kind, key=request and request.key,
                        picture=subject.clone(), ref=subject.charge.ref if isinstance(subject, Dispute) else subject.ref, **more)

    def note_event(self, **values):
        self.events.append(self.event_class(created=self.now_created(),
                                            shown_at=time.time() + self.settings["list_delay_ms"] / 1000, **values))

    def moved(self):
        """How many charges that move or hold money there are for each ref."""
        return count_by(charge.ref for charge in self.charges.values()
                        if charge.status in ("succeeded", "authorized") and charge.ref)

    # ---- what it shows ----------------------------------------------------

    def book(self, brief=False):
        many = [key for key, record in self.keys.items() if len(record.bodies) > 1]
        charges = self.charges.values()
        book = {
            "charges_by_status": count_by(charge.status for charge in charges),
            "captured": sum_by_currency((charge.currency, charge.captured) for charge in charges),
            "refunded": sum_by_currency((charge.currency, charge.refunded) for charge in charges),
            "fees": sum_by_currency((charge.currency, charge.fee or 0) for charge in charges),
            "double_charged": [ref for ref, count in self.moved().items() if count > 1],
            "keys": {
                "keys": len(self.keys), "requests": self.keyed_posts, "replays": self.replays,
                "key_conflicts": self.key_conflicts, "key_conflict_samples": self.key_conflict_samples,
                "in_use": self.keys_in_use, "posts_without_key": self.unkeyed_posts,
                "keys_with_many_bodies": len(many), "many_bodies_samples": many[:20],
            },
            "outcomes": self.outcomes, "faults": self.faults_struck, "events": len(self.events),
            "requests": sum(self.outcomes.values()), "running": self.running, "held": len(self.held),
            "max_concurrent_requests": self.max_running, "connections": len(self.connections),
            "max_connections": self.max_connections, "settings": self.settings,
            "transactions": len(self.transactions), "list_requests": self.list_requests,
        }
        if not brief:
            book["charges"] = [charge.book_row() for charge in charges]
            book["refunds"] = [refund.book_row() for refund in self.refunds.values()]
            book["disputes"] = [dispute.book_row() for dispute in self.disputes.values()]
            book["first_byte"] = self.first_byte
        return book

    TSV_COLUMNS = ("payment", "charge", "payments_ref", "amount", "currency", "captured", "refunded",
                   "status", "created", "fee", "idempotency_key")

    def book_tsv(self, header):
        def cell(value):
            if value is None:
                return r"\N"
            return str(value).replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")
        lines = ["\t".join(self.TSV_COLUMNS)] if header else []
        for charge in self.charges.values():
            row = charge.book_row()
            lines.append("\t".join(cell(row[name]) for name in self.TSV_COLUMNS))
        return "".join(line + "\n" for line in lines)

    def signed_events(self, query):
        """Events as the PSP would deliver them; the peer's body_of() and sign() say how."""
        start, limit = int(query.get("from", 0)), int(query.get("limit", 1 << 30))
        stamp = query.get("t") or str(int(time.time()))
        answer = []
        for index in range(start, len(self.events)):
            event = self.events[index]
            if query.get("type") not in (None, event.type) or query.get("ref") not in (None, event.ref):
                continue
            if len(answer) == limit:
                break
            body = self.body_of(event)
            answer.append({"index": index, "id": event.id, "type": event.type, "payments_ref": event.ref,
                           "object": event.picture["id"] if isinstance(event.picture, dict) else event.picture.id,
                           "body": body, "signature": self.sign(stamp, body)})
        return answer


def count_by(values):
    counts = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


def sum_by_currency(pairs):
    sums = {}
    for currency, amount in pairs:
        sums[currency] = sums.get(currency, 0) + amount
    return sums
