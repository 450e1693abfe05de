#!/usr/bin/env bash
# make demo: real payments, from a SQL call through the background worker and
# real HTTP to a PSP and back into history and ledger.
#
# Everything is on throwaway data: a private server and a scripted PSP that
# speaks Stripe's protocol on loopback and keeps a book of its own.  Each step
# shows a table and then checks it; the first thing that is not as promised
# ends the demo with an error.
#
#	bash test/demo.sh [--keep]	--keep (or KEEP=1): server and PSP go on running
set -u -o pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STAY=${KEEP:-0}
KEEP=0
for arg in "$@"; do
	case $arg in
		--keep) STAY=1 ;;
		*) echo "usage: $0 [--keep]" >&2; exit 2 ;;
	esac
done

# shellcheck source=test/lib/stage.sh
. "$HERE/lib/stage.sh"
# Fewer than the tests need.
PACKAGES="build-essential libcurl4-openssl-dev libxml2-dev postgresql-$PG_MAJOR postgresql-client-$PG_MAJOR
	postgresql-server-dev-$PG_MAJOR python3 rsync"

DB=shop
DEADLINE='20 s'
PEER_PIDS=
SERVER_UP=0
STARTED=$SECONDS
STEP=0
PROVED=0

bold= dim= plain=
if [ -t 1 ]; then
	bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
fi

# ---------- life ----------

finish() {
	local code=$?
	trap - EXIT INT TERM
	if [ "$code" -ne 0 ] && [ -n "${STAGE:-}" ] && [ -f "$STAGE/server.log" ]; then
		printf '\nThe server said last:\n' >&2
		tail -15 "$STAGE/server.log" >&2
	fi
	[ "$code" -eq 0 ] && [ "$STAY" = 1 ] && exit 0
	if [ "$SERVER_UP" = 1 ]; then
		as_postgres pg_ctl -D "$STAGE/data" -m immediate stop > /dev/null 2>&1
	fi
	# shellcheck disable=SC2086
	[ -n "$PEER_PIDS" ] && kill $PEER_PIDS 2> /dev/null
	wait 2> /dev/null
	[ -n "${STAGE:-}" ] && rm -rf "$STAGE"
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

die() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }

start_server() {
	# Only who may enter this folder can connect, so the demo needs no passwords.
	as_postgres mkdir -m 700 "$STAGE/run"
	as_postgres initdb -D "$STAGE/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 > "$STAGE/initdb.log" 2>&1 ||
		{ cat "$STAGE/initdb.log" >&2; die 'initdb failed'; }
	as_postgres sh -c "umask 077; printf 'stripe = sk_test_demo\nstripe.webhook = whsec_demo\n' > '$STAGE/payments.secrets'"
	as_postgres tee -a "$STAGE/data/postgresql.conf" > /dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$STAGE/run'
		shared_preload_libraries = 'payments'
		payments.databases = '$DB'
		payments.secrets_file = '$STAGE/payments.secrets'
		payments.allow_http = on		# the PSP of the demo is on loopback
	CONF
	as_postgres pg_ctl -D "$STAGE/data" -l "$STAGE/server.log" -s -w -o '-c timezone=UTC' start || die 'the server did not start'
	SERVER_UP=1
}

# start_peer NAME: a PSP of its own process; PEER_URL is where it is.
start_peer() {
	local name=$1
	# In a session of its own, so that Ctrl-C in a kept demo does not end it.
	as_postgres setsid sh -c "echo \$\$ > '$STAGE/$name.pid'; exec /usr/bin/python3 '$SRC/test/peer/stripe.py' --port 0 \
		--secret sk_test_demo --webhook-secret whsec_demo --ready-file '$STAGE/$name.port'" \
		< /dev/null > "$STAGE/$name.log" 2>&1 &
	local deadline=$((SECONDS + 20))
	until [ -s "$STAGE/$name.port" ]; do
		[ $SECONDS -lt $deadline ] || { cat "$STAGE/$name.log" >&2; die 'the scripted PSP did not start'; }
		read -r -t 0.05 < <(:) || true
	done
	PEER_PIDS="$PEER_PIDS $(cat "$STAGE/$name.pid")"
	PEER_URL=http://127.0.0.1:$(cat "$STAGE/$name.port")
}

