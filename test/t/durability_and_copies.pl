# If this fails, a payment that the application was told is accepted is gone
# after a power cut, or a copy of the database (a restore, a clone for the
# developers, a promoted standby) charges customers a second time.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(usleep);

# ---------- accepted means on disk, whatever synchronous_commit says
# Nobody else may flush the log for us: no worker, and a WAL writer that is stopped.
my $crash = new_payments_node('crash', fsync => 1, worker => 0, conf => 'autovacuum = off');
$crash->safe_psql('postgres', 'CREATE TABLE ordinary (place text)');
my $database = 'ALTER DATABASE postgres';
my $role = 'ALTER ROLE ' . value($crash, 'SELECT quote_ident(current_user)');
foreach my $place ([ 'session', '', 'SET synchronous_commit = off' ], [ 'role', $role, '' ], [ 'database', $database, '' ])
{
	my ($name, $alter, $set) = @$place;

	$crash->safe_psql('postgres', "$alter SET synchronous_commit = off") if $alter;
	my $writer = value($crash, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
	kill 'STOP', $writer;
	my $answer = $crash->safe_psql('postgres',
		"$set;\nSHOW synchronous_commit;\nSELECT status FROM "
		  . PaymentsTest::create_payment_sql(idempotency_key => "crash-$name", amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok')
		  . ";\nINSERT INTO ordinary VALUES ('$name')");
	# That it dies ends all the others at once, and the server with them.
	kill 'KILL', $writer;
	usleep(10_000) while -e $crash->data_dir . '/postmaster.pid';
	$crash->stop('immediate', fail_ok => 1);
	$crash->start;
	is($answer, "off\ninitiated", "off in the $name, and accepted");
	is(value($crash, "SELECT count(*) FROM payments.idempotency_key JOIN payments.payment USING (payment_id) JOIN payments.queue USING (payment_id) WHERE key = 'crash-$name'"),
		1, "off in the $name: the payment survives a crash right after");
	$crash->safe_psql('postgres', "$alter RESET synchronous_commit") if $alter;
}
is(value($crash, 'SELECT count(*) FROM ordinary'), 0, 'while the ordinary rows committed right after it are lost: the test can tell');
check_clean($crash, 'crashes: check() is clean');
$crash->stop;

# ---------- dump and restore
my $main = new_payments_node('copies', databases => 'postgres, restored, template_copy', init => [ allows_streaming => 1 ],
	conf => "max_wal_senders = 10\nmax_worker_processes = 16");
my $peer = start_peer();
create_stripe_psp($main, $peer);
fast_schedules($main);
foreach my $n (1 .. 10)
{
	create_payment($main, idempotency_key => "copy-$n", amount => 1000 + $n, metadata => qq({"n": $n, "text": "a\\\\b \\"c\\" \xc3\xbc"}));
}
my $manual = create_payment($main, idempotency_key => 'copy-manual', amount => 5000, capture => 'manual');
at_rest($main);
value($main, "SELECT * FROM payments.capture_payment('$manual', 'copy-capture', 3000)");
at_rest($main);
value($main, "SELECT * FROM payments.refund_payment('$manual', 'copy-refund', 1000)");
at_rest($main);
deliver_event($main, $_) foreach $peer->events;
create_payment($main, idempotency_key => 'copy-wrong', amount => 4000, payment_method => 'pm_test_wrong_amount');
at_rest($main);
# What a copy would love to send: it waits, since the worker here is stopped.
stop_worker($main);
my $waiting = create_payment($main, idempotency_key => 'copy-waiting', amount => 9999);
my $requests = $peer->book(brief => 1)->{requests};

my $FINGERPRINT = q{
	SELECT c.relname, (xpath('/row/f/text()', query_to_xml(format(
		'SELECT count(*) || '' '' || coalesce(md5(string_agg(t::text, E''\n'' ORDER BY t::text)), ''-'') AS f FROM payments.%I t', c.relname), false, true, '')))[1]
	FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('installation', 'job') ORDER BY 1};
my $GUARDS = q{SELECT c.relname, t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'payments'::regnamespace AND t.tgname LIKE 'guard%' ORDER BY 1, 2};
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$main->command_ok([ 'pg_dump', '-f', $dump, '-d', $main->connstr('postgres') ], 'pg_dump');
$main->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$main->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-o', '/dev/null', '-d', $main->connstr('restored') ], 'restore, not one error');
is(value($main, $FINGERPRINT, dbname => 'restored'), value($main, $FINGERPRINT), 'the same rows in every table');
is(value($main, $GUARDS, dbname => 'restored'), value($main, $GUARDS), 'the same guards');
unlike(value($main, $GUARDS, dbname => 'restored'), qr/\|[^A]$/m, 'all of them ALWAYS');
isnt(sqlstate($main, q{SET session_replication_role = replica; UPDATE payments.posting SET amount = amount + 1}, dbname => 'restored'), '', 'and they bite');
check_clean($main, 'restored: check() is clean', dbname => 'restored');

# ---------- the copies send nothing
sub sends_nothing
{
	my ($node, $dbname, $name, $reason) = @_;

	# The launcher's own, which is off: start_worker() would run into it while it starts.
	ok(wait_until($node, 'SELECT pid IS NOT NULL FROM payments.worker_status', 't', undef, dbname => $dbname), "$name: there is a worker");
	value($node, 'SELECT payments.start_worker()', dbname => $dbname);
	ok(wait_until($node, q{SELECT running AND enabled AND NOT armed AND hint LIKE '%nothing is sent%' FROM payments.worker_status}, 't', undef, dbname => $dbname), "$name: the worker runs and is not armed");
	# A sandbox payment made now is done, so the worker has been through its whole round.
	my $id = create_payment($node, dbname => $dbname, idempotency_key => "sandbox-$name", amount => 1, psp => 'sandbox', payment_method => 'sandbox_ok');
	is(outcome($node, $id, undef, dbname => $dbname), 'succeeded', "$name: the sandbox still works");
	like(value($node, 'SELECT payments._unarmed_reason()', dbname => $dbname), $reason, "$name: it says why");
	is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$waiting'", dbname => $dbname), 'initiated', "$name: the payment waits");
	is($peer->book(brief => 1)->{requests}, $requests, "$name: nothing was sent");
	return;
}
sends_nothing($main, 'restored', 'restored', qr/database/);
$main->safe_psql('postgres', 'CREATE DATABASE template_copy TEMPLATE postgres');
sends_nothing($main, 'template_copy', 'template copy', qr/another database/);

# ---------- a base backup, promoted; and a standby that has lost the tail
$main->backup('base');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($main, 'base', has_streaming => 1);
$clone->append_conf('postgresql.conf', "primary_conninfo = ''");
$clone->start;
$clone->promote;
ok(wait_until($clone, 'SELECT pg_is_in_recovery()', 'f'), 'the clone is promoted');
sends_nothing($clone, 'postgres', 'clone', qr/timeline/);
$clone->stop;

# ---------- a failover that loses rows
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($main, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_conninfo = ''");
value($main, 'SELECT payments.start_worker()');
is(outcome($main, $waiting), 'succeeded', 'the original, armed, sends what waited');
my @call = (idempotency_key => 'lost-tail', amount => 6543, order_ref => 'lost-tail');
is(outcome($main, create_payment($main, @call)), 'succeeded', 'charged on the primary, not replicated');
$main->stop('immediate');
$standby->start;
$standby->promote;
ok(wait_until($standby, 'SELECT pg_is_in_recovery()', 'f'), 'failover to a standby that lacks it');
is(value($standby, q{SELECT count(*) FROM payments.idempotency_key WHERE key = 'lost-tail'}), 0, 'the payment is lost here');
value($standby, 'SELECT payments.start_worker(); SELECT payments.arm()');
is(outcome($standby, create_payment($standby, @call)), 'succeeded', 'the client says it again, and it succeeds');
is(outcome($standby, $waiting), 'succeeded', 'so does what was lost with it');
my $book = $peer->book;
is(scalar(grep { $_->{amount} == 6543 } @{ $book->{charges} }), 1, 'charged once');
is(scalar(grep { $_->{amount} == 9999 } @{ $book->{charges} }), 1, 'both of them');
cmp_ok($book->{keys}{replays}, '>=', 1, 'the PSP saw the same key again');
is($book->{keys}{keys_with_many_bodies}, 0, 'with the same bytes');
is_deeply($book->{double_charged}, [], 'nobody was charged twice');
at_rest($standby);
check_clean($standby, 'after the failover: check() is clean');
$standby->stop;
done_testing();
