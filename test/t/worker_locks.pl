# If this fails, one client that holds a lock keeps all payments of all merchants
# waiting, or a cancelled statement, or one that fails, ends the worker.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = new_payments_node('locks', worker => 0);
$node->safe_psql('postgres', q{
	ALTER ROLE payments_worker SET exit_on_error = on;
	SELECT payments.create_merchant('holder', psp => 'sandbox'), payments.create_merchant('other', psp => 'sandbox');
	INSERT INTO payments.account_template (code, type) VALUES ('merchant_balance', 'liability');
	SELECT payments.create_account('merchant_balance', 'EUR', 'liability', merchant) FROM (VALUES ('holder'), ('other')) m (merchant);
	DELETE FROM payments.account_template WHERE NOT builtin});
# What it does beside is tried as it begins; that it fails keeps nobody waiting.
$node->safe_psql('postgres', 'ALTER FUNCTION payments.make_partitions RENAME TO make_partitions_kept');
my $pid = value($node, 'SELECT payments.start_worker()');

my $made = 0;
sub pay { return create_payment($node, idempotency_key => 'lock-' . ++$made, amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok', merchant => $_[0]) }
sub said { return PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ $_[0] ? 1 : 0 }
sub same { is(value($node, 'SELECT pid FROM payments.worker_status'), $pid, "$_[0]: it is the same worker"); return }

is(outcome($node, pay($_)), 'succeeded', "$_: payments go through") for qw(holder other);
$node->wait_for_log(qr/could not finish a step: function payments\.make_partitions\(\) does not exist/);
$node->safe_psql('postgres', 'ALTER FUNCTION payments.make_partitions_kept RENAME TO make_partitions');

# ---------- one client, one lock
my $client = $node->background_psql('postgres');
$client->query_safe(q{BEGIN; SELECT FROM payments.account WHERE merchant = 'holder' FOR UPDATE});
# More than it tries one by one in a round.
my ($held, @behind) = split /\n/, value($node, q{SELECT p.payment_id FROM generate_series(1, 13) i,
	LATERAL payments.create_payment('behind-' || i, 1000, 'EUR', psp => 'sandbox', payment_method => 'sandbox_ok', merchant => 'holder') p});
ok(wait_until($node, "SELECT count(*) > 0 FROM pg_locks WHERE pid = $pid AND NOT granted", 't'), 'the worker waits for what a client has locked');
is(outcome($node, pay('other')), 'succeeded', 'and for all that, the payment of another merchant succeeds');
is(value($node, "SELECT status NOT IN ('succeeded', 'failed') FROM payments.payment WHERE payment_id = '$held'"), 't', 'the one that is held is not done');
ok(said(qr/could not finish a step: canceling statement due to lock timeout/), 'the log says why');
$client->query_safe('ROLLBACK');
is(outcome($node, $_), 'succeeded', 'it is when the lock is gone') foreach $held, @behind;
same('locks');

# ---------- a PSP that somebody is about to change: its payments wait until it is known where it is
my $peer = start_peer();
create_stripe_psp($node, $peer);
is(outcome($node, create_payment($node, idempotency_key => 'called', amount => 1000)), 'succeeded', 'it is called');
$client->query_safe(q{BEGIN; UPDATE payments.psp SET timeout = interval '1 min' WHERE psp = 'stripe'});
my $kept = create_payment($node, idempotency_key => 'kept', amount => 1000);
is(outcome($node, pay('other')), 'succeeded', 'payments through others go on') for 1 .. 3;
is(scalar(@{ $peer->book->{charges} }), 1, 'those through it are not sent');
$client->query_safe('COMMIT');
is(outcome($node, $kept), 'succeeded', 'until he is done');

# ---------- an answer that is here and waits for its payment is no call under way: a PSP that was away is called again
fast_schedules($node);
$peer->faults({ fault => 'hold', method => 'POST', count => 1 });
my $locked = create_payment($node, idempotency_key => 'locked', amount => 1000);
ok($peer->wait_held(1), 'a payment is at the PSP');
$client->query_safe("BEGIN; SELECT FROM payments.payment WHERE payment_id = '$locked' FOR UPDATE");
$peer->release;
ok(wait_until($node, q{SELECT hint ~ 'answers of PSPs wait for payments that somebody keeps locked' FROM payments.worker_status}, 't'), 'its answer waits for a client, and worker_status says so');
$peer->faults({ fault => 'reset_before' });
my @away = (create_payment($node, idempotency_key => 'away-1', amount => 1000));
$node->wait_for_log(qr/PSP "stripe" does not answer/);
push @away, create_payment($node, idempotency_key => 'away-2', amount => 1000);
$peer->faults;
is(outcome($node, $_), 'succeeded', 'the PSP is back, and others go through') foreach @away;
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$locked'"), 'processing', 'the one that is locked is not done yet');
$client->query_safe('ROLLBACK');
is(outcome($node, $locked), 'succeeded', 'it is when the client is gone');

# ---------- a page that is here, and somebody who holds what it is noted in
create_stripe_psp($node, $peer, psp => 'told', feeds => { interval_s => 1, lag_s => 0 }, arm => 0);
ok(wait_until($node, q{SELECT bool_and(pages > 0) FROM payments.psp_feed WHERE psp = 'told'}), 'its feeds are read');
$peer->faults({ fault => 'hold', method => 'GET', count => 1 });
ok($peer->wait_held(1), 'a page is on its way');
my $log_from = -s $node->logfile;
$client->query_safe('BEGIN; LOCK TABLE payments.psp_feed IN ACCESS EXCLUSIVE MODE');
$peer->release;
# Of what the worker does in turn, each meets it: the page, and the look at what is due.
ok(eventually(sub { (() = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_from) =~ /could not finish a step: canceling statement due to lock timeout/g) > 3 }), 'it cannot be stored');
$client->query_safe('ROLLBACK');
my $pages = value($node, q{SELECT sum(pages) FROM payments.psp_feed WHERE psp = 'told'});
ok(wait_until($node, qq{SELECT sum(pages) > $pages + 2 FROM payments.psp_feed WHERE psp = 'told'}), 'the feeds go on when he is done');
value($node, q{SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed WHERE psp = 'told'});

# ---------- nor can it look around
$log_from = -s $node->logfile;
$client->query_safe('BEGIN; LOCK TABLE payments.installation IN ACCESS EXCLUSIVE MODE');
reload($node);
$node->wait_for_log(qr/could not finish a step: canceling statement due to lock timeout/, $log_from);
$client->query_safe('ROLLBACK');
is(outcome($node, pay('other')), 'succeeded', 'afterwards it looks again');
same('a look');

# ---------- one who has posted and not committed, and one who waits for all who post
value($node, q{CREATE TABLE acct AS SELECT payments.create_account('hot', 'EUR', 'asset', hot => true) AS hot, payments.create_account('sink', 'EUR', 'asset') AS sink});
my $closer = $node->background_psql('postgres', on_error_stop => 0);
$client->query_safe('BEGIN; SELECT payments.post(hot, sink, 1) FROM acct');
$closer->query_until(qr/closing/, "\\echo closing\nSELECT payments.set_account_hot(hot, false) FROM acct;\n");
ok(wait_until($node, q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 19 AND NOT granted}, 't'), 'somebody waits until nobody posts');
is(sqlstate($node, q{SET lock_timeout = '5 s'; CREATE TABLE more AS SELECT payments.post(payments.create_account('a', 'EUR', 'asset'), payments.create_account('b', 'EUR', 'asset'), 1)}),
	'', 'and for all that, others post');