# ask PATH [JSON]: what the PSP says; a redirect is not followed.
ask() {
	/usr/bin/python3 - "$PEER_URL$1" "${2:-}" <<-'PY'
		import sys, urllib.request, urllib.error
		class Stay(urllib.request.HTTPRedirectHandler):
		    def redirect_request(self, *args):
		        return None
		opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
		try:
		    print(opener.open(sys.argv[1], sys.argv[2].encode() or None, 30).read().decode(), end="")
		except urllib.error.HTTPError as error:
		    sys.exit(0 if error.code == 302 else "PSP: %s" % error)
	PY
}

# ---------- SQL ----------

psql_as() {
	local role=$1
	shift
	as_postgres env PGOPTIONS='-c client_min_messages=warning' PSQL_PAGER= psql -X -q -v ON_ERROR_STOP=1 -h "$STAGE/run" -U "$role" -d "$DB" \
		-P footer=off -P linestyle=unicode -P border=2 -P null='·' "$@"
}

# The shop may call the verbs and read its own rows, nothing more.
shop() { psql_as shop "$@" || die 'this statement must not fail'; }
value() { psql_as postgres -At -c "$1" || die 'this statement must not fail'; }

step() {
	STEP=$((STEP + 1))
	printf '\n%s%d. %s%s\n   %s\n' "$bold" "$STEP" "$1" "$plain" "$2"
}

# call SQL [KEY]: shows the statement, runs it as the shop, and shows what it
# returned.  :'payment' stands for the payment that was created under KEY.
call() {
	said "$1"
	printf '%s\n' "$1" | shop -v payment="${2:+$(payment_of "$2")}" -f - | indented || exit 1
}

# refused SQL KEY SQLSTATE: the same, for a statement that must end with that error.
refused() {
	local message
	said "$1"
	message=$(printf '\\set VERBOSITY verbose\n%s\n' "$1" | psql_as shop -v payment="$(payment_of "$2")" -f - 2>&1) &&
		die 'not as promised: this statement was not refused'
	printf '%s\n' "$message" | sed -n 's/^psql:[^ ]* //; /^LOCATION/d; p' | indented
	case $message in
		*" $3: "*) PROVED=$((PROVED + 1)); printf '   ✓ refused, with SQLSTATE %s\n' "$3" ;;
		*) die "not as promised: refused, but not with SQLSTATE $3" ;;
	esac
}

said() { printf '%s%s%s\n' "$dim" "$(printf '%s\n' "$1" | tr '\t' ' ' | sed 's/^/   shop=> /; 2,$s/=> /-> /')" "$plain"; }

indented() { sed '/^$/d; s/^/   /'; }

show() { psql_as postgres -c "$1" | indented || die 'this statement must not fail'; }

# prove WHAT SQL: the promise of this step, checked; SQL gives t.
prove() {
	local answer
	answer=$(value "$2") || exit 1
	[ "$answer" = t ] || die "not as promised: $1
the check was: $2
its answer:    $answer"
	PROVED=$((PROVED + 1))
	printf '   ✓ %s\n' "$1"
}

# payment_of KEY: the payment that was created under that key.
payment_of() { value "SELECT payment_id FROM payments.idempotency_key WHERE key = '$1' AND verb = 'create_payment'"; }

# wait_for KEY: waits until nothing of ours is under way for it.
wait_for() { value "SELECT payments.wait_payment('$(payment_of "$1")', '$DEADLINE')" > /dev/null || exit 1; }

one_row() {
	show "SELECT p.order_ref AS order, payments.format_amount(p.amount, p.currency) AS amount, p.status,
		payments.format_amount(p.captured, p.currency) AS captured, payments.format_amount(p.refunded, p.currency) AS refunded,
		p.failure_code AS refused_because FROM payments.payment p WHERE p.payment_id = '$(payment_of "$1")'"
}

story() {
	show "SELECT seq, event, status, source AS said_by, code, to_char(recorded_at, 'HH24:MI:SS.MS') AS at
		FROM payments.payment_history('$(payment_of "$1")')"
}

status_is() { prove "$3" "SELECT status = '$2' FROM payments.payment WHERE payment_id = '$(payment_of "$1")'"; }

