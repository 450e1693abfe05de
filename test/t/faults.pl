# If this fails, a customer is charged twice, or charged and never served, the
# day the PSP loses answers while our server is being restarted: the peer loses
# a fifth of its answers after charging, cuts others in the middle, answers 409
# and 429, and the worker is killed with SIGKILL again and again: by turns with
# calls in flight for certain, and wherever it happens to be.
#
# Nothing is done by the clock: a worker is killed when some payments more have
# come to their end since the last one was, so each gets somewhere on any machine.
#
# PAY_FAULT_PAYMENTS: how many payments (default 100; 400 is the figure that
# the project promises).
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time usleep);

my $payments = $ENV{PAY_FAULT_PAYMENTS} // 100;
my $BETWEEN  = 6;     # payments that end between two kills
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default + 10 * $payments;

# Killed with SIGKILL, a worker takes all backends with it; the server comes back by itself.
my $node = new_payments_node('faults', conf => "restart_after_crash = on\nlog_min_messages = log");
my $peer = start_peer(
	seed   => $ENV{PAY_FAULT_SEED} // 7,
	faults => {
		# So that a kill meets calls in flight.
		rules => [
			{ fault => 'delay_ms', ms => [ 20, 700 ] },
			{ fault => 'lose_answer', p => 0.2 },
			{ fault => 'cut_answer', p => 0.05 },
			{ fault => 'status_409', p => 0.05 },
			{ fault => 'status_429', p => 0.05 },
		] });
create_stripe_psp($node, $peer);
fast_schedules($node, delay => '300 ms', tries => 200);

# What the worker is about; nothing while the server is away.
sub look
{
	my ($code, $answer) = eval { $node->psql('postgres',
		q{SELECT pid || ' ' || in_flight || ' ' || queued || ' ' || (SELECT count(*) FROM payments.payment WHERE status = 'succeeded') FROM payments.worker_status}) };
	return ($answer // '') =~ /^(\d+) (\d+) (\d+) (\d+)$/;
}

my ($created, $kills, $kills_in_flight, $refused, $ended) = (0, 0, 0, 0, 0);
my $done = 0;

while (!$done && time < $deadline)
{
	# An application: creates in small transactions, and says the same again when it hears nothing.
	if ($created < $payments)
	{
		my $last = $created + 5 > $payments ? $payments : $created + 5;
		my ($code) = eval { $node->psql('postgres', join ";\n",
			map { 'SELECT payment_id FROM ' . PaymentsTest::create_payment_sql(idempotency_key => "fault-$_", amount => 1000 + $_, order_ref => "order-$_") }
			  $created + 1 .. $last) };
		if (($code // -1) == 0) { $created = $last }
		else { $refused++ }
	}
	my ($pid, $in_flight, $queued, $succeeded) = look();

	if (defined $pid && $succeeded >= $ended + $BETWEEN && $queued > 0)
	{
		if ($kills % 2 == 0)
		{
			# A PSP that stands still keeps what is in flight there; it charges when it goes on, and we are dead.
			$peer->pause;
			($pid, $in_flight) = look();
			for (my $until = time + 30; defined $pid && $in_flight == 0 && time < $until; ($pid, $in_flight) = look()) { usleep(20_000) }
		}
		if (defined $pid)
		{
			$kills += kill 'KILL', $pid;
			$kills_in_flight++ if $in_flight > 0;
			$ended = $succeeded;
		}
		$peer->resume;
	}
	$done = defined $queued && $queued == 0 && $created == $payments;
	usleep(50_000) unless $done;
}
ok($done, "all $payments payments came to an end");
note("$kills kills, $kills_in_flight of them with calls in flight; $refused times the application had to say it again");
cmp_ok($kills_in_flight, '>=', 2, 'the worker was killed with calls in flight');

is(value($node, q{SELECT count(*) FROM payments.payment WHERE status = 'succeeded'}), $payments, 'all succeeded')
  or diag(value($node, q{SELECT status, count(*) FROM payments.payment GROUP BY 1}),
	value($node, q{SELECT reason, detail FROM payments.dead_letter}));
is(value($node, q{SELECT count(*) FROM payments.payment}), $payments, 'and there are no others');
is(value($node, q{SELECT count(*) FROM payments.dead_letter}), 0, 'no dead letters');
is(value($node, q{SELECT count(*) FROM payments.stuck}), 0, 'nothing is stuck');

my $book = $peer->book;
is(scalar(grep { $_->{status} eq 'succeeded' } @{ $book->{charges} }), $payments, "the PSP's book has $payments charges");
is(scalar @{ $book->{charges} }, $payments, 'and not one more, not even failed');
is_deeply($book->{double_charged}, [], 'nobody was charged twice');
is($book->{keys}{keys}, $payments, 'one key for each payment');
is($book->{keys}{keys_with_many_bodies}, 0, 'no key was ever sent with other bytes');
is($book->{keys}{key_conflicts}, 0, 'no key conflict');
is($book->{keys}{posts_without_key}, 0, 'nothing was sent without a key');
note(join ', ', map { "$_ $book->{faults}{$_}" } sort keys %{ $book->{faults} });
foreach my $fault (qw(lose_answer cut_answer status_409 status_429))
{
	cmp_ok($book->{faults}{$fault} // 0, '>', 0, "$fault struck");
}
is( value($node, q{SELECT sum(amount) FROM payments.movement WHERE kind = 'capture'}),
	$book->{captured}{eur}, 'captured as in the book');
is( value($node, q{SELECT balance FROM payments.trial_balance WHERE code = 'psp_receivable:stripe'}),
	$book->{captured}{eur} - $book->{fees}{eur}, 'the ledger as well, less fees');
check_clean($node);
log_lacks_deadlocks($node);
$node->stop;
done_testing();
