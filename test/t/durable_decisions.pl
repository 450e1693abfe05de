# If this fails, a person is told that something is decided (a dead letter is
# discarded, a PSP resumed, a period closed), the power goes, and it is not: what
# was believed settled is sent, or booked, all the same.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

# Nobody else writes to the log or flushes it: the WAL writer is stopped, and there is no worker.
my $node = new_payments_node('durable', worker => 0, conf => "autovacuum = off\nwal_level = minimal\nmax_wal_senders = 0\narchive_mode = off\nwal_buffers = '16MB'\ntimezone = 'UTC'");
my $writer = value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});

# Each is a transaction of its own; true when all of it is on disk once its COMMIT has returned.
sub on_disk
{
	my ($sql) = @_;
	my $said = $node->safe_psql('postgres', "SET synchronous_commit = off;\n"
		  . "BEGIN;\n$sql \\g /dev/null\nSELECT pg_current_wal_insert_lsn() AS written \\gset\nCOMMIT;\nSELECT pg_current_wal_flush_lsn() >= :'written';");
	return $said;
}

$node->safe_psql('postgres', q{
	SELECT payments.create_psp('tap', 'stripe', secret => 'stripe'), payments.arm();
	CREATE TABLE ordinary (n int);
	SELECT payments.create_account('cash', 'EUR', 'asset'), payments.create_account('unused', 'EUR', 'liability');
	SELECT payments.post(debit => (SELECT account_id FROM payments.account WHERE code = 'cash'),
		credit => payments.create_account('wallet', 'EUR', 'liability'), amount => 5000);
	INSERT INTO payments.feed_entry (psp, feed, entry_id, body, reason, seen_at, due_at) VALUES ('tap', 'events', 'evt_1', '{}', 'cannot be read', now(), now());
	INSERT INTO payments.exception (exception_id, kind, psp, created_at) VALUES (gen_random_uuid(), 'orphan', 'tap', now());
	INSERT INTO payments.job_finding (job, subject, detail, run_id, found_at, last_run_id, last_found_at) VALUES ('check', 'x', '{}', 1, now(), 1, now());
	SELECT payments.import_settlement('sandbox', 'csv', content => E'kind,psp_object_id,gross,fee,currency\ncharge,ch_1,10.50,0.55,EUR\n');
	SELECT payments.reconcile('sandbox');
	SELECT payments.create_payment('redriven', 1005, 'EUR', psp => 'tap', payment_method => 'pm_card_visa'), payments.create_payment('discarded', 1005, 'EUR', psp => 'tap', payment_method => 'pm_card_visa'),
		payments.create_payment('claimed', 1000, 'EUR', psp => 'sandbox');
	SELECT payments.create_payment('decided', 1005, 'EUR', psp => 'tap', payment_method => 'pm_card_visa');
	-- The PSP counts otherwise since then: what it cannot be told are dead letters.
	INSERT INTO payments.psp_currency (adapter, currency, exponent, multiple) VALUES ('stripe', 'EUR', 0, 1);
	SELECT * FROM payments.claim('me', psp => 'tap');
	CREATE FUNCTION question(jsonb) RETURNS jsonb IMMUTABLE LANGUAGE sql AS 'SELECT $1';
	CREATE FUNCTION account(text) RETURNS bigint LANGUAGE sql AS 'SELECT account_id FROM payments.account WHERE code = $1';
	CREATE FUNCTION letter(text) RETURNS uuid LANGUAGE sql AS $$SELECT d.dead_letter_id FROM payments.dead_letter d
		JOIN payments.idempotency_key k USING (payment_id) WHERE k.key = $1 AND d.decision IS NULL$$});