# charges KEY: how often the PSP took money for it, by the PSP's own book.
book_says() {
	ask /_book.tsv > "$STAGE/book.tsv" || die 'the PSP does not show its book'
	local n
	n=$(awk -F '\t' -v ref="$(value "SELECT psp_ref FROM payments.operation WHERE payment_id = '$(payment_of "$1")' AND kind IN ('charge', 'authorize')")" \
		'$3 == ref && $8 == "succeeded"' "$STAGE/book.tsv" | wc -l)
	[ "$n" -eq "$2" ] || die "not as promised: the PSP's book has $n charges of $1 instead of $2"
	PROVED=$((PROVED + 1))
	printf '   ✓ %s\n' "$3"
}

# ---------- here we go ----------

printf '%spayments%s: a demonstration on throwaway data (packages, build and server first)\n' "$bold" "$plain"
stage || die 'could not build; see above'
start_server
start_peer peer
as_postgres createdb -h "$STAGE/run" -U postgres "$DB" || die 'createdb failed'
psql_as postgres > /dev/null <<SQL || die 'could not install the extension'
CREATE EXTENSION payments;
SELECT payments.setup();
CREATE ROLE shop LOGIN IN ROLE payments_app;
SELECT payments.create_psp(psp => 'stripe', adapter => 'stripe', base_url => '$PEER_URL', secret => 'stripe',
	config => '{"feeds": {"interval_s": 1, "lag_s": 0}}');
SELECT payments.arm();
-- What the PSP lists comes last: it would tell of things before this demo does.
SELECT payments.enable_feed('stripe', f.feed, false) FROM payments.psp_feed f WHERE f.psp = 'stripe';
-- Hours and days between tries would make a long demo.
INSERT INTO payments.retry_schedule (schedule, psp, try, delay, builtin) VALUES
	('soft_decline', 'stripe', 1, '1 s', false),
	('unknown', 'stripe', 1, '1 s', false), ('unknown', 'stripe', 2, '1 s', false), ('unknown', 'stripe', 3, '5 s', false);
SQL
printf 'Ready after %d s: PostgreSQL %s, and a PSP of its own process at %s\n' $((SECONDS - STARTED)) "$(value 'SHOW server_version')" "$PEER_URL"

step 'A first payment, through the sandbox' 'One SQL call; the sandbox answers inside the server, so this works before you have any PSP.'
call "SELECT status, replayed FROM payments.create_payment(idempotency_key => 'order-1', amount => 1050,
	currency => 'EUR', psp => 'sandbox', payment_method => 'sandbox_ok', order_ref => 'order-1');"
wait_for order-1
one_row order-1
status_is order-1 succeeded 'accepted, sent after COMMIT, and paid'

step 'The same through Stripe' 'The worker speaks HTTP while no transaction is open; the application never waits for the PSP.'
call "SELECT status, replayed FROM payments.create_payment(idempotency_key => 'order-2', amount => 2599,
	currency => 'EUR', psp => 'stripe', payment_method => 'pm_card_visa', order_ref => 'order-2');"
wait_for order-2
one_row order-2
status_is order-2 succeeded 'paid'
book_says order-2 1 "one charge in the PSP's own book"

step 'A decline' 'Final: a lost card is never tried again, and the reason is there for the shop.'
call "SELECT status FROM payments.create_payment(idempotency_key => 'order-3', amount => 9900,
	currency => 'EUR', psp => 'stripe', payment_method => 'pm_card_visa_chargeDeclinedLostCard', order_ref => 'order-3');"
wait_for order-3
one_row order-3
status_is order-3 failed 'failed, and says why'
prove 'it was sent once' "SELECT attempts = 1 FROM payments.operation WHERE payment_id = '$(payment_of order-3)'"
book_says order-3 0 'nothing was charged'

step 'A soft decline that is tried again' 'No money on the card today: with no customer waiting (off_session) the schedule tries again, here after 1 s instead of 24 h.'
call "SELECT status FROM payments.create_payment(idempotency_key => 'order-4', amount => 1500, currency => 'EUR', psp => 'stripe',
	payment_method => 'pm_test_declined_times_1_insufficient_funds', order_ref => 'order-4', off_session => true);"
wait_for order-4
story order-4
status_is order-4 succeeded 'the second try went through'
prove 'each try went under a PSP key of its own' \
	"SELECT count(DISTINCT a.psp_key) = 2 FROM payments.attempt a JOIN payments.operation o USING (operation_id)
	 WHERE o.payment_id = '$(payment_of order-4)' AND a.action = 'send'"
