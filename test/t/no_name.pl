# If this fails, a PSP whose name cannot be looked up takes payments for sent, or
# for failed, that never left this host, or holds up those of the others.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $node = new_payments_node('no_name');
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node, tries => 2);
# RFC 6761: nobody has this name, whoever is asked.
value($node, q{SELECT payments.create_psp('nameless', 'stripe', base_url => 'https://psp.invalid', secret => 'stripe')});
value($node, q{SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed WHERE psp = 'nameless'});

my @lost = map { create_payment($node, idempotency_key => "lost-$_", amount => 1000 + $_, psp => 'nameless') } 1 .. 3;
is(outcome($node, create_payment($node, idempotency_key => "beside-$_", amount => 2000 + $_)), 'succeeded', 'the other PSP is called meanwhile') foreach 1 .. 3;
ok(wait_until($node, q{SELECT count(*) FROM payments.dead_letter WHERE reason = 'psp_unreachable'}, 3), 'those that cannot be sent are dead letters in the end');
is(value($node, q{SELECT DISTINCT p.status || ', ' || o.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.psp = 'nameless'}),
	'awaiting_retry, awaiting_retry', 'nothing was sent: they are neither failed nor in doubt');
is(value($node, q{SELECT DISTINCT r.class FROM payments.attempt_answer r JOIN payments.operation o USING (operation_id) WHERE o.psp = 'nameless'}), 'not_sent', 'of no call it is unknown what became of it');
like(value($node, q{SELECT string_agg(DISTINCT r.error, ' ') FROM payments.attempt_answer r JOIN payments.operation o USING (operation_id) WHERE o.psp = 'nameless'}),
	qr/resolve/i, 'and it is said why');
is(value($node, "SELECT status FROM payments.cancel_payment('$lost[0]', 'lost-cancel')"), 'succeeded', 'so it can be cancelled at once');
check_clean($node);
$node->stop;
done_testing();
