# If this fails, a payment whose webhook got lost stays wrong for ever, lines of
# a PSP's settlement are lost or counted twice after a crash, or reading them
# holds up the payments themselves.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP ();
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my %FAST = (interval_s => 1, lag_s => 0, overlap_s => 600);

my $node = new_payments_node('feeds', fsync => 1, conf => 'restart_after_crash = on');
my $peer = start_peer();
create_stripe_psp($node, $peer, feeds => \%FAST);
# What the worker asks by itself would tell the same as the feeds.
no_inquiries($node);

sub ref_of { return value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$_[0]' AND kind IN ('charge', 'authorize')") }
sub status_of { return value($node, "SELECT status FROM payments.payment WHERE payment_id = '$_[0]'") }
sub feed { return value($node, "SELECT $_[0] FROM payments.psp_feed WHERE feed = '" . ($_[1] // 'settlement') . "'") }
sub worker_pid { return value($node, 'SELECT pid FROM payments.worker_status') }

# Every line of the PSP's book here, with the same amounts, once.
sub book_of_peer
{
	return join "\n", sort map { join '|', $_->{id}, $_->{source}, $_->{payment}, $_->{amount}, $_->{fee}, $_->{net}, uc $_->{currency}, $_->{created} } @{ $peer->transactions };
}
my $BOOK = q{SELECT raw ->> 'id', psp_object_id, psp_payment_id, gross, fee, net, currency, extract(epoch FROM occurred_at)::bigint
	FROM payments.settlement_line ORDER BY raw ->> 'id' COLLATE "C"};
sub book_is_here
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $wanted = scalar @{ $peer->transactions };

	wait_until($node, 'SELECT count(*) >= ' . $wanted . ' FROM payments.settlement_line');
	return is(value($node, $BOOK), book_of_peer(), $name);
}
# The next window that begins from now on is done.
sub read_to_the_end
{
	my $now = value($node, 'SELECT clock_timestamp()');

	return wait_until($node, "SELECT bool_and(watermark > timestamptz '$now') FROM payments.psp_feed WHERE enabled");
}
# Off, and nothing asked for any more.
sub feeds_off
{
	value($node, q{SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed});
	return wait_until($node, 'SELECT count(*) FROM payments.psp_feed WHERE claimed_by IS NOT NULL', 0);
}
# That nothing is asked for shows only when there was time for it.
sub asks_for_nothing
{
	my ($dbname, $name) = @_;
	my $requests = $peer->book(brief => 1)->{requests};

	usleep 2_000_000;
	my $id = create_payment($node, dbname => $dbname, idempotency_key => "beside $name", amount => 1, psp => 'sandbox', payment_method => 'sandbox_ok');
	is(outcome($node, $id, undef, dbname => $dbname), 'succeeded', 'the worker has been through its round');
	return is($peer->book(brief => 1)->{requests}, $requests, $name);
}
# A charge that the PSP has and we never asked it for.
sub charge_at_psp
{
	my ($key, $amount) = @_;
	my $answer = HTTP::Tiny->new->post_form($peer->url . '/v1/payment_intents',
		[ amount => $amount, currency => 'eur', payment_method => 'pm_card_visa', confirm => 'true', capture_method => 'automatic' ],
		{ headers => { Authorization => "Bearer $PaymentsTest::SECRET", 'Idempotency-Key' => $key } });
	die $answer->{content} unless $answer->{success};
	return;
}

# ---------- webhooks never come
is(value($node, q{SELECT string_agg(feed || ' ' || enabled || ' ' || (watermark - s.created_at BETWEEN interval '-5 s' AND interval '60 s'), ', ' ORDER BY feed)
	FROM payments.psp_feed JOIN payments.psp s USING (psp)}), 'events true true, settlement true true', 'create_psp() makes the feeds, from its time on');
my $acted = create_payment($node, idempotency_key => 'acted', amount => 1000, payment_method => 'pm_card_authenticationRequired', return_url => 'https://shop.example/');
my $slow = create_payment($node, idempotency_key => 'slow', amount => 1100, payment_method => 'pm_test_processing');
my $held = create_payment($node, idempotency_key => 'held', amount => 1200, capture => 'manual');
my $paid = create_payment($node, idempotency_key => 'paid', amount => 1300);
my $back = create_payment($node, idempotency_key => 'back', amount => 1400);
is(outcome($node, $acted), 'requires_action', 'the payer must act');
is(outcome($node, $held), 'authorized', 'one is authorized');
is(outcome($node, $_), 'succeeded', 'one is paid') foreach $paid, $back;
ok(wait_until($node, "SELECT status FROM payments.operation WHERE payment_id = '$slow'", 'processing'), 'one is under way at the PSP');
value($node, "SELECT * FROM payments.refund_payment('$back', 'back-refund', 400)");
is(outcome($node, $back), 'partially_refunded', 'one is refunded in part');

$peer->control({ finish => { ref => ref_of($_) } }) foreach $acted, $slow;
$peer->control({ dispute => { ref => ref_of($paid) } });
$peer->control({ fail_refund => { payment_intent => value($node, "SELECT psp_payment_id FROM payments.payment WHERE payment_id = '$back'") } });
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$_->[0]'", $_->[1]), "without a webhook: $_->[1]")
  foreach [ $acted, 'succeeded' ], [ $slow, 'succeeded' ], [ $paid, 'disputed' ], [ $back, 'succeeded' ];
is(value($node, "SELECT refunded, disputed FROM payments.payment WHERE payment_id = '$back'"), '0|0', 'the refund that failed is taken back');
$peer->control({ close_dispute => { ref => ref_of($paid), status => 'won' } });
ok(wait_until($node, "SELECT status, disputed FROM payments.payment WHERE payment_id = '$paid'", 'succeeded|0'), 'the dispute is won');
is(value($node, "SELECT count(*) FROM payments.attempt WHERE action = 'inquire' AND operation_id IN (SELECT operation_id FROM payments.operation WHERE payment_id = '$paid')"), 0,
	'nobody had to ask about it');
ok(read_to_the_end(), 'the events are read to the end');
is(value($node, q{SELECT DISTINCT source FROM payments.psp_event}), 'feed', 'all of them came by the feed');

# The webhook that comes after all.
my ($late) = $peer->events(type => 'payment_intent.succeeded', ref => ref_of($acted));
my ($code, $stdout) = deliver_event($node, $late);
like($stdout, qr/^$late->{id}\|t\|$acted\|succeeded\|$/, 'a webhook that comes later is a duplicate');
# And one that comes first.
my $first = create_payment($node, idempotency_key => 'first', amount => 1500, payment_method => 'pm_test_processing');
ok(wait_until($node, "SELECT status FROM payments.operation WHERE payment_id = '$first'", 'processing'), 'one more under way');
ok(feeds_off(), 'nobody reads');
$peer->control({ finish => { ref => ref_of($first) } });
deliver_event($node, $_) foreach $peer->events(type => 'payment_intent.succeeded', ref => ref_of($first));
value($node, q{SELECT payments.enable_feed(psp, feed) FROM payments.psp_feed});
ok(read_to_the_end(), 'the feed finds it');
is(value($node, "SELECT source, outcome FROM payments.psp_event WHERE payment_id = '$first' AND event_type = 'payment_intent.succeeded'"), 'webhook|applied', 'and leaves it alone');

# ---------- the PSP's balance
book_is_here('every movement of the PSP\'s balance is here, once');
is(value($node, q{SELECT kind, count(*), sum(net) FROM payments.settlement_line GROUP BY 1 ORDER BY 1}),
	join("\n", 'charge|5|' . (6300 - (5 * 25 + 15 + 17 + 20 + 21 + 23)), 'chargeback|1|-2800', 'chargeback_reversal|1|2800', 'refund|1|-400', 'refund_failure|1|400'),
	'by kind');
is(value($node, "SELECT l.reference = o.psp_ref, l.psp_payment_id = p.psp_payment_id FROM payments.settlement_line l, payments.operation o, payments.payment p
	WHERE o.payment_id = '$paid' AND p.payment_id = '$paid' AND l.kind = 'charge' AND l.gross = 1300"), 't|t', 'a line names our operation and the PSP\'s payment');
is(value($node, q{SELECT bool_and(jsonb_typeof(raw -> 'source') = 'string') FROM payments.settlement_line}), 't', 'the payer\'s data in the source are not kept');
is(value($node, q{SELECT string_agg(coalesce(problem, 'well'), ',') FROM payments.feed_status}), 'well,well', 'feed_status finds nothing wrong');
my $batches = value($node, 'SELECT count(*) FROM payments.settlement_batch');
ok(read_to_the_end(), 'another window');
is(value($node, 'SELECT count(*) FROM payments.settlement_batch'), $batches, 'that brings nothing new makes no batch');
check_clean($node);

# ---------- a partial capture, which the PSP's books tell as the whole charge and a line that takes back the rest
my $part = create_payment($node, idempotency_key => 'part', amount => 1600, capture => 'manual');
is(outcome($node, $part), 'authorized', 'sixteen are held');
value($node, "SELECT * FROM payments.capture_payment('$part', 'part-capture', 1000)");
is(outcome($node, $part), 'succeeded', 'and ten captured');
ok(wait_until($node, "SELECT string_agg(type || ' ' || gross, ', ' ORDER BY gross) FROM payments.settlement_line
	WHERE psp_payment_id = (SELECT psp_payment_id FROM payments.payment WHERE payment_id = '$part')", 'partial_capture_reversal -600, charge 1600'), 'both lines come by the feed');
value($node, q{SELECT * FROM payments.reconcile('stripe')});
is(value($node, "SELECT status, captured, refunded FROM payments.payment WHERE payment_id = '$part'"), 'succeeded|1000|0', 'nobody has refunded anything');
is(value($node, "SELECT count(*) FROM payments.discrepancy WHERE payment_id = '$part' AND status = 'open'"), 0, 'and nothing differs');
value($node, "SELECT * FROM payments.refund_payment('$part', 'part-refund', 1000)");
is(outcome($node, $part), 'refunded', 'all that was captured can be refunded');
check_clean($node);

# ---------- no transaction is open, and payments do not wait, while a list hangs
# So that the calls end when we say so, however busy the machine is.
$node->safe_psql('postgres', q{UPDATE payments.psp SET timeout = '5 min'});
$peer->faults({ fault => 'hold', method => 'GET', path => '/v1/(balance_transactions|events)' });
ok($peer->wait_held(2), 'both lists are asked for, and hang');
worker_has_no_transaction($node, 'each transaction and snapshot of the worker that 200 looks meet ends while they hang');
foreach my $i (1 .. 20)
{
	my $id = create_payment($node, idempotency_key => "beside-$i", amount => 2000 + $i);
	is(outcome($node, $id), 'succeeded', "payment $i beside hanging lists");
}
is(value($node, q{SELECT count(*) FROM payments.psp_feed WHERE claimed_by IS NOT NULL}), 2, 'none has waited for them');
is($peer->book(brief => 1)->{held}, 2, 'which hung all the while');
$peer->release;
$node->safe_psql('postgres', q{UPDATE payments.psp SET timeout = '2 min'});

# ---------- errors
$peer->faults({ fault => 'status_500', path => 'balance_transactions' });
ok(wait_until($node, q{SELECT problem FROM payments.feed_status WHERE feed = 'settlement'}, qr/^errors since .*: HTTP status 500, api_error/), 'an error shows');
$peer->faults({ fault => 'truncated_json', path => 'balance_transactions' });
value($node, q{SELECT payments.refetch('stripe', 'settlement')});
ok(wait_until($node, q{SELECT last_error FROM payments.psp_feed WHERE feed = 'settlement'}, 'the answer is not a list'), 'half a page is no page');
is(outcome($node, create_payment($node, idempotency_key => 'amid', amount => 2100)), 'succeeded', 'payments go on');
$peer->faults({ fault => 'status_429', path => 'balance_transactions', retry_after => '3' });
value($node, q{SELECT payments.refetch('stripe', 'settlement')});
ok(wait_until($node, q{SELECT last_error FROM payments.psp_feed WHERE feed = 'settlement'}, 'HTTP status 429, rate_limit'), 'too many requests');
# As long as it waits; while it asks again, it is due by its lease.
ok(wait_until($node, q{SELECT due_at BETWEEN last_error_at + interval '2900 ms' AND last_error_at + interval '3100 ms' FROM payments.psp_feed
	WHERE feed = 'settlement' AND last_error = 'HTTP status 429, rate_limit' AND claimed_by IS NULL}), 'Retry-After is honoured');
$peer->faults;
ok(read_to_the_end(), 'it goes on by itself');
is(feed('failing_since IS NULL'), 't', 'and is well again');

# Answers that are no page, and pages that lead nowhere.
foreach my $case (
	[ { fault => 'status_502' }, 'HTTP status 502', 'the page of a gateway, which has no word for it' ],
	[ { fault => 'bad_utf8' }, 'the answer is not UTF-8', 'bytes that are no text' ],
	[ { fault => 'same_page' }, 'the list does not go on behind the last entry', 'a list that begins anew with each page' ])
{
	my ($fault, $error, $name) = @$case;

	$peer->faults({ %$fault, path => 'balance_transactions' });
	value($node, q{UPDATE payments.psp_feed SET page_size = 1 WHERE feed = 'settlement'; SELECT payments.refetch('stripe', 'settlement', now() - interval '1 hour')});
	ok(wait_until($node, q{SELECT last_error FROM payments.psp_feed WHERE feed = 'settlement'}, $error), $name);
}
# What cannot be stored is not passed over, and what cannot be claimed stops nothing else.
$peer->faults;
ok(read_to_the_end(), 'well again');
$node->safe_psql('postgres', q{
	SET payments.guard_ddl = off;
	CREATE TABLE refused (what text);
	GRANT SELECT ON refused TO PUBLIC;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM public.refused WHERE what = TG_TABLE_NAME || TG_ARGV[0]) THEN RAISE 'refused by %', TG_TABLE_NAME; END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER refuse_page BEFORE UPDATE ON payments.psp_feed FOR EACH ROW WHEN (NEW.pages > OLD.pages) EXECUTE FUNCTION refuse(' page');
	CREATE TRIGGER refuse_claim BEFORE UPDATE ON payments.psp_feed FOR EACH ROW WHEN (NEW.attempt > OLD.attempt) EXECUTE FUNCTION refuse(' claim');
	CREATE TRIGGER refuse BEFORE UPDATE ON payments.feed_entry FOR EACH ROW EXECUTE FUNCTION refuse('');
	INSERT INTO refused VALUES ('psp_feed page')});
ok(wait_until($node, q{SELECT last_error, watermark < failing_since FROM payments.psp_feed WHERE feed = 'settlement'}, 'refused by psp_feed|t'), 'a page that cannot be stored: the feed says why, and stands where it stood');
my $log_from = -s $node->logfile;
value($node, q{TRUNCATE refused; INSERT INTO refused VALUES ('psp_feed claim'), ('feed_entry');
	SELECT payments._feed_keep('stripe', 'events', 'evt_none', '{"id": "evt_none"}', 'of a test'); UPDATE payments.psp_feed SET due_at = now()});
value($node, q{ALTER TABLE payments.feed_entry DISABLE TRIGGER refuse; UPDATE payments.feed_entry SET due_at = now(); ALTER TABLE payments.feed_entry ENABLE TRIGGER refuse});
$node->wait_for_log(qr/could not finish a step: refused by $_/, $log_from) foreach 'psp_feed', 'feed_entry';
is(outcome($node, create_payment($node, idempotency_key => 'beside-refused', amount => 2050)), 'succeeded', 'feeds that cannot be claimed: payments go on');
$node->safe_psql('postgres', 'DROP FUNCTION refuse() CASCADE');
ok(wait_until($node, q{SELECT reason, tries FROM payments.feed_entry}, 'this is not an event|2'), 'an entry that is no event is tried again, and waits on');
value($node, q{DELETE FROM payments.feed_entry;
	SELECT payments._feed_keep('stripe', 'events', 'evt_odd', '{"id": "evt_odd", "object": "event", "type": "refund.created", "data": {"object":
		{"id": "re_odd", "object": "refund", "amount": "1", "currency": "eur", "status": "succeeded", "payment_intent": "pi_odd"}}}', 'of a test');
	UPDATE payments.feed_entry SET due_at = now()});
ok(wait_until($node, q{SELECT reason, tries FROM payments.feed_entry}, 'refund.created: its "amount" cannot be read|2'), 'nor is one passed over that may have moved money, and cannot be read');
is(value($node, q{SELECT count(*) FROM payments.psp_event WHERE event_id = 'evt_odd'}), 0, 'it counts as not seen');
value($node, q{DELETE FROM payments.feed_entry});
my ($known) = $peer->events(type => 'payment_intent.succeeded');
value($node, sprintf q{SELECT payments._feed_keep('stripe', 'events', %s, %s, 'of a test'); UPDATE payments.feed_entry SET due_at = now()}, map { sql_literal($_) } @$known{qw(id body)});
ok(wait_until($node, 'SELECT count(*) FROM payments.feed_entry', 0), 'one that came by another way meanwhile is done with');
ok(read_to_the_end(), 'and the feeds go on');

# One of another version of the library, and an answer to a call that was made anew.
value($node, q{INSERT INTO payments.psp_feed (psp, feed, watermark, due_at) VALUES ('stripe', 'of_tomorrow', now(), now())});
ok(wait_until($node, q{SELECT due_at > now(), attempt FROM payments.psp_feed WHERE feed = 'of_tomorrow'}, 't|0'), 'a feed that nobody knows is put off');
value($node, q{DELETE FROM payments.psp_feed WHERE feed = 'of_tomorrow'});
$peer->faults({ fault => 'hold', path => '/v1/balance_transactions', count => 1 });
ok($peer->wait_held(1), 'a page is asked for');
my $stands = value($node, q{SELECT payments.enable_feed('stripe', 'settlement', false), payments.refetch('stripe', 'settlement', now() - interval '2 hours')}) =~ s/^.*\|//r;
$peer->release;
is(outcome($node, create_payment($node, idempotency_key => 'beside-stale', amount => 2060)), 'succeeded', 'its answer has come');
is(feed('watermark'), $stands, 'and does not move a feed that was set back meanwhile');
value($node, q{SELECT payments.enable_feed('stripe', 'settlement')});
ok(read_to_the_end(), 'which is read from there');
$peer->faults({ fault => 'status_403', path => 'balance_transactions' });
ok(wait_until($node, q{SELECT problem FROM payments.feed_status WHERE feed = 'settlement'}, qr/HTTP status 403/), 'a key that may not list: the feed says so');
is(value($node, q{SELECT halted_at IS NULL FROM payments.psp WHERE psp = 'stripe'}), 't', 'and payments go on');
$peer->faults({ fault => 'status_401', path => 'balance_transactions', count => 1 });
value($node, q{SELECT payments.refetch('stripe', 'settlement')});
ok(wait_until($node, q{SELECT problem FROM payments.feed_status WHERE feed = 'settlement'}, qr/^halted: the PSP refused our credentials/), 'a wrong key halts the PSP');
value($node, q{SELECT payments.resume_psp('stripe')});
ok(read_to_the_end(), 'resumed');
book_is_here('nothing was lost by any of it');

# ---------- pages that are too large
$peer->control({ settings => { event_padding => 60_000 } });
charge_at_psp("large-$_", 100 + $_) foreach 1 .. 40;
value($node, q{SELECT payments.refetch('stripe', 'events', now() - interval '1 hour')});
ok(read_to_the_end(), 'they are read all the same');
like(feed('last_error', 'events'), qr/^a page of \d+ entries is too large$/, 'the page was halved');
$peer->control({ settings => { event_padding => 0 } });
is(value($node, q{SELECT count(*) FROM payments.psp_event}),
	scalar(grep { $_->{type} =~ /^payment_intent\.(?!created)|^refund\.|^charge\.dispute/ } $peer->events), 'every event is here');

# ---------- entries that cannot be applied
# Of a currency that is not known: a line that nobody can import.
is(HTTP::Tiny->new->post_form($peer->url . '/v1/payment_intents', [ amount => 500, currency => 'xts', payment_method => 'pm_card_visa', confirm => 'true' ],
	{ headers => { Authorization => "Bearer $PaymentsTest::SECRET", 'Idempotency-Key' => 'xts' } })->{status}, 200, 'a charge in a currency that is not known');
charge_at_psp('beside-xts', 501);
ok(wait_until($node, q{SELECT reason FROM payments.feed_entry WHERE feed = 'settlement'}, qr/currency/), 'its line is kept for later');
ok(read_to_the_end(), 'the feed goes on');
is(value($node, 'SELECT count(*) FROM payments.settlement_line WHERE gross = 501'), 1, 'and the others are here');
is(value($node, q{SELECT problem FROM payments.feed_status WHERE feed = 'settlement'}), '1 entry could not be applied: see payments.feed_entry', 'feed_status tells');
value($node, q{INSERT INTO payments.currency (currency, exponent, name, builtin) VALUES ('XTS', 2, 'test', false)});
value($node, q{SELECT payments.refetch('stripe', 'settlement')});
ok(wait_until($node, q{SELECT count(*) FROM payments.feed_entry}, 0), 'when the currency is known it is imported');
book_is_here('once');

# ---------- a payment that somebody holds
$held = create_payment($node, idempotency_key => 'locked', amount => 2200, payment_method => 'pm_test_processing');
my $free = create_payment($node, idempotency_key => 'free', amount => 2300, payment_method => 'pm_test_processing');
ok(wait_until($node, "SELECT status FROM payments.operation WHERE payment_id = '$_'", 'processing'), 'under way') foreach $held, $free;
my $client = $node->background_psql('postgres');
$client->query_safe('BEGIN');
$client->query_safe("SELECT FROM payments.payment WHERE payment_id = '$held' FOR UPDATE");
$peer->control({ finish => { ref => ref_of($_) } }) foreach $held, $free;
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$free'", 'succeeded'), 'the other payment is not held up');
ok(wait_until($node, q{SELECT DISTINCT reason FROM payments.feed_entry}, 'locked'), 'the event of the locked one waits');
ok(read_to_the_end(), 'and the feed goes on');
$client->query_safe('COMMIT');
$client->quit;
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$held'", 'succeeded'), 'it is applied when it is let go');
ok(wait_until($node, 'SELECT count(*) FROM payments.feed_entry', 0), 'and nothing waits any more');
check_clean($node);

# ---------- a refund that is read before the charge that it is of
# The other feed would tell of the charge as well.
ok(feeds_off(), 'the feeds stand still');
$peer->faults({ fault => 'lose_answer', method => 'POST', path => 'payment_intents$' });
# What waits is applied by and by: what has waited is written down.
$node->safe_psql('postgres', q{
	CREATE TABLE waited (reason text);
	GRANT INSERT ON waited TO PUBLIC;
	CREATE FUNCTION note_waiting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.waited VALUES (NEW.reason); RETURN NULL; END $$;
	CREATE TRIGGER note_waiting AFTER INSERT ON payments.feed_entry FOR EACH ROW EXECUTE FUNCTION note_waiting()});
my $lost = create_payment($node, idempotency_key => 'lost', amount => 2500);
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$lost'", 'in_doubt'), 'the answer is lost');
$peer->control({ refund => { ref => ref_of($lost), amount => 700 } });
# A window ends before the second it is opened in: both events are to be in the first.
usleep 2_000_000;
value($node, q{UPDATE payments.psp_feed SET page_size = 1 WHERE feed = 'events'});
value($node, q{SELECT payments.enable_feed('stripe', 'events')});
ok(wait_until($node, "SELECT count(*) FROM payments.payment_history('$lost') WHERE status = 'succeeded'", 1), 'the event tells of the charge');
is(value($node, 'SELECT DISTINCT reason FROM waited'), 'no payment of ours yet', 'that of the refund came first, and waits');
$node->safe_psql('postgres', 'DROP FUNCTION note_waiting() CASCADE');
is(value($node, q{SELECT coalesce(problem, '') FROM payments.feed_status WHERE feed = 'events'}), '', 'which is no problem');
value($node, q{SELECT payments.refetch('stripe', 'events')});
ok(wait_until($node, "SELECT status, refunded FROM payments.payment WHERE payment_id = '$lost'", 'partially_refunded|700'), 'it is applied after all');
$peer->faults;
ok(wait_until($node, 'SELECT count(*) FROM payments.feed_entry', 0), 'nothing waits');
value($node, q{SELECT payments.enable_feed('stripe', 'settlement')});
ok(read_to_the_end(), 'read to the end');

# ---------- ties and late visibility
my $tie = int(time) - 20;
$peer->control({ settings => { list_clock_s => $tie } });
charge_at_psp("tie-$_", 1000 + $_) foreach 1 .. 250;
$peer->control({ settings => { list_clock_s => int(time) - 60, list_delay_ms => 2500 } });
charge_at_psp("late-$_", 2000 + $_) foreach 1 .. 30;
$peer->control({ settings => { list_clock_s => undef, list_delay_ms => 0 } });
charge_at_psp("after-$_", 3000 + $_) foreach 1 .. 30;
book_is_here('250 of one second, 30 that show late and of a minute ago: all are here, once');

# ---------- a clock that is wrong: ours is an hour ahead of the PSP's, far more than the overlap
$peer->control({ settings => { clock_skew_s => -3600 } });
ok(wait_until($node, q{SELECT bool_and(watermark < now() - interval '59 min') FROM payments.psp_feed}), 'the watermark goes back to the PSP\'s clock');
charge_at_psp("skew-$_", 5000 + $_) foreach 1 .. 5;
book_is_here('what is created there by that clock is found');
like(value($node, q{SELECT problem FROM payments.feed_status WHERE feed = 'settlement'}), qr/^behind by 0?1:0\d:/, 'and feed_status shows that something is wrong');
$peer->control({ settings => { clock_skew_s => 0 } });
ok(read_to_the_end(), 'set right again');

# ---------- lines are compared as they come
$node->safe_psql('postgres', q{
	SET payments.guard_ddl = off;
	CREATE TABLE compared (psp text, lines bigint, at timestamptz DEFAULT clock_timestamp());
	GRANT ALL ON compared TO payments_owner;
	ALTER FUNCTION payments._reconcile_new RENAME TO _reconcile_new_kept;
	CREATE FUNCTION payments._reconcile_new(psp text) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.compared SELECT _reconcile_new.psp, count(*) FROM payments.settlement_line;
		IF EXISTS (SELECT FROM payments.settlement_line WHERE gross = 6666) THEN PERFORM pg_sleep(3600); END IF;
		RETURN 1;
	END $$;
	ALTER FUNCTION payments._reconcile_new OWNER TO payments_owner});
charge_at_psp('compare', 6001);
ok(wait_until($node, q{SELECT count(*) > 0 FROM compared WHERE psp = 'stripe' AND lines = (SELECT count(*) FROM payments.settlement_line)}), 'new lines are compared at once');
charge_at_psp('compare-hangs', 6666);
book_is_here('a comparison that fails, or takes too long, takes no line with it');
is(outcome($node, create_payment($node, idempotency_key => 'beside-compare', amount => 2400)), 'succeeded', 'a payment beside it does not wait for its end');
# When it was stopped, by the log.
sub stops { return map { my ($h, $m, $s) = split /:/; $h * 3600 + $m * 60 + $s } PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /^\S+ (\d+:\d+:[\d.]+) .*could not finish a step: canceling statement due to user request/mg }
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
usleep 50_000 while !stops() && time < $deadline;
cmp_ok(scalar(stops()), '>', 0, 'it was stopped, and the log tells of it');
usleep 4_000_000;
my @stops = stops();
is(scalar(grep { ($stops[$_] - $stops[$_ - 1]) % 86400 < 60 } 1 .. $#stops), 0, 'and is given a rest of a minute each time');
ok(wait_until($node, 'SELECT running FROM payments.worker_status'), 'the worker lives');
$node->safe_psql('postgres', 'SET payments.guard_ddl = off; DROP FUNCTION payments._reconcile_new(text); ALTER FUNCTION payments._reconcile_new_kept RENAME TO _reconcile_new');
$node->safe_psql('postgres', q{SELECT payments.reconcile('stripe')});
charge_at_psp('compare-real', 6002);
ok(wait_until($node, q{SELECT count(*) > 0 FROM payments.discrepancy WHERE kind = 'missing_here' AND status = 'open' AND theirs = 6002}),
	'a charge that was made past us is found by the worker');

# ---------- killed in the middle of windows
# What a process that is killed has run is not counted (make coverage): this one ends first.
$node->restart;
ok(wait_until($node, 'SELECT running FROM payments.worker_status'), 'restarted');
$node->safe_psql('postgres', q{UPDATE payments.psp SET config = '{"feeds": {"interval_s": 1, "lag_s": 0, "overlap_s": 3600, "window_s": 86400}}' WHERE psp = 'stripe'});
foreach my $round (1 .. 4)
{
	# Small pages, of which the PSP keeps back the second.
	ok(feeds_off(), 'nobody reads');
	charge_at_psp("kill-$round-$_", 4000 + $_) foreach 1 .. 25;
	value($node, q{SELECT payments.refetch(psp, feed, now() - interval '1 hour') FROM payments.psp_feed});
	value($node, q{UPDATE payments.psp_feed SET page_size = 25});
	$peer->faults(map { { fault => 'hold', path => "/v1/$_", skip => 1 } } qw(balance_transactions events));
	value($node, q{SELECT payments.enable_feed(psp, feed) FROM payments.psp_feed});
	ok($peer->wait_held(2), 'both feeds are in the middle of a window');
	is(value($node, 'SELECT count(*) FROM payments.psp_feed WHERE page_cursor IS NOT NULL'), 2, 'behind a page');
	if ($round % 2)
	{
		# The kernel's own way: the server restarts all its processes.
		my $pid = worker_pid();
		kill 'KILL', $pid;
		ok(wait_until($node, "SELECT pid <> $pid FROM payments.worker_status WHERE running"), 'the worker was killed and is back');
	}
	else
	{
		$node->stop('immediate');
		$node->start;
		ok(wait_until($node, 'SELECT running FROM payments.worker_status'), 'the server was stopped at once and is back');
	}
	is(value($node, 'SELECT count(*) FROM payments.psp_feed WHERE page_cursor IS NOT NULL'), 2, 'and stands there still');
	$peer->release;
	ok(read_to_the_end(), 'it reads to the end');
}
book_is_here('after all that every line is here, and once');
is(value($node, q{SELECT count(*) FROM payments.psp_event}),
	scalar(grep { $_->{type} =~ /^payment_intent\.(?!created)|^refund\.|^charge\.dispute/ } $peer->events), 'and every event');
check_clean($node);

# ---------- the watermark is durable
ok(feeds_off(), 'nothing is in flight');
my $watermark = value($node, 'SELECT feed, watermark, page_cursor FROM payments.psp_feed ORDER BY 1');
$node->restart;
ok(wait_until($node, 'SELECT running FROM payments.worker_status'), 'restarted');
is(value($node, 'SELECT feed, watermark, page_cursor FROM payments.psp_feed ORDER BY 1'), $watermark, 'the watermark stands where it stood');

# ---------- not armed
value($node, q{SELECT payments.disarm(); SELECT payments.enable_feed(psp, feed) FROM payments.psp_feed; SELECT payments.refetch(psp, feed) FROM payments.psp_feed});
asks_for_nothing('postgres', 'what is not armed asks for nothing');
is(value($node, q{SELECT DISTINCT problem FROM payments.feed_status}), 'not armed: somebody has disarmed this database', 'and feed_status says why');
value($node, 'SELECT payments.arm()');
ok(read_to_the_end(), 'armed again it goes on');

# A clone that was armed, with all its rows: another database.
ok(feeds_off(), 'nobody reads');
$node->safe_psql('postgres', 'CREATE DATABASE feeds_clone TEMPLATE template0');
my $dump = $node->basedir . '/feeds.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('feeds_clone'), $dump ], 'restored as a clone');
is(value($node, 'SELECT feed, watermark FROM payments.psp_feed ORDER BY 1', dbname => 'feeds_clone'), value($node, 'SELECT feed, watermark FROM payments.psp_feed ORDER BY 1'),
	'with its watermarks');
value($node, q{SELECT payments.enable_feed(psp, feed) FROM payments.psp_feed}, dbname => 'feeds_clone');
$node->append_conf('postgresql.conf', q{payments.databases = 'postgres,feeds_clone'});
$node->restart;
ok(wait_until($node, 'SELECT running FROM payments.worker_status', 't', undef, dbname => 'feeds_clone'), 'a worker serves the clone');
asks_for_nothing('feeds_clone', 'it asks for nothing');
is(value($node, q{SELECT DISTINCT problem FROM payments.feed_status}, dbname => 'feeds_clone'), 'not armed: armed as another database', 'and says why');
$node->stop;

log_lacks_deadlocks($node);
done_testing();
