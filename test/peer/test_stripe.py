#!/usr/bin/python3
"""Self test of stripe.py: a peer that forgets a charge would make every other test lie."""
import hashlib
import hmac
import http.client
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from urllib.parse import quote, urlencode

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stripe.py")
SECRET, WEBHOOK_SECRET = "sk_test_self", "whsec_self"
PATIENCE = 120      # seconds: only what hangs meets them


class PeerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.peer = subprocess.Popen(
            ["/usr/bin/python3", PEER, "--secret", SECRET, "--webhook-secret", WEBHOOK_SECRET, "--die-with-parent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.peer.stdout.readline().split()[1])

    @classmethod
    def tearDownClass(cls):
        cls.peer.stdin.close()
        assert cls.peer.wait(PATIENCE) == 0
        cls.peer.stdout.close()

    def setUp(self):
        self.control(reset=True)

    # ---- helpers

    def ask(self, method, path, body=None, headers=(), timeout=PATIENCE):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def api(self, method, path, form=None, key=None, **options):
        headers = {"Authorization": "Bearer " + SECRET, "Content-Type": "application/x-www-form-urlencoded"}
        if key is not None:
            headers["Idempotency-Key"] = key
        body = urlencode(form) if form is not None else None
        status, body, headers = self.ask(method, path, body, headers, **options)
        return status, json.loads(body), headers

    def create(self, key, ref="R1", method="pm_card_visa", amount=1000, **more):
        form = {"amount": amount, "currency": "eur", "confirm": "true", "payment_method": method,
                "capture_method": "automatic", "metadata[payments_ref]": ref}
        form.update(more)
        return self.api("POST", "/v1/payment_intents", form, key)

    def control(self, **orders):
        status, body, _ = self.ask("POST", "/_control", json.dumps(orders))
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def book(self):
        return json.loads(self.ask("GET", "/_book")[1])

    def events(self, query=""):
        return json.loads(self.ask("GET", "/_events" + query)[1])

    def event_types(self):
        return [event["type"] for event in self.events()]

    def until(self, look):
        """Waits for a state."""
        deadline = time.time() + PATIENCE
        while not look():
            self.assertLess(time.time(), deadline)
            time.sleep(0.02)

    def lost(self, call):
        """The call must end without an answer."""
        with self.assertRaises((http.client.HTTPException, OSError)):
            call()

    # ---- the protocol

    def test_charge_has_stripes_shape(self):
        status, intent, headers = self.create("k1", **{"expand[]": "latest_charge.balance_transaction"})
        self.assertEqual(status, 200)
        self.assertEqual(intent["status"], "succeeded")
        self.assertEqual((intent["amount"], intent["amount_received"], intent["amount_capturable"]), (1000, 1000, 0))
        self.assertEqual(intent["currency"], "eur")
        self.assertEqual(intent["metadata"], {"payments_ref": "R1"})
        transaction = intent["latest_charge"]["balance_transaction"]
        self.assertEqual((transaction["amount"], transaction["fee"], transaction["net"]), (1000, 40, 960))
        self.assertTrue(headers["Request-Id"].startswith("req_"))
        self.assertIsNone(headers["Idempotent-Replayed"])
        status, intent, _ = self.api("GET", "/v1/payment_intents/" + intent["id"])
        self.assertIsInstance(intent["latest_charge"], str)
        book = self.book()
        self.assertEqual(len(book["charges"]), 1)
        self.assertEqual(book["charges"][0]["payments_ref"], "R1")
        self.assertEqual((book["charges"][0]["captured"], book["charges"][0]["status"]), (1000, "succeeded"))
        self.assertIn("R1", book["first_byte"])
        row = self.ask("GET", "/_book.tsv")[1].decode().rstrip("\n").split("\t")
        self.assertEqual(row[:7], [intent["id"], intent["latest_charge"], "R1", "1000", "eur", "1000", "0"])

    # ---- lists of what has happened

    def transactions(self, **query):
        status, page, _ = self.api("GET", "/v1/balance_transactions?" + urlencode(query, doseq=True))
        self.assertEqual(status, 200, page)
        return page

    def walk(self, path, limit, **query):
        """All entries of a list, page by page, and how many pages it took."""
        entries, pages, query = [], 0, dict(query, limit=limit)
        while True:
            status, page, _ = self.api("GET", path + "?" + urlencode(query, doseq=True))
            self.assertEqual(status, 200, page)
            self.assertEqual(page["object"], "list")
            self.assertLessEqual(len(page["data"]), limit)
            pages += 1
            entries += page["data"]
            if not page["has_more"]:
                return entries, pages
            query["starting_after"] = page["data"][-1]["id"]

    def test_balance_transactions_are_the_book(self):
        _, first, _ = self.create("k1", ref="R1", amount=1000)
        self.create("k2", ref="R2", amount=2000)
        self.create("k3", ref="R3", method="pm_card_chargeDeclined")        # moves nothing
        self.api("POST", "/v1/refunds", {"payment_intent": first["id"], "amount": 300, "metadata[payments_ref]": "RF"}, "k4")
        self.control(dispute={"ref": "R2"})
        self.control(close_dispute={"ref": "R2", "status": "won"})
        self.control(fail_refund={"ref": "RF"})
        entries, _ = self.walk("/v1/balance_transactions", 2)
        self.assertEqual([(e["reporting_category"], e["type"], e["amount"], e["fee"], e["net"]) for e in reversed(entries)], [
            ("charge", "charge", 1000, 40, 960), ("charge", "charge", 2000, 55, 1945), ("refund", "refund", -300, 0, -300),
            ("dispute", "adjustment", -2000, 1500, -3500), ("dispute_reversal", "adjustment", 2000, -1500, 3500),
            ("refund_failure", "refund_failure", 300, 0, 300)])
        self.assertEqual(len({e["id"] for e in entries}), 6)
        self.assertEqual(sorted(e["id"] for e in entries), sorted(row["id"] for row in json.loads(self.ask("GET", "/_transactions")[1])))
        # The object's own transaction is that of the list.
        _, refund, _ = self.api("GET", "/v1/refunds/" + entries[3]["source"] + "?expand[]=balance_transaction")
        self.assertEqual(refund["balance_transaction"]["id"], entries[3]["id"])

    def test_a_partial_capture_is_a_charge_and_its_reversal(self):
        _, held, _ = self.create("k1", ref="R1", amount=1000, capture_method="manual")
        self.api("POST", "/v1/payment_intents/%s/capture" % held["id"], {"amount_to_capture": 800}, "k2")
        entries, _ = self.walk("/v1/balance_transactions", 10)
        self.assertEqual([(e["reporting_category"], e["type"], e["amount"], e["fee"], e["net"]) for e in reversed(entries)], [
            ("charge", "charge", 1000, 37, 963), ("partial_capture_reversal", "refund", -200, 0, -200)])
        self.assertEqual({e["source"] for e in entries}, {self.api("GET", "/v1/payment_intents/" + held["id"])[1]["latest_charge"]})

    def test_pages_have_everything_once(self):
        for number in range(7):
            self.create("k%d" % number, ref="R%d" % number)
        for limit, wanted in ((1, 7), (3, 3), (7, 1), (100, 1)):
            entries, pages = self.walk("/v1/balance_transactions", limit)
            self.assertEqual((len({e["id"] for e in entries}), len(entries), pages), (7, 7, wanted))
        self.assertEqual(len(self.walk("/v1/events", 5, type="payment_intent.succeeded")[0]), 7)
        self.assertEqual(len(self.walk("/v1/events", 5, **{"types[]": ["payment_intent.succeeded", "payment_intent.created"]})[0]), 14)
        status, body, _ = self.api("GET", "/v1/balance_transactions?limit=101")
        self.assertEqual(status, 400)
        status, body, _ = self.api("GET", "/v1/balance_transactions?starting_after=txn_none")
        self.assertEqual((status, body["error"]["code"]), (400, "resource_missing"))
        status, body, _ = self.api("GET", "/v1/balance_transactions?ending_before=txn_none")
        self.assertEqual((status, body["error"]["code"]), (400, "parameter_unknown"))
        status, _, _ = self.api("GET", "/v1/events?types[]=a&type=b")
        self.assertEqual(status, 400)

    def test_created_filters_and_ties(self):
        for second in (100, 101, 101, 101, 102):
            self.control(settings={"list_clock_s": second})
            self.create("k%d" % len(self.book()["charges"]), ref="R")
        seconds = lambda **query: [e["created"] for e in self.transactions(**{"created[%s]" % k: v for k, v in query.items()})["data"]]
        self.assertEqual(seconds(), [102, 101, 101, 101, 100])
        self.assertEqual(seconds(gte=101), [102, 101, 101, 101])
        self.assertEqual(seconds(gt=101), [102])
        self.assertEqual(seconds(gte=100, lt=101), [100])
        self.assertEqual(seconds(gte=101, lte=101), [101, 101, 101])
        entries, pages = self.walk("/v1/balance_transactions", 2, **{"created[gte]": 101, "created[lt]": 102})
        self.assertEqual((len({e["id"] for e in entries}), pages), (3, 2))

    def test_what_is_late_is_not_listed_yet(self):
        self.create("k1", ref="R1")
        self.control(settings={"list_delay_ms": 600_000})
        self.create("k2", ref="R2")
        self.control(settings={"list_delay_ms": 300})
        self.create("k3", ref="R3")
        self.assertEqual(len(json.loads(self.ask("GET", "/_transactions")[1])), 3)
        self.until(lambda: len(self.transactions()["data"]) == 2)
        self.until(lambda: len(self.walk("/v1/events", 100, type="payment_intent.succeeded")[0]) == 2)

    def test_source_is_expanded_when_asked(self):
        _, intent, _ = self.create("k1", ref="R1")
        self.assertEqual(self.transactions()["data"][0]["source"], intent["latest_charge"])
        source = self.transactions(**{"expand[]": "data.source"})["data"][0]["source"]
        self.assertEqual((source["id"], source["payment_intent"], source["metadata"]), (intent["latest_charge"], intent["id"], {"payments_ref": "R1"}))
        self.assertEqual(self.api("GET", "/v1/balance_transactions?expand[]=data.customer")[0], 400)

    def test_listed_events_are_those_delivered(self):
        self.create("k1", ref="R1")
        listed = {e["id"]: e for e in self.walk("/v1/events", 100)[0]}
        delivered = {e["id"]: json.loads(e["body"]) for e in self.events()}
        self.assertEqual(listed, delivered)
        self.control(settings={"event_padding": 5000})
        self.assertGreater(len(json.dumps(self.walk("/v1/events", 100)[0])), 10000)

    def test_faults_strike_lists(self):
        self.create("k1")
        self.control(faults=[{"fault": "status_429", "path": "balance_transactions", "retry_after": "3", "count": 1}])
        status, _, headers = self.api("GET", "/v1/balance_transactions")
        self.assertEqual((status, headers["Retry-After"]), (429, "3"))
        self.assertEqual(len(self.transactions()["data"]), 1)
        self.control(faults=[{"fault": "truncated_json", "path": "/v1/events", "count": 1}])
        with self.assertRaises(ValueError):
            self.api("GET", "/v1/events")

    def test_fee_is_rounded_half_up(self):
        for amount, fee in ((33, 25), (34, 26), (100, 27), (10000, 175)):      # 0.495 0.51 1.5 150
            _, intent, _ = self.create("k%d" % amount, amount=amount,
                                       **{"expand[0]": "latest_charge.balance_transaction"})
            self.assertEqual(intent["latest_charge"]["balance_transaction"]["fee"], fee)

    def test_ids_are_no_card_numbers(self):
        _, intent, headers = self.create("k1")
        self.assertNotRegex(intent["id"] + intent["latest_charge"] + headers["Request-Id"], r"\d{5}")

    def test_authorization(self):
        form = urlencode({"amount": 1})
        for given in ({}, {"Authorization": "Bearer wrong"}):
            status, body, _ = self.ask("POST", "/v1/payment_intents", form, given)
            self.assertEqual(status, 401)
            self.assertEqual(json.loads(body)["error"]["type"], "invalid_request_error")
        status, _, _ = self.ask("GET", "/v1/payment_intents", None, {"Authorization": "Basic c2tfdGVzdF9zZWxmOg=="})
        self.assertEqual(status, 200)

    def test_says_whose_account_the_secret_is_of(self):
        account = lambda: self.api("GET", "/v1/account")[1]["id"]
        self.assertEqual(account(), "acct_%d" % self.port)
        self.control(settings={"account": "acct_mine", "more_secrets": {"sk_test_other": "acct_theirs"}})
        self.assertEqual(account(), "acct_mine")
        other = {"Authorization": "Bearer sk_test_other"}
        self.assertEqual(json.loads(self.ask("GET", "/v1/account", None, other)[1])["id"], "acct_theirs")
        self.assertEqual(self.ask("GET", "/v1/refunds", None, other)[0], 200)
        self.control(faults=[{"fault": "status_500", "count": 1}])
        self.assertEqual(account(), "acct_mine")
        self.assertEqual(self.create("K1")[0], 500)
        self.control(faults=[{"fault": "status_403", "path": "/v1/account"}])
        self.assertEqual(self.api("GET", "/v1/account")[0], 403)

    def test_refused_before_execution_is_not_stored(self):
        bad = [{"amount": "0"}, {"amount": "1.5"}, {"currency": "EUR"}, {"payment_method": "pm_none"},
               {"strange": "1"}, {"confirm": "yes"}, {"expand[]": "everything"}, {"amount": "9" * 12},
               {"currency": "isk", "amount": "150"}, {"metadata[payments_ref]": "x" * 501}, {"customer": "C1"}]
        for change in bad:
            status, body, _ = self.create("k1", **change)
            self.assertEqual((status, body["error"]["type"]), (400, "invalid_request_error"), change)
        self.assertEqual(self.create("k1")[0], 200)
        status, body, _ = self.ask("POST", "/v1/payment_intents", '{"amount":1}', {
            "Authorization": "Bearer " + SECRET, "Content-Type": "application/json"})
        self.assertEqual(status, 400)
        self.assertEqual(len(self.book()["charges"]), 1)
        self.assertEqual(self.book()["keys"]["keys_with_many_bodies"], 1)

    def test_declines(self):
        cases = [("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
                 ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds",
                  "try_again_later"),
                 ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card", "do_not_try_again"),
                 ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card", "do_not_try_again"),
                 ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "do_not_try_again"),
                 ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc", "confirm_card_data"),
                 ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error",
                  "try_again_later")]
        for method, code, decline_code, advice in cases:
            status, body, _ = self.create(method, ref=method, method=method)
            error = body["error"]
            self.assertEqual((status, error["type"], error["code"], error["decline_code"], error["advice_code"]),
                             (402, "card_error", code, decline_code, advice))
            intent = error["payment_intent"]
            self.assertEqual(intent["status"], "requires_payment_method")
            self.assertEqual(intent["last_payment_error"]["decline_code"], decline_code)
            again, replayed, headers = self.create(method, ref=method, method=method)
            self.assertEqual((again, replayed), (402, body))
            self.assertEqual(headers["Idempotent-Replayed"], "true")
        self.assertEqual(self.book()["charges_by_status"], {"failed": len(cases)})

    def test_declined_n_times_counts_keys(self):
        method = "pm_test_declined_times_2_do_not_honor"
        self.assertEqual(self.create("k1", method=method)[1]["error"]["decline_code"], "do_not_honor")
        self.assertEqual(self.create("k1", method=method)[0], 402)
        self.assertEqual(self.create("k2", method=method)[0], 402)
        self.assertEqual(self.create("other", ref="R2", method=method)[0], 402)
        self.assertEqual(self.create("k3", method=method)[1]["status"], "succeeded")
        self.assertEqual(self.book()["double_charged"], [])

    def test_requires_action(self):
        _, intent, _ = self.create("k1", method="pm_card_authenticationRequired", return_url="http://127.0.0.1/back")
        self.assertEqual(intent["status"], "requires_action")
        url = intent["next_action"]["redirect_to_url"]["url"]
        status, _, headers = self.ask("GET", url[url.index("/_auth"):])
        self.assertEqual((status, headers["Location"]), (302, "http://127.0.0.1/back?payment_intent=" + intent["id"]))
        self.assertEqual(self.api("GET", "/v1/payment_intents/" + intent["id"])[1]["status"], "succeeded")
        status, body, _ = self.create("k2", ref="R2", method="pm_card_authenticationRequired", off_session="true")
        self.assertEqual((status, body["error"]["code"]), (402, "authentication_required"))
        _, intent, _ = self.create("k3", ref="R3", method="pm_card_authenticationRequired")
        self.control(finish={"ref": "R3", "outcome": "failed"})
        _, intent, _ = self.api("GET", "/v1/payment_intents/" + intent["id"])
        self.assertEqual(intent["last_payment_error"]["code"], "payment_intent_authentication_failure")

    def test_processing(self):
        _, intent, _ = self.create("k1", method="pm_test_processing")
        self.assertEqual((intent["status"], intent["latest_charge"]), ("processing", None))
        self.control(finish={"ref": "R1"})
        self.assertEqual(self.api("GET", "/v1/payment_intents/" + intent["id"])[1]["status"], "succeeded")
        _, intent, _ = self.create("k2", ref="R2", method="pm_test_processing_2")
        path = "/v1/payment_intents/" + intent["id"]
        self.assertEqual([self.api("GET", path)[1]["status"] for _ in "12"], ["processing", "succeeded"])
        self.assertEqual(self.event_types(), ["payment_intent.created", "payment_intent.processing",
                                              "payment_intent.succeeded"] * 2)

    def test_wrong_amount_and_currency(self):
        self.assertEqual(self.create("k1", method="pm_test_wrong_amount")[1]["amount_received"], 1001)
        self.assertEqual(self.create("k2", method="pm_test_wrong_currency")[1]["currency"], "usd")

    def test_search_and_list(self):
        for number in range(3):
            self.create("k%d" % number, ref="R%d" % number)
        for quoted in ('metadata["payments_ref"]:"R1"', "metadata['payments_ref']:'R1'"):
            status, page, _ = self.api("GET", "/v1/payment_intents/search?query=%s&expand%%5B%%5D=data.latest_charge"
                                       % quote(quoted))
            self.assertEqual((status, page["object"], len(page["data"])), (200, "search_result", 1))
            self.assertEqual(page["data"][0]["latest_charge"]["object"], "charge")
        _, page, _ = self.api("GET", "/v1/payment_intents/search?query=" + quote('metadata["payments_ref"]:"none"'))
        self.assertEqual(page["data"], [])
        self.control(settings={"search_delay_ms": 60000})
        _, page, _ = self.api("GET", "/v1/payment_intents/search?query=" + quote('metadata["payments_ref"]:"R1"'))
        self.assertEqual(page["data"], [])
        _, page, _ = self.api("GET", "/v1/payment_intents?limit=2&created[gte]=1")
        self.assertEqual(([one["metadata"]["payments_ref"] for one in page["data"]], page["has_more"]),
                         (["R2", "R1"], True))
        _, page, _ = self.api("GET", "/v1/payment_intents?limit=2&starting_after=" + page["data"][1]["id"])
        self.assertEqual((page["data"][0]["metadata"]["payments_ref"], page["has_more"]), ("R0", False))

    def test_capture_and_cancel(self):
        _, intent, _ = self.create("k1", capture_method="manual")
        self.assertEqual((intent["status"], intent["amount_capturable"]), ("requires_capture", 1000))
        path = "/v1/payment_intents/" + intent["id"]
        self.assertEqual(self.api("POST", path + "/capture", {"amount_to_capture": 1001}, "c0")[1]["error"]["code"],
                         "amount_too_large")
        _, intent, _ = self.api("POST", path + "/capture",
                                {"amount_to_capture": 600, "expand[]": "latest_charge.balance_transaction"}, "c1")
        self.assertEqual((intent["status"], intent["amount_received"]), ("succeeded", 600))
        self.assertEqual(intent["latest_charge"]["balance_transaction"]["fee"], 34)
        status, body, _ = self.api("POST", path + "/capture", {}, "c2")
        self.assertEqual((status, body["error"]["code"]), (400, "payment_intent_unexpected_state"))
        self.assertEqual(body["error"]["payment_intent"]["status"], "succeeded")
        self.assertEqual(self.api("POST", path + "/cancel", {}, "c3")[0], 400)
        _, intent, _ = self.create("k2", ref="R2", capture_method="manual")
        _, intent, _ = self.api("POST", "/v1/payment_intents/%s/cancel" % intent["id"],
                                {"cancellation_reason": "abandoned"}, "c4")
        self.assertEqual((intent["status"], intent["amount_capturable"]), ("canceled", 0))
        self.assertEqual(self.book()["charges_by_status"], {"succeeded": 1, "released": 1})
        self.assertEqual(self.book()["captured"], {"eur": 600})

    def test_refunds(self):
        _, intent, _ = self.create("k1")
        status, refund, _ = self.api("POST", "/v1/refunds", {
            "payment_intent": intent["id"], "amount": 300, "reason": "requested_by_customer",
            "metadata[payments_ref]": "F1"}, "r1")
        self.assertEqual((status, refund["status"], refund["amount"]), (200, "succeeded", 300))
        self.assertEqual(refund["metadata"], {"payments_ref": "F1"})
        self.assertEqual(self.api("POST", "/v1/refunds", {"payment_intent": intent["id"], "amount": 701}, "r2")[0], 400)
        self.assertEqual(self.api("POST", "/v1/refunds", {"charge": intent["latest_charge"]}, "r3")[1]["amount"], 700)
        status, body, _ = self.api("POST", "/v1/refunds", {"payment_intent": intent["id"]}, "r4")
        self.assertEqual((status, body["error"]["code"]), (400, "charge_already_refunded"))
        self.assertEqual(self.api("GET", "/v1/refunds/" + refund["id"])[1]["id"], refund["id"])
        self.assertEqual(len(self.api("GET", "/v1/refunds?payment_intent=" + intent["id"])[1]["data"]), 2)
        self.control(fail_refund={"refund": refund["id"]})
        refund = self.api("GET", "/v1/refunds/" + refund["id"])[1]
        self.assertEqual((refund["status"], refund["failure_reason"]), ("failed", "expired_or_canceled_card"))
        self.assertEqual(self.book()["refunded"], {"eur": 700})
        self.assertEqual(self.event_types().count("refund.failed"), 1)

    def test_pending_refund(self):
        _, intent, _ = self.create("k1", method="pm_card_pendingRefund")
        _, refund, _ = self.api("POST", "/v1/refunds", {"payment_intent": intent["id"]}, "r1")
        self.assertEqual(refund["status"], "pending")
        self.control(finish_refund={"ref": "R1"})
        self.assertEqual(self.api("GET", "/v1/refunds/" + refund["id"])[1]["status"], "succeeded")

    def test_disputes(self):
        self.create("k1")
        dispute = self.control(dispute={"ref": "R1", "amount": 400})["disputes"][0]
        self.assertEqual(self.control(close_dispute={"ref": "R1", "status": "won"})["closed"], [dispute])
        self.assertEqual(self.event_types()[-2:], ["charge.dispute.created", "charge.dispute.closed"])
        self.assertEqual(self.book()["disputes"][0]["status"], "won")

    # ---- idempotency

    def test_replay_and_conflict(self):
        _, first, first_headers = self.create("k1")
        status, again, headers = self.create("k1")
        self.assertEqual((status, again), (200, first))
        self.assertEqual((headers["Idempotent-Replayed"], headers["Original-Request"]),
                         ("true", first_headers["Request-Id"]))
        status, body, _ = self.create("k1", amount=1001)
        self.assertEqual((status, body["error"]["type"]), (400, "idempotency_error"))
        keys = self.book()["keys"]
        self.assertEqual((keys["keys"], keys["requests"], keys["replays"], keys["key_conflicts"],
                          keys["keys_with_many_bodies"]), (1, 3, 1, 1, 1))
        self.assertEqual(len(self.book()["charges"]), 1)

    def test_key_in_use(self):
        for when in ("after", "before"):
            # Longer when the first was over before the second came.
            for ms in (400, 2000, 10_000):
                self.control(reset=True, faults=[{"fault": "delay_ms", "ms": ms, "count": 1, "when": when}])
                answers = []
                thread = threading.Thread(target=lambda: answers.append(self.create("k1")))
                thread.start()
                self.until(lambda: self.book()["running"] > 0 or answers)
                status, body, _ = self.create("k1")
                thread.join()
                if status == 409:
                    break
            self.assertEqual((status, body["error"]["code"]), (409, "idempotency_key_in_use"))
            self.assertEqual(answers[0][0], 200)
            self.assertEqual(self.create("k1")[2]["Idempotent-Replayed"], "true")
            self.assertEqual((len(self.book()["charges"]), self.book()["max_concurrent_requests"]), (1, 2))

    def test_pruned_key_and_psp_without_idempotency_charge_twice(self):
        self.create("k1")
        self.control(forget_keys=True)
        self.create("k1")
        self.assertEqual(self.book()["double_charged"], ["R1"])
        self.control(settings={"honour_keys": False})
        self.create("k1")
        self.assertEqual(len({row["payment"] for row in self.book()["charges"]}), 3)

    # ---- faults

    def test_lost_answers_are_charged_once(self):
        for fault in ({"fault": "lose_answer"}, {"fault": "lose_answer", "rst": True}, {"fault": "cut_answer"},
                      {"fault": "garbage_http"}):
            self.control(reset=True, faults=[dict(fault, per_key=1)])
            self.lost(lambda: self.create("k1"))
            self.assertEqual(len(self.book()["charges"]), 1, fault)
            self.assertEqual(self.create("k1")[2]["Idempotent-Replayed"], "true")
            self.assertEqual(len(self.book()["charges"]), 1)

    def test_bodies_are_known_even_when_the_answer_was_lost(self):
        self.control(faults=[{"fault": "reset_before"}])
        self.lost(lambda: self.create("k1"))
        self.lost(lambda: self.create("k1", amount=5))
        self.control(faults=[])
        self.assertEqual(self.book()["keys"]["keys_with_many_bodies"], 1)
        self.assertEqual(self.book()["charges"], [])

    def test_hang(self):
        for perform, charges in ((False, 0), (True, 1)):
            self.control(reset=True, faults=[{"fault": "hang", "count": 1, "perform": perform}])
            with self.assertRaises(socket.timeout):
                self.api("POST", "/v1/payment_intents", {
                    "amount": 5, "currency": "eur", "confirm": "true", "payment_method": "pm_card_visa"}, "k1",
                    timeout=0.2)
            self.until(lambda: self.book()["faults"].get("hang") == 1)
            self.assertEqual(len(self.book()["charges"]), charges)

    def test_injected_statuses(self):
        self.control(faults=[{"fault": "status_429", "count": 1, "retry_after": "7"},
                             {"fault": "status_409", "count": 1}, {"fault": "status_503", "count": 1}])
        status, body, headers = self.create("k1")
        self.assertEqual((status, headers["Retry-After"], headers["Stripe-Rate-Limited-Reason"]),
                         (429, "7", "global-rate"))
        self.assertEqual(self.create("k1")[0], 409)
        with self.assertRaises(json.JSONDecodeError):
            self.create("k1")
        self.assertEqual(self.book()["charges"], [])
        self.assertEqual(self.create("k1")[0], 200)
        self.control(faults={"status_500": {"count": 1, "perform": True}})
        status, _, headers = self.create("k2", ref="R2")
        self.assertEqual((status, headers["Stripe-Should-Retry"]), (500, "false"))
        status, _, headers = self.create("k2", ref="R2")
        self.assertEqual((status, headers["Idempotent-Replayed"]), (500, "true"))
        self.assertEqual(self.book()["captured"], {"eur": 2000})
        self.control(faults={"status_500": {"count": 1}})
        self.assertEqual([self.create("k3", ref="R3")[0] for _ in "12"], [500, 500])
        self.assertEqual(self.book()["captured"], {"eur": 2000})

    def test_broken_bodies(self):
        def body_of(fault, key):
            self.control(faults=[{"fault": fault, "ms": 0}])
            return self.ask("POST", "/v1/payment_intents", urlencode({
                "amount": 700, "currency": "eur", "confirm": "true", "payment_method": "pm_card_visa"}), {
                "Authorization": "Bearer " + SECRET, "Content-Type": "application/x-www-form-urlencoded",
                "Idempotency-Key": key})
        for fault in ("truncated_json", "bad_utf8", "deep_json", "garbage", "empty_body"):
            status, body, _ = body_of(fault, fault)
            self.assertEqual(status, 200)
            with self.assertRaises((ValueError, RecursionError), msg=fault):
                json.loads(body)
        self.assertEqual(len(body_of("big_body", "b")[1]), 10_000_000)
        self.assertIn(b"\\u0000", body_of("nul_in_json", "n")[1])
        self.assertIn(b'"amount":9223372036854775808,', body_of("huge_amount", "h")[1])
        self.assertEqual(json.loads(body_of("duplicate_fields", "d")[1])["amount"], 1)
        self.assertEqual(json.loads(body_of("wrong_id", "w")[1])["metadata"], {"payments_ref": "ANOTHERPAYMENT"})
        for fault in ("drip", "chunked", "no_length"):
            self.assertEqual(json.loads(body_of(fault, fault)[1])["amount"], 700)
        self.assertEqual(self.book()["captured"], {"eur": 700 * 13})

    def test_same_page(self):
        for key in ("k1", "k2", "k3"):
            self.create(key)
        self.control(faults=[{"fault": "same_page", "path": "balance_transactions"}])
        pages = [self.api("GET", "/v1/balance_transactions?limit=1")[1]]
        pages.append(self.api("GET", "/v1/balance_transactions?limit=1&starting_after=" + pages[0]["data"][0]["id"])[1])
        self.assertEqual(pages[0], pages[1])
        self.assertTrue(pages[1]["has_more"])

    def test_broken_search_results(self):
        _, intent, _ = self.create("k1")
        search = "/v1/payment_intents/search?query=" + quote('metadata["payments_ref"]:"R1"')
        self.control(faults=[{"fault": "wrong_id"}])
        found = self.api("GET", search)[1]["data"]
        self.assertEqual([one["metadata"] for one in found], [{"payments_ref": "ANOTHERPAYMENT"}])
        self.assertNotEqual(found[0]["id"], intent["id"])
        self.control(faults=[{"fault": "duplicate_fields"}])
        _, body, _ = self.ask("GET", search, headers={"Authorization": "Bearer " + SECRET})
        self.assertIn(b'"amount":1000,', body)
        self.assertEqual([(one["amount"], one["status"]) for one in json.loads(body)["data"]], [(1, "succeeded")])

    def test_endless_headers(self):
        self.control(faults=[{"fault": "endless_headers", "count": 1}])
        self.lost(lambda: self.create("k1"))
        self.assertEqual(len(self.book()["charges"]), 1)

    def test_rules_choose(self):
        self.control(faults=[{"fault": "status_424", "path": "/refunds$"},
                             {"fault": "status_503", "payment_method": "mastercard"},
                             {"fault": "status_429", "ref": "^X", "skip": 1, "count": 1}])
        self.assertEqual([self.create("k%d" % number, ref="X%d" % number)[0] for number in range(4)],
                         [200, 429, 200, 200])
        self.assertEqual(self.api("POST", "/v1/refunds", {"payment_intent": "pi_x"}, "r")[0], 424)
        with self.assertRaises(json.JSONDecodeError):
            self.create("m", ref="M", method="pm_card_mastercard")
        status, body, _ = self.ask("POST", "/_control", '{"faults":[{"fault":"nonsense"}]}')
        self.assertEqual(status, 400)

    def test_a_limiter_lets_some_through(self):
        self.control(faults=[{"fault": "status_429", "rate": 0.001, "burst": 3, "retry_after": "7"}])
        self.assertEqual([self.create("l%d" % number)[0] for number in range(5)], [200, 200, 200, 429, 429])

    def test_same_seed_same_faults(self):
        def run(seed, order):
            self.control(reset=True, faults={"seed": seed, "status_429": 0.5, "delay_ms": [0, 2]})
            return {number: self.create("k%d" % number, ref="R%d" % number)[0] for number in order}
        first, again, other = run(1, range(40)), run(1, reversed(range(40))), run(2, range(40))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertTrue(5 < list(first.values()).count(429) < 35)

    def test_down_for_a_while(self):
        # Longer when it was back before we came.
        for ms in (300, 2000, 10_000):
            self.control(down_for_ms=ms)
            time.sleep(0.05)
            try:
                self.create("k1")
            except (http.client.HTTPException, OSError):
                break
        else:
            self.fail("it was never down")

        def is_back():
            try:
                return self.create("k1")[0] == 200
            except (http.client.HTTPException, OSError):
                return False
        self.until(is_back)

    # ---- events

    def test_events_are_signed(self):
        self.create("k1")
        self.create("k2", ref="R2", method="pm_card_visa_chargeDeclined")
        events = self.events("?t=1700000000")
        self.assertEqual([event["type"] for event in events], [
            "payment_intent.created", "payment_intent.succeeded",
            "payment_intent.created", "payment_intent.payment_failed"])
        for event in events:
            mac = hmac.new(WEBHOOK_SECRET.encode(), ("1700000000." + event["body"]).encode(), hashlib.sha256)
            self.assertEqual(event["signature"], "t=1700000000,v1=" + mac.hexdigest())
            value = json.loads(event["body"])
            self.assertEqual((value["object"], value["id"], value["type"]), ("event", event["id"], event["type"]))
            self.assertIn(value["request"]["idempotency_key"], ("k1", "k2"))
        created, succeeded = (json.loads(event["body"])["data"]["object"] for event in events[:2])
        self.assertEqual((created["amount_received"], succeeded["amount_received"]), (0, 1000))
        self.assertEqual(len({event["id"] for event in events}), 4)
        self.assertEqual(len(self.events("?ref=R2&type=payment_intent.created&limit=1")), 1)
        self.assertTrue(abs(int(self.events()[0]["signature"][2:12]) - time.time()) < PATIENCE)
        self.control(emit={"type": "customer.updated", "object": {"id": "cus_1", "object": "customer"}})
        self.assertEqual(self.events("?from=4")[0]["type"], "customer.updated")

    def test_released_money_looks_refunded(self):
        _, intent, _ = self.create("k1", capture_method="manual")
        self.api("POST", "/v1/payment_intents/%s/cancel" % intent["id"], {}, "c1")
        charge = json.loads(self.events("?type=charge.refunded")[0]["body"])["data"]["object"]
        self.assertEqual((charge["captured"], charge["amount_captured"], charge["amount_refunded"]), (False, 0, 1000))
        self.assertEqual(self.book()["refunded"], {"eur": 0})

    # ---- HTTP

    def test_pipelined_and_split_requests(self):
        body = b"amount=5&currency=eur"
        one = (b"POST /v1/payment_intents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
               b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % (
                   SECRET.encode(), len(body))) + body
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            for at in range(0, 2 * len(one), 37):
                connection.sendall((one + one)[at:at + 37])
            received = b""
            while received.count(b'"object":"payment_intent"') < 2:
                received += connection.recv(65536)
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 2)

    def test_expect_continue(self):
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"POST /_control HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 100"))
            connection.sendall(b"{}")
            self.assertTrue(connection.recv(1000).startswith(b"HTTP/1.1 200"))


class EndTest(unittest.TestCase):
    def test_ready_file_sigterm_and_faults_from_the_command_line(self):
        with tempfile.TemporaryDirectory() as directory:
            ready = os.path.join(directory, "port")
            peer = subprocess.Popen(["/usr/bin/python3", PEER, "--ready-file", ready, "--seed", "3",
                                     "--faults", '{"status_429": 1}'], stdout=subprocess.DEVNULL)
            deadline = time.time() + PATIENCE
            while not os.path.exists(ready) and time.time() < deadline:
                time.sleep(0.02)
            with open(ready) as file:
                connection = http.client.HTTPConnection("127.0.0.1", int(file.read()))
            connection.request("GET", "/v1/payment_intents")
            self.assertEqual(connection.getresponse().status, 429)
            connection.close()
            peer.terminate()
            self.assertEqual(peer.wait(PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