book_says order-4 1 'charged once'

step 'An answer that is lost after the charge' 'The PSP charges and the line goes dead: the money moved, and nobody has told us. This is where customers get charged twice.'
ask /_control '{"faults": [{"fault": "lose_answer", "method": "POST", "count": 1}]}' > /dev/null || die 'the PSP takes no orders'
call "SELECT status FROM payments.create_payment(idempotency_key => 'order-5', amount => 4200,
	currency => 'EUR', psp => 'stripe', payment_method => 'pm_card_visa', order_ref => 'order-5');"
wait_for order-5
ask /_control '{"faults": []}' > /dev/null
story order-5
status_is order-5 succeeded 'found out and completed'
prove 'it was in doubt meanwhile, never "failed"' \
	"SELECT bool_or(status = 'in_doubt') AND NOT bool_or(status = 'failed') FROM payments.payment_status WHERE payment_id = '$(payment_of order-5)'"
book_says order-5 1 'charged once'

step 'A PSP that dies' 'Two PSPs, and a rule: what names none goes to north, and to south when north cannot. Then north dies in the middle of a payment.'
STRIPE_URL=$PEER_URL
start_peer north; NORTH_URL=$PEER_URL
start_peer south; SOUTH_URL=$PEER_URL
PEER_URL=$STRIPE_URL
psql_as postgres > /dev/null <<SQL || die 'the PSPs could not be made'
SELECT payments.create_psp(psp => 'north', adapter => 'stripe', base_url => '$NORTH_URL', secret => 'stripe'),
	payments.create_psp(psp => 'south', adapter => 'stripe', base_url => '$SOUTH_URL', secret => 'stripe');
SELECT payments.enable_feed(f.psp, f.feed, false) FROM payments.psp_feed f WHERE f.psp IN ('north', 'south');
INSERT INTO payments.retry_schedule (schedule, psp, try, delay, builtin)
SELECT 'not_sent', 'north', 1, interval '300 ms', false UNION ALL SELECT 'unknown', 'north', n, interval '1 s', false FROM generate_series(1, 60) n;
SQL
rule="SELECT payments.create_route_rule('francs', psps => '{north,south}', shares => '{1,0}', currency => 'CHF', payment_method => 'pm_*');"
said "$rule"
value "$rule" > /dev/null
franc="currency => 'CHF', payment_method => 'pm_card_visa'"
call "SELECT status FROM payments.create_payment(idempotency_key => 'franc-1', amount => 1100, $franc, order_ref => 'franc-1');"
wait_for franc-1
PEER_URL=$NORTH_URL ask /_control '{"faults": [{"fault": "lose_answer"}]}' > /dev/null || die 'the PSP takes no orders'
call "SELECT status FROM payments.create_payment(idempotency_key => 'franc-2', amount => 2200, $franc, order_ref => 'franc-2');"
value "DO \$\$ BEGIN FOR i IN 1 .. 200 LOOP EXIT WHEN EXISTS (SELECT FROM payments.payment WHERE order_ref = 'franc-2' AND status = 'in_doubt'); COMMIT; PERFORM pg_sleep(0.1); END LOOP; END \$\$" > /dev/null
PEER_URL=$NORTH_URL ask /_control '{"faults": [], "down_for_ms": 15000}' > /dev/null || die 'the PSP takes no orders'
printf '   (north has charged franc-2, says nothing of it, and refuses every connection from here on, for 15 s)\n'
for n in 3 4 5; do
	call "SELECT status FROM payments.create_payment(idempotency_key => 'franc-$n', amount => ${n}${n}00, $franc, order_ref => 'franc-$n');"
