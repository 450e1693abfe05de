# If this fails, a shop at PayPal charges twice, ships what a payer has only
# approved, charges what was cancelled meanwhile, or waits for ever: a lost answer
# of any operation and of any step of one, a token that ends, or an event that
# anybody can send leaves its books and ours apart.
#
# Every operation, with each of these things happening to the first request of
# each of its steps; the peer keeps its own book, and both are compared at the end.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP ();
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $SECRET = 'client:hush';
my $RETURN = 'https://shop.example/back';

my $node = new_payments_node('paypal', secrets => { paypal => $SECRET }, conf => 'payments.seal_interval = 0');
my $peer = start_peer(command => ['/usr/bin/python3', "$FindBin::RealBin/../peer/paypal.py", '--die-with-parent', '--secret', $SECRET]);
fast_schedules($node, tries => 1000);
value($node, sprintf q{SELECT payments.create_psp('paypal', 'paypal', '%s', 'paypal'); UPDATE payments.psp SET timeout = '2 min' WHERE psp = 'paypal';
	SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed; SELECT payments.arm()}, $peer->url);

my $n = 0;
sub pay { my (%more) = @_; return create_payment($node, idempotency_key => 'k-' . ++$n, amount => 1000, psp => 'paypal', payment_method => 'paypal', return_url => $RETURN, %more) }
sub column { my ($what, $id) = @_; return value($node, "SELECT $what FROM payments.payment WHERE payment_id = '$id'") }
sub becomes { my ($id, $status, $name) = @_; return ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$id'", $status), $name) || diag(column('payment', $id)) }
sub ref_of { return value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$_[0]' ORDER BY created_at LIMIT 1") }
sub order_of { my $order = column('psp_payment_id', $_[0]); return (grep { $_->{payment} eq $order } @{ $peer->book->{charges} })[0] }
sub approve { my ($id, $outcome) = @_; $peer->control({ approve => { ref => ref_of($id), outcome => $outcome // 'ok' } }); return }
sub told { my ($id) = @_; return value($node, join '; ', map { PaymentsTest::webhook_sql($_, psp => 'paypal', headers => {}) } $peer->events(ref => ref_of($id))) }
# What was sent of it, as step:how often.
sub sent { return value($node, "SELECT string_agg(step || ':' || n, ' ' ORDER BY step) FROM (SELECT a.step, count(*) AS n FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$_[0]' AND o.kind IN ('charge', 'authorize') AND a.action = 'send' GROUP BY a.step) x") }
sub keys_of { return value($node, "SELECT count(DISTINCT a.psp_key), count(DISTINCT a.body) FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$_[0]' AND a.action = 'send'") }

# ---------- every operation, with each thing that happens to a request
my $performed = JSON::PP::true();
my %fault = (
	'nothing' => [],
	'its answer is lost' => [{ fault => 'lose_answer' }],
	'so is that of the question' => [{ fault => 'lose_answer' }, { fault => 'lose_answer', method => 'GET', count => 12 }],
	'it does not arrive' => [{ fault => 'reset_before' }],
	'a 500, and it was done' => [{ fault => 'status_500', perform => $performed }],
	'a 500, and it was not' => [{ fault => 'status_500' }],
	'a page of something in between' => [{ fault => 'status_502', perform => $performed }],
	'half an answer' => [{ fault => 'truncated_json' }],
	'another id' => [{ fault => 'status_409' }],
	'the token has ended' => [{ fault => 'status_401', count => 1 }],
);
# operation => how it is paid, what the payer's approval comes to, what that makes of it, what is done then, and what
# that makes of it: status, captured, refunded, code
my %operation = (
	charge => [{}, 'ok', 'succeeded', undef, 'succeeded 1000 0'],
	capture => [{ capture => 'manual' }, 'ok', 'authorized', q{capture_payment('%s', 'c-%1$s')}, 'succeeded 1000 0'],
	part => [{ capture => 'manual' }, 'ok', 'authorized', q{capture_payment('%s', 'p-%1$s', 400)}, 'succeeded 400 0'],
	void => [{ capture => 'manual' }, 'ok', 'authorized', q{cancel_payment('%s', 'v-%1$s')}, 'cancelled 0 0'],
	refund => [{}, 'ok', 'succeeded', q{refund_payment('%s', 'r-%1$s', reason => 'torn')}, 'refunded 1000 1000'],
	parts => [{}, 'ok', 'succeeded', q{refund_payment('%s', 's-%1$s', 300), payments.refund_payment('%1$s', 't-%1$s', 200)}, 'partially_refunded 1000 500'],
	declined => [{}, 'declined', 'failed', undef, 'failed 0 0 capture_declined'],
	refused => [{}, 'refused', 'failed', undef, 'failed 0 0 INSTRUMENT_DECLINED'],
	denied => [{ capture => 'manual' }, 'declined', 'failed', undef, 'failed 0 0 authorization_denied'],
	saved => [{ payment_method => 'ok', return_url => undef }, undef, 'succeeded', undef, 'succeeded 1000 0'],
	unsaved => [{ payment_method => 'declined', return_url => undef }, undef, 'failed', undef, 'failed 0 0 capture_declined'],
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

foreach my $happens (sort keys %fault)
{
	my %id;

	$peer->faults(map { { method => 'POST', per_key => 1, %$_ } } @{ $fault{$happens} });
	$id{$_} = pay(%{ $operation{$_}[0] }) foreach @names;
	become(\%id, sub { defined $_[0][1] ? 'requires_action' : $_[0][2] }, 'status', "$happens: the payer must approve, or has a wallet there");
	approve($id{$_}, $operation{$_}[1]) foreach grep { defined $operation{$_}[1] } @names;
	become(\%id, sub { $_[0][2] }, 'status', "$happens: approved, and then captured or authorized, or declined");
	value($node, join '; ', map { sprintf "SELECT payments.$operation{$_}[3]", $id{$_} } grep { defined $operation{$_}[3] } @names);
	become(\%id, sub { $_[0][4] }, q{status, captured, refunded, CASE status WHEN 'failed' THEN failure_code END}, "$happens: captured, cancelled, refunded, whole and in part");
}
$peer->faults;
$peer->control({ settings => { void_without_body => $performed } });
my $held = pay(capture => 'manual');
becomes($held, 'requires_action', 'once more one to be authorized');
approve($held);
becomes($held, 'authorized', 'is');
value($node, "SELECT payments.cancel_payment('$held', 'void-$held')");
becomes($held, 'cancelled', 'and cancelled, though the answer to that says nothing');

# ---------- captured in parts, each by its own name; a refund is of the part that has as much left
my $many = pay(capture => 'manual');
becomes($many, 'requires_action', 'one to be captured in parts');
approve($many);
becomes($many, 'authorized', 'is authorized');
$peer->faults({ fault => 'lose_answer', method => 'POST', per_key => 1 });
value($node, "SELECT payments.capture_payment('$many', 'many-1', 300, final => false)");
ok(wait_until($node, "SELECT captured FROM payments.payment WHERE payment_id = '$many'", 300), 'a part, whose answer is lost');
ok(wait_until($node, "SELECT count(*) FROM payments.queue WHERE payment_id = '$many'", 0), 'and found');
value($node, "SELECT payments.capture_payment('$many', 'many-2', 700)");
ok(wait_until($node, "SELECT captured FROM payments.payment WHERE payment_id = '$many'", 1000), 'the rest');
ok(wait_until($node, "SELECT count(*) FROM payments.queue WHERE payment_id = '$many'", 0), 'likewise');
is(sqlstate($node, "SELECT payments.refund_payment('$many', 'many-0', 800)"), 'PY407', 'more than any part cannot be given back at once');
value($node, "SELECT payments.refund_payment('$many', 'many-3', 500), payments.refund_payment('$many', 'many-4', 250), payments.refund_payment('$many', 'many-5', 150)");
becomes($many, 'partially_refunded', 'of each as much as it has');
ok(wait_until($node, "SELECT refunded FROM payments.payment WHERE payment_id = '$many'", 900), 'all of them');
$peer->faults;

# ---------- an approval is a hint, and starts one step however often it is told
value($node, q{UPDATE payments.retry_schedule SET delay = '1 hour' WHERE NOT builtin AND schedule IN ('requires_action', 'pending')});
my $twice = pay();
becomes($twice, 'requires_action', 'the payer must approve');
like(column('next_action_url', $twice), qr{^https://www\.paypal\.example/checkoutnow\?token=}, 'at PayPal');
is(value($node, "SELECT keys_used FROM (SELECT count(psp_key) AS keys_used FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$twice') x"), 1, 'one key so far');
my $made_up = { type => 'CHECKOUT.ORDER.APPROVED', body => sprintf '{"id":"WH-made-up","event_type":"CHECKOUT.ORDER.APPROVED","resource":{"id":"%s","purchase_units":[{"custom_id":"%s"}]}}', column('psp_payment_id', $twice), ref_of($twice) };
value($node, PaymentsTest::webhook_sql($made_up, psp => 'paypal', headers => {}));
ok(wait_until($node, "SELECT count(*) FROM payments.attempt_answer r JOIN payments.attempt a USING (operation_id, attempt) JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$twice' AND a.action = 'inquire'", 1), 'an approval that somebody has made up: PayPal is asked');
is(column('status', $twice) . ' ' . sent($twice), 'requires_action 1:1', 'and its word counts: nothing goes on');
my $told = pay();
becomes($told, 'requires_action', 'another');
approve($told);
told($told) foreach 1 .. 3;
becomes($told, 'succeeded', 'an approval, told thrice: captured');
told($told);
is(sent($told), '1:1 2:1', 'by one request');
is(keys_of($told), '2|2', 'each step with a key of its own');
is(value($node, "SELECT string_agg(event || ':' || source, ' ' ORDER BY seq) FROM payments.payment_status WHERE payment_id = '$told'"), 'create:client claim:worker require_action:answer proceed:inquiry capture:answer', 'and the history says who said what');

# ---------- cancelled between the steps: nothing is at PayPal that could move
my $left = pay();
becomes($left, 'requires_action', 'the payer must approve');
is(value($node, "SELECT (payments.cancel_payment('$left', 'left')).status"), 'succeeded', 'cancelled meanwhile: at once');
is(column('status', $left), 'cancelled', 'and for good');
approve($left);
told($left);
is(value($node, "SELECT count(*) FROM payments.queue WHERE payment_id = '$left'"), 0, 'approved after that, nothing is done about it');
is(order_of($left)->{captured}, 0, 'nor taken');

# Both at once: the answer that it is approved is on its way.
my $race = pay();
becomes($race, 'requires_action', 'the payer must approve');
approve($race);
$peer->faults({ fault => 'hold', method => 'GET', count => 1 });
told($race);
$peer->wait_held(1);
is(value($node, "SELECT (payments.cancel_payment('$race', 'race')).status"), 'succeeded', 'cancelled while PayPal says that it is approved');
$peer->control({ release => $performed });
ok(wait_until($node, "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$race' AND late", 1), 'that is heard too late');
is(column('status', $race) . ' ' . sent($race), 'cancelled 1:1', 'and nothing is captured');
my $lost = pay();
becomes($lost, 'requires_action', 'the payer must approve');
approve($lost);
$peer->faults({ fault => 'hold', path => '/capture$', count => 1 });
told($lost);
$peer->wait_held(1);
is(sqlstate($node, "SELECT payments.cancel_payment('$lost', 'lost')"), 'PY008', 'while it is being captured it cannot be cancelled any more');
$peer->control({ release => $performed });
becomes($lost, 'succeeded', 'it is captured');
$peer->faults;

# ---------- the payer never comes
my $gone = pay();
becomes($gone, 'requires_action', 'the payer must approve');
$peer->control({ leave => { ref => ref_of($gone) } });
value($node, "UPDATE payments.queue SET try = 1000, due_at = clock_timestamp() WHERE payment_id = '$gone'; SELECT payments.resume_psp('paypal')");
becomes($gone, 'expired', 'and never does: expired');
is(value($node, "SELECT count(*) FROM payments.dead_letter WHERE payment_id = '$gone'"), 0, 'which is no affair for a person');

# ---------- in doubt in the second step: never the first again, and nothing past the life of the key
my $doubt = pay();
becomes($doubt, 'requires_action', 'the payer must approve');
approve($doubt);
$peer->faults({ fault => 'status_500', path => '/capture$' });
told($doubt);
becomes($doubt, 'in_doubt', 'nobody knows whether it was captured');
ok(wait_until($node, "SELECT count(*) > 2 FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$doubt' AND a.step = 2 AND a.action = 'send'"), 'PayPal says that it was not: sent again');
is(value($node, "SELECT count(DISTINCT a.psp_key) FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$doubt' AND a.step = 2 AND a.action = 'send'"), 1, 'under its key');
value($node, "UPDATE payments.operation SET key_used_at = key_used_at - interval '6 hours' WHERE payment_id = '$doubt'");
my $before = sent($doubt);
ok(wait_until($node, "SELECT count(*) >= 2 FROM payments.attempt_answer r JOIN payments.attempt a USING (operation_id, attempt) JOIN payments.operation o USING (operation_id)
	WHERE o.payment_id = '$doubt' AND a.action = 'inquire' AND a.claimed_at > (SELECT max(b.claimed_at) FROM payments.attempt b WHERE b.operation_id = a.operation_id AND b.action = 'send')"), 'six hours later it is asked for');
like(sent($doubt), qr/^1:1 2:/, 'the order was made once');
$before = sent($doubt);
$peer->faults;
$peer->control({ capture => { ref => ref_of($doubt) } });
becomes($doubt, 'succeeded', 'captured by hand, it is found');
is(sent($doubt), $before, 'and was not sent any more');

# ---------- a capture, and a refund, that take their time
my ($slow, $bad) = map { my $id = pay(); becomes($id, 'requires_action', 'the payer must approve'); approve($id, 'pending'); told($id); becomes($id, 'processing', '201, and pending'); $id } 1 .. 2;
ok(wait_until($node, "SELECT count(*) FROM payments.queue JOIN payments.operation USING (operation_id) WHERE operation.payment_id IN ('$slow', '$bad') AND action = 'inquire' AND step = 2 AND claimed_by IS NULL", 2), 'both wait for its end');
$peer->control({ finish => { ref => ref_of($slow) } });
$peer->control({ finish => { ref => ref_of($bad), status => 'DECLINED' } });
told($slow);
told($bad);
becomes($slow, 'succeeded', 'done in the end');
becomes($bad, 'failed', 'or not');
$peer->control({ settings => { refunds_pending => $performed } });
value($node, "SELECT payments.refund_payment('$slow', 'rs', 300), payments.refund_payment('$told', 'rt', 300)");
ok(wait_until($node, "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE kind = 'refund' AND class = 'pending'", 2), 'two refunds are on their way');
$peer->control({ finish_refund => { order => column('psp_payment_id', $slow) } });
$peer->control({ finish_refund => { order => column('psp_payment_id', $told), status => 'FAILED' } });
value($node, "UPDATE payments.queue SET due_at = clock_timestamp(); SELECT payments.resume_psp('paypal')");
becomes($slow, 'partially_refunded', 'one is made');
ok(wait_until($node, "SELECT failure_code FROM payments.operation WHERE payment_id = '$told' AND kind = 'refund'", 'refund_failed'), 'one is not');
is(column('refunded', $told), 0, 'and nothing is refunded');
$peer->control({ settings => { refunds_pending => JSON::PP::false() } });

# ---------- a soft decline begins a generation anew, with its first step
value($node, q{INSERT INTO payments.decline_rule (adapter, code, class, schedule, builtin) VALUES ('paypal', 'capture_declined', 'retry_later', 'soft_decline', false)});
# A payer of their own: how often one is declined has a limit.
my $soft = pay(off_session => 'true', customer => 'declined once');
becomes($soft, 'requires_action', 'the payer must approve');
my $first = column('psp_payment_id', $soft);
approve($soft, 'declined');
told($soft);
ok(wait_until($node, "SELECT generation || ' ' || step || ' ' || status FROM payments.operation WHERE payment_id = '$soft'", '2 1 requires_action'), 'declined for now: another order, from the first step on');
isnt(column('psp_payment_id', $soft), $first, 'with an id of its own');
approve($soft);
told($soft);
becomes($soft, 'succeeded', 'which is approved, and captured');
value($node, q{DELETE FROM payments.decline_rule WHERE NOT builtin});

# ---------- tokens
my $given = $peer->book->{tokens_given};
$peer->control({ end_tokens => $performed });
my $other = pay();
becomes($other, 'requires_action', 'a token that PayPal has ended: another is fetched, and nothing is lost');
$peer->control({ end_tokens => $performed });
approve($other);
told($other);
becomes($other, 'succeeded', 'also between the steps');
is($peer->book->{tokens_given}, $given + 2, 'one each time');
is(value($node, q{SELECT halted_at IS NULL FROM payments.psp WHERE psp = 'paypal'}), 't', 'and nobody need act');

# ---------- another amount than asked for moves nothing; money is what the currency has
my $more = pay(payment_method => 'more');
becomes($more, 'in_doubt', 'another amount: in doubt');
is(value($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$more'"), 'conflicted', 'and a person is told');
foreach my $money ([ 'JPY', 1000, '1000' ], [ 'HUF', 100_000, '1000' ], [ 'TWD', 100_000, '1000' ], [ 'USD', 100_001, '1000.01' ])
{
	my ($currency, $amount, $value) = @$money;
	my $id = pay(payment_method => 'ok', currency => $currency, amount => $amount);

	becomes($id, 'succeeded', "$amount minor units of $currency");
	is(column('captured', $id), $amount, 'as many are booked');
	like(value($node, "SELECT body FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"), qr/"value":"\Q$value\E"/, "as PayPal writes them: $value");
}
is(sqlstate($node, q{SELECT payments.create_payment('huf', 1050, 'HUF', psp => 'paypal', payment_method => 'ok')}), 'PY014', 'what it cannot charge exactly is refused');
is(sqlstate($node, q{SELECT payments.create_payment('krw', 1000, 'KRW', psp => 'paypal', payment_method => 'ok')}), 'PY407', 'so is a currency that it does not take');
is(sqlstate($node, q{SELECT payments.create_payment('lost', 1000, 'EUR', psp => 'paypal')}), 'PY407', 'and a payer whom it could not send back');

# ---------- the books
ok(wait_until($node, 'SELECT count(*) FROM payments.queue WHERE psp = $$paypal$$ AND payment_id <> ' . "'$twice'", 0), 'nothing is left to do but for one that waits for its payer');
my $book = $peer->book;
is_deeply($book->{double_charged}, [], 'nobody was charged twice');
is($book->{keys}{keys_with_many_bodies}, 0, 'no key came with two bodies');
is($book->{keys}{posts_without_key}, 0, 'and no request without one');
my %ours = map { my @row = split /\|/; ($row[0] => "$row[1] $row[2]") } split /\n/, value($node, "SELECT psp_payment_id, captured, refunded FROM payments.payment WHERE captured > 0");
my %theirs = map { my $unit = $_->{currency} =~ /^(?:HUF|TWD)$/ ? 100 : 1; my $one = $_; ($_->{payment} => join ' ', map { $one->{$_} * $unit } qw(captured refunded)) } grep { $_->{captured} > 0 && $_->{payment} ne column('psp_payment_id', $more) } @{ $book->{charges} };
is_deeply(\%ours, \%theirs, 'what was captured and refunded is the same in both books');
check_clean($node);
$node->stop;
done_testing();
