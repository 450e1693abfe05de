# If this fails, a shop at YooKassa charges twice, believes a notice that anybody
# can send, or waits for ever: a lost answer of any operation, a 500, "processing"
# or a page of something in between leaves its books and ours apart.
#
# Every operation, with each of these things happening to its first request; the
# peer keeps its own book, and both are compared at the end.
use strict;
use warnings FATAL => 'all';

use FindBin;
use HTTP::Tiny;
use JSON::PP ();
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $SECRET = '100500:test_secret';
my $SAVED = 'caa0b0c0-00aa-4a0a-8a0a-aaaaaaaaaa';
my $RETURN = 'https://shop.example/back';
my $json = JSON::PP->new->canonical->utf8;
my $http = HTTP::Tiny->new(max_redirect => 0);

my $node = new_payments_node('yookassa', secrets => { yookassa => $SECRET });
my $peer = start_peer(command => ['/usr/bin/python3', "$FindBin::RealBin/../peer/yookassa.py", '--die-with-parent', '--secret', $SECRET]);
# What waits for the payer or the PSP waits long: whatever comes sooner was asked for by a notice.
value($node, q{INSERT INTO payments.retry_schedule (schedule, try, delay, builtin)
	SELECT s, n, CASE WHEN s IN ('pending', 'requires_action') THEN interval '1 hour' ELSE interval '200 ms' END, false
	FROM unnest(ARRAY['pending', 'requires_action', 'unknown', 'not_sent', 'soft_decline']) s, generate_series(1, 30) n});
value($node, sprintf q{SELECT payments.create_psp('yookassa', 'yookassa', '%s', 'yookassa');
	SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed; SELECT payments.arm()}, $peer->url);