done
for n in 3 4 5; do wait_for "franc-$n"; done
francs="SELECT order_ref AS order, payments.format_amount(amount, currency) AS amount, psp, status FROM payments.payment WHERE currency = 'CHF' ORDER BY order_ref"
show "$francs"
prove 'what came after its death is paid, at south' "SELECT count(*) = 3 FROM payments.payment WHERE currency = 'CHF' AND psp = 'south' AND status = 'succeeded'"
prove 'what is in doubt is sent nowhere else' "SELECT psp = 'north' AND status = 'in_doubt' FROM payments.payment WHERE order_ref = 'franc-2'"
said "SELECT * FROM payments.explain_route(:'payment');"
show "SELECT generation AS gen, reason, rule, psp, chosen, note FROM payments.explain_route('$(payment_of franc-3)')"
value "SELECT payments.wait_payment('$(payment_of franc-2)', '60 s')" > /dev/null
call "SELECT status FROM payments.create_payment(idempotency_key => 'franc-6', amount => 6600, $franc, order_ref => 'franc-6');"
wait_for franc-6
show "$francs"
status_is franc-2 succeeded 'north is back by itself: asked again, it says that franc-2 was paid'
prove 'and gets payments again' "SELECT psp = 'north' AND status = 'succeeded' FROM payments.payment WHERE order_ref = 'franc-6'"
for n in 1 2 6; do PEER_URL=$NORTH_URL book_says "franc-$n" 1 "franc-$n: charged once at north" && PEER_URL=$SOUTH_URL book_says "franc-$n" 0 'and never at south'; done
for n in 3 4 5; do PEER_URL=$NORTH_URL book_says "franc-$n" 0 "franc-$n: never charged at north" && PEER_URL=$SOUTH_URL book_says "franc-$n" 1 'once at south'; done

step 'Hold now, take later' 'Manual capture: the amount is reserved at order time and taken, in part here, when the parcel leaves.'
call "SELECT status FROM payments.create_payment(idempotency_key => 'order-6', amount => 10000, currency => 'EUR',
	psp => 'stripe', payment_method => 'pm_card_visa', capture => 'manual', order_ref => 'order-6');"
wait_for order-6
status_is order-6 authorized 'held'
call "SELECT status FROM payments.capture_payment(:'payment', idempotency_key => 'ship-6', amount => 8000);" order-6
wait_for order-6
one_row order-6
prove 'taken, and no more than asked' "SELECT status = 'succeeded' AND captured = 8000 FROM payments.payment WHERE payment_id = '$(payment_of order-6)'"

step 'A partial refund' 'As often as you like, and never more in sum than was taken, however many ask at once.'
call "SELECT status FROM payments.refund_payment(:'payment', idempotency_key => 'return-2', amount => 1000,
	reason => 'requested_by_customer');" order-2
wait_for order-2
one_row order-2
prove 'partially refunded' "SELECT status = 'partially_refunded' AND refunded = 1000 FROM payments.payment WHERE payment_id = '$(payment_of order-2)'"
refused "SELECT status FROM payments.refund_payment(:'payment', idempotency_key => 'return-2b', amount => 1600);" order-2 PY007

step 'The same call again' 'A client that timed out may repeat itself: the same key gives the first result and does nothing, another request under it is an error.'
call "SELECT payment_id = :'payment' AS same_payment, status, replayed
	FROM payments.create_payment(idempotency_key => 'order-2', amount => 2599, currency => 'EUR', psp => 'stripe',
	payment_method => 'pm_card_visa', order_ref => 'order-2');" order-2
refused "SELECT status FROM payments.create_payment(idempotency_key => 'order-2', amount => 1, currency => 'EUR');" order-2 PY102
prove 'no second payment' "SELECT count(*) = 1 FROM payments.payment WHERE order_ref = 'order-2'"
book_says order-2 1 'and no second charge'

step 'A webhook' "The payer must confirm at the bank; the PSP then calls the shop's endpoint, which hands headers and raw body to SQL."
call "SELECT status FROM payments.create_payment(idempotency_key => 'order-7', amount => 3300, currency => 'EUR', psp => 'stripe',
	payment_method => 'pm_card_authenticationRequired', order_ref => 'order-7', return_url => 'https://shop.example/thanks');"
wait_for order-7
status_is order-7 requires_action 'waits for the payer'
ask "/_authenticate/$(value "SELECT psp_payment_id FROM payments.payment WHERE payment_id = '$(payment_of order-7)'")" > /dev/null || die 'the payer could not confirm'
printf '   (the payer confirms; the PSP sends its signed event)\n'
ask '/_events?type=payment_intent.succeeded' > "$STAGE/events.json" || die 'the PSP shows no events'
/usr/bin/python3 - "$STAGE/events.json" > "$STAGE/webhook.sql" <<'PY'
import json, sys
event = json.load(open(sys.argv[1]))[-1]
headers = json.dumps({"Stripe-Signature": event["signature"]})
print("SELECT status, duplicate FROM payments.receive_webhook(psp => 'stripe', headers => '%s',\n  body => '\\x%s');"
      % (headers, event["body"].encode().hex()))
