#!/usr/bin/python3
"""A scripted peer that speaks PayPal's protocol on loopback.

It plays the PSP in tests.  What makes it worth having is its own book (book.py).
Here is PayPal's dialect alone; how it is started is in server.py, its orders
and its own endpoints in control.py, faults in faults.py.  The secret is
client_id:client_secret.

What it speaks (Orders v2, Payments v2: JSON, Bearer, amounts as decimal text):
    POST /v1/oauth2/token               faults strike it only when they name a path
    POST /v2/checkout/orders            GET /v2/checkout/orders/ID
    POST /v2/checkout/orders/ID/capture or /authorize
    GET  /v2/payments/authorizations/ID  POST .../capture, .../void
    GET  /v2/payments/captures/ID        POST .../refund
    GET  /v2/payments/refunds/ID

A repetition under a key is answered with how the object is by then, and
status 200.  An event is signed by nobody: /_events gives an empty signature.

Orders of its own (POST /_control), between settings and emit; ref or order says of which:
    approve: {outcome}        the payer approves it; outcome of its capture or authorization as of wallets below
    leave: {}                 the payer leaves, and the order is gone
    finish: {status}          a capture that is pending becomes COMPLETED or DECLINED
    finish_refund: {status}   a refund that is pending becomes COMPLETED or FAILED
    capture: {}               by hand on the PSP's pages, of an order that was approved
    end_tokens: true          tokens that were given are no good any more

Saved wallets (vault_id), without the payer, and outcomes: WALLETS below.
"""
import base64
import json
import re

import book
import control
import faults
import server
from book import name_of, to_json
from server import REASONS

WITHOUT_DECIMALS = frozenset("HUF JPY TWD".split())
CURRENCIES = frozenset("AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN SEK SGD THB USD".split()) | WITHOUT_DECIMALS
WALLETS = {
    "ok": "COMPLETED",
    "pending": "PENDING",
    "declined": "DECLINED",             # the capture is made, and is declined
    "refused": "INSTRUMENT_DECLINED",   # no capture is made
    "more": "wrong amount",             # this PSP takes one unit more, and says so
}


def fee_of(amount):
    """3.5 %, rounded half up."""
    return (amount * 35 + 500) // 1000


def decimal(amount, currency):
    value = str(amount) if currency in WITHOUT_DECIMALS else "%d.%02d" % divmod(amount, 100)
    return {"currency_code": currency, "value": value}


class PayPalError(Exception):
    def __init__(self, status, name, issue=None, description="No."):
        super().__init__(description)
        self.status = status
        self.error = {"name": name, "message": description}
        if issue:
            self.error["details"] = [{"issue": issue, "description": description}]


def unprocessable(issue, description="The requested action could not be performed."):
    return PayPalError(422, "UNPROCESSABLE_ENTITY", issue, description)


