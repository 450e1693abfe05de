#!/usr/bin/python3
"""A scripted peer that speaks Adyen's Checkout protocol on loopback.

Its book is book.py's; orders, faults and HTTP are those of control.py, faults.py
and server.py.  Here is Adyen's dialect alone.

What it speaks (JSON, X-API-Key, below any prefix):
    POST /payments                          POST /paymentLinks
    POST /payments/ID/captures              GET, PATCH /paymentLinks/ID
    POST /payments/ID/cancels               POST /cancels
    POST /payments/ID/refunds

There is no GET of a payment.  Captures, cancellations and refunds are answered
with "received", and decided when control says so, or at once (setting decide):
then the webhook's item is in its list of events, each signed as Adyen signs.

Orders of its own (POST /_control):
    finish: {ref, outcome: authorised|refused|offer_closed|pending}   of what waits ({}: all)
    decide: {ref, outcome: done|refused}       what was received ({}: all)
    pay_link: {ref, outcome: authorised|refused}   somebody opens the page
    expire: {ref}                               the authorization, or the link
    capture_failed: {ref}   refund_failed: {ref}   refund_reversed: {ref}   of what was done
    dispute: {ref, code}                        an event of the payment's dispute, by its code
    tell: {...}                                 an event of these members

Scripted stored payment methods, by how they end:
    REFUSED_N[_ADVICE]  refused with that refusalReasonCode
    REFUSEDTIMES_N_CODE refused for the first N keys of a payment
    REDIRECT  RECEIVED  wait for finish
    NOAMOUNT WRONGAMOUNT WRONGCURRENCY PARTIAL  authorised, and the answer says so
"""
import base64
import hashlib
import hmac
import json
import re
import time

import book
import control
import faults
import server
from book import name_of, to_json

ACCOUNT = "PeerShop"
REASONS = {"2": "Refused", "4": "Acquirer Error", "9": "Issuer Unavailable", "12": "Not enough balance", "14": "Acquirer Fraud"}
REFERENCE = re.compile(r"([A-Za-z0-9_]+)-(c|a|lc|la|k|v|r)(\d+)$")
REFUSED = re.compile(r"REFUSED_(\d+)(?:_(\d+))?$")
REFUSED_TIMES = re.compile(r"REFUSEDTIMES_(\d+)_(\d+)$")

PAYMENT_MEMBERS = frozenset("""merchantAccount reference amount paymentMethod shopperReference shopperInteraction
    recurringProcessingModel returnUrl captureDelayHours additionalData metadata""".split())
LINK_MEMBERS = frozenset("""merchantAccount reference amount shopperReference returnUrl description captureDelayHours
    manualCapture metadata""".split())
CHANGE_MEMBERS = frozenset(("merchantAccount", "reference", "amount"))


class AdyenError(Exception):
    def __init__(self, status, code, message, kind="validation", transient=False, stored=True):
        super().__init__(message)
        self.status, self.code, self.message, self.kind, self.transient, self.stored = (
            status, code, message, kind, transient, stored and not transient)


class Charge(book.Charge):
    """refusal: refusalReasonCode and advice; manual: captured by hand; link: that it came of."""
    __slots__ = ("reference", "manual", "refusal", "link")

    def book_row(self):
        return dict(super().book_row(), reference=self.reference, manual=bool(self.manual))


class Link(book.Record):
    __slots__ = ("id", "ref", "reference", "key", "amount", "currency", "manual", "status", "created")

    def render(self, base):
        return {"id": self.id, "merchantAccount": ACCOUNT, "reference": self.reference, "status": self.status,
                "amount": {"currency": self.currency, "value": self.amount}, "url": "%s/pay/%s" % (base, self.id),
                "expiresAt": "2030-01-01T00:00:00Z", "reusable": False}


class Change(book.OfCharge):
    """A capture, cancellation or refund: kind is the code of its event."""
    __slots__ = ("ref", "reference", "key", "kind")

    def book_row(self):
        return {"change": self.id, "kind": self.kind, "payment": self.charge and self.charge.id, "payments_ref": self.ref,
                "amount": self.amount, "currency": self.currency, "status": self.status, "reference": self.reference}


def ref_of(reference):
    match = REFERENCE.match(reference) if isinstance(reference, str) else None
    return match[1] if match else None


# --------------------------------------------------------------------------