PY
chmod 644 "$STAGE/webhook.sql"
for time in first second; do
	printf "%s   shop=> SELECT status, duplicate FROM payments.receive_webhook('stripe', headers => '{\"Stripe-Signature\": ...}', body => '...');   -- the %s time%s\n" \
		"$dim" "$time" "$plain"
	shop -f "$STAGE/webhook.sql" | indented || exit 1
done
status_is order-7 succeeded 'paid, by word of the webhook'
prove 'delivered twice, stored and applied once' \
	"SELECT count(*) = 1 AND bool_and(outcome = 'applied') FROM payments.psp_event WHERE payment_id = '$(payment_of order-7)'"
book_says order-7 1 'charged once'

step 'What happened to one payment' 'Every status with who said so. Rows are chained by hashes and cannot be changed or removed, not even by their owner.'
story order-2
prove 'UPDATE is refused even for a superuser' "$(cat <<'SQL'
DO $$ BEGIN UPDATE payments.payment_status SET status = 'failed'; RAISE 'the update went through';
EXCEPTION WHEN SQLSTATE 'PY003' THEN NULL; END $$; SELECT true
SQL
)"

step 'The ledger' 'Every movement of money is a posting between two accounts, so the books balance by construction.'
show "SELECT code AS account, payments.format_amount(debits::bigint, currency) AS debits, payments.format_amount(credits::bigint, currency) AS credits,
	balance_text AS balance FROM payments.trial_balance"
prove 'debits equal credits in every currency' "SELECT bool_and(balance = 0) AND bool_and(debits > 0) FROM payments.trial_balance WHERE code = 'TOTAL'"

step 'The promises, checked on the data' 'payments.check() looks for violations in one snapshot; run it whenever you like.'
show "SELECT invariant, ok, violations FROM payments.check()"
prove 'all hold' "SELECT bool_and(ok) AND count(*) > 15 FROM payments.check()"

step "The PSP's own book beside ours" 'Written by another process that never saw our tables: the two must agree to the cent.'
ask /_book.tsv > "$STAGE/book.tsv" || die 'the PSP does not show its book'
chmod 644 "$STAGE/book.tsv"
cat > "$STAGE/book.sql" <<SQL
CREATE TEMP TABLE book (payment text, charge text, payments_ref text, amount bigint, currency text, captured bigint, refunded bigint,
	status text, created bigint, fee bigint, idempotency_key text);
\\copy book FROM '$STAGE/book.tsv'
CREATE TEMP TABLE ours AS
SELECT p.*, o.psp_ref FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.psp = 'stripe' AND o.kind IN ('charge', 'authorize');
SELECT p.order_ref AS order, p.status AS our_status, payments.format_amount(p.captured, p.currency) AS we_captured,
	b.status AS psp_status, payments.format_amount(b.captured, upper(b.currency)) AS psp_captured,
	payments.format_amount(p.refunded, p.currency) AS we_refunded, payments.format_amount(b.refunded, upper(b.currency)) AS psp_refunded
FROM ours p LEFT JOIN (SELECT * FROM book WHERE captured > 0) b ON b.payments_ref = p.psp_ref ORDER BY 1;
SELECT 'ours' AS book, count(*) AS payments, payments.format_amount(sum(captured)::bigint, 'EUR') AS captured,
	payments.format_amount(sum(refunded)::bigint, 'EUR') AS refunded FROM ours WHERE captured > 0
UNION ALL
SELECT 'the PSP''s', count(*), payments.format_amount(sum(captured)::bigint, 'EUR'), payments.format_amount(sum(refunded)::bigint, 'EUR')
FROM book WHERE captured > 0;
CREATE TEMP TABLE differences AS
SELECT FROM ours p FULL JOIN (SELECT * FROM book WHERE captured > 0) b ON b.payments_ref = p.psp_ref
WHERE (coalesce(p.captured, 0), coalesce(p.refunded, 0)) IS DISTINCT FROM (coalesce(b.captured, 0), coalesce(b.refunded, 0));
DO \$\$ BEGIN
	IF EXISTS (SELECT FROM differences) OR (SELECT count(*) FROM book WHERE captured > 0) <> 5 THEN RAISE 'the books differ'; END IF;