def malformed(field):
    return PayPalError(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE", field)


# --------------------------------------------------------------------------
# The objects: what PayPal shows of the book's records.  An order is its charge.
# --------------------------------------------------------------------------

class Order(book.Charge):
    """captures, authorizations: as they are shown, but for what is the order's."""
    __slots__ = ("state", "intent", "reference", "description", "outcome", "captures", "authorizations", "returns", "base")

    def related(self, one):
        return dict(one, supplementary_data={"related_ids": {"order_id": self.id}})

    def render(self):
        unit = {"reference_id": self.reference, "custom_id": self.ref, "amount": decimal(self.amount, self.currency)}
        if self.description:
            unit["description"] = self.description
        payments = {"captures": self.captures, "authorizations": self.authorizations, "refunds": self.returns}
        payments = {name: [self.related(one) for one in those] for name, those in payments.items() if those}
        if payments:
            unit["payments"] = payments
        return {
            "id": self.id, "intent": self.intent, "status": self.state, "purchase_units": [unit],
            "links": [{"href": "%s/v2/checkout/orders/%s" % (self.base, self.id), "rel": "self", "method": "GET"},
                      {"href": "https://www.paypal.example/checkoutnow?token=" + self.id, "rel": "payer-action", "method": "GET"}],
        }


class Refund(book.Refund):
    __slots__ = ("capture",)

    def render(self):
        return {
            "id": self.id, "status": self.status, "amount": decimal(self.amount, self.currency), "custom_id": self.ref,
            "links": [{"href": "https://api/v2/payments/captures/" + self.capture, "rel": "up", "method": "GET"}],
        }


# --------------------------------------------------------------------------
# The faults that have to know PayPal's members
# --------------------------------------------------------------------------

def with_object(change):
    def breaker(peer, rule, answer):
        return answer[0], change(json.loads(answer[1])), answer[2]
    return breaker


def dumped(change):
    return with_object(lambda one: to_json(change(one)).encode())


BREAKERS = {
    **faults.BREAKERS,
    "nul_in_json": dumped(lambda one: dict(one, status="nul \0 here")),
    "bad_utf8": with_object(lambda one: to_json(dict(one, status="BAD_UTF8")).encode().replace(b"BAD_UTF8", b"\xff\xfe\xc3\x28")),
    "duplicate_fields": with_object(lambda one: to_json(one)[:-1].encode() + b',"status":"VOIDED","id":"ANOTHER"}'),
    "huge_amount": dumped(lambda one: dict(one, amount={"value": "92233720368547758.08", "currency_code": "EUR"})),
    "wrong_id": dumped(lambda one: dict(one, id="ANOTHERORDER")),
}


# --------------------------------------------------------------------------
# The peer
# --------------------------------------------------------------------------

class PayPalPeer(control.Control, faults.Faulty, server.Listening, book.Book):
    breakers = BREAKERS
    asides = ("token",)
    key_header = b"paypal-request-id"
    refusal = b'{"name":"INVALID_REQUEST","message":"Not understood.","debug_id":"0"}'
    default_settings = {
        **control.SETTINGS,
        "refunds_pending": False,       # refunds wait for finish_refund
        "void_without_body": False,     # a cancellation is answered with 204
        "token_valid_s": 32400,
    }
    orders = {"approve": "order_approve", "leave": "order_leave", "finish": "order_finish", "finish_refund": "order_finish_refund",
              "capture": "order_capture", "end_tokens": "order_end_tokens"}

    def __init__(self, secret, webhook_secret, seed=0):
        faults.Faulty.__init__(self)
        server.Listening.__init__(self)
        self.basic = b"Basic " + base64.b64encode(secret.encode())
        self.seed = seed
        self.routes = {
            "create": self.create_order, "get": self.get_order, "capture": self.capture_order, "authorize": self.authorize_order,
            "authorization": self.get_authorization, "capture_part": self.capture_authorization, "void": self.void_authorization,
            "captured": self.get_capture, "refund": self.create_refund, "refunded": self.get_refund,
        }
        self.reset()

    def reset(self):
        super().reset()
        self.tokens, self.tokens_given, self.tokens_refused = set(), 0, 0

    def book(self, brief=False):
        return dict(super().book(brief), tokens_given=self.tokens_given, tokens_refused=self.tokens_refused)

    # ---- one request ------------------------------------------------------

    ROUTES = [(method, re.compile("^" + pattern + "$"), name) for method, pattern, name in (
        ("POST", "/v1/oauth2/token", "token"),
        ("POST", "/v2/checkout/orders", "create"), ("GET", "/v2/checkout/orders/([^/]+)", "get"),
        ("POST", "/v2/checkout/orders/([^/]+)/capture", "capture"), ("POST", "/v2/checkout/orders/([^/]+)/authorize", "authorize"),
        ("GET", "/v2/payments/authorizations/([^/]+)", "authorization"),
        ("POST", "/v2/payments/authorizations/([^/]+)/capture", "capture_part"),
        ("POST", "/v2/payments/authorizations/([^/]+)/void", "void"),
        ("GET", "/v2/payments/captures/([^/]+)", "captured"), ("POST", "/v2/payments/captures/([^/]+)/refund", "refund"),
        ("GET", "/v2/payments/refunds/([^/]+)", "refunded"))]

    def route(self, request):
        """Sets request.route and request.object_id."""
        request.route, request.object_id = "unknown", None
        for method, pattern, name in self.ROUTES:
            found = pattern.match(request.path)
            if found and method == request.method:
                request.route, request.object_id = name, found.group(1) if found.groups() else None

    def parse_body(self, request):
        request.bad_form = False
        if request.method == "GET" or request.route in ("token", "void"):
            return {}
        if request.headers.get(b"content-type") != b"application/json":
            raise ValueError("content type")
        form = json.loads(request.body)
        if not isinstance(form, dict):
            raise ValueError("no object")
        return form

    def note(self, request):
        if request.route != "token":
            self.note_post(request, self.trait(request, "ref"))

    def trait(self, request, name):
        """What a fault rule may look at."""
        if name in ("method", "path", "key"):
            return getattr(request, name)
        order = next((one for one in self.charges.values() if request.object_id in self.ids_of(one)), None)
        units = request.form.get("purchase_units")
        if name == "payment_method":
            return order.method if order else request.form.get("payment_source", {}).get("paypal", {}).get("vault_id")
        return request.form.get("custom_id") or request.form.get("invoice_id") or (units[0].get("custom_id") if units else order and order.ref)

    def ids_of(self, order):
        return {order.id} | {one["id"] for one in order.captures + order.authorizations + order.returns}

    def answer_key_in_use(self, request):
        self.keys_in_use += 1
        return self.answer_error(request, PayPalError(409, "RESOURCE_CONFLICT", "PREVIOUS_REQUEST_IN_PROGRESS"))

    def perform(self, request):
        """Executes a request at most once for its key.  Returns (status, body, headers)."""
        try:
            if request.route == "token":
                return self.give_token(request)
            if request.headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ") not in self.tokens:
                self.tokens_refused += 1
                return 401, b'{"error":"invalid_token","error_description":"Token signature verification failed"}', ""
            handler = self.routes.get(request.route)
            if handler is None:
                raise PayPalError(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
            if request.bad_form:
                raise PayPalError(400, "INVALID_REQUEST", "MALFORMED_REQUEST_JSON")
            if request.headers.get(b"prefer") != b"return=representation":
                raise malformed("Prefer")
            if request.method == "GET":
                return 200, to_json(handler(request)).encode(), ""
            if request.key is None or not 1 <= len(request.key) <= 108:
                raise malformed("PayPal-Request-Id")
            record = self.known_key(request)
            if record is not None:
                return self.replay(request, record)
            shown = handler(request)
        except PayPalError as error:
            # What was refused is not remembered: the key may be used again.
            return self.answer_error(request, error)
        self.store(request, shown["id"])
        if request.route == "void" and self.settings["void_without_body"]:
            return 204, b"", ""
        return 200 if request.route == "void" else 201, to_json(shown).encode(), ""

    def replay(self, request, record):
        """Answers a request whose key is known: as the object is now."""
        if record.path is not None and (record.path != request.path or record.body_hash != request.body_hash):
            self.note_conflict(request.key)
            raise unprocessable("DUPLICATE_REQUEST_ID")
        if record.answer is None or record.holder not in (None, request):
            return self.answer_key_in_use(request)
        self.replays += 1
        return 200, to_json(self.shown(record.answer)).encode(), ""

    def shown(self, name):
        if name in self.charges:
            return self.charges[name].render()
        order, one = self.object_of(name)
        return order.related(one)

    def answer_error(self, request, error):
        return error.status, to_json(dict(error.error, debug_id=request.id)).encode(), "PayPal-Debug-Id: %s\r\n" % request.id

    def answer_status(self, request, rule):
        """The injected status_NNN: of a 500 nobody knows whether it was performed."""
        status = int(rule.name[7:])
        if rule.perform:
            self.perform(request)
        self.release_key(request)
        headers = "Retry-After: %s\r\n" % rule.options["retry_after"] if "retry_after" in rule.options else ""
        if status in (502, 503, 504) or rule.options.get("page"):
            return status, b"<html><body><h1>%d %s</h1></body></html>" % (status, REASONS[status].encode()), "Content-Type: text/html\r\n" + headers
        name = {401: "AUTHENTICATION_FAILURE", 403: "NOT_AUTHORIZED", 404: "RESOURCE_NOT_FOUND", 409: "RESOURCE_CONFLICT",
                429: "RATE_LIMIT_REACHED", 500: "INTERNAL_SERVER_ERROR"}.get(status, "UNPROCESSABLE_ENTITY")
        return (*self.answer_error(request, PayPalError(status, name, rule.options.get("code")))[:2], headers)

    def give_token(self, request):
        if request.headers.get(b"authorization") != self.basic or request.body != b"grant_type=client_credentials":
            return 401, b'{"error":"invalid_client","error_description":"Client Authentication failed"}', ""
        self.tokens_given += 1
        token = "A21AA" + name_of(self.port, self.tokens_given)
        self.tokens.add(token)
        return 200, to_json({"scope": "https://uri.paypal.com/services/payments/payment", "access_token": token,
                             "token_type": "Bearer", "expires_in": self.settings["token_valid_s"]}).encode(), ""

    # ---- what requests hold -----------------------------------------------

    def check_params(self, form, known):
        unknown = set(form) - known
        if unknown:
            raise PayPalError(400, "INVALID_REQUEST", "NOT_SUPPORTED", "unknown member %s" % sorted(unknown))

    def amount_of(self, form):
        money = form.get("amount")
        if not isinstance(money, dict) or set(money) != {"currency_code", "value"}:
            raise malformed("amount")
        currency, value = money["currency_code"], money["value"]
        if currency not in CURRENCIES:
            raise unprocessable("CURRENCY_NOT_SUPPORTED")
        if currency in WITHOUT_DECIMALS:
            if not re.fullmatch(r"[1-9]\d*", value):
                raise unprocessable("DECIMALS_NOT_SUPPORTED")
            return int(value), currency
        if not re.fullmatch(r"\d+\.\d\d", value):
            raise unprocessable("DECIMAL_PRECISION")
        amount = int(value.replace(".", ""))
        if amount <= 0:
            raise unprocessable("CANNOT_BE_ZERO_OR_NEGATIVE")
        return amount, currency

    def order_of(self, name):
        if name not in self.charges:
            raise PayPalError(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        return self.charges[name]

    def object_of(self, name):
        """An order, and of what has become of it that of the name."""
        for order in self.charges.values():
            for one in order.captures + order.authorizations + order.returns:
                if one["id"] == name:
                    return order, one
        raise PayPalError(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")

    def spelled(self, request, kind):
        return (kind + self.new_name(request).upper())[:17]

    # ---- orders -----------------------------------------------------------

    def create_order(self, request):
        form = request.form
        self.check_params(form, {"intent", "purchase_units", "payment_source"})
        if form.get("intent") not in ("CAPTURE", "AUTHORIZE") or len(form.get("purchase_units", [])) != 1:
            raise malformed("intent or purchase_units")
        unit = form["purchase_units"][0]
        self.check_params(unit, {"reference_id", "custom_id", "description", "amount"})
        if any(len(unit.get(name, "")) > 127 for name in ("custom_id", "description")):
            raise PayPalError(400, "INVALID_REQUEST", "INVALID_STRING_LENGTH")
        amount, currency = self.amount_of(unit)
        wallet = form.get("payment_source", {}).get("paypal")
        if wallet is None:
            raise malformed("payment_source")
        self.check_params(wallet, {"vault_id", "experience_context"})
        context = wallet.get("experience_context", {})
        self.check_params(context, {"user_action", "return_url", "cancel_url", "brand_name", "shipping_preference", "landing_page"})
        saved = wallet.get("vault_id")
        if saved is None and not (context.get("return_url") and context.get("cancel_url")):
            raise malformed("return_url")
        if saved is not None and saved not in WALLETS:
            raise unprocessable("TOKEN_ID_NOT_FOUND")
        if saved is not None and WALLETS[saved] == "INSTRUMENT_DECLINED":
            raise unprocessable("INSTRUMENT_DECLINED")
        name = self.spelled(request, "OR")
        order = Order(id=name, payment=name, ref=unit.get("custom_id"), key=request.key, amount=amount, captured=0, refunded=0, released=0,
                      fee=0, currency=currency, status="created", state="PAYER_ACTION_REQUIRED", created=self.now_created(), method=saved,
                      intent=form["intent"], reference=unit.get("reference_id"), description=unit.get("description"),
                      captures=[], authorizations=[], returns=[], base="http://127.0.0.1:%d" % self.port)
        self.charges[name] = order
        if saved is not None:
            order.outcome = WALLETS[saved]
            self.conclude(order, request)
        return order.render()

    def get_order(self, request):
        order = self.order_of(request.object_id)
        if order.state == "GONE":
            raise PayPalError(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        return order.render()

    def capture_order(self, request):
        return self.complete(request, "CAPTURE", "ORDER_ALREADY_CAPTURED")

    def authorize_order(self, request):
        return self.complete(request, "AUTHORIZE", "ORDER_ALREADY_AUTHORIZED")

    def complete(self, request, intent, already):
        order = self.order_of(request.object_id)
        self.check_params(request.form, set())
        if order.intent != intent:
            raise unprocessable("ACTION_DOES_NOT_MATCH_INTENT")
        if order.state == "COMPLETED":
            raise unprocessable(already)
        if order.state != "APPROVED":
            raise unprocessable("ORDER_NOT_APPROVED")
        if order.outcome == "INSTRUMENT_DECLINED":
            order.status = "failed"
            raise unprocessable("INSTRUMENT_DECLINED", "The instrument presented was declined by the processor or bank.")
        self.conclude(order, request)
        return order.render()

    def conclude(self, order, request=None):
        """The order does what it was made for, or fails to."""
        if order.outcome == "wrong amount":
            order.amount += 1
        outcome = "COMPLETED" if order.outcome == "wrong amount" else order.outcome
        order.state = "COMPLETED"
        kind = "CA" if order.intent == "CAPTURE" else "AU"
        name = self.spelled(request, kind) if request else (kind + name_of(order.id, "by hand").upper())[:17]
        one = {"id": name, "amount": decimal(order.amount, order.currency), "custom_id": order.ref}
        if order.intent == "CAPTURE":
            self.take(order, dict(one, status=outcome, final_capture=True), order.amount)
        else:
            order.authorizations = [dict(one, status={"COMPLETED": "CREATED", "DECLINED": "DENIED"}.get(outcome, outcome))]
            order.status = {"COMPLETED": "authorized", "DECLINED": "failed"}.get(outcome, "pending")
            self.emit("PAYMENT.AUTHORIZATION.CREATED", order)

    def take(self, order, capture, amount):
        """Adds a capture, or replaces that of the same id."""
        good = capture["status"] == "COMPLETED"
        if good:
            order.captured += amount
            order.fee += fee_of(amount)
            order.released = order.amount - order.captured
            capture = dict(capture, seller_receivable_breakdown={"paypal_fee": decimal(fee_of(amount), order.currency)})
        order.status = {"COMPLETED": "succeeded", "DECLINED": "failed"}.get(capture["status"], "pending")
        order.captures = [one for one in order.captures if one["id"] != capture["id"]] + [capture]
        self.emit("PAYMENT.CAPTURE." + capture["status"], order)

    # ---- what follows -----------------------------------------------------

    def get_authorization(self, request):
        order, one = self.object_of(request.object_id)
        return order.related(one)

    get_capture = get_refund = get_authorization

    def authorization_of(self, request):
        order, one = self.object_of(request.object_id)
        if one["status"] == "VOIDED":
            raise unprocessable("PREVIOUSLY_VOIDED" if request.route == "void" else "AUTHORIZATION_VOIDED")
        if one["status"] == "CAPTURED":
            raise unprocessable("PREVIOUSLY_CAPTURED" if request.route == "void" else "AUTHORIZATION_ALREADY_CAPTURED")
        return order, one

    def capture_authorization(self, request):
        form = request.form
        self.check_params(form, {"amount", "invoice_id", "final_capture"})
        order, one = self.authorization_of(request)
        amount, currency = self.amount_of(form)
        if currency != order.currency or amount > order.amount - order.captured:
            raise unprocessable("MAX_CAPTURE_AMOUNT_EXCEEDED")
        if any(capture.get("invoice_id") == form.get("invoice_id") for capture in order.captures):
            raise unprocessable("DUPLICATE_INVOICE_ID")
        order.authorizations = [dict(one, status="CAPTURED" if form.get("final_capture") else "PARTIALLY_CAPTURED")]
        name = self.spelled(request, "CA")
        self.take(order, {"id": name, "status": "COMPLETED", "amount": decimal(amount, currency), "custom_id": order.ref,
                          "invoice_id": form.get("invoice_id"), "final_capture": form.get("final_capture") is True}, amount)
        return order.related(order.captures[-1])

    def void_authorization(self, request):
        order, one = self.authorization_of(request)
        order.authorizations = [dict(one, status="VOIDED")]
        order.status, order.released = "released", order.amount
        self.emit("PAYMENT.AUTHORIZATION.VOIDED", order)
        return order.related(order.authorizations[0])

    def create_refund(self, request):
        form = request.form
        self.check_params(form, {"amount", "custom_id", "note_to_payer"})
        order, one = self.object_of(request.object_id)
        amount, currency = self.amount_of(form)
        left = self.left_of(one)
        if left == 0:
            raise unprocessable("CAPTURE_FULLY_REFUNDED")
        if currency != order.currency or amount > left:
            raise unprocessable("REFUND_AMOUNT_EXCEEDED")
        refund = Refund(id=self.spelled(request, "RE"), ref=form.get("custom_id"), key=request.key, amount=amount, charge=order,
                        currency=currency, created=self.now_created(), reason=form.get("note_to_payer"), capture=one["id"],
                        status="PENDING" if self.settings["refunds_pending"] else "COMPLETED")
        self.refunds[refund.id] = refund
        order.refunded += amount
        self.show_refund(refund)
        return order.related(refund.render())

    def left_of(self, capture):
        given = sum(refund.amount for refund in self.refunds.values() if refund.capture == capture["id"] and refund.status != "FAILED")
        return int(capture["amount"]["value"].replace(".", "")) - given

    def show_refund(self, refund):
        order = refund.charge
        order.returns = [one for one in order.returns if one["id"] != refund.id] + [refund.render()]
        _, capture = self.object_of(refund.capture)
        left = self.left_of(capture)
        state = "REFUNDED" if left == 0 else "COMPLETED" if decimal(left, order.currency) == capture["amount"] else "PARTIALLY_REFUNDED"
        order.captures = [dict(one, status=state) if one is capture else one for one in order.captures]
        self.emit({"COMPLETED": "PAYMENT.CAPTURE.REFUNDED", "FAILED": "PAYMENT.REFUND.FAILED"}.get(refund.status, "PAYMENT.REFUND.PENDING"), refund)

    # ---- events -----------------------------------------------------------

    def body_of(self, event):
        picture = event.picture
        if isinstance(picture, dict):
            resource = picture
        elif isinstance(picture, Refund) or event.type.startswith("CHECKOUT"):
            resource = picture.render()
        else:
            resource = picture.related((picture.captures if "CAPTURE" in event.type else picture.authorizations)[-1])
        return to_json({"id": "WH-" + event.id[4:], "event_version": "1.0", "event_type": event.type, "resource": resource})

    def sign(self, stamp, body):
        return ""

    # ---- for the payer, and for tests -------------------------------------

    def chosen(self, options):
        """The last order of a ref, or the one of an id."""
        found = [one for one in self.charges.values()
                 if options.get("ref", one.ref) == one.ref and options.get("order", one.id) == one.id]
        if not found:
            raise ValueError("no order fits")
        return found[-1]

    def order_approve(self, options):
        order = self.chosen(options)
        if order.state != "PAYER_ACTION_REQUIRED":
            raise ValueError("%s is %s" % (order.id, order.state))
        order.state, order.outcome = "APPROVED", WALLETS[options.get("outcome", "ok")]
        self.emit("CHECKOUT.ORDER.APPROVED", order)
        return {}

    def order_leave(self, options):
        self.chosen(options).state = "GONE"
        return {}

    def order_finish(self, options):
        order = self.chosen(options)
        self.take(order, dict(order.captures[-1], status=options.get("status", "COMPLETED")), order.amount)
        return {}

    def order_finish_refund(self, options):
        refund = [one for one in self.refunds.values() if one.charge is self.chosen(options) and one.status == "PENDING"][-1]
        refund.status = options.get("status", "COMPLETED")
        if refund.status == "FAILED":
            refund.charge.refunded -= refund.amount
        self.show_refund(refund)
        return {}

    def order_capture(self, options):
        self.conclude(self.chosen(options))
        return {}

    def order_end_tokens(self, options):
        self.tokens.clear()
        return {}


if __name__ == "__main__":
    server.main(PayPalPeer, __doc__.split("\n", 1)[0], "client:hush", "")