def edited(change):
    """A breaker that changes the JSON of an answer."""
    def breaker(peer, rule, answer):
        status, body, headers = answer
        value = json.loads(body)
        return status, change(value, to_json(value)).encode("utf-8", "surrogatepass"), headers
    return breaker


def of_another(value, text):
    for name in ("merchantReference", "reference"):
        if name in value:
            value[name] = "OTHER-" + value[name].split("-")[1]
    return to_json(value)


BREAKERS = dict(
    faults.BREAKERS,
    nul_in_json=edited(lambda value, text: text.replace("Authorised", "Auth\\u0000orised").replace("received", "rec\\u0000eived")),
    bad_utf8=lambda peer, rule, answer: (answer[0], answer[1].replace(b"Authorised", b"Auth\xff\xfe").replace(b"received", b"rec\xff"), answer[2]),
    huge_amount=edited(lambda value, text: re.sub(r'"value":\d+', '"value":9223372036854775808', text)),
    duplicate_fields=edited(lambda value, text: text[:-1] + ',"amount":{"currency":"EUR","value":1}}'),
    wrong_id=edited(of_another),
)


class AdyenPeer(control.Control, faults.Faulty, server.Listening, book.Book):
    breakers = BREAKERS
    default_settings = dict(control.SETTINGS, decide=True, batch=1)
    refusal = b'{"status":400,"errorCode":"702","errorType":"validation","message":"unreadable"}'
    orders = {"finish": "order_finish", "decide": "order_decide", "pay_link": "order_pay_link", "expire": "order_expire",
              "capture_failed": "order_capture_failed", "refund_failed": "order_refund_failed",
              "refund_reversed": "order_refund_reversed", "dispute": "order_dispute", "tell": "order_tell"}

    def __init__(self, secret, webhook_secret, seed=0):
        self.secret = secret.encode()
        self.webhook_key = bytes.fromhex(webhook_secret)
        self.seed = seed
        faults.Faulty.__init__(self)
        server.Listening.__init__(self)
        self.reset()

    def reset(self):
        super().reset()
        self.links = {}
        self.changes = {}
        self.refused_keys = {}

    # ---- requests ---------------------------------------------------------

    def route(self, request):
        parts = request.path.strip("/").split("/")
        request.object_id = None
        request.route = "unknown"
        while parts and parts[0] not in ("payments", "paymentLinks", "cancels"):
            parts = parts[1:]
        if request.method == "POST" and len(parts) == 1:
            request.route = {"payments": "pay", "paymentLinks": "link", "cancels": "technical_cancel"}[parts[0]]
        elif request.method == "POST" and len(parts) == 3 and parts[0] == "payments" and parts[2] in ("captures", "cancels", "refunds"):
            request.route, request.object_id = parts[2], parts[1]
        elif len(parts) == 2 and parts[0] == "paymentLinks" and request.method in ("GET", "PATCH"):
            request.route, request.object_id = "link_" + request.method.lower(), parts[1]

    def parse_body(self, request):
        request.bad_form = False
        if request.method == "GET":
            return {}
        if request.headers.get(b"content-type") != b"application/json":
            raise ValueError("content type")
        value = json.loads(request.body)
        if not isinstance(value, dict):
            raise ValueError("no object")
        return value

    def note(self, request):
        self.note_post(request, ref_of(request.form.get("reference")))

    def trait(self, request, name):
        if name in ("method", "path", "key"):
            return getattr(request, name)
        if name == "payment_method":
            method = request.form.get("paymentMethod")
            charge = self.charges.get(request.object_id)
            return method.get("storedPaymentMethodId") or method.get("type") if isinstance(method, dict) else charge and charge.method
        return ref_of(request.form.get("reference"))

    def perform(self, request):
        handlers = {"pay": self.pay, "link": self.make_link, "captures": self.capture, "cancels": self.cancel, "refunds": self.refund,
                    "technical_cancel": self.technical_cancel, "link_get": self.get_link, "link_patch": self.close_link}
        try:
            if request.headers.get(b"x-api-key") != self.secret:
                raise AdyenError(401, "000", "HTTP Status Response - Unauthorized", "security")
            if request.route not in handlers:
                raise AdyenError(404, "000", "no such resource", "internal", stored=False)
            if request.bad_form:
                raise AdyenError(400, "702", "Unexpected input", stored=False)
            if request.method == "POST":
                if request.key is None or not 0 < len(request.key) <= 64:
                    raise AdyenError(422, "700", "Idempotency-Key is missing or too long", stored=False)
                record = self.known_key(request)
                if record is not None:
                    return self.replay(request, record)
        except AdyenError as error:
            return self.answer_error(request, error)
        try:
            status, value = handlers[request.route](request)
            answer = self.answer(request, status, value)
            stored = True
        except AdyenError as error:
            answer, stored = self.answer_error(request, error), error.stored
        if stored and request.method == "POST":
            self.store(request, answer)
        return answer

    def replay(self, request, record):
        if record.answer is None:
            raise self.key_in_use()
        if record.path != request.path or record.body_hash != request.body_hash:
            self.note_conflict(request.key)
            raise AdyenError(422, "700", "the key was used for another request", stored=False)
        self.replays += 1
        return record.answer

    def key_in_use(self):
        """Transient is this request alone: the first may charge yet."""
        return AdyenError(422, "704", "request already processed or in progress", transient=True)

    def answer_key_in_use(self, request):
        self.keys_in_use += 1
        return self.answer_error(request, self.key_in_use())

    # ---- answers ----------------------------------------------------------

    def answer(self, request, status, value):
        return status, to_json(value).encode(), "pspReference: %s\r\nIdempotency-Key: %s\r\n" % (request.id, request.key or "")

    def answer_error(self, request, error):
        body = to_json({"status": error.status, "errorCode": error.code, "message": error.message, "errorType": error.kind})
        return error.status, body.encode(), "transient-error: true\r\n" if error.transient else ""

    def answer_status(self, request, rule):
        status = int(rule.name[7:])
        record = self.keys.get(request.key)
        unanswered = record is not None and record.answer is None
        if rule.perform:
            self.perform(request)
        self.release_key(request)
        retry_after = "Retry-After: %s\r\n" % rule.options["retry_after"] if "retry_after" in rule.options else ""
        if status in (502, 503, 504) or rule.options.get("page"):
            return status, b"<html><body><h1>%d</h1></body></html>" % status, "Content-Type: text/html\r\n" + retry_after
        code, kind = {401: ("000", "security"), 403: ("901", "security"), 422: ("137", "validation"), 400: ("702", "validation")}.get(
            status, ("000", "internal"))
        error = AdyenError(status, rule.options.get("code", code), "as told", kind, bool(rule.options.get("should_retry")))
        _, body, headers = self.answer_error(request, error)
        answer = status, body, headers + retry_after
        if rule.options.get("stored", status == 500) and not error.transient and unanswered:
            self.store(request, answer)
        return answer

    # ---- what is asked for ------------------------------------------------

    def checked(self, request, members):
        form = request.form
        if set(form) - members:
            raise AdyenError(422, "702", "unknown members %s" % sorted(set(form) - members))
        if form.get("merchantAccount") != ACCOUNT:
            raise AdyenError(403, "901", "Invalid Merchant Account", "security")
        if ref_of(form.get("reference")) is None or len(form["reference"]) > 80:
            raise AdyenError(422, "130", "Reference Missing")
        if "amount" in form:
            amount = form["amount"]
            if set(amount) != {"currency", "value"} or not re.fullmatch("[A-Z]{3}", amount["currency"]) or type(amount["value"]) is not int or amount["value"] <= 0:
                raise AdyenError(422, "137", "Invalid amount specified")
        return form

    def new_id(self, request):
        """16 capital letters and digits."""
        return name_of(self.new_name(request), "id")[:16].upper()

    def pay(self, request):
        form = self.checked(request, PAYMENT_MEMBERS)
        method = form.get("paymentMethod", {})
        if set(method) - {"type", "storedPaymentMethodId"} or "type" not in method:
            raise AdyenError(422, "101", "unknown members of paymentMethod")
        if not re.match("https?://", form.get("returnUrl", "")):
            raise AdyenError(422, "14_030", "Return URL is missing.")
        token = method.get("storedPaymentMethodId")
        if token is not None and len(form.get("shopperReference", "")) < 3:
            raise AdyenError(422, "802", "shopperReference is missing")
        manual = form.get("additionalData", {}).get("manualCapture") == "true"
        if manual == (form.get("captureDelayHours") == 0):
            raise AdyenError(422, "139", "captured at once, or by hand?")
        charge = self.new_charge(self.new_id(request), form, manual, token or method["type"], request.key)
        self.decide_payment(charge, token or "REDIRECT", request)
        return 200, self.payment_answer(charge)

    def new_charge(self, name, form, manual, method, key, link=None):
        charge = Charge(id=name, payment=name, ref=ref_of(form["reference"]), reference=form["reference"], key=key,
                        amount=form["amount"]["value"], captured=0, refunded=0, currency=form["amount"]["currency"], manual=manual,
                        status="pending", created=int(time.time()), method=method, link=link)
        self.charges[name] = charge
        return charge

    def decide_payment(self, charge, method, request=None):
        refused, times = REFUSED.search(method), REFUSED_TIMES.search(method)
        if times:
            keys = self.refused_keys.setdefault(charge.ref, [])
            if request.key not in keys:
                keys.append(request.key)
            if keys.index(request.key) < int(times[1]):
                return self.refuse_payment(charge, (times[2], None))
        if refused:
            return self.refuse_payment(charge, refused.groups())
        if method.endswith(("REDIRECT", "RECEIVED")):
            return None
        return self.authorise(charge)

    def authorise(self, charge):
        if charge.method.endswith("WRONGAMOUNT"):
            charge.amount += 1
        elif charge.method.endswith("WRONGCURRENCY"):
            charge.currency = "USD" if charge.currency == "EUR" else "EUR"
        elif charge.method.endswith("PARTIAL"):
            charge.amount //= 2
        charge.status = "authorized" if charge.manual else "succeeded"
        charge.captured = 0 if charge.manual else charge.amount
        self.tell("AUTHORISATION", charge.id, "", charge.reference, charge.amount, charge.currency)

    def refuse_payment(self, charge, refusal):
        charge.status, charge.refusal = "failed", refusal
        self.tell("AUTHORISATION", charge.id, "", charge.reference, charge.amount, charge.currency, False, REASONS.get(refusal[0], "Refused"))

    def payment_answer(self, charge):
        if charge.status == "pending" and not charge.method.endswith("RECEIVED"):
            # Adyen names no payment before the payer has come back.
            return {"resultCode": "RedirectShopper", "action": {"type": "redirect", "paymentMethodType": "ideal", "method": "GET",
                                                                "url": "https://checkout.example/redirect/" + charge.id}}
        answer = {"pspReference": charge.id, "merchantReference": charge.reference}
        if charge.status == "failed":
            code, advice = charge.refusal
            answer.update(resultCode="Refused", refusalReason=REASONS.get(code, "Refused"), refusalReasonCode=code)
            if advice:
                answer["additionalData"] = {"merchantAdviceCode": advice + " : as the network says"}
        elif charge.status == "pending":
            answer["resultCode"] = "Received"
        else:
            answer["resultCode"] = "PartiallyAuthorised" if charge.method.endswith("PARTIAL") else "Authorised"
            if not charge.method.endswith("NOAMOUNT"):
                answer["amount"] = {"currency": charge.currency, "value": charge.amount}
        return answer

    def charge_of(self, request):
        charge = self.charges.get(request.object_id)
        if charge is None:
            raise AdyenError(422, "167", "Original pspReference required for this operation")
        return charge

    def new_change(self, request, kind, charge, amount, currency):
        change = Change(id=self.new_id(request), charge=charge, ref=ref_of(request.form["reference"]), reference=request.form["reference"],
                        key=request.key, kind=kind, amount=amount, currency=currency, status="received", created=int(time.time()))
        self.changes[change.id] = change
        if self.settings["decide"]:
            self.decide(change)
        return change

    def change_answer(self, change, **more):
        return 201, dict(more, merchantAccount=ACCOUNT, pspReference=change.id, reference=change.reference, status="received")

    def capture(self, request):
        form, charge = self.checked(request, CHANGE_MEMBERS), self.charge_of(request)
        change = self.new_change(request, "CAPTURE", charge, form["amount"]["value"], form["amount"]["currency"])
        return self.change_answer(change, paymentPspReference=charge.id, amount=form["amount"])

    def refund(self, request):
        form, charge = self.checked(request, CHANGE_MEMBERS | {"merchantRefundReason"}), self.charge_of(request)
        if form.get("merchantRefundReason", "OTHER") not in ("FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE", "OTHER"):
            raise AdyenError(422, "702", "merchantRefundReason")
        change = self.new_change(request, "REFUND", charge, form["amount"]["value"], form["amount"]["currency"])
        return self.change_answer(change, paymentPspReference=charge.id, amount=form["amount"])

    def cancel(self, request):
        self.checked(request, CHANGE_MEMBERS - {"amount"})
        charge = self.charge_of(request)
        return self.change_answer(self.new_change(request, "CANCELLATION", charge, charge.amount, charge.currency), paymentPspReference=charge.id)

    def technical_cancel(self, request):
        form = self.checked(request, CHANGE_MEMBERS - {"amount"} | {"paymentReference"})
        charge = next((one for one in self.charges.values() if one.reference == form["paymentReference"]), None)
        change = self.new_change(request, "TECHNICAL_CANCEL", charge, charge.amount if charge else 0, charge.currency if charge else "EUR")
        return self.change_answer(change, paymentReference=form["paymentReference"])

    # ---- what becomes of it -----------------------------------------------

    def decide(self, change, outcome="done"):
        """Does what was received, if it can be done, and tells."""
        charge = change.charge
        possible = outcome == "done" and charge is not None and {
            "CAPTURE": charge.status == "authorized" and charge.currency == change.currency and charge.captured + change.amount <= charge.amount,
            "REFUND": charge.status == "succeeded" and charge.currency == change.currency and charge.refunded + change.amount <= charge.captured,
        }.get(change.kind, charge.status in ("authorized", "pending"))
        change.status = "done" if possible else "refused"
        if possible and change.kind == "CAPTURE":
            charge.captured, charge.status = charge.captured + change.amount, "succeeded"
        elif possible and change.kind == "REFUND":
            charge.refunded += change.amount
        elif possible:
            charge.status = "released"
        self.tell(change.kind, change.id, charge.id if charge else "", change.reference, change.amount, change.currency, bool(possible),
                  "" if possible else "not possible")

    def tell(self, code, name, original, reference, amount, currency, success=True, reason="", **more):
        if not self.settings["events"]:
            return
        item = {"pspReference": name, "merchantAccountCode": ACCOUNT, "merchantReference": reference, "eventCode": code,
                "eventDate": "2026-11-30T12:00:00+01:00", "success": "true" if success else "false",
                "amount": {"currency": currency, "value": amount}, "paymentMethod": "visa", "reason": reason}
        if original:
            item["originalReference"] = original
        item.update(more)
        self.note_event(id="%s.%s.%s" % (name, code, item["success"]), type=code, picture=dict(item, id=name), ref=ref_of(reference))

    def body_of(self, event):
        item = {name: value for name, value in event.picture.items() if name != "id"}
        amount = item.get("amount") or {}
        signed = ":".join(str(part) for part in (
            item.get("pspReference", ""), item.get("originalReference", ""), item.get("merchantAccountCode", ""), item.get("merchantReference", ""),
            amount.get("value", ""), amount.get("currency", ""), item.get("eventCode", ""), item.get("success", "")))
        mac = hmac.new(self.webhook_key, signed.encode(), hashlib.sha256).digest()
        item["additionalData"] = dict(item.get("additionalData", {}), hmacSignature=base64.b64encode(mac).decode())
        return to_json({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})

    def sign(self, stamp, body):
        """The signature is within."""
        return ""

    # ---- links ------------------------------------------------------------

    def make_link(self, request):
        form = self.checked(request, LINK_MEMBERS)
        manual = form.get("manualCapture") is True
        if manual == (form.get("captureDelayHours") == 0):
            raise AdyenError(422, "139", "captured at once, or by hand?")
        name = "PL" + self.new_id(request)
        self.links[name] = link = Link(id=name, ref=ref_of(form["reference"]), reference=form["reference"], key=request.key, status="active",
                                       amount=form["amount"]["value"], currency=form["amount"]["currency"], manual=manual, created=int(time.time()))
        return 201, link.render("https://pay.example")

    def link_of(self, request):
        link = self.links.get(request.object_id)
        if link is None:
            raise AdyenError(404, "1", "no such link", stored=False)
        return link

    def get_link(self, request):
        return 200, self.link_of(request).render("https://pay.example")

    def close_link(self, request):
        link = self.link_of(request)
        if request.form != {"status": "expired"}:
            raise AdyenError(422, "702", "status")
        if link.status == "active":
            link.status = "expired"
        return 200, link.render("https://pay.example")

    # ---- orders -----------------------------------------------------------

    def chosen(self, options, records, suits):
        found = [one for one in records.values() if options.get("ref") in (None, one.ref) and suits(one)]
        if "ref" in options and not found:
            raise ValueError("nothing of %s" % options["ref"])
        return found

    def order_finish(self, options):
        for charge in self.chosen(options, self.charges, lambda one: one.status == "pending"):
            outcome = options.get("outcome", "authorised")
            if outcome == "authorised":
                self.authorise(charge)
            elif outcome == "refused":
                self.refuse_payment(charge, ("2", None))
            elif outcome == "offer_closed":
                charge.status, charge.refusal = "failed", ("16", None)
                self.tell("OFFER_CLOSED", charge.id, "", charge.reference, charge.amount, charge.currency)
            elif outcome == "pending":
                self.tell("PENDING", charge.id, "", charge.reference, charge.amount, charge.currency)
            else:
                raise ValueError(outcome)
        return {}

    def order_decide(self, options):
        for change in self.chosen(options, self.changes, lambda one: one.status == "received"):
            self.decide(change, options.get("outcome", "done"))
        return {}

    def order_pay_link(self, options):
        for link in self.chosen(options, self.links, lambda one: one.status == "active"):
            name = name_of(link.id, len(self.charges))[:16].upper()
            form = {"reference": link.reference, "amount": {"currency": link.currency, "value": link.amount}}
            charge = self.new_charge(name, form, link.manual, "scheme", link.key, link.id)
            if options.get("outcome", "authorised") == "authorised":
                link.status = "completed"
                self.authorise(charge)
            else:
                self.refuse_payment(charge, ("2", None))
        return {}

    def order_expire(self, options):
        for link in self.chosen({}, self.links, lambda one: one.status == "active" and one.ref == options["ref"]):
            link.status = "expired"
        for charge in self.chosen({}, self.charges, lambda one: one.status == "authorized" and one.ref == options["ref"]):
            charge.status = "released"
            self.tell("EXPIRE", name_of(charge.id, "expire")[:16].upper(), charge.id, charge.reference, charge.amount, charge.currency)
        return {}

    def order_capture_failed(self, options):
        for charge in self.chosen(options, self.charges, lambda one: one.status == "succeeded"):
            change = next((one for one in self.changes.values() if one.charge is charge and one.kind == "CAPTURE"), None)
            charge.captured, charge.status = 0, "failed"
            self.tell("CAPTURE_FAILED", change.id if change else name_of(charge.id, "capture")[:16].upper(), charge.id,
                      change.reference if change else charge.reference, charge.amount, charge.currency)
        return {}

    def take_back(self, options, code):
        for change in self.chosen(options, self.changes, lambda one: one.kind == "REFUND" and one.status == "done"):
            change.charge.refunded -= change.amount
            change.status = "failed"
            self.tell(code, change.id, change.charge.id, change.reference, change.amount, change.currency)
        return {}

    def order_refund_failed(self, options):
        return self.take_back(options, "REFUND_FAILED")

    def order_refund_reversed(self, options):
        return self.take_back(options, "REFUNDED_REVERSED")

    def order_dispute(self, options):
        for charge in self.chosen(options, self.charges, lambda one: one.status == "succeeded"):
            self.tell(options["code"], name_of(charge.id, "dispute")[:16].upper(), charge.id, charge.reference, charge.captured, charge.currency)
        return {}

    def order_tell(self, options):
        self.tell(options.pop("code"), options.pop("id"), options.pop("original", ""), options.pop("reference", ""), options.pop("amount", 0),
                  options.pop("currency", "EUR"), options.pop("success", True), options.pop("reason", ""), **options)
        return {}

    def book(self, brief=False):
        shown = super().book(brief)
        if not brief:
            shown["changes"] = [change.book_row() for change in self.changes.values()]
            shown["links"] = [link.render("") for link in self.links.values()]
        return shown


if __name__ == "__main__":
    server.main(AdyenPeer, __doc__.split("\n")[0], "peer-api-key", "00" * 32)
