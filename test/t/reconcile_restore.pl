# If this fails, a database that was restored to a point before a charge does
# not find, in one reconciliation, what the PSP has done since; or finding it,
# repairing it, or a client that says it again, charges a customer twice.
#
# A real restore from a base backup and archived WAL, a real worker, and the
# PSP's own book, of which its settlement file is made.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP ();
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use Test::More;

my $main = new_payments_node('before', init => [ allows_streaming => 1, has_archiving => 1 ]);
my $peer = start_peer();
create_stripe_psp($main, $peer);
fast_schedules($main);

# ---------- before the point: payments that both sides know
foreach my $n (1 .. 5)
{
	create_payment($main, idempotency_key => "known-$n", amount => 1000 + $n, order_ref => "known-$n");
}
at_rest($main);
value($main, q{SELECT * FROM payments.refund_payment((SELECT payment_id FROM payments.payment WHERE order_ref = 'known-5'), 'known-refund', 305)});
at_rest($main);
$main->backup('base');
create_payment($main, idempotency_key => 'known-6', amount => 1006, order_ref => 'known-6');
at_rest($main);
# Accepted, and not yet sent.
stop_worker($main);
my @accepted = (idempotency_key => 'accepted', amount => 7200, order_ref => 'accepted');
my $accepted = create_payment($main, @accepted);
value($main, q{SELECT pg_create_restore_point('the point')});

# ---------- after the point: what the restored database will not know
value($main, 'SELECT payments.start_worker()');
is(outcome($main, $accepted), 'succeeded', 'what was accepted before the point is charged after it');
my @orphan = (idempotency_key => 'orphan', amount => 6100, order_ref => 'orphan');
is(outcome($main, create_payment($main, @orphan)), 'succeeded', 'and another payment is made, wholly after it');
at_rest($main);
my $ref_of_orphan = value($main, q{SELECT o.psp_ref FROM payments.operation o JOIN payments.payment p USING (payment_id) WHERE p.order_ref = 'orphan'});
my $segment = value($main, 'SELECT pg_walfile_name(pg_switch_wal())');
ok(wait_until($main, "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver"), 'the log is archived');
$main->stop('immediate');

my $charges = 8;
is(scalar($peer->charges), $charges, 'the PSP has charged eight times');
# No request that could move money: a replay is one that did not.
sub moved_money
{
	my $book = $peer->book;

	return join ' ', scalar(grep { $_->{status} eq 'succeeded' } @{ $book->{charges} }), scalar(@{ $book->{charges} }), $book->{captured}{eur};
}
my $money = moved_money();
is($money, '8 8 ' . (1001 + 1002 + 1003 + 1004 + 1005 + 1006 + 7200 + 6100), 'each once');

# The PSP's file, from its own book.
sub settlement_file
{
	my $book = $peer->book;
	my %charge = map { $_->{payment} => $_ } @{ $book->{charges} };
	my $at = sub { strftime('%Y-%m-%d %H:%M:%SZ', gmtime $_[0]) };
	my $money = sub { sprintf '%s%d.%02d', $_[0] < 0 ? '-' : '', abs($_[0]) / 100, abs($_[0]) % 100 };
	my @rows = ('kind,entry_id,psp_object_id,psp_payment_id,reference,gross,fee,currency,occurred_at');

	push @rows, join ',', 'charge', 'txn_' . substr($_->{charge}, 3), $_->{charge}, $_->{payment}, $_->{payments_ref},
	  $money->($_->{captured}), $money->($_->{fee}), uc $_->{currency}, $at->($_->{created})
	  foreach @{ $book->{charges} };
	push @rows, join ',', 'refund', "txn_$_->{refund}", $_->{refund}, $_->{payment}, $_->{payments_ref},
	  $money->(-$_->{amount}), '0.00', uc $_->{currency}, $at->($_->{created})
	  foreach @{ $book->{refunds} };
	return join "\n", @rows, '';
}

# ---------- the restore
my $node = PostgreSQL::Test::Cluster->new('restored');
$node->init_from_backup($main, 'base', has_restoring => 1, standby => 0);
$node->append_conf('postgresql.conf', "archive_mode = off\nrecovery_target_name = 'the point'\nrecovery_target_action = 'promote'");
$node->start;
ok(wait_until($node, 'SELECT pg_is_in_recovery()', 'f'), 'restored to the point');
is(value($node, q{SELECT string_agg(order_ref || ' ' || status, ', ' ORDER BY order_ref) FROM payments.payment WHERE order_ref !~ 'known-[1-5]'}),
	'accepted initiated, known-6 succeeded', 'one payment is gone, and another has not been sent');
is(value($node, 'SELECT count(*) FROM payments.queue'), 1, 'and waits to be');
is(value($node, 'SELECT enabled OR armed FROM payments.worker_status'), 'f', 'the worker is off, and the copy is not armed');
value($node, 'SELECT payments.arm()');

