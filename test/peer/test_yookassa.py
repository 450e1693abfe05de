#!/usr/bin/python3
"""Self test of yookassa.py: a peer that forgets a charge would make every other test lie."""
import base64
import http.client
import json
import os
import subprocess
import unittest

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "yookassa.py")
SECRET = "100500:test_self"
SAVED = "caa0b0c0-00aa-4a0a-8a0a-aaaaaaaaaa"
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
        self.control(reset=True)

    def ask(self, method, path, body=None, key=None, secret=SECRET):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode(), "Content-Type": "application/json"}
        if key:
            headers["Idempotence-Key"] = key
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def control(self, **orders):
        self.assertEqual(self.ask("POST", "/_control", orders)[0], 200)

    def book(self):
        return self.ask("GET", "/_book")[1]

    def pay(self, key, ref="R1", saved="aa", value="10.00", **more):
        return self.ask("POST", "/v3/payments", {
            "amount": {"value": value, "currency": "RUB"}, "capture": True, "payment_method_id": SAVED + saved,
            "metadata": {"payments_ref": ref, "payments_generation": "1"}, **more}, key)

    def test_a_charge_is_in_the_book_once_for_its_key(self):
        status, payment = self.pay("k1")
        self.assertEqual((status, payment["status"], payment["amount"]["value"], payment["income_amount"]["value"]),
                         (200, "succeeded", "10.00", "9.65"))
        self.assertEqual(self.pay("k1")[1], payment)
        self.assertEqual([(one["captured"], one["payments_ref"]) for one in self.book()["charges"]], [(1000, "R1")])
        self.assertEqual(self.book()["keys"]["replays"], 1)

    def test_another_body_under_a_key_is_refused(self):
        self.pay("k1")
        status, error = self.pay("k1", value="11.00")
        self.assertEqual((status, error["code"], error["parameter"]), (400, "invalid_request", "Idempotence-Key"))
        self.assertEqual(self.book()["keys"]["keys_with_many_bodies"], 1)

    def test_what_the_api_refuses(self):
        for more in ({"amount": {"value": "10.0", "currency": "RUB"}}, {"amount": {"value": "10.00", "currency": "JPY"}},
                     {"card": {}}, {"description": "x" * 129}, {"metadata": {"a": 1}}, {"payment_method_id": "other"}):
            self.assertEqual(self.pay("k1", **more)[0], 400, more)
        self.assertEqual(self.pay(None)[0], 400)
        self.assertEqual(self.ask("GET", "/v3/me", secret="100500:else")[0], 401)
        self.assertEqual(self.ask("GET", "/v3/payments/none")[0], 404)
        self.assertEqual(self.book()["charges"], [])

    def test_two_stages_and_refunds(self):
        payment = self.pay("k1", capture=False)[1]
        path = "/v3/payments/" + payment["id"]
        self.assertEqual(payment["status"], "waiting_for_capture")
        self.assertEqual(self.ask("POST", path + "/capture", {"amount": {"value": "10.01", "currency": "RUB"}}, "k2")[1]["parameter"], "amount")
        self.assertEqual(self.ask("POST", path + "/capture", {"amount": {"value": "4.00", "currency": "RUB"}}, "k3")[1]["amount"]["value"], "4.00")
        self.assertEqual(self.ask("POST", path + "/cancel", {}, "k4")[0], 400)
        refund = {"payment_id": payment["id"], "amount": {"value": "3.00", "currency": "RUB"}}
        self.assertEqual(self.ask("POST", "/v3/refunds", refund, "k5")[1]["status"], "succeeded")
        self.assertEqual(self.ask("POST", "/v3/refunds", refund, "k6")[0], 400)
        self.assertEqual(len(self.ask("GET", "/v3/refunds?payment_id=" + payment["id"])[1]["items"]), 1)
        self.assertEqual([(one["captured"], one["refunded"]) for one in self.book()["charges"]], [(400, 300)])

    def test_lists_go_on_behind_a_cursor(self):
        made = [self.pay("k%d" % n, "R%d" % n)[1]["id"] for n in range(5)]
        seen, cursor = [], ""
        for _ in range(3):
            page = self.ask("GET", "/v3/payments?created_at.gte=2026-01-01T00:00:00Z&limit=2" + cursor)[1]
            seen += [one["id"] for one in page["items"]]
            cursor = "&cursor=%s" % page.get("next_cursor")
        self.assertEqual(sorted(seen), sorted(made))
        self.assertNotIn("next_cursor", page)
        self.assertEqual(self.ask("GET", "/v3/payments?captured_at.lt=2020-01-01T00:00:00Z")[1]["items"], [])

    def test_what_is_processing_is_done_when_it_comes_again(self):
        self.control(settings={"processing": 1})
        self.assertEqual(self.pay("k1")[0], 202)
        self.assertEqual(self.book()["charges"], [])
        self.assertEqual(self.pay("k1")[0], 200)

    def test_notices_have_no_signature(self):
        self.pay("k1")
        event = self.ask("GET", "/_events")[1][0]
        self.assertEqual((event["type"], event["signature"], json.loads(event["body"])["object"]["status"]),
                         ("payment.succeeded", "", "succeeded"))


if __name__ == "__main__":
    unittest.main()