my $n = 0;
sub pay { my (%more) = @_; return create_payment($node, idempotency_key => 'k-' . ++$n, amount => 1000, currency => 'RUB', psp => 'yookassa', %more) }
sub status_of { return value($node, "SELECT status FROM payments.payment WHERE payment_id = '$_[0]'") }
sub becomes { my ($id, $status, $name) = @_; return ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$id'", $status), $name) || diag(value($node, "SELECT status, failure_code FROM payments.payment WHERE payment_id = '$id'")) }
sub at_psp { my ($id) = @_; my $name = value($node, "SELECT psp_payment_id FROM payments.payment WHERE payment_id = '$id'"); return (grep { $_->{payment} eq $name } @{ $peer->book->{charges} })[0] }
sub notices { return value($node, join '; ', map { PaymentsTest::webhook_sql({ body => ref $_ ? $json->encode($_) : $_ }, psp => 'yookassa', headers => {}) } @_) }
sub notices_of { my ($id) = @_; my $ref = value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$id' ORDER BY created_at LIMIT 1"); notices(map { $_->{body} } $peer->events(ref => $ref)); return }
sub asked { return value($node, q{SELECT count(*) FROM payments.attempt WHERE action = 'inquire'}) }

# ---------- every operation, with each thing that happens to a request
my $performed = JSON::PP::true();
my %fault = (
	'nothing' => [],
	'its answer is lost' => [{ fault => 'lose_answer' }],
	'so is that of the question' => [{ fault => 'lose_answer' }, { fault => 'lose_answer', method => 'GET', payment_method => '^caa' }],
	'it does not arrive' => [{ fault => 'reset_before' }],
	'a 500, and it was done' => [{ fault => 'status_500', perform => $performed }],
	'a 500, and it was not' => [{ fault => 'status_500' }],
	'a page of something in between' => [{ fault => 'status_502', perform => $performed }],
	'half an answer' => [{ fault => 'truncated_json' }],
	'too many calls' => [{ fault => 'status_429', count => 1 }],
);
# operation => what is paid, what it becomes, what is done then, and what that makes of it: status, captured, refunded, code
my %operation = (
	charge => [{ payment_method => 'aa', off_session => 'true' }, 'succeeded', undef, 'succeeded 1000 0'],
	capture => [{ payment_method => 'aa', capture => 'manual' }, 'authorized', q{capture_payment('%s', 'c-%1$s')}, 'succeeded 1000 0'],
	part => [{ payment_method => 'aa', capture => 'manual' }, 'authorized', q{capture_payment('%s', 'p-%1$s', 400)}, 'succeeded 400 0'],
	void => [{ payment_method => 'aa', capture => 'manual' }, 'authorized', q{cancel_payment('%s', 'v-%1$s')}, 'cancelled 0 0'],
	refund => [{ payment_method => 'aa' }, 'succeeded', q{refund_payment('%s', 'r-%1$s', reason => 'torn')}, 'refunded 1000 1000'],
	parts => [{ payment_method => 'aa' }, 'succeeded', q{refund_payment('%s', 's-%1$s', 300), payments.refund_payment('%1$s', 't-%1$s', 200)}, 'partially_refunded 1000 500'],
	declined => [{ payment_method => 'ac' }, 'failed', undef, 'failed 0 0 permission_revoked'],
	soft => [{ payment_method => 'ae', off_session => 'true' }, 'succeeded', undef, 'succeeded 1000 0'],
	page => [{ payment_method => 'bank_card', return_url => $RETURN }, 'requires_action', '', 'succeeded 1000 0'],
	refused => [{ payment_method => undef, return_url => $RETURN, capture => 'manual' }, 'requires_action', '?reason=3d_secure_failed', 'failed 0 0 3d_secure_failed'],
);
my @names = sort keys %operation;

# All of them at once: what each is, in the order of their names.
sub become
{
	my ($id, $wanted, $columns, $name) = @_;
	my $sql = "SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY array_position('{" . join(',', @$id{@names}) . "}'::uuid[], payment_id)) FROM payments.payment WHERE payment_id = ANY ('{"
	  . join(',', values %$id) . "}')";
	ok(wait_until($node, $sql, join(', ', map { $wanted->($operation{$_}) } @names)), $name) or diag("@names", value($node, $sql));
	return;
}

my @digits = ('a' .. 'f', 0 .. 9);
foreach my $happens (sort keys %fault)
{
	# A method of its own for each: one that is declined so often would be tried no more.
	my $saved = substr($SAVED, 0, -1) . shift @digits;
	my %id;


	$peer->faults(map { { method => 'POST', per_key => 1, %$_ } } @{ $fault{$happens} });
	foreach my $name (@names)
	{
		my %pay = %{ $operation{$name}[0] };
		$pay{payment_method} = $saved . $pay{payment_method} if length($pay{payment_method} // '') == 2;
		$id{$name} = pay(%pay);
	}
	become(\%id, sub { $_[0][1] }, 'status', "$happens: paid, held, declined, or for the payer to confirm");
	value($node, join '; ', map { sprintf "SELECT payments.$operation{$_}[2]", $id{$_} } grep { ($operation{$_}[2] // '') =~ /\(/ } @names);
	foreach my $name (qw(page refused))
	{
		$http->get(value($node, "SELECT next_action_url FROM payments.payment WHERE payment_id = '$id{$name}'") . $operation{$name}[2]);
		notices_of($id{$name});
	}
	become(\%id, sub { $_[0][3] }, q{status, captured, refunded, CASE status WHEN 'failed' THEN failure_code END}, "$happens: captured, cancelled, refunded, whole and in part");
}
$peer->faults;

# ---------- accepted, and done a little later
$peer->control({ settings => { processing => 2 } });
becomes(pay(payment_method => "${SAVED}aa"), 'succeeded', 'processing: the same key tells');
is(value($node, q{SELECT string_agg(DISTINCT a.psp_key, ' ') = max(a.psp_key) AND count(*) = 3 FROM payments.attempt a JOIN payments.operation o USING (operation_id)
	WHERE o.created_at = (SELECT max(created_at) FROM payments.operation)}), 't', 'asked thrice under one key');

# ---------- a refund that takes its time, and one that comes to nothing
$peer->control({ settings => { refunds_pending => JSON::PP::true() } });
my ($slow, $never) = map { my $id = pay(payment_method => "${SAVED}aa"); becomes($id, 'succeeded', 'charged'); $id } 1 .. 2;
value($node, "SELECT payments.refund_payment('$_', 'pending-$_')") foreach $slow, $never;
ok(wait_until($node, "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE kind = 'refund' AND class = 'pending'", 2), 'both refunds are on their way');
$peer->control({ finish_refund => { payment => at_psp($slow)->{payment} } });
$peer->control({ finish_refund => { payment => at_psp($never)->{payment}, status => 'canceled', reason => 'rejected_by_payee' } });
notices_of($slow);
notices({ type => 'notification', event => 'refund.succeeded', object => { id => 'made-up', status => 'succeeded', payment_id => at_psp($never)->{payment}, amount => { value => '10.00', currency => 'RUB' } } });
becomes($slow, 'refunded', 'a notice, and the refund is asked for');
ok(wait_until($node, "SELECT failure_code FROM payments.operation WHERE payment_id = '$never' AND kind = 'refund'", 'rejected_by_payee'), 'whatever a notice says: the PSP says that it came to nothing');
is(value($node, "SELECT refunded FROM payments.payment WHERE payment_id = '$never'"), 0, 'nothing is refunded');
$peer->control({ settings => { refunds_pending => JSON::PP::false() } });

# ---------- notices that somebody has made up
my $waiting = pay(payment_method => 'sbp', return_url => $RETURN);
becomes($waiting, 'requires_action', 'the payer must confirm');
my $paid = { id => at_psp($waiting)->{payment}, status => 'succeeded', amount => { value => '10.00', currency => 'RUB' }, metadata => { payments_ref => at_psp($waiting)->{payments_ref}, payments_generation => '1' } };
my $before = asked();
notices({ type => 'notification', event => 'payment.succeeded', object => $paid });
ok(wait_until($node, q{SELECT count(*) FROM payments.attempt_answer a JOIN payments.attempt USING (operation_id, attempt) WHERE action = 'inquire'}, $before + 1), 'a notice that is made up: the PSP is asked');
is(status_of($waiting), 'requires_action', 'and its word counts');
notices(map { ({ type => 'notification', event => 'payment.succeeded', object => { %$paid, amount => { value => "$_.00", currency => 'RUB' } } },
	{ type => 'notification', event => 'payment.succeeded', object => { %$paid, id => "stranger-$_", metadata => {} } },
	{ type => 'notification', event => 'payment.succeeded', object => { %$paid, id => "other-$_" } },
	{ type => 'notification', event => 'refund.succeeded', object => { %$paid, id => "refund-$_", payment_id => $paid->{id}, metadata => {} } }) } 1 .. 20);
is(value($node, "SELECT string_agg(event_id || ' ' || outcome, ', ' ORDER BY event_id) FROM payments.psp_event WHERE payment_id = '$waiting'"),
	"hint:$waiting:approved:captured asked, hint:$waiting:approved:refunded asked", 'eighty of them make no row for each');
is(value($node, "SELECT count(*) FROM payments.psp_event WHERE convert_from(body, 'UTF8') LIKE '%stranger%'"), 0, 'and none of what is not ours');
ok(value($node, "SELECT try FROM payments.queue WHERE payment_id = '$waiting'") <= 1, 'they use up no try');
ok(asked() <= $before + 2, 'nor do they make us call the PSP eighty times');
is(sqlstate($node, PaymentsTest::webhook_sql({ body => '{"type":"notification"}' }, psp => 'yookassa', headers => {})), 'PY503', 'what is no notice is refused');
$peer->control({ finish => { payment => $paid->{id}, outcome => 'expired_on_confirmation' } });
value($node, "UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = '$waiting'; SELECT payments.resume_psp('yookassa')");
becomes($waiting, 'failed', 'not confirmed in time');
is(value($node, "SELECT failure_code FROM payments.payment WHERE payment_id = '$waiting'"), 'expired_on_confirmation', 'which it says');

# ---------- another amount than asked for moves nothing, and the shop's rights stop nothing else
my $more = pay(payment_method => "${SAVED}af");
becomes($more, 'in_doubt', 'another amount: in doubt');
is(value($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$more'"), 'conflicted', 'and a person is told');
$peer->faults({ fault => 'status_403', method => 'POST', count => 1 });
becomes(pay(payment_method => "${SAVED}aa"), 'failed', 'the shop may not do this: no');
is(value($node, q{SELECT halted_at IS NULL FROM payments.psp WHERE psp = 'yookassa'}), 't', 'and all else goes on');

# ---------- past the key's horizon nothing is sent again, and a person is told
$peer->faults({ fault => 'lose_answer', method => 'POST' });
my $lost = pay(payment_method => "${SAVED}aa");
ok(wait_until($node, "SELECT count(*) > 2 FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$lost'", 't'), 'no answer comes: asked by the same key');
value($node, "BEGIN; SELECT FROM payments.payment WHERE payment_id = '$lost' FOR UPDATE; UPDATE payments.operation SET key_used_at = key_used_at - interval '1 day' WHERE payment_id = '$lost'; COMMIT");
ok(wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$lost'", 'cannot_inquire'), 'when the key is old it is not sent again: a person is told');
is(status_of($lost), 'in_doubt', 'and it stays in doubt');
$peer->faults;

# ---------- its lists find what no answer and no notice has told
my ($by_hand, $given_back, $old) = map { pay(payment_method => "${SAVED}aa", %$_) } { capture => 'manual' }, {}, { capture => 'manual' };
becomes($by_hand, 'authorized', 'held');
becomes($given_back, 'succeeded', 'charged');
becomes($old, 'authorized', 'held for days');
$peer->control({ capture => { payment => at_psp($by_hand)->{payment}, amount => 600 } });
$peer->control({ refund => { payment => at_psp($given_back)->{payment}, amount => 250 } });
$peer->control({ settings => { clock_skew_s => -4 * 86400 } });
my $early = pay(payment_method => "${SAVED}aa", capture => 'manual');
becomes($early, 'authorized', 'another one, of four days ago at the PSP');
$peer->control({ settings => { clock_skew_s => 0 } });
$peer->control({ capture => { payment => at_psp($early)->{payment} } });
my $unread = value($node, 'SELECT clock_timestamp()');
value($node, q{UPDATE payments.psp SET config = '{"feeds": {"interval_s": 1, "lag_s": 0, "overlap_s": 60}}';
	SELECT payments.enable_feed(psp, feed), payments.refetch(psp, feed, now() - interval '1 hour') FROM payments.psp_feed});
becomes($lost, 'succeeded', 'the payment that nobody could ask for is found by its reference');
is(value($node, "SELECT decision FROM payments.dead_letter WHERE payment_id = '$lost'"), 'resolved', 'which decides its dead letter');
ok(wait_until($node, "SELECT status, captured FROM payments.payment WHERE payment_id = '$by_hand'", 'succeeded|600'), 'what was captured by hand, in part');
ok(wait_until($node, "SELECT status, refunded FROM payments.payment WHERE payment_id = '$given_back'", 'partially_refunded|250'), 'what was refunded by hand');
becomes($early, 'succeeded', 'what was captured days after it was made');
is(status_of($old), 'authorized', 'what is held is held');
ok(wait_until($node, "SELECT bool_and(watermark > timestamptz '$unread') FROM payments.psp_feed", 't'), 'all is read to the end');
is(value($node, 'SELECT string_agg(feed, $$ $$ ORDER BY feed) FROM payments.feed_status WHERE problem IS NULL'), 'captures payments refunds', 'and nothing is in the way');

# ---------- an authorization runs out: it is asked for when its time is over
is(value($node, "SELECT round(extract(epoch FROM capture_before - created_at) / 86400) FROM payments.payment WHERE payment_id = '$old'"), 7, 'until when it is held, YooKassa says');
$peer->control({ expire => { payment => at_psp($old)->{payment} } });
value($node, "UPDATE payments.payment SET capture_before = now() WHERE payment_id = '$old'; SELECT payments.resume_psp('yookassa')");
becomes($old, 'expired', 'it has run out');

# ---------- both books
my $book = $peer->book;
my %ours = map { my ($name, @rest) = split /\|/; ($name => "@rest") } split /\n/,
	value($node, q{SELECT psp_payment_id, captured, refunded FROM payments.payment WHERE psp_payment_id IS NOT NULL AND status NOT IN ('failed', 'in_doubt')});
my %theirs = map { ($_->{payment} => "$_->{captured} $_->{refunded}") } grep { exists $ours{ $_->{payment} } } @{ $book->{charges} };
is_deeply(\%ours, \%theirs, 'what was captured and refunded is the same in both books');
is(scalar(grep { $_->{captured} > 0 && !exists $ours{ $_->{payment} } } @{ $book->{charges} }), 1, 'and of what is not in ours there is the one of another amount');
is_deeply($book->{double_charged}, [], 'nothing is charged twice');
is("$book->{keys}{keys_with_many_bodies} $book->{keys}{key_conflicts} $book->{keys}{posts_without_key}", '0 0 0', 'each key has come with one body');
is(value($node, q{SELECT sum(amount) FROM payments.movement WHERE kind = 'fee'}), value($node, q{SELECT sum((captured * 35 + 500) / 1000) FROM payments.payment WHERE captured > 0}), 'fees are what YooKassa keeps');

check_clean($node);
done_testing();