# ---------- one cycle, before anything is sent
my $file = settlement_file();
is(value($node, q{SELECT lines FROM payments.import_settlement('stripe', 'csv', } . sql_literal($file) . ')'), $charges + 1, 'the PSP\'s file is read');
is(value($node, q{SELECT lines, applied, discovered, still_open FROM payments.reconcile('stripe')}), ($charges + 1) . '|1|1|1', 'and reconciled: one line settles something, one differs');
is(value($node, q{SELECT kind, ours, theirs, their_currency, object_id IN (SELECT psp_payment_id FROM payments.settlement_line WHERE reference = '} . $ref_of_orphan . q{'),
		payment_id, suggestion FROM payments.discrepancy WHERE status = 'open'}), 'missing_here||6100|EUR|t||create', 'the orphan is found, with both sides');
is(value($node, q{SELECT kind || ' ' || status FROM payments.discrepancy WHERE status <> 'open'}), 'status applied', 'nothing else is');
is(value($node, "SELECT p.status, p.captured, (SELECT count(*) FROM payments.queue), (SELECT source FROM payments.payment_status h WHERE h.payment_id = p.payment_id ORDER BY seq DESC LIMIT 1)
		FROM payments.payment p WHERE payment_id = '$accepted'"), 'succeeded|7200|0|settlement', 'what was accepted has succeeded by the PSP\'s word, and will not be sent');
check_clean($node, 'after one cycle: check() is clean');

# ---------- the worker, with all it may do
sub works
{
	my ($name) = @_;
	my $id = create_payment($node, idempotency_key => "sandbox $name", amount => 1, psp => 'sandbox', payment_method => 'sandbox_ok');

	is(outcome($node, $id), 'succeeded', "$name: the worker has been through its round");
	is(moved_money(), $money, "$name: no money moves at the PSP");
	return;
}
my $requests = $peer->book(brief => 1)->{requests};
value($node, 'SELECT payments.start_worker()');
ok(wait_until($node, 'SELECT running AND enabled AND armed FROM payments.worker_status'), 'the worker runs, armed');
works('armed');
is($peer->book(brief => 1)->{requests}, $requests, 'it has nothing to send');
my $orphan = value($node, q{SELECT discrepancy_id FROM payments.discrepancy WHERE kind = 'missing_here'});
is(value($node, "SELECT status FROM payments.resolve_discrepancy($orphan, 'create', 'charged before the restore')"), 'create', 'the orphan is made a payment');
my $adopted = value($node, "SELECT payment_id FROM payments.discrepancy_resolution WHERE discrepancy_id = $orphan");
is(value($node, "SELECT status, captured FROM payments.payment WHERE payment_id = '$adopted'"), 'succeeded|6100', 'that has succeeded');
works('adopted');
is($peer->book(brief => 1)->{requests}, $requests, 'and is not sent');

# ---------- clients that do not know of a restore
is(value($node, 'SELECT payment_id, replayed FROM ' . PaymentsTest::create_payment_sql(@accepted)), "$accepted|t", 'a client asks again for what was accepted');
my $replays = $peer->book(brief => 1)->{keys}{replays};
# A day later it has forgotten them: sent again it would be charged again.
$peer->control({ forget_keys => JSON::PP::true() });
my $again = create_payment($node, @orphan);
isnt($again, $adopted, 'another asks again for the orphan, of which the key is lost');
my $DEAD = "SELECT reason FROM payments.dead_letter WHERE payment_id = '$again' AND decision IS NULL";
ok(wait_until($node, $DEAD, 'booked_elsewhere'), 'it becomes a dead letter: the money is another payment\'s');
is(value($node, "SELECT p.payment_id FROM payments.dead_letter d JOIN payments.payment p ON d.detail LIKE '%' || p.psp_payment_id || '%' WHERE d.payment_id = '$again'"), $adopted,
	'and says whose');
is(outcome($node, $again, 5), 'in_doubt', 'nobody is told that it failed');
is($peer->book(brief => 1)->{keys}{replays}, $replays, 'the PSP was asked, and sent nothing: it had told us of this charge');
is(value($node, 'SELECT count(*) FROM payments.queue'), 0, 'nothing is tried again and again');
works('asked again');
value($node, "SELECT payments.redrive((SELECT dead_letter_id FROM payments.dead_letter WHERE payment_id = '$again' AND decision IS NULL))");
ok(wait_until($node, $DEAD, 'booked_elsewhere'), 'driven once more, it is a dead letter again');
works('driven once more');
value($node, "SELECT payments.discard((SELECT dead_letter_id FROM payments.dead_letter WHERE payment_id = '$again' AND decision IS NULL), 'paid by the adopted payment')");
is(value($node, "SELECT status, captured FROM payments.payment WHERE payment_id = '$again'"), 'failed|0', 'a person ends it');
is(value($node, "SELECT count(*), min(payment_id::text) FROM payments.movement WHERE kind IN ('capture', 'late_capture') AND amount = 6100"), "1|$adopted", 'the money is booked once, for the adopted payment');

# ---------- the books, in the end
is(value($node, q{SELECT applied, discovered, still_open FROM payments.reconcile('stripe')}), '0|0|0', 'reconciled again, nothing differs');
my $book = $peer->book;
is(value($node, q{SELECT balance FROM payments.trial_balance WHERE code = 'psp_receivable:stripe' AND currency = 'EUR'}),
	$book->{captured}{eur} - $book->{refunded}{eur} - $book->{fees}{eur}, 'the ledger holds what the PSP owes us');
is_deeply($book->{double_charged}, [], 'nobody was charged twice');
is($book->{keys}{keys_with_many_bodies}, 0, 'no key was used for two requests');
check_clean($node, 'in the end check() is clean');
$node->stop;
done_testing();
