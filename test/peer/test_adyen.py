#!/usr/bin/python3
"""Self test of adyen.py: a peer that forgets a charge would make every other test lie."""
import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import unittest

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "adyen.py")
SECRET, KEY = "key-of-self", "00" * 32


class PeerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.peer = subprocess.Popen(["/usr/bin/python3", PEER, "--secret", SECRET, "--webhook-secret", KEY, "--die-with-parent"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.peer.stdout.readline().split()[1])

    @classmethod
    def tearDownClass(cls):
        cls.peer.stdin.close()
        assert cls.peer.wait(120) == 0
        cls.peer.stdout.close()

    def setUp(self):
        self.control(reset=True)

    def ask(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def api(self, method, path, value=None, key=None, secret=SECRET):
        headers = {"X-API-Key": secret, "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        status, body, headers = self.ask(method, "/v71" + path, json.dumps(value) if value is not None else None, headers)
        return status, json.loads(body), headers

    def control(self, **orders):
        status, body, _ = self.ask("POST", "/_control", json.dumps(orders))
        self.assertEqual(status, 200, body)

    def book(self):
        return json.loads(self.ask("GET", "/_book")[1])

    def items(self):
        return [json.loads(event["body"])["notificationItems"][0]["NotificationRequestItem"] for event in json.loads(self.ask("GET", "/_events")[1])]

    def told(self):
        return [(item["eventCode"], item["success"]) for item in self.items()]

    def pay(self, key, token="TOKEN", ref="R1", tag="c1", **more):
        form = {"merchantAccount": "PeerShop", "reference": "%s-%s" % (ref, tag), "amount": {"currency": "EUR", "value": 1000},
                "paymentMethod": {"type": "scheme", "storedPaymentMethodId": token}, "shopperReference": "shopper-1", "returnUrl": "https://a.example"}
        form.update({"captureDelayHours": 0} if tag[0] == "c" else {"additionalData": {"manualCapture": "true"}}, **more)
        return self.api("POST", "/payments", form, key)

    def change(self, name, payment, key, tag, value=None):
        form = {"merchantAccount": "PeerShop", "reference": "R2-" + tag}
        if value is not None:
            form["amount"] = {"currency": "EUR", "value": value}
        return self.api("POST", "/payments/%s/%s" % (payment, name), form, key)

    def test_charges_once_a_key(self):
        first, again = self.pay("k1"), self.pay("k1")
        self.assertEqual((first[0], first[1]["resultCode"], first[1]["amount"]["value"]), (200, "Authorised", 1000))
        self.assertEqual(first[1], again[1])
        book = self.book()
        self.assertEqual((book["captured"], book["double_charged"], book["keys"]["replays"]), ({"EUR": 1000}, [], 1))
        self.pay("k2")
        self.assertEqual(self.book()["double_charged"], ["R1"])
        self.assertEqual(self.pay("k1", ref="R9")[0], 422)
        self.assertEqual(self.book()["keys"]["key_conflicts"], 1)

    def test_says_no(self):
        self.assertEqual(self.pay("k", "REFUSED_12_03")[1]["refusalReasonCode"], "12")
        self.assertEqual(self.pay("t1", "REFUSEDTIMES_1_9", ref="T")[1]["resultCode"], "Refused")
        self.assertEqual(self.pay("t2", "REFUSEDTIMES_1_9", ref="T")[1]["resultCode"], "Authorised")
        self.assertEqual(self.api("POST", "/payments", {}, "x", secret="wrong")[0], 401)
        self.assertEqual(self.api("POST", "/payments", {"merchantAccount": "Other"}, "y")[0], 403)
        self.assertEqual(self.pay("z", cvc="123")[0], 422)

    def test_redirects_without_names(self):
        answer = self.pay("k", "REDIRECT")[1]
        self.assertEqual((answer["resultCode"], set(answer) & {"pspReference", "merchantReference"}), ("RedirectShopper", set()))
        self.assertIn("merchantReference", self.pay("l", "RECEIVED", ref="R2")[1])

    def test_changes(self):
        payment = self.pay("a", tag="a1")[1]["pspReference"]
        self.assertEqual(self.change("captures", payment, "b", "k1", 2000)[1]["status"], "received")
        self.change("captures", payment, "c", "k2", 600)
        self.change("cancels", payment, "d", "v1")
        self.change("refunds", payment, "e", "r1", 600)
        self.assertEqual(self.told(), [("AUTHORISATION", "true"), ("CAPTURE", "false"), ("CAPTURE", "true"), ("CANCELLATION", "false"), ("REFUND", "true")])
        book = self.book()
        self.assertEqual((book["captured"], book["refunded"]), ({"EUR": 600}, {"EUR": 600}))
        self.control(refund_failed={})
        self.assertEqual(self.book()["refunded"], {"EUR": 0})

    def test_cancels_by_reference(self):
        self.pay("a", tag="a1")
        form = {"merchantAccount": "PeerShop", "paymentReference": "R1-a1", "reference": "R2-v1"}
        self.assertEqual(self.api("POST", "/cancels", form, "b")[0], 201)
        self.api("POST", "/cancels", dict(form, paymentReference="nobody-a1"), "c")
        self.assertEqual(self.told()[1:], [("TECHNICAL_CANCEL", "true"), ("TECHNICAL_CANCEL", "false")])
        self.assertEqual(self.book()["charges_by_status"], {"released": 1})

    def test_links(self):
        form = {"merchantAccount": "PeerShop", "reference": "R1-lc1", "amount": {"currency": "EUR", "value": 1000}, "captureDelayHours": 0}
        link = self.api("POST", "/paymentLinks", form, "a")[1]["id"]
        self.control(pay_link={"outcome": "refused"})
        self.assertEqual(self.api("GET", "/paymentLinks/" + link)[1]["status"], "active")
        self.control(pay_link={})
        self.assertEqual(self.api("PATCH", "/paymentLinks/" + link, {"status": "expired"})[1]["status"], "completed")
        self.assertEqual(self.told(), [("AUTHORISATION", "false"), ("AUTHORISATION", "true")])

    def test_signs(self):
        self.pay("a")
        item = self.items()[0]
        text = "%s::PeerShop:R1-c1:1000:EUR:AUTHORISATION:true" % item["pspReference"]
        mac = base64.b64encode(hmac.new(bytes.fromhex(KEY), text.encode(), hashlib.sha256).digest()).decode()
        self.assertEqual(item["additionalData"]["hmacSignature"], mac)

    def test_faults(self):
        self.control(faults=[{"fault": "lose_answer", "per_key": 1}])
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            self.pay("a")
        self.assertEqual(self.pay("a")[1]["resultCode"], "Authorised")
        self.control(faults=[{"fault": "status_500", "should_retry": True, "per_key": 1}])
        status, body, headers = self.pay("b", ref="R3")
        self.assertEqual((status, body["errorCode"], headers["transient-error"]), (500, "000", "true"))
        self.assertEqual(self.pay("b", ref="R3")[1]["resultCode"], "Authorised")
        self.control(faults=[{"fault": "status_422", "code": "704", "should_retry": True, "perform": True, "per_key": 1}])
        status, body, headers = self.pay("c", ref="R4")
        self.assertEqual((status, body["errorCode"], headers["transient-error"]), (422, "704", "true"))
        self.assertEqual(self.pay("c", ref="R4")[1]["resultCode"], "Authorised")
        self.assertEqual(self.book()["double_charged"], [])


if __name__ == "__main__":
    unittest.main()
