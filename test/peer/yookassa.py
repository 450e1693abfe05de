#!/usr/bin/python3
"""A scripted peer that speaks YooKassa's protocol on loopback.

It plays the PSP in tests.  What makes it worth having is its own book (book.py).
Here is YooKassa's dialect alone; how it is started is in server.py, its orders
and its own endpoints in control.py, faults in faults.py.  The secret is shop:key.

What it speaks (API v3: JSON, Basic, amounts as decimal text):
    POST /v3/payments                 GET /v3/payments[/ID]
    POST /v3/payments/ID/capture      POST /v3/payments/ID/cancel
    POST /v3/refunds                  GET /v3/refunds[/ID]
    GET /v3/me              faults strike it only when they name a path

    GET  /_confirm/ID       the payer's page of a payment (?reason=3d_secure_failed: it fails)

A key that is in use is answered with 202 "processing".  A notice is signed by
nobody: /_events gives an empty signature.

Orders of its own (POST /_control), between settings and emit; ref or payment says of which:
    finish: {outcome: paid|REASON}    the payer has paid, or it was cancelled with that reason
    capture: {amount}                 by hand on the PSP's pages
    expire: {}                        an authorized payment is given up
    refund: {amount}                  by hand on the PSP's pages
    finish_refund: {status, reason}   pending -> succeeded or canceled

Scripted saved payment methods, without the payer: SAVED below.
"""
import base64
import json
import re
import time
from datetime import datetime, timezone
from urllib.parse import parse_qsl

import book
import control
import faults
import server
from book import name_of, to_json
from server import REASONS

CURRENCIES = frozenset("RUB EUR USD KZT BYN UAH UZS TRY INR MDL AZN AMD CNY".split())
SAVED_BEGINNING = "caa0b0c0-00aa-4a0a-8a0a-aaaaaaaa"       # then two letters of any, so that there are several, and two of these
SAVED = {
    "aa": None,                         # pays
    "ab": "insufficient_funds",
    "ac": "permission_revoked",
    "ad": "pending",                    # until told by control
    "ae": "issuer_unavailable, once",   # the second payment of one ref passes
    "af": "wrong_amount",               # this PSP takes one unit more, and says so
}
CREATE_PARAMS = frozenset("""amount description receipt recipient payment_token payment_method_id payment_method_data
    confirmation save_payment_method capture client_ip metadata merchant_customer_id""".split())


def fee_of(amount):
    """3.5 %, rounded half up."""
    return (amount * 35 + 500) // 1000


def decimal(amount, currency):
    return {"value": "%d.%02d" % divmod(amount, 100), "currency": currency}


