#!/usr/bin/python3
"""Self test of paypal.py: a peer that forgets a capture would make every other test lie."""
import base64
import http.client
import json
import os
import subprocess
import unittest

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "paypal.py")
SECRET = "client:hush"
PATIENCE = 120      # seconds: only what hangs meets them


class PeerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.peer = subprocess.Popen(["/usr/bin/python3", PEER, "--secret", SECRET, "--die-with-parent"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.peer.stdout.readline().split()[1])

    @classmethod
    def tearDownClass(cls):
        cls.peer.stdin.close()
        assert cls.peer.wait(PATIENCE) == 0
        cls.peer.stdout.close()

    def setUp(self):
        self.token = None
        self.control(reset=True)
        basic = "Basic " + base64.b64encode(SECRET.encode()).decode()
        status, given = self.call("POST", "/v1/oauth2/token", "grant_type=client_credentials",
                                  {"Authorization": basic, "Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(status, 200)
        self.token = given["access_token"]

    def call(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def ask(self, method, path, body=None, key=None):
        headers = {"Authorization": "Bearer %s" % self.token, "Content-Type": "application/json", "Prefer": "return=representation"}
        if key:
            headers["PayPal-Request-Id"] = key
        return self.call(method, path, None if body is None else json.dumps(body), headers)

    def control(self, **orders):
        self.assertEqual(self.ask("POST", "/_control", orders)[0], 200)

    def book(self):
        return self.ask("GET", "/_book")[1]

    def order(self, key, ref="R1", value="10.00", currency="EUR", intent="CAPTURE", **wallet):
        wallet = wallet or {"experience_context": {"return_url": "https://shop.example/", "cancel_url": "https://shop.example/"}}
        return self.ask("POST", "/v2/checkout/orders", {
            "intent": intent, "payment_source": {"paypal": wallet},
            "purchase_units": [{"custom_id": ref, "reference_id": "1", "amount": {"currency_code": currency, "value": value}}]}, key)

    def issue(self, answer):
        return answer[0], answer[1]["details"][0]["issue"]

    def authorized(self, ref="R1"):
        order = self.order("make-" + ref, ref, intent="AUTHORIZE")[1]
        self.control(approve={"ref": ref})
        done = self.ask("POST", "/v2/checkout/orders/%s/authorize" % order["id"], {}, "auth-" + ref)[1]
        return "/v2/payments/authorizations/%s" % done["purchase_units"][0]["payments"]["authorizations"][0]["id"]

    def test_an_order_moves_nothing_until_it_is_approved_and_captured(self):
        status, order = self.order("k1")
        path = "/v2/checkout/orders/" + order["id"]
        self.assertEqual((status, order["status"]), (201, "PAYER_ACTION_REQUIRED"))
        self.assertEqual(self.issue(self.ask("POST", path + "/capture", {}, "k2")), (422, "ORDER_NOT_APPROVED"))
        self.control(approve={"ref": "R1"})
        self.assertEqual(self.ask("GET", path)[1]["status"], "APPROVED")
        self.assertEqual(self.book()["captured"], {"EUR": 0})
        status, done = self.ask("POST", path + "/capture", {}, "k2")
        self.assertEqual((status, done["status"]), (201, "COMPLETED"))
        self.assertEqual(self.ask("POST", path + "/capture", {}, "k2"), (200, done))
        self.assertEqual(self.issue(self.ask("POST", path + "/capture", {}, "k3")), (422, "ORDER_ALREADY_CAPTURED"))
        self.assertEqual((self.book()["captured"], self.book()["fees"]), ({"EUR": 1000}, {"EUR": 35}))

    def test_a_key_answers_as_the_object_is_by_then_and_takes_no_other_body(self):
        self.order("k1")
        self.control(approve={"ref": "R1"})
        status, order = self.order("k1")
        self.assertEqual((status, order["status"]), (200, "APPROVED"))
        self.assertEqual(self.order("k1", value="11.00")[0], 422)
        self.assertEqual((len(self.book()["charges"]), self.book()["keys"]["key_conflicts"]), (1, 1))

    def test_a_lost_answer_leaves_the_charge_in_the_book(self):
        self.control(faults=[{"fault": "lose_answer", "method": "POST", "count": 1}])
        with self.assertRaises(http.client.RemoteDisconnected):
            self.order("k1", vault_id="ok")
        self.assertEqual(self.book()["captured"], {"EUR": 1000})
        self.assertEqual(self.order("k1", vault_id="ok")[0], 200)
        self.assertEqual(self.book()["double_charged"], [])
        self.order("k2", vault_id="ok")
        self.assertEqual(self.book()["double_charged"], ["R1"])

    def test_an_authorization_is_captured_in_parts_and_no_more_than_whole(self):
        path = self.authorized()
        part = {"amount": {"currency_code": "EUR", "value": "4.00"}, "invoice_id": "C1", "final_capture": False}
        self.assertEqual(self.ask("POST", path + "/capture", part, "c1")[1]["status"], "COMPLETED")
        self.assertEqual(self.issue(self.ask("POST", path + "/capture", part, "c2")), (422, "DUPLICATE_INVOICE_ID"))
        more = dict(part, invoice_id="C2", amount={"currency_code": "EUR", "value": "6.01"})
        self.assertEqual(self.issue(self.ask("POST", path + "/capture", more, "c3")), (422, "MAX_CAPTURE_AMOUNT_EXCEEDED"))
        self.assertEqual(self.ask("POST", path + "/void", None, "v1")[1]["status"], "VOIDED")
        self.assertEqual(self.issue(self.ask("POST", path + "/void", None, "v2")), (422, "PREVIOUSLY_VOIDED"))
        self.assertEqual(self.book()["captured"], {"EUR": 400})

    def test_a_capture_gives_back_what_it_took_and_no_more(self):
        order = self.order("k1", vault_id="ok")[1]
        path = "/v2/payments/captures/%s/refund" % order["purchase_units"][0]["payments"]["captures"][0]["id"]
        refund = {"amount": {"currency_code": "EUR", "value": "10.00"}, "custom_id": "X1"}
        status, made = self.ask("POST", path, refund, "r1")
        self.assertEqual((status, made["status"]), (201, "COMPLETED"))
        self.assertEqual(self.issue(self.ask("POST", path, refund, "r2")), (422, "CAPTURE_FULLY_REFUNDED"))
        shown = self.ask("GET", "/v2/checkout/orders/" + order["id"])[1]["purchase_units"][0]["payments"]
        self.assertEqual((shown["captures"][0]["status"], shown["refunds"][0]["custom_id"]), ("REFUNDED", "X1"))
        self.assertEqual(self.book()["refunded"], {"EUR": 1000})

    def test_amounts_are_as_the_currency_has_them(self):
        self.assertEqual(self.issue(self.order("k1", value="10.5", vault_id="ok")), (422, "DECIMAL_PRECISION"))
        self.assertEqual(self.issue(self.order("k2", value="10.00", currency="HUF", vault_id="ok")), (422, "DECIMALS_NOT_SUPPORTED"))
        self.assertEqual(self.order("k3", value="1000", currency="HUF", vault_id="ok")[0], 201)
        self.assertEqual(self.issue(self.order("k4", value="1000", currency="KRW", vault_id="ok")), (422, "CURRENCY_NOT_SUPPORTED"))

    def test_without_a_token_nothing_is_done(self):
        self.control(end_tokens=True)
        self.assertEqual(self.order("k1", vault_id="ok")[0], 401)
        self.assertEqual(self.book()["charges"], [])


if __name__ == "__main__":
    unittest.main()
