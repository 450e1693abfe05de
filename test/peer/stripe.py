#!/usr/bin/python3
"""A scripted peer that speaks Stripe's protocol on loopback.

It plays the PSP in tests and in the demo.  What makes it worth having is its
own book (book.py).  Here is Stripe's dialect alone; how it is started is in
server.py, its orders and its own endpoints in control.py, faults in faults.py.

What it speaks (form-encoded v1, Bearer or Basic):
    POST /v1/payment_intents                GET /v1/payment_intents[/ID|/search]
    POST /v1/payment_intents/ID/capture     POST /v1/payment_intents/ID/cancel
    POST /v1/refunds                        GET /v1/refunds[/ID]
    POST /v1/payouts                        GET /v1/payouts[/ID]        pending until told by finish_payout
    POST /v1/transfers                      GET /v1/transfers[/ID]      done at once
    GET /v1/balance_transactions            GET /v1/events
    GET /v1/account         faults strike it only when they name a path

    GET  /_authenticate/ID the payer's page of a requires_action payment (?outcome=failed)

Orders of its own (POST /_control), between settings and emit:
    finish: {ref|payment_intent, outcome: succeeded|failed|canceled, decline_code}
                             ends processing and requires_action intents ({}: all)
    dispute: {ref|payment_intent, amount, reason}
    close_dispute: {dispute|ref|payment_intent, status: won|lost}
    finish_refund: {refund|ref|payment_intent}                 pending -> succeeded
    fail_refund: {refund|ref|payment_intent, failure_reason}   also of a succeeded one
    refund: {ref|payment_intent, amount}   made in the dashboard, without an API call
    expire: {ref|payment_intent}           gives up what is not captured, as after seven days
    finish_payout: {payout|ref, outcome: paid|failed|canceled}   {}: all that are pending; failed also of a paid one
    reverse_transfer: {payout|ref}

Scripted payment methods beside Stripe's own pm_card_...:
    pm_test_declined_times_N_CODE   the first N distinct keys for one metadata
                                    payments_ref are declined with CODE
    pm_test_processing[_N]          "processing" until told by control, or for N GETs
    pm_test_wrong_amount            this PSP charges amount + 1, and says so
    pm_test_wrong_currency          this PSP charges usd for eur, else eur, and says so
"""
import base64
import functools
import hashlib
import hmac
import json
import re
import time
from urllib.parse import unquote_plus, urlencode

import book
import control
import faults
import server
from book import Record, count_by, name_of, to_json
from server import REASONS

API_VERSION = "2026-10-28.endive"
DISPUTE_FEE = 1500

# code, decline_code, advice_code, message
DECLINES = {
    "ChargeDeclined": ("card_declined", "generic_decline", "try_again_later", "Your card was declined."),
    "InsufficientFunds": ("card_declined", "insufficient_funds", "try_again_later",
                          "Your card has insufficient funds."),
    "LostCard": ("card_declined", "lost_card", "do_not_try_again", "Your card was declined."),
    "StolenCard": ("card_declined", "stolen_card", "do_not_try_again", "Your card was declined."),
    "ExpiredCard": ("expired_card", "expired_card", "do_not_try_again", "Your card has expired."),
    "IncorrectCvc": ("incorrect_cvc", "incorrect_cvc", "confirm_card_data", "Your card's security code is incorrect."),
    "ProcessingError": ("processing_error", "processing_error", "try_again_later",
                        "An error occurred while processing your card. Try again in a little bit."),
    "Authentication": ("authentication_required", "authentication_required", None,
                       "Your card was declined. This transaction requires authentication."),
}
# Decline codes that are an error code of their own; every other one comes as card_declined.
CODES_OF_THEIR_OWN = ("expired_card", "incorrect_cvc", "processing_error", "authentication_required")
FINAL_ADVICE = ("lost_card", "stolen_card", "pickup_card", "expired_card", "fraudulent")

METHODS_THAT_PAY = {
    "pm_card_visa": "visa", "pm_card_mastercard": "mastercard", "pm_card_bypassPending": "visa",
    "pm_card_createDispute": "visa", "pm_card_refundFail": "visa", "pm_card_pendingRefund": "visa",
    "pm_test_wrong_amount": "visa", "pm_test_wrong_currency": "visa",
}
DECLINED_METHOD = re.compile(r"pm_card_(?:visa_)?chargeDeclined(\w*)$")
DECLINED_TIMES_METHOD = re.compile(r"pm_test_declined_times_(\d+)_(\w+)$")
PROCESSING_METHOD = re.compile(r"pm_test_processing(?:_(\d+))?$")

CREATE_PARAMS = frozenset("""
    amount currency automatic_payment_methods capture_method confirm confirmation_method customer description
    error_on_requires_action excluded_payment_method_types expand mandate mandate_data metadata off_session
    on_behalf_of application_fee_amount payment_method payment_method_data payment_method_options
    payment_method_types radar_options receipt_email return_url setup_future_usage shipping
    statement_descriptor statement_descriptor_suffix transfer_data transfer_group use_stripe_sdk""".split())
CAPTURE_PARAMS = frozenset("""
    amount_to_capture application_fee_amount expand final_capture metadata statement_descriptor
    statement_descriptor_suffix transfer_data""".split())
PAYOUT_PARAMS = frozenset("amount currency description destination expand metadata method source_type".split())
CANCEL_PARAMS = frozenset(("cancellation_reason", "expand"))
REFUND_PARAMS = frozenset("""
    amount charge currency customer expand instructions_email metadata origin payment_intent reason
    refund_application_fee reverse_transfer""".split())
CANCELLATION_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
REFUND_REASONS = ("duplicate", "fraudulent", "requested_by_customer")
INTENT_EXPANDS = frozenset(("latest_charge", "latest_charge.balance_transaction", "customer", "payment_method"))
REFUND_EXPANDS = frozenset(("balance_transaction", "charge", "payment_intent", "failure_balance_transaction"))
TRANSACTION_EXPANDS = frozenset(("source",))
LIST_PARAMS = frozenset(("created", "expand", "limit", "starting_after"))      # ending_before is not known here
TRANSACTION_PARAMS = LIST_PARAMS | {"currency", "source", "type"}
EVENT_PARAMS = LIST_PARAMS | {"type", "types"}