def moment(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + "129Z"


def seconds_of(text):
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", text, re.ASCII):
        raise refused("created_at is not a time in ISO 8601", "created_at")
    return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()


class YooKassaError(Exception):
    def __init__(self, status, code, description, parameter=None, **more):
        super().__init__(description)
        self.status = status
        self.error = {"type": "error", "code": code, "description": description, **more}
        if parameter:
            self.error["parameter"] = parameter


def refused(description, parameter=None, status=400, code="invalid_request"):
    return YooKassaError(status, code, description, parameter)


# --------------------------------------------------------------------------
# The objects: what YooKassa shows of the book's records.  A payment is its charge.
# --------------------------------------------------------------------------

class Payment(book.Charge):
    __slots__ = ("state", "capture", "metadata", "description", "confirmation", "party", "reason", "captured_at", "account")

    def render(self):
        amount = self.captured if self.state == "succeeded" else self.amount
        shown = {
            "id": self.id, "status": self.state, "amount": decimal(amount, self.currency),
            "recipient": {"account_id": self.account, "gateway_id": "100700"}, "created_at": moment(self.created),
            "test": True, "refundable": self.state == "succeeded",
            "paid": self.state in ("succeeded", "waiting_for_capture"), "metadata": self.metadata,
        }
        if self.description:
            shown["description"] = self.description
        if self.state == "pending" and self.confirmation:
            shown["confirmation"] = self.confirmation
        if self.state == "waiting_for_capture":
            shown["expires_at"] = moment(self.created + 7 * 86400)
        if self.state == "succeeded":
            shown["captured_at"] = moment(self.captured_at)
            shown["income_amount"] = decimal(self.captured - self.fee, self.currency)
        if self.refunded:
            shown["refunded_amount"] = decimal(self.refunded, self.currency)
        if self.state == "canceled":
            shown["cancellation_details"] = {"party": self.party, "reason": self.reason}
        return shown


class Refund(book.Refund):
    __slots__ = ("metadata", "failure")

    def render(self):
        shown = {
            "id": self.id, "payment_id": self.charge.id, "status": self.status,
            "amount": decimal(self.amount, self.currency), "created_at": moment(self.created), "metadata": self.metadata,
        }
        if self.reason:
            shown["description"] = self.reason
        if self.status == "canceled":
            shown["cancellation_details"] = {"party": "yoo_money", "reason": self.failure}
        return shown


# --------------------------------------------------------------------------
# The faults that have to know YooKassa's members
# --------------------------------------------------------------------------

def with_object(change):
    """Changes the object of an answer, or each of a list; takes and returns its text."""
    def breaker(peer, rule, answer):
        status, body, headers = answer
        value = json.loads(body)
        if "items" not in value:
            return status, change(value), headers
        items = b",".join(map(change, value["items"]))
        return status, to_json(dict(value, items="HERE")).encode().replace(b'"HERE"', b"[" + items + b"]"), headers
    return breaker


def dumped(change):
    return with_object(lambda one: to_json(change(one)).encode())


BREAKERS = {
    **faults.BREAKERS,
    "nul_in_json": dumped(lambda one: dict(one, metadata={**one.get("metadata", {}), "payments_ref": "nul \0 here"})),
    "bad_utf8": with_object(lambda one: to_json(dict(one, description="BAD_UTF8")).encode().replace(b"BAD_UTF8", b"\xff\xfe\xc3\x28")),
    "duplicate_fields": with_object(lambda one: to_json(one)[:-1].encode() + b',"amount":{"value":"0.01","currency":"RUB"}}'),
    "huge_amount": dumped(lambda one: dict(one, amount={"value": "92233720368547758.08", "currency": "RUB"})),
    "wrong_id": dumped(lambda one: dict(one, id="another-payment", metadata={"payments_ref": "ANOTHERPAYMENT", "payments_generation": "1"})),
    "same_page": lambda peer, rule, answer: (answer[0], to_json(dict(json.loads(answer[1]), next_cursor="again")).encode(), answer[2]),
}


# --------------------------------------------------------------------------
# The peer
# --------------------------------------------------------------------------

class YooKassaPeer(control.Control, faults.Faulty, server.Listening, book.Book):
    breakers = BREAKERS
    asides = ("me",)
    key_header = b"idempotence-key"
    refusal = b'{"type":"error","id":"0","code":"invalid_request","description":"Not understood."}'
    default_settings = {
        **control.SETTINGS,
        "refunds_pending": False,       # refunds wait for finish_refund
        "processing": 0,                # so many POSTs are answered with 202 and performed when they come again
    }
    orders = {"finish": "order_finish", "capture": "order_capture", "expire": "order_expire", "refund": "order_refund",
              "finish_refund": "order_finish_refund"}

    def __init__(self, secret, webhook_secret, seed=0):
        faults.Faulty.__init__(self)
        server.Listening.__init__(self)
        self.authorization = b"Basic " + base64.b64encode(secret.encode())
        self.account = secret.partition(":")[0]
        self.seed = seed
        self.routes = {
            "create": self.create_payment, "list": self.list_payments, "get": self.get_payment,
            "capture": self.capture_payment, "cancel": self.cancel_payment,
            "refund": self.create_refund, "refund_list": self.list_refunds, "refund_get": self.get_refund, "me": self.get_me,
        }
        self.reset()

    # ---- one request ------------------------------------------------------

    def route(self, request):
        """Sets request.route and request.object_id."""
        parts = request.path.strip("/").split("/")
        posts = request.method == "POST"
        request.object_id = parts[2] if len(parts) > 2 else None
        request.route = {
            ("payments", 2): "create" if posts else "list", ("payments", 3): "unknown" if posts else "get",
            ("refunds", 2): "refund" if posts else "refund_list", ("refunds", 3): "unknown" if posts else "refund_get",
            ("me", 2): "unknown" if posts else "me",
        }.get((parts[1] if len(parts) > 1 else "", len(parts)), "unknown") if parts[0] == "v3" else "unknown"
        if parts[:2] == ["v3", "payments"] and len(parts) == 4 and posts and parts[3] in ("capture", "cancel"):
            request.route = parts[3]

    def parse_body(self, request):
        request.bad_form = False
        if request.method == "GET":
            return dict(parse_qsl(request.query, strict_parsing=True)) if request.query else {}
        if request.headers.get(b"content-type") != b"application/json":
            raise ValueError("content type")
        form = json.loads(request.body)
        if not isinstance(form, dict):
            raise ValueError("no object")
        return form

    def note(self, request):
        self.note_post(request, self.ref_of(request.form))

    def ref_of(self, form):
        metadata = form.get("metadata")
        return metadata.get("payments_ref") if isinstance(metadata, dict) else None

    def trait(self, request, name):
        """What a fault rule may look at."""
        if name in ("method", "path", "key"):
            return getattr(request, name)
        payment = self.charges.get(request.object_id) or self.charges.get(request.form.get("payment_id"))
        if name == "payment_method":
            return request.form.get("payment_method_id") or (payment and payment.method)
        return self.ref_of(request.form) or (payment and payment.ref)

    def answer_key_in_use(self, request):
        self.keys_in_use += 1
        return self.processing()

    def processing(self):
        return 202, to_json({"type": "processing", "description": "Request accepted, but not processed yet.",
                             "retry_after": 200}).encode(), ""

    def perform(self, request):
        """Executes a request at most once for its key.  Returns (status, body, headers)."""
        try:
            if request.headers.get(b"authorization") != self.authorization:
                raise refused("Error in the shopId or secret key. Check their validity.", status=401, code="invalid_credentials")
            handler = self.routes.get(request.route)
            if handler is None:
                raise refused("No such method.", status=404, code="not_found")
            if request.bad_form:
                raise refused("The request cannot be read.")
            if request.method == "GET":
                return 200, to_json(handler(request)).encode(), ""
            if request.key is None or not re.fullmatch(r"[0-9a-zA-Z+\-_.]{1,64}", request.key):
                raise refused("Idempotence key is missing or malformed", "Idempotence-Key")
            record = self.known_key(request)
            if record is not None:
                return self.replay(request, record)
            if self.settings["processing"] > 0:
                self.settings["processing"] -= 1
                return self.processing()
        except YooKassaError as error:
            return self.answer_error(request, error)
        try:
            answer = 200, to_json(handler(request)).encode(), ""
        except YooKassaError as error:
            # What was refused is not remembered: the key may be used again.
            return self.answer_error(request, error)
        self.store(request, answer)
        return answer

    def replay(self, request, record):
        """Answers a request whose key is known."""
        if record.path is not None and (record.path != request.path or record.body_hash != request.body_hash):
            self.note_conflict(request.key)
            raise refused("Idempotence key duplicated", "Idempotence-Key")
        if record.answer is None or record.holder not in (None, request):
            return self.answer_key_in_use(request)
        self.replays += 1
        return record.answer

    def answer_error(self, request, error):
        return error.status, to_json({"id": request.id, **error.error}).encode(), ""

    def answer_status(self, request, rule):
        """The injected status_NNN: of a 500 nobody knows whether it was performed."""
        status = int(rule.name[7:])
        if rule.perform:
            self.perform(request)
        self.release_key(request)
        headers = "Retry-After: %s\r\n" % rule.options["retry_after"] if "retry_after" in rule.options else ""
        if status in (502, 503, 504) or rule.options.get("page"):
            page = b"<html><body><h1>%d %s</h1></body></html>" % (status, REASONS[status].encode())
            return status, page, "Content-Type: text/html\r\n" + headers
        code = {401: "invalid_credentials", 403: "forbidden", 404: "not_found", 429: "too_many_requests",
                500: "internal_server_error"}.get(status, "invalid_request")
        error = YooKassaError(status, rule.options.get("code", code), "No.")
        return (*self.answer_error(request, error)[:2], headers)

    # ---- payments ---------------------------------------------------------

    def create_payment(self, request):
        form = request.form
        self.check_params(form, CREATE_PARAMS)
        amount, currency = self.amount_of(form)
        metadata = self.metadata_of(form)
        if len(form.get("description", "")) > 128:
            raise refused("description is too long", "description")
        saved = form.get("payment_method_id")
        if saved is not None and (saved[:-4] != SAVED_BEGINNING or saved[-2:] not in SAVED):
            raise refused("Payment method doesn't exist", "payment_method_id")
        confirmation = form.get("confirmation")
        if saved is None and confirmation is None:
            raise refused("confirmation is missing", "confirmation")
        if confirmation is not None and (confirmation.get("type") != "redirect"
                                         or not re.match("https?://", confirmation.get("return_url", ""))):
            raise refused("confirmation is malformed", "confirmation.return_url")

        # From here on it executes: the key keeps the outcome.
        name = self.uuid_of(request)
        payment = Payment(id=name, payment=name, ref=metadata.get("payments_ref"), key=request.key, amount=amount, captured=0,
                          refunded=0, released=0, fee=0, currency=currency, status="pending", state="pending",
                          created=self.now_created(), capture=form.get("capture") is True, metadata=metadata, account=self.account,
                          description=form.get("description"), method=saved or (form.get("payment_method_data") or {}).get("type"))
        earlier = [one for one in self.charges.values() if one.ref == payment.ref]
        self.charges[name] = payment
        if saved is None:
            payment.confirmation = {"type": "redirect", "return_url": confirmation["return_url"],
                                    "confirmation_url": "http://127.0.0.1:%d/_confirm/%s" % (self.port, name)}
        else:
            self.charge_saved(payment, SAVED[saved[-2:]], earlier)
        return payment.render()

    def charge_saved(self, payment, outcome, earlier):
        if outcome == "wrong_amount":
            payment.amount += 1
        elif outcome == "issuer_unavailable, once":
            outcome = None if earlier else "issuer_unavailable"
        if outcome in (None, "wrong_amount"):
            self.pay(payment)
        elif outcome != "pending":
            self.cancel(payment, "payment_network", outcome)

    def pay(self, payment):
        """The payer's money is there: held, or taken at once."""
        payment.status, payment.state = "authorized", "waiting_for_capture"
        if payment.capture:
            self.take(payment, payment.amount)
        else:
            self.tell("payment.waiting_for_capture", payment)

    def take(self, payment, amount):
        payment.status = payment.state = "succeeded"
        payment.captured, payment.released = amount, payment.amount - amount
        payment.fee = fee_of(amount)
        payment.captured_at = self.now_created()
        self.tell("payment.succeeded", payment)

    def cancel(self, payment, party, reason):
        payment.status = "released" if payment.state == "waiting_for_capture" else "failed"
        payment.released = payment.amount if payment.state == "waiting_for_capture" else 0
        payment.state, payment.party, payment.reason = "canceled", party, reason
        self.tell("payment.canceled", payment)

    def capture_payment(self, request):
        self.check_params(request.form, frozenset(("amount", "receipt")))
        payment = self.payment_of(request.object_id)
        amount, currency = self.amount_of(request.form) if "amount" in request.form else (payment.amount, payment.currency)
        if payment.state != "waiting_for_capture":
            raise refused("Payment is not in a status that allows this")
        if currency != payment.currency or amount > payment.amount:
            raise refused("Amount is larger than what is held", "amount")
        self.take(payment, amount)
        return payment.render()

    def cancel_payment(self, request):
        self.check_params(request.form, frozenset())
        payment = self.payment_of(request.object_id)
        if payment.state != "waiting_for_capture":
            raise refused("Payment is not in a status that allows this")
        self.cancel(payment, "merchant", "canceled_by_merchant")
        return payment.render()

    def get_payment(self, request):
        return self.payment_of(request.object_id).render()

    # ---- refunds ----------------------------------------------------------

    def create_refund(self, request):
        form = request.form
        self.check_params(form, frozenset(("payment_id", "amount", "description", "receipt", "metadata")))
        amount, currency = self.amount_of(form)
        metadata = self.metadata_of(form)
        payment = self.charges.get(form.get("payment_id"))
        if payment is None:
            raise refused("Payment doesn't exist", "payment_id")
        if payment.state != "succeeded":
            raise refused("Payment is not in a status that allows this")
        if currency != payment.currency or amount > payment.captured - payment.refunded:
            raise refused("Refund amount is larger than what is left of the payment", "amount")
        return self.refund(payment, amount, self.uuid_of(request), metadata, form.get("description"), request.key).render()

    def refund(self, payment, amount, name, metadata, reason=None, key=None):
        refund = Refund(id=name, ref=metadata.get("payments_ref"), key=key, amount=amount, charge=payment, currency=payment.currency,
                        created=self.now_created(), metadata=metadata, reason=reason,
                        status="pending" if self.settings["refunds_pending"] else "succeeded")
        self.refunds[name] = refund
        payment.refunded += amount
        if refund.status == "succeeded":
            self.tell("refund.succeeded", refund)
        return refund

    def get_refund(self, request):
        refund = self.refunds.get(request.object_id)
        if refund is None:
            raise refused("Refund doesn't exist or access denied", "refund_id", 404, "not_found")
        return refund.render()

    # ---- lists ------------------------------------------------------------

    def list_payments(self, request):
        return self.page(request, self.charges.values(), ("created_at", "captured_at"), ("status",))

    def list_refunds(self, request):
        return self.page(request, self.refunds.values(), ("created_at",), ("status", "payment_id"))

    def page(self, request, objects, times, filters):
        """Newest first; the cursor is the id of the last one shown."""
        form = request.form
        comparisons = {"gte": lambda a, b: a >= b, "gt": lambda a, b: a > b, "lte": lambda a, b: a <= b, "lt": lambda a, b: a < b}
        known = {"%s.%s" % (name, how) for name in times for how in comparisons} | set(filters) | {"limit", "cursor"}
        self.check_params(form, known)
        self.list_requests = self.list_requests[-199:] + [request.target]
        limit = int(form.get("limit", 10))
        if not 1 <= limit <= 100:
            raise refused("limit is out of range", "limit")
        rows = []
        for one in reversed(list(objects)):
            shown = one.render()
            if any(shown.get(name) != form[name] for name in filters if name in form):
                continue
            if all(shown.get(name) is not None and comparisons[how](seconds_of(shown[name]), seconds_of(form["%s.%s" % (name, how)]))
                   for name, how in (key.split(".") for key in form if "." in key)):
                rows.append(shown)
        # The name of a time decides the order where one is asked for.
        by = next((key.split(".")[0] for key in form if "." in key), "created_at")
        rows.sort(key=lambda one: seconds_of(one[by]), reverse=True)
        if "cursor" in form:
            places = [place for place, one in enumerate(rows) if one["id"] == form["cursor"]]
            if not places:
                raise refused("cursor is not known", "cursor")
            rows = rows[places[0] + 1:]
        answer = {"type": "list", "items": rows[:limit]}
        if len(rows) > limit:
            answer["next_cursor"] = rows[limit - 1]["id"]
        return answer

    def get_me(self, request):
        return {"account_id": self.account, "status": "enabled", "test": True, "payment_methods": ["bank_card", "yoo_money"]}

    # ---- notices ----------------------------------------------------------

    def tell(self, kind, subject):
        self.emit(kind, subject)

    def body_of(self, event):
        picture = event.picture
        return to_json({"type": "notification", "event": event.type,
                        "object": picture if isinstance(picture, dict) else picture.render()})

    def sign(self, stamp, body):
        return ""

    # ---- for the payer, and for tests -------------------------------------

    def serve_page(self, request, query):
        if not request.path.startswith("/_confirm/"):
            return None
        payment = self.charges[request.path.rpartition("/")[2]]
        if payment.state == "pending":
            self.conclude(payment, query.get("reason", "paid"))
        return 302, b"", "Location: %s\r\n" % payment.confirmation["return_url"]

    def conclude(self, payment, outcome):
        if payment.state != "pending":
            raise ValueError("%s is %s" % (payment.id, payment.state))
        if outcome == "paid":
            self.pay(payment)
        else:
            self.cancel(payment, "yoo_money" if outcome.startswith("expired") else "payment_network", outcome)

    def chosen(self, options):
        """The last payment of a ref, or the one of an id."""
        found = [one for one in self.charges.values()
                 if options.get("ref", one.ref) == one.ref and options.get("payment", one.id) == one.id]
        if not found:
            raise ValueError("no payment fits")
        return found[-1]

    def order_finish(self, options):
        self.conclude(self.chosen(options), options.get("outcome", "paid"))
        return {}

    def order_capture(self, options):
        payment = self.chosen(options)
        self.take(payment, options.get("amount", payment.amount))
        return {}

    def order_expire(self, options):
        self.cancel(self.chosen(options), "yoo_money", "expired_on_capture")
        return {}

    def order_refund(self, options):
        payment = self.chosen(options)
        amount = options.get("amount", payment.captured - payment.refunded)
        refund = self.refund(payment, amount, self.spelled(name_of(payment.id, "by hand", len(self.refunds))), {})
        return {"refund": refund.id}

    def order_finish_refund(self, options):
        payment = self.chosen(options)
        for refund in self.refunds.values():
            if refund.charge is payment and refund.status == "pending":
                refund.status = options.get("status", "succeeded")
                if refund.status == "canceled":
                    refund.failure = options.get("reason", "insufficient_funds")
                    payment.refunded -= refund.amount
                else:
                    self.tell("refund.succeeded", refund)
        return {}

    # ---- small helpers ----------------------------------------------------

    def check_params(self, form, known):
        if not set(known).issuperset(form):
            stranger = sorted(set(form) - set(known))[0]
            raise refused("Unknown parameter: %s" % stranger, stranger)

    def amount_of(self, form):
        amount = form.get("amount")
        if not isinstance(amount, dict) or set(amount) != {"value", "currency"}:
            raise refused("amount is missing", "amount")
        if not isinstance(amount["value"], str) or not re.fullmatch(r"\d{1,15}\.\d\d", amount["value"], re.ASCII):
            raise refused("amount is malformed", "amount.value")
        if amount["currency"] not in CURRENCIES:
            raise refused("currency is not supported", "amount.currency")
        value = int(amount["value"].replace(".", ""))
        if value < 1:
            raise refused("amount is too small", "amount.value")
        return value, amount["currency"]

    def metadata_of(self, form):
        metadata = form.get("metadata", {})
        if not isinstance(metadata, dict) or len(metadata) > 16 or any(
                not isinstance(value, str) or len(name) > 32 or len(value) > 512 for name, value in metadata.items()):
            raise refused("metadata is malformed", "metadata")
        return metadata

    def payment_of(self, payment_id):
        payment = self.charges.get(payment_id)
        if payment is None:
            raise refused("Payment doesn't exist or access denied", "payment_id", 404, "not_found")
        return payment

    def uuid_of(self, request):
        return self.spelled(self.new_name(request))

    @staticmethod
    def spelled(name):
        """As YooKassa spells its ids; in letters, since a run of digits may look like a card number."""
        letters = "".join("abcdef"[ord(c) % 6] for c in (name * 2)[:32])
        return "-".join((letters[:8], letters[8:12], letters[12:16], letters[16:20], letters[20:32]))


if __name__ == "__main__":
    server.main(YooKassaPeer, __doc__, "100500:test_secret", "")
