# If this fails, Adyen and we disagree about somebody's money: an answer was lost
# and the customer is charged twice or not at all, a webhook that came twice or
# in the wrong order is counted twice or forgotten, or what nobody signed is
# believed.
#
# A table of every operation and outcome, each with every way to lose an answer,
# against a scripted Adyen that keeps its own book; at the end the books agree.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP ();
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $json = JSON::PP->new->utf8->canonical;
my ($KEY, $OLD_KEY) = ('0f' x 32, 'a0' x 32);

my $vendor = npm_package('@adyen/api-library@32.1.0');
my $peer = start_peer(command => [ '/usr/bin/python3', "$FindBin::RealBin/../peer/adyen.py", '--die-with-parent', '--secret', 'peer-api-key', '--webhook-secret', $KEY ]);
my $node = new_payments_node('adyen', secrets => { adyen => 'peer-api-key', 'adyen.webhook' => $KEY });
value($node, sprintf q{SELECT payments.create_psp('adyen', 'adyen', '%s/v71', 'adyen', '{"merchant_account": "PeerShop", "return_url": "https://shop.example/back"}'), payments.arm()}, $peer->url);
fast_schedules($node, tries => 500);

sub pay
{
	my ($key, %arguments) = @_;
	return create_payment($node, idempotency_key => $key, psp => 'adyen', payment_method => 'TOKEN', amount => 1000, customer => 'shopper-1', %arguments);
}