END \$\$;
SQL
psql_as postgres -f "$STAGE/book.sql" | indented || die "not as promised: our book and the PSP's differ"
PROVED=$((PROVED + 1))
printf '   ✓ same payments, same sums\n'

step "What the PSP has on its account, line by line" "The worker reads the PSP's list of what moved, and compares it with ours; here somebody has charged a card past the shop."
as_postgres /usr/bin/python3 - "$PEER_URL" <<'PY' || die 'the PSP took no charge'
import sys, urllib.parse, urllib.request
form = urllib.parse.urlencode({"amount": 1234, "currency": "eur", "payment_method": "pm_card_visa", "confirm": "true", "capture_method": "automatic"})
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(urllib.request.Request(sys.argv[1] + "/v1/payment_intents", form.encode(),
    {"Authorization": "Bearer sk_test_demo", "Idempotency-Key": "typed in at the PSP"}), timeout=30)
PY
value "SELECT payments.enable_feed('stripe', 'settlement')" > /dev/null
value "DO \$\$ BEGIN FOR i IN 1 .. 600 LOOP EXIT WHEN EXISTS (SELECT FROM payments.settlement_line WHERE gross = 1234); PERFORM pg_sleep(0.1); END LOOP; END \$\$" > /dev/null
show "SELECT discovered, explained, still_open FROM payments.reconcile('stripe')" > /dev/null
show "SELECT line_no AS line, kind, payments.format_amount(gross, currency) AS gross, payments.format_amount(fee, currency) AS fee,
	payments.format_amount(net, currency) AS net, psp_payment_id FROM payments.settlement_line ORDER BY occurred_at, line_no"
show "SELECT kind, ours_text AS ours, theirs_text AS theirs, suggestion FROM payments.discrepancy WHERE status = 'open'"
prove 'what agrees is not mentioned, what does not is found' \
	"SELECT count(*) = 1 AND bool_and(kind = 'missing_here' AND theirs = 1234) FROM payments.discrepancy WHERE status = 'open'"
decision="SELECT status FROM payments.resolve_discrepancy($(value "SELECT discrepancy_id FROM payments.discrepancy WHERE status = 'open'"), action => 'create', reason => 'sold by phone');"
said "$decision"
show "$decision"
run=$(value "SELECT run_id FROM payments.reconcile('stripe')")
psql_as postgres -At -c "SELECT line FROM payments.reconciliation_report($run)" | sed 's/^/   /' || die 'no report'
prove 'nothing is open' "SELECT count(*) = 0 FROM payments.discrepancy WHERE status = 'open'"
prove 'all promises still hold' "SELECT bool_and(ok) FROM payments.check()"

step 'A statement for the merchant' 'Numbered, cut exactly, and the same to the byte whenever it is asked for; also as JSON, and as HTML that prints.'
value "SELECT payments.issue_statement('default', 'EUR', date_trunc('day', now()) - interval '1 day', clock_timestamp())" > /dev/null
show "SELECT section, count(*) AS lines, payments.format_amount(sum(amount)::bigint, 'EUR') AS amount FROM payments.statement_lines(1) GROUP BY section ORDER BY section"
psql_as postgres -At -c "SELECT payments.statement_html(1)" > "$STAGE/statement.html" || die 'no page'
prove 'it is what its postings make' "SELECT ok FROM payments.verify_statement(1)"

printf '\n%sAll %d checks held, in %d s.%s\n' "$bold" "$PROVED" $((SECONDS - STARTED)) "$plain"

if [ "$STAY" != 1 ]; then
	printf 'Everything is removed again. To look around in it: make demo KEEP=1\n'
	exit 0
fi

as_owner=
[ "$(id -u)" -eq 0 ] && as_owner='runuser -u postgres -- '
cat > "$STAGE/stop" <<STOP
#!/bin/sh
# Ends the demo's server and PSP and removes its folder.
cd / || exit 1
${as_owner}${PG_CONFIG%/*}/pg_ctl -D $STAGE/data -m fast -s stop
kill$PEER_PIDS
rm -rf $STAGE
STOP
cat <<END
Server and PSP go on running:
  psql:      ${as_owner}psql -h $STAGE/run -U postgres $DB
  statement: $STAGE/statement.html
  the PSP:   $PEER_URL/_book        (orders: test/peer/stripe.py says which)
  stop it:   sh $STAGE/stop
END
exit 0