kill 'STOP', $writer;
is(on_disk('INSERT INTO ordinary VALUES (1)'), 'f', 'what is no decision is not on disk yet: the test can tell');
my @decisions = (
	[ redrive              => q{SELECT payments.redrive(letter('redriven'))} ],
	[ discard              => q{SELECT payments.discard(letter('discarded'), 'has no card')} ],
	[ decide_operation     => q{SELECT payments.decide_operation((SELECT operation_id FROM payments.idempotency_key WHERE key = 'decided'), 'failed', 'no charge on the dashboard')} ],
	[ resolve_exception    => q{SELECT payments.resolve_exception(exception_id, 'refunded by hand') FROM payments.exception} ],
	[ claim                => q{SELECT * FROM payments.claim('me', psp => 'sandbox')} ],
	[ pause_psp            => q{SELECT payments.pause_psp('tap', 'they are moving house')} ],
	[ resume_psp           => q{SELECT payments.resume_psp('tap')} ],
	[ accept_psp_account   => q{SELECT payments.accept_psp_account('tap', true)} ],
	[ create_psp           => q{SELECT payments.create_psp('another', 'stripe', secret => 'stripe')} ],
	[ create_adapter       => q{SELECT payments.create_adapter('mine', build => 'question(jsonb)', build_inquiry => 'question(jsonb)', classify => 'question(jsonb)', can => '{charge}', authorize => '{"scheme": "bearer"}')} ],
	[ drop_adapter         => q{SELECT payments.drop_adapter('mine')} ],
	[ create_route_rule    => q{SELECT payments.create_route_rule('euros', psps => '{tap}', currency => 'EUR')} ],
	[ order_route_rules    => q{SELECT payments.order_route_rules('{euros}')} ],
	[ drop_route_rule      => q{SELECT payments.drop_route_rule('euros')} ],
	[ create_merchant      => q{SELECT payments.create_merchant('another')} ],
	[ enable_feed          => q{SELECT payments.enable_feed('tap', 'events', false)} ],
	[ refetch              => q{SELECT payments.refetch('tap', 'events')} ],
	[ discard_feed_entry   => q{SELECT payments.discard_feed_entry('tap', 'events', 'evt_1', 'a test of theirs')} ],
	[ resolve_finding      => q{SELECT payments.resolve_finding((SELECT finding_id FROM payments.job_finding), 'nothing was found')} ],
	[ resolve_discrepancy  => q{SELECT payments.resolve_discrepancy((SELECT min(discrepancy_id) FROM payments.discrepancy WHERE status = 'open'), 'ignore', reason => 'a test')} ],
	[ import_settlement    => q{SELECT payments.import_settlement('sandbox', 'csv', content => E'kind,psp_object_id,gross,fee,currency\ncharge,ch_2,10.50,0.55,EUR\n')} ],
	[ set_statement_party  => q{SELECT payments.set_statement_party('issuer', 'Shop')} ],
	[ issue_statement      => q{SELECT payments.issue_statement('default', 'EUR', now() - interval '2 days', now() - interval '1 day', account => 'wallet')} ],
	[ issue_statements     => q{SELECT payments.issue_statements(now() - interval '2 days', now() - interval '1 day')} ],
	[ close_period         => q{SELECT payments.close_period(now() - interval '1 day', 'default')} ],
	[ set_account_hot      => q{SELECT payments.set_account_hot(account('cash'), true)} ],
	[ close_account        => q{SELECT payments.close_account(account('unused'))} ],
	[ stop_worker          => q{SELECT payments.stop_worker()} ],
	[ disarm               => q{SELECT payments.disarm()} ],
	[ arm                  => q{SELECT payments.arm()} ]);
foreach my $decision (@decisions)
{
	is(on_disk($decision->[1]), 't', "$decision->[0]() is on disk");
}
is(on_disk('INSERT INTO ordinary VALUES (2)'), 'f', 'and what is none is not, still');
kill 'CONT', $writer;

# What is decided by a function that is made later.
my %tried = map { $_->[0] => 1 } @decisions;
my %no_decision = map { $_ => 1 } (
	# start_worker() goes the way of stop_worker(), and would start one here.
	'start_worker',
	# Done again by their next run, or by the client that says it again.
	qw(complete reconcile fold_hot_accounts release_expired_holds create_account run_job seal_blocks),
	# Rolls back what it has tried.
	'test_adapter',
	# DDL: the server flushes what removes files, and what is lost of the rest is made again.
	qw(setup migrate make_partitions retire_partitions schedule_jobs schedule_statements));
my @forgotten = grep { !$tried{$_} && !$no_decision{$_} } split /\n/, value($node, q{
	SELECT DISTINCT p.proname FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace AND p.proname !~ '^_' AND p.provolatile = 'v'
	AND (has_function_privilege('payments_operator', p.oid, 'EXECUTE') OR has_function_privilege('payments_admin', p.oid, 'EXECUTE'))
	AND NOT has_function_privilege('payments_app', p.oid, 'EXECUTE') AND NOT has_function_privilege('payments_auditor', p.oid, 'EXECUTE')});
is("@forgotten", '', 'no function of operators and administrators is left out here');
check_clean($node);
$node->stop;
done_testing();
