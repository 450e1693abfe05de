# If this fails, an operation whose answer is lost is done twice or not at all:
# goods are captured twice, a merchant is paid out twice.  The peer loses answers
# after it has done what was asked, and its own book is compared with ours.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $node = new_payments_node('operations');
my $peer = start_peer(faults => { rules => [ { fault => 'lose_answer', p => 0.4 } ] });
create_stripe_psp($node, $peer, config => { multicapture => JSON::PP::true() });
fast_schedules($node, delay => '100 ms', tries => 200, schedules => [qw(not_sent unknown pending requires_action authorization)]);

sub wait_for { my ($operation) = @_; return value($node, "SELECT payments.wait_operation('$operation', interval '300 s')") }
sub deliver { my ($from) = @_; my @events = $peer->events; deliver_event($node, $_) foreach @events[ $from .. $#events ]; return scalar @events }

# ---------- several captures
my @ids = map { create_payment($node, idempotency_key => "several-$_", amount => 1000, capture => 'manual') } 1 .. 6;
is(outcome($node, $_), 'authorized', 'authorized') foreach @ids;
foreach my $part ([ 300, 'false' ], [ 400, 'false' ], [ 200, 'true' ])
{
	my @captures = map { value($node, "SELECT operation_id FROM payments.capture_payment('$_', 'capture-$_-$part->[0]', $part->[0], $part->[1])") } @ids;
	is(join(' ', map { wait_for($_) } @captures), join(' ', ('succeeded') x @ids), "captured $part->[0] of each");
}
is(join(' ', map { "$_->{amount}/$_->{captured}" } @{ $peer->book->{charges} }), join(' ', ('1000/900') x @ids), 'by the PSP\'s book 900 of each');
is(value($node, "SELECT string_agg(DISTINCT p.captured || ' ' || p.released, ',') FROM payments.payment p"), '900 100', 'and by ours; the rest is released');
deliver(0);
at_rest($node);
is(value($node, "SELECT string_agg(DISTINCT p.captured || ' ' || p.released, ',') FROM payments.payment p"), '900 100', 'whatever its events tell again');
check_clean($node, 'several captures: check() is clean');

# ---------- an authorization that ends while nobody listens
my $held = create_payment($node, idempotency_key => 'held', amount => 500, capture => 'manual');
is(outcome($node, $held), 'authorized', 'held');
my $part = create_payment($node, idempotency_key => 'part', amount => 500, capture => 'manual');
is(outcome($node, $part), 'authorized', 'and another');
is(wait_for(value($node, "SELECT operation_id FROM payments.capture_payment('$part', 'part-1', 100, false)")), 'succeeded', 'captured in part');
$peer->control({ expire => {} });
$node->safe_psql('postgres', "UPDATE payments.payment SET capture_before = now() WHERE payment_id IN ('$held', '$part')");
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$held'", 'expired'), 'its time is over: the worker asks, and hears that it has expired');
ok(wait_until($node, "SELECT captured || ' ' || released FROM payments.payment WHERE payment_id = '$part'", '100 400'), 'what was captured of the other stays');
at_rest($node);
check_clean($node, 'expired: check() is clean');

# ---------- payouts and transfers
my @payouts = map { value($node, "SELECT payment_id FROM payments.create_payout('payout-$_', 100 + $_, 'EUR', psp => 'stripe', destination => " . ($_ % 2 ? 'NULL' : "'acct_1'") . ')') } 1 .. 8;
ok(wait_until($node, q{SELECT count(*) FROM payments.payment WHERE kind IN ('withdrawal', 'transfer') AND psp_payment_id IS NULL}, '0'), 'each is at the PSP');
is(join(' ', sort { $a <=> $b } map { $_->{amount} } @{ $peer->book->{payouts} }), '101 102 103 104 105 106 107 108', 'once, by its own book');
my $told = () = $peer->events;
$peer->control({ finish_payout => {} });
at_rest($node);
is(value($node, q{SELECT string_agg(DISTINCT status, ' ') FROM payments.payment WHERE kind IN ('withdrawal', 'transfer')}), 'succeeded', 'all paid, as the PSP says when it is asked');
my ($first) = grep { $_->{amount} == 101 } @{ $peer->book->{payouts} };
my ($second) = grep { $_->{amount} == 102 } @{ $peer->book->{payouts} };
$peer->control({ finish_payout => { payout => $first->{payout}, outcome => 'failed' } });
$peer->control({ reverse_transfer => { payout => $second->{payout} } });
deliver($told);
is(outcome($node, $payouts[0]), 'failed', 'paid, and failed days later');
is(outcome($node, $payouts[1]), 'failed', 'transferred, and taken back');
is( value($node, q{SELECT sum(CASE WHEN m.kind IN ('payout', 'transfer') THEN m.amount ELSE -m.amount END) FROM payments.movement m WHERE m.kind IN ('payout', 'transfer', 'payout_returned', 'transfer_returned')}),
	(103 + 104 + 105 + 106 + 107 + 108), 'what is out is what the PSP has paid');
check_clean($node, 'payouts: check() is clean');
cmp_ok($peer->book->{faults}{lose_answer} // 0, '>', 0, 'answers were lost on the way');

$peer->stop;
$node->stop;
done_testing();