sub capture { my ($id, $amount) = @_; return value($node, "SELECT operation_id FROM payments.capture_payment('$id', 'k-$id', $amount)") }
sub refund { my ($id, $key, $amount) = @_; return value($node, "SELECT operation_id FROM payments.refund_payment('$id', '$key-$id', $amount, 'duplicate')") }
sub cancel { my ($id) = @_; return value($node, "SELECT operation_id FROM payments.cancel_payment('$id', 'v-$id')") }
sub status_of { return value($node, "SELECT status FROM payments.payment WHERE payment_id = '$_[0]'") }
sub ref_of { return value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$_[0]' ORDER BY created_at LIMIT 1") }

# The statement with which an endpoint hands over a body.
sub received_sql
{
	my ($body) = @_;
	return sprintf q{SELECT coalesce(payment_id::text, '-') || ' ' || coalesce(status, '-') || ' ' || coalesce(reply, '-') FROM payments.receive_webhook('adyen', '{}', decode('%s', 'hex'));}, unpack 'H*', $body;
}
sub receive { return value($node, received_sql($_[0])) }

# All that Adyen has to tell since the last time: each twice, and the latest first.
my $told = 0;
sub deliver
{
	my @news = $peer->events(from => $told);

	$told += @news;
	value($node, join "\n", map { received_sql($_->{body}) x 2 } reverse @news) if @news;
	return 1;
}
sub told_until { my ($sql, $expected) = @_; return eventually(sub { deliver() && value($node, $sql) eq ($expected // 't') }) }
my $OPEN = 'SELECT count(*) FROM payments.operation WHERE completed_at IS NULL';

# ---------- the table
# In this order, and one operation after the other: several calls in a row without any answer would have us wait for the PSP.
my @FAULTS = qw(none lose_answer status_500 status_502 cut_answer truncated_json nul_in_json reset_before garbage transient in_progress);
$peer->faults(
	(map { { fault => $_, per_key => 1, payment_method => "^${_}_" } } grep { !/^(none|status_5|transient|in_progress)/ } @FAULTS),
	{ fault => 'status_500', per_key => 1, payment_method => '^status_500_', perform => JSON::PP::true, stored => JSON::PP::false },
	{ fault => 'status_502', per_key => 1, payment_method => '^status_502_', perform => JSON::PP::true },
	{ fault => 'status_500', per_key => 1, payment_method => '^transient_', should_retry => JSON::PP::true },
	{ fault => 'status_422', per_key => 1, payment_method => '^in_progress_', perform => JSON::PP::true, code => '704', should_retry => JSON::PP::true });
my $faults = join ', ', map { "($_, '$FAULTS[$_]')" } 0 .. $#FAULTS;
my %payment = split /[|\n]/, value($node, qq{
	SELECT fault || ' ' || name, payment_id FROM (SELECT * FROM (VALUES $faults) f (i, fault), (VALUES ('charged', 'automatic', 'TOKEN'), ('refunded', 'automatic', 'TOKEN'), ('captured', 'manual', 'TOKEN'), ('cancelled', 'manual', 'TOKEN'), ('refused', 'automatic', 'REFUSED_5'),
			('tried_again', 'automatic', 'REFUSEDTIMES_1_12'), ('received', 'automatic', 'RECEIVED'), ('redirected', 'automatic', 'REDIRECT')) o (name, capture, method) ORDER BY name, i) w,
		LATERAL payments.create_payment(fault || ' ' || name, 1000, 'EUR', psp => 'adyen', payment_method => fault || '_' || method, customer => 'shopper-1', capture => capture, off_session => name = 'tried_again')});
# Who is sent away has no id there yet.
my $waiting = 2 * @FAULTS;
my $named = @FAULTS;
ok(wait_until($node, "SELECT count(*) FILTER (WHERE o.completed_at IS NULL) || ' ' || count(p.psp_payment_id) FILTER (WHERE o.completed_at IS NULL)
	FROM payments.operation o JOIN payments.payment p USING (payment_id)", "$waiting $named"), 'all are answered, but for those that wait for the payer or for Adyen');
my %expected = (charged => 'succeeded', refunded => 'succeeded', captured => 'authorized', cancelled => 'authorized', refused => 'failed', tried_again => 'succeeded', received => 'processing', redirected => 'requires_action');
my %is = map { split /\|/ } split /\n/, value($node, 'SELECT payment_id, status FROM payments.payment');
is(join(', ', map { "$_: $is{$payment{$_}}" } grep { $is{ $payment{$_} } ne $expected{ (split / /)[1] } } sort keys %payment), '', 'each as it should be, whatever became of its first answer');
like(value($node, "SELECT DISTINCT next_action_url FROM payments.payment WHERE status = 'requires_action' LIMIT 1"), qr{^https://checkout\.example/redirect/}, 'whoever must act is told where');
$peer->control({ finish => {} });
my @changes;
push @changes, sprintf q{SELECT payments.capture_payment('%s', 'k-%s', 600);}, $payment{"$_ captured"}, $_ foreach @FAULTS;
push @changes, sprintf q{SELECT payments.cancel_payment('%s', 'v-%s');}, $payment{"$_ cancelled"}, $_ foreach @FAULTS;
foreach my $amount (300, 700)
{
	push @changes, sprintf q{SELECT payments.refund_payment('%s', '%d-%s', %2$d, 'duplicate');}, $payment{"$_ refunded"}, $amount, $_ foreach @FAULTS;
}
value($node, "@changes");
ok(told_until($OPEN, '0'), 'captures, cancellations and refunds are answered, and Adyen tells what became of them');
%expected = (%expected, refunded => 'refunded', captured => 'succeeded', cancelled => 'cancelled', received => 'succeeded', redirected => 'succeeded');
%is = map { split /\|/ } split /\n/, value($node, 'SELECT payment_id, status FROM payments.payment');
is(join(', ', map { "$_: $is{$payment{$_}}" } grep { $is{ $payment{$_} } ne $expected{ (split / /)[1] } } sort keys %payment), '', 'each as it should be at the end');
is(value($node, 'SELECT count(*) FROM payments.exception'), 0, 'and nothing is for a person');

# ---------- what is refused afterwards
$peer->faults;
$peer->control({ settings => { decide => JSON::PP::false } });
my %late = map { $_ => pay("late $_", capture => $_ =~ /refund/ ? 'automatic' : 'manual') } qw(capture_refused cancel_refused refund_refused refund_late refund_back);
is(outcome($node, $late{$_}), $_ =~ /refund/ ? 'succeeded' : 'authorized', "$_: made") foreach sort keys %late;
my %op = (capture_refused => capture($late{capture_refused}, 1000), cancel_refused => cancel($late{cancel_refused}), map { $_ => refund($late{$_}, 'r', 400) } grep { /refund/ } keys %late);
ok(wait_until($node, "SELECT count(*) FROM payments.operation WHERE completed_at IS NULL AND status = 'processing'", '5'), 'all are received');
is(value($node, "SELECT refund_pending FROM payments.payment WHERE payment_id = '$late{refund_late}'"), 400, 'which moves nothing yet');
my %mark = map { $_ => value($node, "SELECT psp_ref FROM payments.operation WHERE operation_id = '$op{$_}'") } keys %op;
$peer->control({ decide => { ref => $mark{$_}, outcome => $_ =~ /refused/ ? 'refused' : 'done' } }) foreach sort keys %mark;
ok(told_until($OPEN, '0'), 'and decided');
is(join(', ', map { "$_ " . value($node, "SELECT concat_ws(' ', p.status, o.status, o.failure_code, p.capture_pending + p.refund_pending) FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE o.operation_id = '$op{$_}'") } sort keys %op),
	'cancel_refused authorized failed cancel_refused 0, capture_refused authorized failed capture_refused 0, refund_back partially_refunded succeeded 0, refund_late partially_refunded succeeded 0, refund_refused succeeded failed refund_failed 0', 'what Adyen refused has failed, and holds nothing back');
$peer->control({ refund_failed => { ref => $mark{refund_late} }, refund_reversed => { ref => $mark{refund_back} } });
ok(told_until("SELECT string_agg(DISTINCT status, ' ') FROM payments.payment WHERE payment_id IN ('$late{refund_late}', '$late{refund_back}')", 'succeeded'), 'a refund that fails after all, or comes back, is taken back');
is(value($node, "SELECT count(*) FROM payments.exception WHERE kind = 'refund_failed' AND resolved_at IS NULL"), 3, 'and somebody is to pay in another way');
$peer->control({ settings => { decide => JSON::PP::true } });

# ---------- a page of Adyen's
my %link = map { $_ => pay("link $_", payment_method => undef, capture => $_ =~ /held/ ? 'manual' : 'automatic') } qw(paid held refused_first closed left);
is(outcome($node, $link{$_}), 'requires_action', "link $_: the payer is asked") foreach sort keys %link;
like(value($node, "SELECT next_action_url FROM payments.payment WHERE payment_id = '$link{paid}'"), qr{^https://pay\.example/pay/PL}, 'to go to a page of Adyen\'s');
$peer->control({ pay_link => { ref => ref_of($link{refused_first}), outcome => 'refused' } });
deliver();
is(status_of($link{refused_first}), 'requires_action', 'who is refused there may try again');
$peer->control({ pay_link => { ref => ref_of($link{$_}) } }) foreach qw(paid held refused_first);
cancel($link{closed});
$peer->control({ expire => { ref => ref_of($link{left}) } });
ok(told_until("SELECT string_agg(status, ' ' ORDER BY payment_id = '$link{held}', payment_id = '$link{closed}', payment_id = '$link{left}') FROM payments.payment WHERE payment_id IN ('" . join("', '", values %link) . "')", 'succeeded succeeded failed cancelled authorized'), 'paid, held, closed and left alone');

# ---------- cancelled while nobody knows
no_inquiries($node);
$peer->faults({ fault => 'lose_answer', count => 1, payment_method => 'DOUBT' });
my $doubt = pay('doubt', capture => 'manual', payment_method => 'DOUBT');
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$doubt'", 'in_doubt'), 'authorized, and the answer is lost');
cancel($doubt);
ok(told_until("SELECT status FROM payments.payment WHERE payment_id = '$doubt'", 'cancelled'), 'it can be cancelled all the same, by our reference');
is(value($node, "SELECT count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$doubt' AND path = '/cancels'"), 1, 'which is a call of its own');
is((map { $_->{status} } grep { $_->{payments_ref} eq ref_of($doubt) } @{ $peer->book->{charges} })[0], 'released', 'and so it is there');
fast_schedules($node, tries => 500);

# ---------- disputes, expiry, and what tells us nothing
my $disputed = pay('disputed');
outcome($node, $disputed);
$peer->control({ dispute => { ref => ref_of($disputed), code => 'NOTIFICATION_OF_CHARGEBACK' } });
ok(told_until("SELECT stage || ' ' || reserved FROM payments.dispute WHERE payment_id = '$disputed'", 'inquiry 0'), 'a dispute is announced, and no money has been taken');
is(status_of($disputed), 'succeeded', 'so the payment is what it was');
foreach my $step ([ CHARGEBACK => 'disputed' ], [ CHARGEBACK_REVERSED => 'succeeded' ], [ SECOND_CHARGEBACK => 'disputed' ])
{
	$peer->control({ dispute => { ref => ref_of($disputed), code => $step->[0] } });
	ok(told_until("SELECT status FROM payments.payment WHERE payment_id = '$disputed'", $step->[1]), "$step->[0]: $step->[1]");
}
is(value($node, "SELECT string_agg(kind || ' ' || amount, ', ' ORDER BY kind) FROM payments.movement WHERE payment_id = '$disputed' AND kind LIKE 'dispute%'"), 'dispute 1000, dispute 1000, dispute_lost 1000, dispute_won 1000', 'taken, given back, and taken for good');
my $expired = pay('expired', capture => 'manual');
outcome($node, $expired);
$peer->control({ expire => { ref => ref_of($expired) } });
ok(told_until("SELECT status IN ('cancelled', 'expired') FROM payments.payment WHERE payment_id = '$expired'"), 'an authorization that Adyen lets go is over');
my $nothing = pay('nothing came');
outcome($node, $nothing);
$peer->control({ capture_failed => { ref => ref_of($nothing) } });
ok(told_until("SELECT string_agg(kind, ' ') FROM payments.exception WHERE payment_id = '$nothing'", 'conflicted'), 'a capture that fails after all is for a person');
$peer->control({ tell => { code => 'REPORT_AVAILABLE', id => 'settlement_detail_report_batch_1.csv', reason => 'https://reports.example/1' } });
$peer->control({ tell => { code => 'AUTHORISATION', id => 'test_AUTHORISATION_1', reference => 'testMerchantRef1', amount => 1000 } });
$peer->control({ tell => { code => 'AUTHORISATION', id => 'ANOTHERSHOPS00001', reference => 'a:b', amount => 1000 } });
deliver();
is(value($node, "SELECT string_agg(outcome, ' ' ORDER BY event_id) FROM payments.psp_event WHERE event_id ~ '^(settlement|test_|ANOTHER)'"), 'ignored ignored ignored', 'reports, trials and payments of others are kept, and nothing more');

# ---------- signatures
my $signed = pay('signed', payment_method => 'RECEIVED');
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$signed'", 'processing'), 'one that waits for a word');
$peer->control({ finish => { ref => ref_of($signed) } });
my ($event) = $peer->events(from => $told);
my $forged = $event->{body} =~ s/"value":1000/"value":1001/r;
is(sqlstate($node, received_sql($forged)), 'PY501', 'another amount: not signed');
is(sqlstate($node, received_sql($event->{body} =~ s/"hmacSignature":"[^"]*"/"x":"y"/r)), 'PY501', 'no signature at all');
write_secrets($node, adyen => 'peer-api-key', 'adyen.webhook' => $OLD_KEY);
reload($node);
is(sqlstate($node, received_sql($event->{body})), 'PY501', 'signed with a key that we do not have');
write_secrets($node, adyen => 'peer-api-key', 'adyen.webhook' => $OLD_KEY, 'adyen.webhook.previous' => $KEY);
reload($node);
my $other = pay('signed too', payment_method => 'RECEIVED');
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$other'", 'processing'), 'another that waits');
$peer->control({ finish => { ref => ref_of($other), outcome => 'refused' } });
my @both = map { $json->decode($_->{body}) } $peer->events(from => $told);
is(scalar @both, 2, 'two events');
my $together = $json->encode({ live => 'false', notificationItems => [ map { @{ $_->{notificationItems} } } @both ] });
is(sqlstate($node, received_sql($together =~ s/"success":"false"/"success":"true"/r)), 'PY501', 'in one request, one of them altered: neither is believed');
is((split / /, receive($together))[-1], '[accepted]', 'with the key before the present one: both, and Adyen has its word');
is(status_of($signed) . ' ' . status_of($other), 'succeeded failed', 'and each is applied');
deliver();

# ---------- the books
is(value($node, $OPEN), 0, 'nothing is left open');
my $book = $peer->book;
is(scalar @{ $book->{double_charged} }, 0, 'nobody is charged twice');
is("$book->{keys}{key_conflicts} $book->{keys}{keys_with_many_bodies} $book->{keys}{posts_without_key}", '0 0 0', 'a key is of one request, for ever');
my %theirs;
foreach my $charge (@{ $book->{charges} })
{
	my $sums = $theirs{ $charge->{payments_ref} } //= [ 0, 0, 0 ];
	next if $charge->{status} eq 'failed' && $charge->{payments_ref} ne ref_of($nothing);
	$sums->[0] += $charge->{amount} if $charge->{status} ne 'pending';
	$sums->[1] += $charge->{captured};
	$sums->[2] += $charge->{refunded};
}
# A link nobody has paid is no payment there; a capture that failed is booked here until a person corrects it.
$theirs{ ref_of($_) } //= [ 0, 0, 0 ] foreach @link{qw(closed left)};
$theirs{ ref_of($nothing) }[1] = 1000;
my $ours = value($node, "SELECT o.psp_ref || ' ' || p.authorized || ' ' || p.captured || ' ' || p.refunded FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE o.kind IN ('charge', 'authorize') ORDER BY 1");
# Who had not been told that it was authorized knows of no amount.
$theirs{ ref_of($doubt) }[0] = 0 if $ours =~ /^@{[ ref_of($doubt) ]} 0 /m;
is($ours, join("\n", map { "$_ @{$theirs{$_}}" } sort keys %theirs), 'of each payment both books say the same');
check_clean($node);

# ---------- Adyen's own description of its API, and its own code for signatures
my $file = PostgreSQL::Test::Utils::tempdir() . '/sent.json';
my $requests = value($node, "SELECT json_agg(DISTINCT jsonb_build_object('method', method, 'path', path, 'body', body)) FROM payments.attempt WHERE body IS NOT NULL");
PostgreSQL::Test::Utils::append_to_file($file, sprintf '{"requests": %s, "bodies": %s, "key": "%s"}', $requests, $json->encode([ map { $_->{body} } $peer->events ]), $KEY);
my ($checked, $errors) = PostgreSQL::Test::Utils::run_command([ 'node', "$FindBin::RealBin/../lib/adyen_forms.js", $vendor->(), $file ]);
like("$checked$errors", qr/^checked \d{3} requests, \d{3} items$/, 'each request is as Adyen describes it, and Adyen would have signed the events so');
done_testing();