DIVISIBLE = {"isk": 100, "ugx": 100, "bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10}


def fee_of(amount):
    """1.5 % + 25 minor units, rounded half up."""
    return (amount * 15 + 500) // 1000 + 25


# --------------------------------------------------------------------------
# Form bodies
# --------------------------------------------------------------------------

@functools.lru_cache(maxsize=4096)
def path_of(raw_name):
    """b"metadata[order]" -> ("metadata", "order"); b"expand[]" -> ("expand", "")."""
    name = unquote_plus(raw_name.decode("utf-8"))
    head, bracket, rest = name.partition("[")
    if not bracket:
        return (head,)
    if not rest.endswith("]"):
        raise ValueError(name)
    return (head, *rest[:-1].split("]["))


def parse_form(body):
    """Form bytes with bracket nesting -> dict of strings, dicts and lists."""
    form = {}
    if not body:
        return form
    for pair in body.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        if not raw_name:
            continue
        value = raw_value.decode("utf-8")
        if "%" in value or "+" in value:
            value = unquote_plus(value, errors="strict")
        path = path_of(raw_name)
        if len(path) == 1:
            form[path[0]] = value
            continue
        place = form
        for step, following in zip(path, path[1:]):
            if following == "":
                place = place.setdefault(step, [])
                break
            place = place.setdefault(step, {})
        if isinstance(place, list):
            place.append(value)
        elif isinstance(place, dict):
            place[path[-1]] = value
        else:
            raise ValueError("mixed nesting")
    return form


def as_list(value):
    """expand[]=a and expand[0]=a are the same list."""
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


# --------------------------------------------------------------------------
# The objects: what Stripe shows of the book's records, and its payment intents.
# --------------------------------------------------------------------------

class Charge(book.Charge):
    __slots__ = ("intent", "failure", "metadata", "description", "brand", "transaction")

    def render_transaction(self):
        return {
            "id": self.transaction, "object": "balance_transaction", "amount": self.amount,
            "available_on": self.created + 172800, "created": self.created, "currency": self.currency,
            "description": self.description, "exchange_rate": None, "fee": self.fee,
            "fee_details": [{"amount": self.fee, "application": None, "currency": self.currency,
                             "description": "Stripe processing fees", "type": "stripe_fee"}],
            "net": self.amount - self.fee, "reporting_category": "charge", "source": self.id,
            "status": "pending", "type": "charge",
        }

    def render(self, expand_transaction=False):
        failed = self.failure or {}
        transaction = self.transaction
        if transaction and expand_transaction:
            transaction = self.render_transaction()
        return {
            "id": self.id, "object": "charge", "amount": self.amount, "amount_captured": self.captured,
            # Stripe counts a released authorization as refunded; only `captured` tells them apart.
            "amount_refunded": self.refunded + self.released,
            "balance_transaction": transaction, "captured": self.captured > 0, "created": self.created,
            "currency": self.currency, "customer": None, "description": self.description,
            "disputed": bool(self.disputed), "failure_balance_transaction": None,
            "failure_code": failed.get("code"), "failure_message": failed.get("message"), "fraud_details": {},
            "livemode": False, "metadata": self.metadata,
            "outcome": {"network_status": "declined_by_network" if failed else "approved_by_network",
                        "reason": failed.get("decline_code"), "risk_level": "normal",
                        "seller_message": "The bank did not return any further details with this decline."
                                          if failed else "Payment complete.",
                        "type": "issuer_declined" if failed else "authorized"},
            "paid": not failed, "payment_intent": self.payment, "payment_method": self.method,
            "payment_method_details": {"card": {"brand": self.brand, "last4": "4242"}, "type": "card"},
            "refunded": self.refunded + self.released >= self.amount and not failed, "source": None,
            "status": {"authorized": "succeeded", "released": "succeeded"}.get(self.status, self.status),
        }


class PaymentIntent(Record):
    __slots__ = ("id", "ref", "key", "amount", "received", "capturable", "currency", "status", "created", "born",
                 "capture_method", "customer", "description", "metadata", "method", "charge", "next_action",
                 "return_url", "last_error", "canceled_at", "cancellation_reason", "gets_left", "seq", "multicapture")

    def render(self, expand=()):
        charge = self.charge
        if charge is not None:
            if "latest_charge.balance_transaction" in expand:
                charge = charge.render(True)
            elif "latest_charge" in expand:
                charge = charge.render()
            else:
                charge = charge.id
        return {
            "id": self.id, "object": "payment_intent", "amount": self.amount,
            "amount_capturable": self.capturable, "amount_details": {"tip": {}},
            "amount_received": self.received, "application": None, "application_fee_amount": None,
            "automatic_payment_methods": None, "canceled_at": self.canceled_at,
            "cancellation_reason": self.cancellation_reason, "capture_method": self.capture_method,
            "client_secret": self.id + "_secret_peer", "confirmation_method": "automatic",
            "created": self.created, "currency": self.currency, "customer": self.customer,
            "description": self.description, "last_payment_error": self.last_error, "latest_charge": charge,
            "livemode": False, "metadata": self.metadata, "next_action": self.next_action,
            "on_behalf_of": None, "payment_method": self.method if self.status != "requires_payment_method" else None,
            "payment_method_configuration_details": None, "payment_method_options": {},
            "payment_method_types": ["card"], "processing": None, "receipt_email": None, "review": None,
            "setup_future_usage": None, "shipping": None, "source": None, "statement_descriptor": None,
            "statement_descriptor_suffix": None, "status": self.status, "transfer_data": None,
            "transfer_group": None,
        }


class Refund(book.Refund):
    __slots__ = ("intent", "metadata", "transaction", "failure_reason", "failure_transaction")

    def render(self, expand=()):
        def transaction(name, amount, kind):
            return name and {
                "id": name, "object": "balance_transaction", "amount": amount, "created": self.created,
                "currency": self.currency, "exchange_rate": None, "fee": 0, "fee_details": [], "net": amount,
                "reporting_category": kind, "source": self.id, "status": "pending", "type": kind}
        answer = {
            "id": self.id, "object": "refund", "amount": self.amount,
            "balance_transaction": transaction(self.transaction, -self.amount, "refund")
            if "balance_transaction" in expand else self.transaction,
            "charge": self.charge.render() if "charge" in expand else self.charge.id, "created": self.created,
            "currency": self.currency, "destination_details": {"card": {"type": "refund"}, "type": "card"},
            "metadata": self.metadata,
            "payment_intent": self.intent.render() if "payment_intent" in expand else self.intent.id,
            "reason": self.reason, "receipt_number": None, "source_transfer_reversal": None,
            "status": self.status, "transfer_reversal": None,
        }
        if self.failure_reason:
            answer["failure_reason"] = self.failure_reason
            answer["failure_balance_transaction"] = (
                transaction(self.failure_transaction, self.amount, "refund_failure")
                if "failure_balance_transaction" in expand else self.failure_transaction)
        return answer


class Dispute(book.Dispute):
    __slots__ = ("intent",)

    def render(self, expand=()):
        taken = {"id": "txn_" + self.id[3:], "object": "balance_transaction", "amount": -self.amount,
                 "created": self.created, "currency": self.currency, "fee": DISPUTE_FEE,
                 "net": -self.amount - DISPUTE_FEE, "reporting_category": "dispute", "source": self.id,
                 "type": "adjustment"}
        given_back = dict(taken, id="txn_back_" + self.id[3:], amount=self.amount, fee=-DISPUTE_FEE,
                          net=self.amount + DISPUTE_FEE, reporting_category="dispute_reversal")
        return {
            "id": self.id, "object": "dispute", "amount": self.amount,
            "balance_transactions": [taken, given_back] if self.status == "won" else [taken],
            "charge": self.charge.id, "created": self.created, "currency": self.currency, "evidence": {},
            "is_charge_refundable": False, "livemode": False, "metadata": {},
            "payment_intent": self.intent.id, "reason": self.reason, "status": self.status,
        }


class Payout(Record):
    """A payout to a bank account, or a transfer to another account."""
    __slots__ = ("id", "ref", "key", "amount", "currency", "destination", "status", "created", "metadata", "description", "failure",
                 "payment")

    @property
    def is_transfer(self):
        return self.id.startswith("tr_")

    def render(self, expand=()):
        answer = {"id": self.id, "object": "transfer" if self.is_transfer else "payout", "amount": self.amount,
                  "created": self.created, "currency": self.currency, "description": self.description,
                  "destination": self.destination, "livemode": False, "metadata": self.metadata}
        if self.is_transfer:
            back = self.amount if self.status == "reversed" else 0
            return dict(answer, amount_reversed=back, reversed=back > 0, source_type="card")
        return dict(answer, automatic=False, failure_code=self.failure, failure_message=None, method="standard",
                    status=self.status, type="bank_account")

    def book_row(self):
        return {"payout": self.id, "payments_ref": self.ref, "amount": self.amount, "currency": self.currency,
                "status": self.status, "destination": self.destination, "idempotency_key": self.key}


class Event(book.Event):
    __slots__ = ("request_id",)

    def render(self, expand=()):
        picture = self.picture
        return {
            "id": self.id, "object": "event", "api_version": API_VERSION, "created": self.created,
            "data": {"object": picture if isinstance(picture, dict) else picture.render()},
            "livemode": False, "pending_webhooks": 1,
            "request": {"id": self.request_id, "idempotency_key": self.key}, "type": self.type,
        }


class Transaction(book.Transaction):
    __slots__ = ()

    def render(self, expand=()):
        return {
            "id": self.id, "object": "balance_transaction", "amount": self.amount,
            "available_on": self.created + 172800, "created": self.created, "currency": self.currency,
            "description": self.description, "exchange_rate": None, "fee": self.fee,
            "fee_details": [{"amount": self.fee, "application": None, "currency": self.currency,
                             "description": "Stripe processing fees", "type": "stripe_fee"}] if self.fee else [],
            "net": self.amount - self.fee, "reporting_category": self.category,
            "source": self.source.render() if "source" in expand else self.source.id,
            "status": "available" if self.created + 172800 < time.time() else "pending", "type": self.type,
        }


class StripeError(Exception):
    """An error answer.  `stored`: execution had begun, so the key keeps this answer."""

    def __init__(self, status, kind, message, code=None, stored=False, headers="", **more):
        super().__init__(message)
        self.status = status
        self.stored = stored
        self.headers = headers
        self.error = {"type": kind, "message": message}
        if code:
            self.error["code"] = code
            self.error["doc_url"] = "https://stripe.com/docs/error-codes/" + code.replace("_", "-")
        self.error.update((name, value) for name, value in more.items() if value is not None)


def invalid(message, param=None, code=None, status=400, **more):
    return StripeError(status, "invalid_request_error", message, code=code, param=param, **more)


def check_params(form, known):
    if not known.issuperset(form):
        stranger = sorted(set(form) - known)[0]
        raise invalid("Received unknown parameter: %s" % stranger, stranger, "parameter_unknown")


def expand_of(form, known):
    expand = frozenset(as_list(form.get("expand")))
    if not known.issuperset(expand):
        stranger = sorted(expand - known)[0]
        raise invalid("This property cannot be expanded (%s)." % stranger, "expand")
    return expand


def int_of(form, name, default=None):
    text = form.get(name, default)
    if isinstance(text, int):
        return text
    if not isinstance(text, str) or not re.fullmatch(r"-?\d{1,30}", text, re.ASCII):
        raise invalid("Invalid integer: %s" % text, name, "parameter_invalid_integer")
    return int(text)


def flag_of(form, name):
    text = form.get(name, "false")
    if text not in ("true", "false"):
        raise invalid("Invalid boolean: %s" % text, name)
    return text == "true"


def metadata_of(form):
    metadata = form.get("metadata", {})
    if metadata == "":
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise invalid("Invalid hash", "metadata", "parameter_invalid_hash" if metadata else None)
    if len(metadata) > 50 or any(len(key) > 40 or len(value) > 500 for key, value in metadata.items()):
        raise invalid("Metadata: at most 50 keys of 40 characters with values of 500.", "metadata")
    return metadata


def known_method(method):
    if not isinstance(method, str):
        return False
    match = DECLINED_METHOD.match(method)
    if match:
        return match[1] == "" or match[1] in DECLINES
    return (method in METHODS_THAT_PAY or method in ("pm_card_chargeCustomerFail", "pm_card_authenticationRequired")
            or bool(DECLINED_TIMES_METHOD.match(method) or PROCESSING_METHOD.match(method)))


def decline_of_method(method):
    match = DECLINED_METHOD.match(method)
    return DECLINES[(match and match[1]) or "ChargeDeclined"]


def decline_of_code(decline_code):
    for decline in DECLINES.values():
        if decline[1] == decline_code:
            return decline
    code = decline_code if decline_code in CODES_OF_THEIR_OWN else "card_declined"
    advice = "do_not_try_again" if decline_code in FINAL_ADVICE else "try_again_later"
    return code, decline_code, advice, "Your card was declined."


# --------------------------------------------------------------------------
# The faults that have to know Stripe's fields
# --------------------------------------------------------------------------

def with_text(text):
    """Puts text into the field where people's words stand."""
    def breaker(peer, rule, answer):
        status, body, headers = answer
        value = json.loads(body)
        if "error" in value:
            value["error"]["message"] = text
        elif "data" in value:
            for one in value["data"]:
                one["description"] = text
        else:
            value["description"] = text
        return status, to_json(value).encode().replace(b"BAD_UTF8", b"\xff\xfe\xc3\x28"), headers
    return breaker


def of_another_payment(one):
    return dict(one, id=one.get("id", "pi_")[:3] + name_of("another payment"), metadata={"payments_ref": "ANOTHERPAYMENT"})


def with_wrong_id(peer, rule, answer):
    status, body, headers = answer
    value = json.loads(body)
    if "data" in value:
        value["data"] = [of_another_payment(one) for one in value["data"]]
    elif "payment_intent" in value.get("error", {}):
        value["error"]["payment_intent"] = of_another_payment(value["error"]["payment_intent"])
    else:
        value = of_another_payment(value)
    return status, to_json(value).encode(), headers


def with_duplicate_fields(peer, rule, answer):
    def twice(one):
        return to_json(one)[:-1] + ',"amount":1,"status":"succeeded"}'
    status, body, headers = answer
    value = json.loads(body)
    text = twice(value)
    if "data" in value:
        text = to_json(dict(value, data="HERE")).replace('"HERE"', "[" + ",".join(map(twice, value["data"])) + "]")
    return status, text.encode(), headers


def with_same_page(peer, rule, answer):
    """Of a list: its first entry, whatever was asked for, and more behind it."""
    status, body, headers = answer
    value = json.loads(body)
    first = rule.options.setdefault("first", value["data"][:1])
    return status, to_json(dict(value, data=first, has_more=True)).encode(), headers


BREAKERS = {
    **faults.BREAKERS,
    "same_page": with_same_page,
    "nul_in_json": with_text("nul \0 here"),
    "bad_utf8": with_text("BAD_UTF8"),
    "duplicate_fields": with_duplicate_fields,
    "huge_amount": faults.with_body(lambda rule, body: re.sub(rb'"(amount|amount_received)":\d+',
                                                              rb'"\1":9223372036854775808', body)),
    "wrong_id": with_wrong_id,
}


# --------------------------------------------------------------------------
# The peer
# --------------------------------------------------------------------------

class StripePeer(control.Control, faults.Faulty, server.Listening, book.Book):
    transaction_class, event_class = Transaction, Event
    breakers = BREAKERS
    asides = ("account",)
    refusal = b'{"error":{"type":"invalid_request_error","message":"Not understood."}}'
    default_settings = {
        **control.SETTINGS,
        "account": None,                # whose account the secret is of; null: one of each port
        "more_secrets": {},             # others that it takes, each with the account that it is of
        "livemode": False,              # of events
        "search_delay_ms": 0,           # search does not show what is younger
        "processing_gets": 0,           # pm_test_processing succeeds after so many GETs; 0: only when told
        "minimum_amount": 1,            # Stripe's own is about 50
        "maximum_amount": 99999999,
        "any_customer": False,          # true: takes customers that are not called cus_...
        "event_padding": 0,             # so many bytes more in each event of a list
        "multicapture": True,           # the account may capture several times
        "release_looks_refunded": True,  # a void or partial capture also sends charge.refunded, as Stripe does
    }
    orders = {"finish": "order_finish", "dispute": "order_dispute", "close_dispute": "order_close_dispute",
              "finish_refund": "order_finish_refund", "fail_refund": "order_fail_refund", "refund": "order_refund",
              "expire": "order_expire", "finish_payout": "order_finish_payout", "reverse_transfer": "order_reverse_transfer"}

    def __init__(self, secret, webhook_secret, seed=0):
        faults.Faulty.__init__(self)
        server.Listening.__init__(self)
        basic = base64.b64encode((secret + ":").encode())
        self.authorizations = (b"Bearer " + secret.encode(), b"Basic " + basic)
        self.webhook_secret = webhook_secret.encode()
        self.seed = seed
        self.routes = {
            "create": self.create_intent, "get": self.get_intent, "search": self.search_intents,
            "list": self.list_intents, "capture": self.capture_intent, "cancel": self.cancel_intent,
            "refund": self.create_refund, "refund_get": self.get_refund, "refund_list": self.list_refunds,
            "transactions": self.list_transactions, "events": self.list_events,
            "account": self.get_account, "payout": self.create_payout, "payout_get": self.get_payout,
            "payout_list": self.list_payouts,
        }
        self.reset()

    def reset(self):
        super().reset()
        self.intents = {}           # id -> PaymentIntent, oldest first
        self.intents_by_ref = {}
        self.payouts = {}           # id -> Payout, also transfers
        self.keys_declined = {}     # ref -> distinct keys seen by pm_test_declined_times_...
        self.stripe_versions = {}

    # ---- one request ------------------------------------------------------

    def route(self, request):
        """Sets request.route and request.object_id."""
        parts = request.path.strip("/").split("/")
        request.object_id = None
        route = "unknown"
        if parts[:2] == ["v1", "payment_intents"]:
            if len(parts) == 2:
                route = "create" if request.method == "POST" else "list"
            elif len(parts) == 3 and request.method == "GET":
                route = "search" if parts[2] == "search" else "get"
                request.object_id = parts[2]
            elif len(parts) == 4 and request.method == "POST" and parts[3] in ("capture", "cancel"):
                route = parts[3]
                request.object_id = parts[2]
        elif parts[:2] == ["v1", "refunds"]:
            if len(parts) == 2:
                route = "refund" if request.method == "POST" else "refund_list"
            elif len(parts) == 3 and request.method == "GET":
                route = "refund_get"
                request.object_id = parts[2]
        elif parts[:2] in (["v1", "payouts"], ["v1", "transfers"]):
            if len(parts) == 2:
                route = "payout" if request.method == "POST" else "payout_list"
            elif len(parts) == 3 and request.method == "GET":
                route = "payout_get"
                request.object_id = parts[2]
        elif parts == ["v1", "balance_transactions"] and request.method == "GET":
            route = "transactions"
        elif parts == ["v1", "events"] and request.method == "GET":
            route = "events"
        elif parts == ["v1", "account"] and request.method == "GET":
            route = "account"
        request.route = route

    def parse_body(self, request):
        request.bad_form = False
        if request.method == "GET":
            return parse_form(request.query.encode()) if request.query else {}
        kind = request.headers.get(b"content-type", b"")
        if request.body and not kind.startswith(b"application/x-www-form-urlencoded"):
            raise ValueError("content type")
        return parse_form(request.body)

    def note(self, request):
        metadata = request.form.get("metadata")
        self.note_post(request, metadata.get("payments_ref") if isinstance(metadata, dict) else None)
        version = request.headers.get(b"stripe-version", b"").decode("latin-1")
        self.stripe_versions[version] = self.stripe_versions.get(version, 0) + 1

    def trait(self, request, name):
        """What a fault rule may look at."""
        if name == "method":
            return request.method
        if name == "path":
            return request.path
        if name == "key":
            return request.key
        intent = self.intents.get(request.object_id) or self.intents.get(request.form.get("payment_intent"))
        if name == "payment_method":
            return request.form.get("payment_method") or (intent and intent.method)
        metadata = request.form.get("metadata")
        if isinstance(metadata, dict) and metadata.get("payments_ref"):
            return metadata["payments_ref"]
        return (intent and intent.ref) or (request.form.get("query") if request.route == "search" else None)

    # ---- idempotency ------------------------------------------------------

    def key_in_use(self):
        self.keys_in_use += 1
        return StripeError(409, "idempotency_error",
                           "There is currently another in-progress request using this Idempotent Key (that probably "
                           "means you submitted twice, and the other request is still going through). Please try "
                           "again later.", code="idempotency_key_in_use")

    def answer_key_in_use(self, request):
        return self.answer_error(request, self.key_in_use())

    def perform(self, request):
        """Executes a request at most once for its key.  Returns (status, body, headers)."""
        try:
            authorization = request.headers.get(b"authorization")
            if authorization not in self.authorizations and self.other_account(authorization) is None:
                raise invalid("Invalid API Key provided.", status=401,
                              headers="WWW-Authenticate: Bearer realm=\"Stripe\"\r\n")
            handler = self.routes.get(request.route)
            if handler is None:
                raise invalid("Unrecognized request URL (%s: %s)." % (request.method, request.path), status=404)
            if request.bad_form:
                raise invalid("Invalid request (check that your POST content type is "
                              "application/x-www-form-urlencoded).")
            if request.method == "GET":
                return self.answer(request, 200, handler(request))
            if request.key is not None and not 0 < len(request.key) <= 255:
                raise invalid("The idempotency key must have 1 to 255 characters.")
            record = self.known_key(request)
            if record is not None:
                return self.replay(request, record)
        except StripeError as error:
            return self.answer_error(request, error)
        try:
            answer = self.answer(request, 200, handler(request))
            stored = True
        except StripeError as error:
            answer = self.answer_error(request, error)
            stored = error.stored
        if stored:
            self.store(request, self.without_id(answer))
        return answer

    def replay(self, request, record):
        """Answers a request whose key is known."""
        if record.answer is None:
            raise self.key_in_use()
        if record.path != request.path or record.body_hash != request.body_hash:
            self.note_conflict(request.key)
            raise StripeError(400, "idempotency_error",
                              "Keys for idempotent requests can only be used with the same parameters they were "
                              "first used with. Try using a key other than '%s' if you meant to execute a "
                              "different request." % request.key)
        if record.holder not in (None, request):
            raise self.key_in_use()
        self.replays += 1
        status, body, headers = record.answer
        return status, body, "%sRequest-Id: %s\r\nIdempotent-Replayed: true\r\nOriginal-Request: %s\r\n" % (
            headers, request.id, record.request_id)

    def without_id(self, answer):
        """An answer to be kept: without the headers that are of one request only."""
        status, body, headers = answer
        return status, body, "".join(line + "\r\n" for line in headers.split("\r\n")
                                     if line and not line.startswith("Request-Id"))

    # ---- answers ----------------------------------------------------------

    def answer(self, request, status, value):
        return status, to_json(value).encode(), "Request-Id: %s\r\n" % request.id

    def answer_error(self, request, error):
        body = to_json({"error": dict(error.error, request_log_url="https://dashboard.stripe.com/test/logs/"
                                      + request.id)}).encode()
        return error.status, body, "%sRequest-Id: %s\r\n" % (error.headers, request.id)

    def answer_status(self, request, rule):
        """The injected status_NNN."""
        status = int(rule.name[7:])
        record = self.keys.get(request.key)
        unanswered = record is not None and record.answer is None
        if rule.perform:
            self.perform(request)
        self.release_key(request)
        retry_after = "Retry-After: %s\r\n" % rule.options["retry_after"] if "retry_after" in rule.options else ""
        if status in (502, 503, 504) or rule.options.get("page"):
            page = b"<html><body><h1>%d %s</h1></body></html>" % (status, REASONS[status].encode())
            return status, page, "Content-Type: text/html\r\n" + retry_after
        headers = retry_after
        should_retry = rule.options.get("should_retry", False if status == 500 else None)
        if should_retry is not None:
            headers += "Stripe-Should-Retry: %s\r\n" % str(should_retry).lower()
        if status == 429:
            headers += "Stripe-Rate-Limited-Reason: %s\r\n" % rule.options.get("reason", "global-rate")
        kind, code, message = {
            401: ("invalid_request_error", None, "Invalid API Key provided."),
            403: ("invalid_request_error", None, "The provided key does not have the required permissions."),
            404: ("invalid_request_error", "resource_missing", "No such object."),
            409: ("invalid_request_error", "lock_timeout",
                  "This object cannot be accessed right now because another API request is currently accessing it."),
            424: ("api_error", None, "An external dependency failed."),
            429: ("invalid_request_error", "rate_limit", "Request rate limit exceeded."),
        }.get(status, ("api_error" if status >= 500 else "invalid_request_error", None, "An unknown error occurred."))
        error = StripeError(status, kind, message, code=rule.options.get("code", code), headers=headers)
        answer = self.answer_error(request, error)
        if rule.options.get("stored", status == 500) and unanswered:
            self.store(request, self.without_id(answer))
        return answer

    # ---- payment intents --------------------------------------------------

    def create_intent(self, request):
        form = request.form
        check_params(form, CREATE_PARAMS)
        expand = expand_of(form, INTENT_EXPANDS)
        amount = self.amount_of(form, "amount")
        currency = form.get("currency")
        if currency is None:
            raise invalid("Missing required param: currency.", "currency", "parameter_missing")
        if not isinstance(currency, str) or not re.fullmatch("[a-z]{3}", currency):
            raise invalid("Invalid currency: %s." % currency, "currency")
        if amount % DIVISIBLE.get(currency, 1):
            raise invalid("Invalid amount: %s amounts must be divisible by %d." % (currency, DIVISIBLE[currency]),
                          "amount", "parameter_invalid_integer")
        capture_method = form.get("capture_method", "automatic_async")
        if capture_method not in ("automatic", "automatic_async", "manual"):
            raise invalid("Invalid capture_method: must be one of automatic, automatic_async, or manual",
                          "capture_method")
        confirm, off_session = flag_of(form, "confirm"), flag_of(form, "off_session")
        customer = form.get("customer")
        if customer is not None and not (self.settings["any_customer"] or customer.startswith("cus_")):
            raise invalid("No such customer: '%s'" % customer, "customer", "resource_missing")
        metadata = metadata_of(form)
        method = form.get("payment_method")
        if method is not None and not known_method(method):
            raise invalid("No such PaymentMethod: '%s'" % method, "payment_method", "resource_missing")
        if confirm and method is None:
            raise invalid("You cannot confirm this PaymentIntent because it's missing a payment method.",
                          code="payment_intent_unexpected_state")
        if off_session and not confirm:
            raise invalid("off_session needs confirm=true.", "off_session")
        return_url = form.get("return_url")
        if return_url is not None and not re.match("https?://", return_url):
            raise invalid("Not a valid URL", "return_url", "url_invalid")

        # From here on the endpoint executes: the key keeps the outcome.
        now = time.time()
        name = self.new_name(request)
        if method == "pm_test_wrong_amount":
            amount += 1
        elif method == "pm_test_wrong_currency":
            currency = "usd" if currency == "eur" else "eur"
        intent = PaymentIntent(
            id="pi_" + name, ref=metadata.get("payments_ref"), key=request.key, amount=amount, received=0,
            capturable=0, currency=currency, status="requires_confirmation" if method else "requires_payment_method",
            created=int(now), born=now, capture_method=capture_method, customer=customer,
            description=form.get("description"), metadata=metadata, method=method, return_url=return_url,
            seq=len(self.intents), multicapture=self.settings["multicapture"] and capture_method == "manual"
            and form.get("payment_method_options", {}).get("card", {}).get("request_multicapture") == "if_available")
        self.intents[intent.id] = intent
        if intent.ref:
            self.intents_by_ref.setdefault(intent.ref, []).append(intent)
        self.tell("payment_intent.created", intent, request)
        if confirm:
            self.confirm(intent, request, off_session)
        answer = intent.render(expand)
        if capture_method == "automatic_async" and isinstance(answer["latest_charge"], dict):
            answer["latest_charge"]["balance_transaction"] = None   # known a moment later
        return answer

    def confirm(self, intent, request, off_session):
        """Tries to take the money with the intent's payment method."""
        method = intent.method
        declined_times = DECLINED_TIMES_METHOD.match(method)
        processing = PROCESSING_METHOD.match(method)
        if declined_times:
            keys = self.keys_declined.setdefault(intent.ref or "", [])
            key = request.key or request.id
            if key not in keys:
                keys.append(key)
            if keys.index(key) < int(declined_times[1]):
                self.decline(intent, request, decline_of_code(declined_times[2]))
        elif processing:
            intent.status = "processing"
            intent.gets_left = int(processing[1] or self.settings["processing_gets"]) or None
            self.tell("payment_intent.processing", intent, request)
            return
        elif method.startswith("pm_card_authenticationRequired"):
            if off_session:
                self.decline(intent, request, DECLINES["Authentication"])
            intent.status = "requires_action"
            intent.next_action = {"type": "redirect_to_url", "redirect_to_url": {
                "return_url": intent.return_url,
                "url": "http://127.0.0.1:%d/_authenticate/%s" % (self.port, intent.id)}}
            self.tell("payment_intent.requires_action", intent, request)
            return
        elif method not in METHODS_THAT_PAY:
            self.decline(intent, request, decline_of_method(method))
        self.take_money(intent, request)

    def take_money(self, intent, request=None):
        """The charge succeeds: authorized, and captured unless capture is manual."""
        charge = self.new_charge(intent)
        intent.next_action = intent.last_error = None
        if intent.capture_method == "manual":
            charge.status = "authorized"
            intent.status = "requires_capture"
            intent.capturable = intent.amount
            self.tell("payment_intent.amount_capturable_updated", intent, request)
        else:
            self.capture(intent, intent.amount, request)
        if intent.method == "pm_card_createDispute":
            self.open_dispute(intent, {})

    def capture(self, intent, amount, request, final=True):
        charge = intent.charge
        if charge.captured or not final:
            self.capture_one_of_several(intent, amount, request, final)
            return
        charge.status = "succeeded"
        charge.captured = amount
        charge.released = charge.amount - amount
        charge.fee = fee_of(amount)
        charge.transaction = "txn_" + charge.id[3:]
        # The balance is told the whole charge, and then what was not captured of it.
        self.record(charge.transaction, "charge", "charge", charge.amount, charge.fee, charge, charge.description)
        if charge.released:
            self.record("txn_rest_" + charge.id[3:], "refund", "partial_capture_reversal", -charge.released, 0, charge)
        intent.status = "succeeded"
        intent.received = amount
        intent.capturable = 0
        self.tell("payment_intent.succeeded", intent, request)
        if charge.released and self.settings["release_looks_refunded"]:
            self.tell("charge.refunded", charge, request)

    def capture_one_of_several(self, intent, amount, request, final):
        """Each is a movement of its own, of what it takes."""
        charge = intent.charge
        charge.status = "succeeded"
        if amount:
            charge.transaction = "txn_%s_%d" % (charge.id[3:], charge.captured)
            charge.fee = (charge.fee or 0) + fee_of(amount)
            charge.captured += amount
            self.record(charge.transaction, "charge", "charge", amount, fee_of(amount), charge, charge.description)
        intent.received = charge.captured
        intent.capturable = 0 if final else charge.amount - charge.captured
        if final:
            charge.released = charge.amount - charge.captured
            intent.status = "succeeded"
            self.tell("payment_intent.succeeded", intent, request)
        else:
            self.tell("payment_intent.amount_capturable_updated", intent, request)

    def fail(self, intent, decline, request=None):
        """The charge fails; the intent falls back to requires_payment_method."""
        code, decline_code, advice_code, message = decline
        charge = self.new_charge(intent)
        charge.status = "failed"
        charge.failure = {"code": code, "decline_code": decline_code, "message": message}
        intent.status = "requires_payment_method"
        intent.next_action = None
        intent.last_error = {
            "advice_code": advice_code, "charge": charge.id, "code": code, "decline_code": decline_code,
            "doc_url": "https://stripe.com/docs/error-codes/" + code.replace("_", "-"), "message": message,
            "payment_method": {"id": intent.method, "object": "payment_method", "type": "card"},
            "type": "card_error",
        }
        self.tell("payment_intent.payment_failed", intent, request)

    def decline(self, intent, request, decline):
        """Fails the intent and raises the 402 that says so."""
        self.fail(intent, decline, request)
        code, decline_code, advice_code, message = decline
        raise StripeError(402, "card_error", message, code=code, stored=True, decline_code=decline_code,
                          advice_code=advice_code, charge=intent.charge.id, payment_intent=intent.render(),
                          payment_method={"id": intent.method, "object": "payment_method", "type": "card"})

    def new_charge(self, intent):
        attempt = 0 if intent.charge is None else int(intent.charge.id.partition("_try")[2] or 0) + 1
        charge = Charge(
            id="ch_" + intent.id[3:] + ("_try%d" % attempt if attempt else ""), intent=intent, ref=intent.ref,
            key=intent.key, amount=intent.amount, captured=0, refunded=0, released=0, currency=intent.currency,
            created=int(time.time()), metadata=intent.metadata, description=intent.description,
            method=intent.method, brand=METHODS_THAT_PAY.get(intent.method, "visa"), payment=intent.id)
        intent.charge = self.charges[charge.id] = charge
        return charge

    def get_intent(self, request):
        expand = expand_of(request.form, INTENT_EXPANDS)
        intent = self.intent_of(request.object_id)
        self.count_get(intent)
        return intent.render(expand)

    def count_get(self, intent):
        if intent.status == "processing" and intent.gets_left:
            intent.gets_left -= 1
            if not intent.gets_left:
                self.take_money(intent)

    def search_intents(self, request):
        query = request.form.get("query", "")
        match = re.fullmatch(r"""\s*metadata\[(["'])(.*?)\1\]\s*:\s*(["'])(.*?)\3\s*""", query)
        if not match:
            raise invalid("Unsupported query: this peer knows metadata[\"name\"]:\"value\" only.", "query")
        name, value = match[2], match[4]
        if name == "payments_ref":
            found = list(self.intents_by_ref.get(value, ()))
        else:
            found = [intent for intent in self.intents.values() if intent.metadata.get(name) == value]
        oldest_hidden = time.time() - self.settings["search_delay_ms"] / 1000
        found = [intent for intent in reversed(found) if intent.born <= oldest_hidden]
        for intent in found:
            self.count_get(intent)
        return self.page(request, found, "search_result", "/v1/payment_intents/search", INTENT_EXPANDS)

    def list_intents(self, request):
        return self.page(request, reversed(self.intents.values()), "list", "/v1/payment_intents", INTENT_EXPANDS)

    def page(self, request, objects, kind, url, expandable):
        form = request.form
        expand = expand_of(form, frozenset("data." + name for name in expandable))
        expand = frozenset(name[5:] for name in expand)
        limit = int_of(form, "limit", 10)
        if not 1 <= limit <= 100:
            raise invalid("limit must be 1 to 100.", "limit", "parameter_invalid_integer")
        created = form.get("created", {})
        if not isinstance(created, dict):
            created = {"gte": created, "lte": created}
        if set(created) - {"gt", "gte", "lt", "lte"}:
            raise invalid("Received unknown parameter: created[%s]" % sorted(created)[0], "created", "parameter_unknown")
        since = max(int_of(created, "gte", 0), int_of(created, "gt", -1) + 1)
        until = min(int_of(created, "lte", 1 << 62), int_of(created, "lt", (1 << 62) + 1) - 1)
        waiting_for = form.get("starting_after")
        data = []
        has_more = False
        for one in objects:
            if waiting_for is not None:
                if one.id == waiting_for:
                    waiting_for = None
                continue
            if not since <= one.created <= until:
                continue
            if form.get("customer") is not None and getattr(one, "customer", None) != form["customer"]:
                continue
            if len(data) == limit:
                has_more = True
                break
            data.append(one.render(expand))
        answer = {"object": kind, "data": data, "has_more": has_more, "url": url}
        if kind == "search_result":
            answer["next_page"] = None
        return answer

    def capture_intent(self, request):
        form = request.form
        check_params(form, CAPTURE_PARAMS)
        expand = expand_of(form, INTENT_EXPANDS)
        intent = self.intent_of(request.object_id)
        final = form.get("final_capture", "true") == "true"
        if form.get("amount_to_capture") == "0" and final and intent.received:
            amount = 0          # only gives back the rest
        else:
            amount = self.amount_of(form, "amount_to_capture") if "amount_to_capture" in form else intent.capturable
        more_metadata = metadata_of(form)
        if not final and not intent.multicapture:
            raise invalid("This PaymentIntent does not support multiple captures.", "final_capture")
        if intent.status != "requires_capture":
            raise self.unexpected_state(intent, "captured", "requires_capture")
        if amount > intent.capturable:
            raise invalid("The amount_to_capture is greater than the remaining amount that can be captured.",
                          "amount_to_capture", "amount_too_large", stored=True, payment_intent=intent.render())
        self.add_metadata(intent, more_metadata)
        self.capture(intent, amount, request, final or amount == intent.capturable)
        return intent.render(expand)

    def add_metadata(self, intent, more):
        """Merges metadata in, as Stripe does: a new payments_ref replaces the old one, also for search."""
        old, new = intent.metadata.get("payments_ref"), more.get("payments_ref")
        intent.metadata = {**intent.metadata, **more}
        if new is not None and new != old:
            if old is not None:
                self.intents_by_ref[old].remove(intent)
            self.intents_by_ref.setdefault(new, []).append(intent)

    def cancel_intent(self, request):
        form = request.form
        check_params(form, CANCEL_PARAMS)
        expand = expand_of(form, INTENT_EXPANDS)
        reason = form.get("cancellation_reason")
        if reason is not None and reason not in CANCELLATION_REASONS:
            raise invalid("Invalid cancellation_reason", "cancellation_reason")
        intent = self.intent_of(request.object_id)
        if intent.status in ("succeeded", "canceled", "processing"):
            raise self.unexpected_state(intent, "canceled", "requires_payment_method, requires_capture, "
                                        "requires_confirmation, requires_action")
        held = intent.status == "requires_capture"
        intent.status = "canceled"
        intent.capturable = 0
        intent.next_action = None
        intent.canceled_at = int(time.time())
        intent.cancellation_reason = reason
        if held:
            intent.charge.status = "released"
            intent.charge.released = intent.charge.amount
        self.tell("payment_intent.canceled", intent, request)
        if held and self.settings["release_looks_refunded"]:
            self.tell("charge.refunded", intent.charge, request)
        return intent.render(expand)

    def unexpected_state(self, intent, verb, wanted):
        return invalid("This PaymentIntent could not be %s because it has a status of %s. Only a PaymentIntent with "
                       "one of the following statuses may be %s: %s." % (verb, intent.status, verb, wanted),
                       code="payment_intent_unexpected_state", stored=True, payment_intent=intent.render())

    # ---- refunds and disputes ---------------------------------------------

    def create_refund(self, request):
        form = request.form
        check_params(form, REFUND_PARAMS)
        expand = expand_of(form, REFUND_EXPANDS)
        reason = form.get("reason")
        if reason is not None and reason not in REFUND_REASONS:
            raise invalid("Invalid reason: must be one of duplicate, fraudulent, or requested_by_customer", "reason")
        if form.get("payment_intent"):
            intent = self.intent_of(form["payment_intent"], "payment_intent")
            charge = intent.charge
        elif form.get("charge"):
            charge = self.charges.get(form["charge"])
            if charge is None:
                raise invalid("No such charge: '%s'" % form["charge"], "charge", "resource_missing", 404)
            intent = charge.intent
        else:
            raise invalid("One of the following params should be provided for this request: payment_intent or "
                          "charge.", code="parameter_missing")
        metadata = metadata_of(form)
        amount = self.amount_of(form, "amount") if "amount" in form else None
        if charge is None or charge.status != "succeeded":
            raise invalid("This PaymentIntent (%s) does not have a successful charge to refund." % intent.id,
                          code="payment_intent_unexpected_state" if charge is None else "charge_not_refundable",
                          stored=True)
        if charge.disputed:
            raise invalid("Charge %s has been charged back; cannot issue a refund." % charge.id,
                          code="charge_disputed", stored=True)
        left = charge.captured - charge.refunded
        if left == 0:
            raise invalid("Charge %s has already been refunded." % charge.id,
                          code="charge_already_refunded", stored=True)
        if amount is None:
            amount = left
        if amount > left:
            raise invalid("Refund amount (%d) is greater than unrefunded amount on charge (%d)." % (amount, left),
                          "amount", stored=True)
        return self.refund(intent, amount, reason, metadata, request).render(expand)

    def refund(self, intent, amount, reason, metadata, request=None):
        charge = intent.charge
        name = self.new_name(request) if request else name_of(intent.id, "outside", len(self.refunds))
        refund = Refund(id="re_" + name, ref=metadata.get("payments_ref"), key=request and request.key,
                        amount=amount, charge=charge, created=int(time.time()), currency=charge.currency,
                        metadata=metadata, intent=intent, reason=reason, status="succeeded",
                        transaction="txn_" + name)
        if intent.method == "pm_card_pendingRefund":
            refund.status = "pending"
        self.refunds[refund.id] = refund
        self.record(refund.transaction, "refund", "refund", -amount, 0, refund)
        charge.refunded += amount
        self.tell("refund.created", refund, request)
        self.tell("charge.refunded", charge, request)
        if intent.method == "pm_card_refundFail":
            self.loop.call_soon(self.fail_refund, refund, "expired_or_canceled_card")
        return refund

    def fail_refund(self, refund, reason):
        """A refund that had been accepted fails: the money is ours again."""
        if refund.status in ("failed", "canceled"):
            raise ValueError("refund %s has failed already" % refund.id)
        refund.status = "failed"
        refund.failure_reason = reason
        refund.failure_transaction = "txn_failed_" + refund.id[3:]
        self.record(refund.failure_transaction, "refund_failure", "refund_failure", refund.amount, 0, refund)
        refund.charge.refunded -= refund.amount
        self.tell("refund.failed", refund)
        self.tell("refund.updated", refund)

    def get_refund(self, request):
        expand = expand_of(request.form, REFUND_EXPANDS)
        refund = self.refunds.get(request.object_id)
        if refund is None:
            raise invalid("No such refund: '%s'" % request.object_id, "id", "resource_missing", 404)
        return refund.render(expand)

    def list_refunds(self, request):
        form = request.form
        found = [refund for refund in reversed(self.refunds.values())
                 if form.get("payment_intent") in (None, refund.intent.id)
                 and form.get("charge") in (None, refund.charge.id)]
        return self.page(request, found, "list", "/v1/refunds", REFUND_EXPANDS)

    # ---- payouts and transfers ---------------------------------------------

    def create_payout(self, request):
        form = request.form
        check_params(form, PAYOUT_PARAMS)
        amount = self.amount_of(form, "amount")
        is_transfer = request.path == "/v1/transfers"
        if is_transfer and not str(form.get("destination", "")).startswith("acct_"):
            raise invalid("No such destination.", "destination", "resource_missing")
        metadata = metadata_of(form)
        payout = Payout(id=("tr_" if is_transfer else "po_") + self.new_name(request), ref=metadata.get("payments_ref"),
                        key=request.key, amount=amount, currency=form.get("currency"), metadata=metadata,
                        destination=form.get("destination", "ba_default"), description=form.get("description"),
                        status="paid" if is_transfer else "pending", created=int(time.time()))
        self.payouts[payout.id] = payout
        self.record("txn_" + payout.id, "transfer" if is_transfer else "payout", "transfer" if is_transfer else "payout", -amount, 0, payout)
        self.tell("transfer.created" if is_transfer else "payout.created", payout, request)
        return payout.render()

    def get_payout(self, request):
        payout = self.payouts.get(request.object_id)
        if payout is None:
            raise invalid("No such payout: '%s'" % request.object_id, "id", "resource_missing", 404)
        return payout.render()

    def list_payouts(self, request):
        prefix = "tr_" if request.path == "/v1/transfers" else "po_"
        found = [payout for payout in reversed(self.payouts.values()) if payout.id.startswith(prefix)
                 and request.form.get("destination") in (None, payout.destination)]
        return self.page(request, found, "list", request.path, frozenset())

    def chosen_payouts(self, options, *statuses):
        chosen = [payout for payout in self.payouts.values() if payout.status in statuses
                  and options.get("payout") in (None, payout.id) and options.get("ref") in (None, payout.ref)]
        if not chosen:
            raise ValueError("no payout fits")
        return chosen

    def order_finish_payout(self, options):
        outcome = options.get("outcome", "paid")
        chosen = self.chosen_payouts(options, "pending", *(["paid"] if outcome == "failed" else []))
        for payout in chosen:
            payout.status = outcome
            if outcome != "paid":
                payout.failure = "account_closed" if outcome == "failed" else None
                self.record("txn_back_" + payout.id, "payout_failure" if outcome == "failed" else "payout_cancel", "payout_reversal", payout.amount, 0, payout)
            self.tell("payout." + outcome, payout)
        return {"payouts": [payout.id for payout in chosen]}

    def order_reverse_transfer(self, options):
        chosen = [payout for payout in self.chosen_payouts(options, "paid") if payout.is_transfer]
        for payout in chosen:
            payout.status = "reversed"
            self.record("txn_back_" + payout.id, "transfer_refund", "transfer_reversal", payout.amount, 0, payout)
            self.tell("transfer.reversed", payout)
        return {"payouts": [payout.id for payout in chosen]}

    # ---- lists of what has happened ---------------------------------------

    def tell(self, kind, subject, request=None):
        self.emit(kind, subject, request, request_id=request and request.id)

    def body_of(self, event):
        return to_json(dict(event.render(), livemode=self.settings["livemode"]))

    def sign(self, stamp, body):
        mac = hmac.new(self.webhook_secret, (stamp + "." + body).encode(), hashlib.sha256).hexdigest()
        return "t=%s,v1=%s" % (stamp, mac)

    def list_of(self, request, known, objects, url, expandable, suits=lambda one: True):
        """Newest first, by `created`; of one second the later made first."""
        check_params(request.form, known)
        self.list_requests = self.list_requests[-199:] + [request.target]
        now = time.time()
        shown = [one for one in objects if one.shown_at <= now]
        after = request.form.get("starting_after")
        if after is not None and all(one.id != after for one in shown):
            raise invalid("No such object: '%s'" % after, "starting_after", "resource_missing")
        shown.reverse()
        shown.sort(key=lambda one: -one.created)
        # The place of starting_after is found among all, whatever else is asked for.
        return self.page(request, [one for one in shown if suits(one) or one.id == after], "list", url, expandable)

    def list_transactions(self, request):
        wanted = request.form
        return self.list_of(request, TRANSACTION_PARAMS, list(self.transactions.values()), "/v1/balance_transactions",
                            TRANSACTION_EXPANDS,
                            lambda one: wanted.get("type") in (None, one.type)
                            and wanted.get("currency") in (None, one.currency)
                            and wanted.get("source") in (None, one.source.id))

    def other_account(self, authorization):
        for secret, account in self.settings["more_secrets"].items():
            if authorization == b"Bearer " + secret.encode():
                return account
        return None

    def get_account(self, request):
        account = (self.other_account(request.headers.get(b"authorization")) or self.settings["account"]
                   or "acct_%d" % self.port)
        return {"id": account, "object": "account", "charges_enabled": True,
                "country": "DE", "default_currency": "eur", "type": "standard"}

    def list_events(self, request):
        types = as_list(request.form.get("types"))
        if len(types) > 20:
            raise invalid("types: at most 20.", "types")
        if types and "type" in request.form:
            raise invalid("You may pass either type or types, but not both.", "types")
        answer = self.list_of(request, EVENT_PARAMS, self.events, "/v1/events", frozenset(),
                              lambda one: (not types or one.type in types)
                              and request.form.get("type") in (None, one.type))
        if self.settings["event_padding"]:
            for event in answer["data"]:
                event["data"]["padding"] = "x" * self.settings["event_padding"]
        return answer

    def open_dispute(self, intent, options):
        charge = intent.charge
        if charge is None or charge.status != "succeeded":
            raise ValueError("%s has no charge to dispute" % intent.id)
        dispute = Dispute(id="dp_" + name_of(charge.id, len(self.disputes)), charge=charge, intent=intent,
                          amount=options.get("amount", charge.captured - charge.refunded), currency=charge.currency,
                          reason=options.get("reason", "fraudulent"), status="needs_response",
                          created=int(time.time()))
        charge.disputed = True
        self.disputes[dispute.id] = dispute
        self.record("txn_" + dispute.id[3:], "adjustment", "dispute", -dispute.amount, DISPUTE_FEE, dispute)
        self.tell("charge.dispute.created", dispute)
        return dispute

    def close_dispute(self, options):
        chosen = [dispute for dispute in self.disputes.values()
                  if dispute.status == "needs_response"
                  and options.get("dispute") in (None, dispute.id)
                  and options.get("payment_intent") in (None, dispute.intent.id)
                  and options.get("ref") in (None, dispute.intent.ref)]
        if not chosen:
            raise ValueError("no open dispute fits")
        for dispute in chosen:
            dispute.status = options.get("status", "lost")
            if dispute.status == "won":
                dispute.charge.disputed = False
                self.record("txn_back_" + dispute.id[3:], "adjustment", "dispute_reversal", dispute.amount, -DISPUTE_FEE,
                            dispute)
            self.tell("charge.dispute.closed", dispute)
        return [dispute.id for dispute in chosen]

    # ---- small helpers ----------------------------------------------------

    def amount_of(self, form, name):
        if name not in form:
            raise invalid("Missing required param: %s." % name, name, "parameter_missing")
        amount = int_of(form, name)
        if amount < 1:
            raise invalid("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")
        if amount < self.settings["minimum_amount"]:
            raise invalid("Amount must be at least %d." % self.settings["minimum_amount"], name, "amount_too_small")
        if amount > self.settings["maximum_amount"]:
            raise invalid("Amount must be no more than %d." % self.settings["maximum_amount"], name,
                          "amount_too_large")
        return amount

    def intent_of(self, intent_id, param="intent"):
        intent = self.intents.get(intent_id)
        if intent is None:
            raise invalid("No such payment_intent: '%s'" % intent_id, param, "resource_missing", 404)
        return intent

    # ---- for the payer, and for tests -------------------------------------

    def serve_page(self, request, query):
        if request.path.startswith("/_authenticate/"):
            return self.authenticate(request.path.rpartition("/")[2], query.get("outcome", "succeeded"))
        return None

    def authenticate(self, intent_id, outcome):
        """What the payer's browser does at next_action.redirect_to_url.url."""
        intent = self.intents[intent_id]
        if intent.status == "requires_action":
            self.conclude(intent, outcome, {})
        if intent.return_url:
            glue = "&" if "?" in intent.return_url else "?"
            place = intent.return_url + glue + urlencode({"payment_intent": intent.id})
            return 302, b"", "Location: %s\r\n" % place
        return 200, b"<p>Thank you.</p>", "Content-Type: text/html\r\n"

    def conclude(self, intent, outcome, options):
        """Ends a processing or requires_action intent."""
        if intent.status not in ("processing", "requires_action"):
            raise ValueError("%s is %s" % (intent.id, intent.status))
        if outcome == "succeeded":
            self.take_money(intent)
        elif outcome == "failed":
            if intent.status == "requires_action" and "decline_code" not in options:
                decline = ("payment_intent_authentication_failure", None, None,
                           "The provided PaymentMethod has failed authentication.")
            else:
                decline = decline_of_code(options.get("decline_code", "generic_decline"))
            self.fail(intent, decline)
        elif outcome == "canceled":
            intent.status = "canceled"
            intent.next_action = None
            intent.canceled_at = int(time.time())
            intent.cancellation_reason = "automatic"
            self.tell("payment_intent.canceled", intent)
        else:
            raise ValueError("unknown outcome %r" % outcome)

    def chosen_intents(self, options, *statuses):
        """The intents that {"payment_intent": ID} or {"ref": REF} name; with neither, all that have the status."""
        if "payment_intent" in options:
            return [self.intents[options["payment_intent"]]]
        if "ref" in options:
            chosen = [intent for intent in self.intents_by_ref.get(options["ref"], ()) if intent.status in statuses]
        else:
            chosen = [intent for intent in self.intents.values() if intent.status in statuses]
        if not chosen:
            raise ValueError("no payment intent fits")
        return chosen

    def chosen_refunds(self, options):
        if "refund" in options:
            return [self.refunds[options["refund"]]]
        chosen = [refund for refund in self.refunds.values()
                  if options.get("ref") in (None, refund.ref, refund.intent.ref)
                  and options.get("payment_intent") in (None, refund.intent.id)
                  and refund.status in ("succeeded", "pending")]
        if not chosen:
            raise ValueError("no refund fits")
        return chosen

    def order_finish(self, options):
        intents = self.chosen_intents(options, "processing", "requires_action")
        for intent in intents:
            self.conclude(intent, options.get("outcome", "succeeded"), options)
        return {"finished": [intent.id for intent in intents]}

    def order_expire(self, options):
        intents = self.chosen_intents(options, "requires_capture")
        for intent in intents:
            intent.charge.released = intent.charge.amount - intent.charge.captured
            intent.status = "canceled"
            intent.capturable = 0
            intent.canceled_at = int(time.time())
            intent.cancellation_reason = "automatic"
            if not intent.charge.captured:
                intent.charge.status = "released"
            self.tell("payment_intent.canceled", intent)
        return {"expired": [intent.id for intent in intents]}

    def order_dispute(self, options):
        return {"disputes": [self.open_dispute(intent, options).id for intent in self.chosen_intents(options, "succeeded")]}

    def order_close_dispute(self, options):
        return {"closed": self.close_dispute(options)}

    def order_finish_refund(self, options):
        refunds = [refund for refund in self.chosen_refunds(options) if refund.status == "pending"]
        for refund in refunds:
            refund.status = "succeeded"
            self.tell("refund.updated", refund)
        return {"refunds": [refund.id for refund in refunds]}

    def order_fail_refund(self, options):
        refunds = self.chosen_refunds(options)
        for refund in refunds:
            self.fail_refund(refund, options.get("failure_reason", "expired_or_canceled_card"))
        return {"refunds": [refund.id for refund in refunds]}

    def order_refund(self, options):
        return {"refunds": [self.refund(intent, options.get("amount", intent.charge.captured - intent.charge.refunded), None, {}).id
                            for intent in self.chosen_intents(options, "succeeded")]}

    def book(self, brief=False):
        answer = super().book(brief)
        answer["intents_by_status"] = count_by(intent.status for intent in self.intents.values())
        answer["stripe_versions"] = self.stripe_versions
        answer["payouts"] = [payout.book_row() for payout in self.payouts.values()]
        if not brief:
            answer["intents"] = [{"payment": intent.id, "payments_ref": intent.ref, "status": intent.status,
                                  "amount": intent.amount, "currency": intent.currency, "idempotency_key": intent.key}
                                 for intent in self.intents.values()]
        return answer


if __name__ == "__main__":
    server.main(StripePeer, "A scripted peer that speaks Stripe's protocol on loopback.", "sk_test_x", "whsec_test_x")