is(outcome($node, pay('other')), 'succeeded', 'and payments go through');
ok(wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT payments.set_account_hot%' AND state = 'active'}, 0), 'he gives up');
ok(said(qr/could not keep others from posting/), 'and is told why');
$client->query_safe('COMMIT');
is(value($node, 'SELECT payments.set_account_hot(hot, false) FROM acct'), 't', 'later it is done');
same('a hot account');

# ---------- a cancel, between steps and in one
value($node, "SELECT count(pg_cancel_backend($pid)) FROM generate_series(1, 20)");
is(outcome($node, pay('other')), 'succeeded', 'cancelled between two steps, it goes on');
$node->safe_psql('postgres', q{
	CREATE TABLE dawdles AS SELECT 600::float8 AS s;
	GRANT SELECT ON dawdles TO PUBLIC;
	CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(s) FROM public.dawdles; RETURN NULL; END $$;
	CREATE TRIGGER dawdle AFTER INSERT ON payments.attempt FOR EACH ROW EXECUTE FUNCTION dawdle()});
my $slow = pay('other');
ok(wait_until($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid", 'PgSleep'), 'a step takes long');
$node->safe_psql('postgres', "DELETE FROM dawdles; SELECT pg_cancel_backend($pid)");
is(outcome($node, $slow), 'succeeded', 'cancelled, it is done again');
ok(said(qr/could not finish a step: canceling statement due to user request/), 'the log says so');
same('cancels');

# ---------- start_worker() while it is about to obey stop_worker()
$node->safe_psql('postgres', 'INSERT INTO dawdles VALUES (600)');
$slow = pay('other');
ok(wait_until($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid", 'PgSleep'), 'it has not heard yet that it is stopped');
value($node, 'SELECT payments.stop_worker()');
$client->query_safe('BEGIN');
is($client->query_safe('SELECT payments.start_worker()'), $pid, 'nor that it is started again');
$node->safe_psql('postgres', "DELETE FROM dawdles; SELECT pg_cancel_backend($pid)");
# As soon as it waits for the row that says so: it does not wait for long.
$client->query_safe("DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE pid = $pid AND NOT granted) LOOP PERFORM pg_sleep(0.001); END LOOP; END \$\$");
$client->query_safe('COMMIT');
is(outcome($node, $slow), 'succeeded', 'and serves on');
same('stopped and started');

# ---------- claims that take long: several PSPs, and none is left behind
$node->safe_psql('postgres', q{SELECT payments.create_psp('slow' || i, 'sandbox') FROM generate_series(1, 6) i; INSERT INTO dawdles VALUES (0.15)});
my @several = split /\n/, value($node, q{SELECT p.payment_id FROM generate_series(1, 6) i,
	LATERAL payments.create_payment('several-' || i, 1000, 'EUR', psp => 'slow' || i, payment_method => 'sandbox_ok') p});
is(outcome($node, $_), 'succeeded', 'each has its turn, in one round or the next') foreach @several;
check_clean($node);
$node->stop;
done_testing();
