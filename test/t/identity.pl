# If this fails, two databases that use one account at a PSP take each other's
# payments for their own, or are flooded with alarms about them.  Or a secret of
# another account charges there what is in doubt in the former: both accounts
# are charged.  Or a PSP that does not say whose account it is gets no payments.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use HTTP::Tiny;
use JSON::PP ();
use PaymentsTest;
use Test::More;

my $node = new_payments_node('identity', databases => 'postgres,blog', conf => 'payments.poll_interval = 200');
my $peer = start_peer();
$node->safe_psql('postgres', 'CREATE DATABASE blog');
$node->safe_psql('blog', 'CREATE EXTENSION payments; SELECT payments.setup();');

my @blog = (dbname => 'blog');
sub tag_of { return value($node, 'SELECT payments.installation_tag()', @_) }
sub charges { return scalar grep { $_->{amount} == $_[1] && $_->{status} eq 'succeeded' } @{ $_[0]->book->{charges} } }

# ---------- a salt of each database's own
isnt(tag_of(), tag_of(@blog), 'two databases have two tags');
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
my @tags = split /\n/, $node->safe_psql('fresh', q{
	CREATE EXTENSION payments;
	BEGIN; SELECT FROM payments.setup(); SELECT payments.installation_tag(); ROLLBACK;
	SELECT FROM payments.setup(); SELECT payments.installation_tag();}) =~ s/^\n//mgr;
is(scalar @tags, 2, 'a setup() that is rolled back, and one that is not');
isnt($tags[0], $tags[1], 'have two');
is(tag_of(dbname => 'fresh'), $tags[1], 'and every session knows which one stands');
$node->safe_psql('postgres', 'CREATE DATABASE fresh_copy TEMPLATE fresh');
is(tag_of(dbname => 'fresh_copy'), $tags[1], 'a copy has the one of its origin');
$node->safe_psql('postgres', 'CREATE DATABASE fresh_restored');
$node->command_ok([ 'bash', '-c', sprintf q{pg_dump -h '%s' -p %d fresh | psql -v ON_ERROR_STOP=1 -qX -h '%s' -p %d fresh_restored}, ($node->host, $node->port) x 2 ], 'dumped and restored');
is(tag_of(dbname => 'fresh_restored'), $tags[1], 'so has what was restored from a dump');

# ---------- two databases, one account, one order number
create_stripe_psp($node, $peer);
create_stripe_psp($node, $peer, @blog);
no_inquiries($node);
stop_worker($node, @blog);
my $theirs = create_payment($node, idempotency_key => 'order-1', amount => 4900, payment_method => 'pm_card_visa', @blog);
my $ours = create_payment($node, idempotency_key => 'order-1', amount => 4900, payment_method => 'pm_card_visa');
is(outcome($node, $ours), 'succeeded', 'the one is paid');
my ($event) = $peer->events(type => 'payment_intent.succeeded');
my ($code, $row) = deliver_event($node, $event, @blog);
is($row, "$event->{id}|f|||", 'the other database hears of it, and it is about nothing there') or diag($row);
is(value($node, "SELECT status, captured FROM payments.payment WHERE payment_id = '$theirs'", @blog), 'initiated|0', 'its own order is not paid by that');
is(value($node, 'SELECT outcome, source, events FROM payments.psp_event_count', @blog), 'foreign|webhook|1', 'it is counted as foreign');
is(value($node, 'SELECT count(*) FROM payments.exception', @blog), 0, 'and alarms nobody');
value($node, 'SELECT payments.start_worker()', @blog);
is(outcome($node, $theirs, undef, @blog), 'succeeded', 'the other order is paid');
is(charges($peer, 4900), 2, 'by a charge of its own');
is(value($node, "SELECT count(*) FROM payments.operation a WHERE a.psp_ref NOT LIKE payments.installation_tag() || '\\_%'"), 0, 'every reference begins with the tag');

# ---------- what carries our tag and is not here was lost here
sub charge_at_psp
{
	my ($ref, $key) = @_;
	my $answer = HTTP::Tiny->new->post_form($peer->url . '/v1/payment_intents',
		[ amount => 700, currency => 'eur', payment_method => 'pm_card_visa', confirm => 'true', 'metadata[payments_ref]' => $ref, 'metadata[payments_generation]' => 1 ],
		{ headers => { Authorization => "Bearer $PaymentsTest::SECRET", 'Idempotency-Key' => $key } });
	die $answer->{content} unless $answer->{success};
	return ($peer->events(type => 'payment_intent.succeeded', ref => $ref))[0];
}
my $lost = tag_of() . '_' . 'a' x 43;
deliver_event($node, charge_at_psp($lost, 'lost'));
is(value($node, "SELECT count(*) FROM payments.exception WHERE kind = 'orphan'"), 1, 'it is an orphan');
deliver_event($node, charge_at_psp($lost, 'lost again'), @blog);
is(value($node, "SELECT count(*) FROM payments.exception", @blog), 0, 'and foreign elsewhere');

# ---------- by the lists of the PSP
foreach my $db ('postgres', 'blog')
{
	value($node, q{UPDATE payments.psp SET config = '{"feeds": {"interval_s": 1, "lag_s": 0}}'; SELECT payments.enable_feed('stripe', f, true), payments.refetch('stripe', f, now() - interval '1 hour') FROM unnest(ARRAY['events', 'settlement']) f},
		dbname => $db);
}
ok(wait_until($node, "SELECT count(*) FROM payments.settlement_line WHERE kind = 'foreign'", 3, undef, @blog), 'lines of the other database are foreign');
ok(wait_until($node, "SELECT count(*) FROM payments.psp_event WHERE event_type = 'payment_intent.succeeded' AND outcome = 'foreign'", 3, undef, @blog), 'and so are events');
ok(wait_until($node, "SELECT count(*) FROM payments.settlement_line WHERE kind = 'foreign'", 1), 'both ways');
ok(wait_until($node, "SELECT coalesce(sum(b.balance), 0) FROM payments.account a, payments.balance(a.account_id) b WHERE a.code = 'psp_foreign:stripe'", 4900 - 99 + 2 * (700 - 36), undef, @blog), 'what they make is not its own');
is(value($node, 'SELECT count(*) FROM payments.discrepancy', @blog), 0, 'nothing differs');
is(value($node, 'SELECT count(*) FROM payments.exception', @blog), 0, 'nobody is alarmed');
value($node, "SELECT payments.enable_feed('stripe', f, false) FROM unnest(ARRAY['events', 'settlement']) f", dbname => $_) foreach 'postgres', 'blog';
check_clean($node, 'its books', @blog);

# ---------- whose account the secret is of
sub psp_is { return wait_until($node, q{SELECT concat_ws(' ', account_id, account_mode, halted_reason) FROM payments.psp WHERE psp = 'stripe'}, $_[0]) }
sub pay { return create_payment($node, idempotency_key => $_[0], amount => $_[1], payment_method => 'pm_card_visa') }
sub secret { my ($name, $value) = @_; write_secrets($node, $name => $value); reload($node); return }
my $account = 'acct_' . $peer->port;
ok(psp_is("$account test"), 'it is asked, and kept');
$peer->control({ settings => { more_secrets => { sk_test_rotated => $account, sk_test_stranger => 'acct_stranger', sk_live_other_mode => $account } } });

secret(stripe => 'sk_test_rotated');
is(outcome($node, pay('rotated', 101)), 'succeeded', 'another key of the same account goes on');
secret(stripe => $PaymentsTest::SECRET);

# In doubt in one account, and then the secret is another's.
$peer->faults({ fault => 'lose_answer', method => 'POST', count => 1 });
my $doubt = pay('doubt', 102);
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$doubt'", 'in_doubt'), 'an answer is lost');
secret(stripe => 'sk_test_stranger');
my $before = charges($peer, 103);
my $waits = pay('waits', 103);
ok(psp_is("$account test account_changed: it was $account, test, and is acct_stranger, test"), 'a secret of another account halts the PSP, and says why');
value($node, "SELECT payments.resume_psp('stripe')");
ok(psp_is("$account test account_changed: it was $account, test, and is acct_stranger, test"), 'resumed, it is halted again');
is(value($node, "SELECT p.status, count(a.*) FROM payments.payment p LEFT JOIN payments.operation o USING (payment_id) LEFT JOIN payments.attempt a USING (operation_id) WHERE payment_id = '$waits' GROUP BY 1"),
	'initiated|0', 'meanwhile nothing was sent');
is(sqlstate($node, "SELECT payments.accept_psp_account('stripe')"), 'PY409', 'it is not accepted while something is in doubt');
is(sqlstate($node, sprintf q{SELECT payments.create_psp('stripe', 'stripe', 'http://127.0.0.1:1', 'stripe')}), 'PY409', 'nor is another address');
is(sqlstate($node, q{UPDATE payments.psp SET secret = 'other'}), 'PY409', 'nor another secret, by hand');

# The live key of the same account is another account: nothing there knows what is in doubt in test.
secret(stripe => 'sk_live_other_mode');
value($node, "SELECT payments.resume_psp('stripe')");
ok(psp_is("$account test account_changed: it was $account, test, and is $account, live"), 'a key of the other mode halts it, too');
secret(stripe => $PaymentsTest::SECRET);
value($node, "SELECT payments.resume_psp('stripe'); UPDATE payments.queue SET due_at = now() WHERE payment_id = '$doubt'");
is(outcome($node, $_), 'succeeded', 'with the right one it goes on') foreach $waits, $doubt;
is(charges($peer, 102), 1, 'charged once');
is(value($node, "SELECT halted_at FROM payments.psp WHERE psp = 'stripe'"), '', 'and stays so');

# Meant: nothing is open.
secret(stripe => 'sk_test_stranger');
ok(psp_is("$account test account_changed: it was $account, test, and is acct_stranger, test"), 'also when nothing is open');
value($node, "SELECT payments.accept_psp_account('stripe')");
ok(psp_is('acct_stranger test'), 'accepted by a person, it is the one that counts');
is(outcome($node, pay('accepted', 104)), 'succeeded', 'and is charged');

# ---------- events of the other mode, or of another account
$peer->control({ settings => { livemode => JSON::PP::true() } });
my $live = ($peer->events(type => 'payment_intent.succeeded'))[-1];
deliver_event($node, $live);
is(value($node, "SELECT outcome, payment_id FROM payments.psp_event WHERE event_id = '$live->{id}'"), 'foreign|', 'a live event is not of a key for tests');
$peer->control({ settings => { livemode => JSON::PP::false() } });

# ---------- PSPs that do not say
secret(stripe => $PaymentsTest::SECRET);
value($node, "SELECT payments.accept_psp_account('stripe', force => true)");
ok(psp_is("$account test"), 'back again');
foreach my $fault ({ fault => 'status_403' }, { fault => 'status_404' }, { fault => 'status_500' }, { fault => 'reset_before' }, { fault => 'garbage' })
{
	$peer->faults({ %$fault, path => '^/v1/account$' });
	# A change of the value has it asked anew.
	secret(stripe => 'sk_test_rotated');
	is(outcome($node, pay("unsaid-$fault->{fault}", 105)), 'succeeded', "the question is answered with $fault->{fault}: payments go on");
	cmp_ok($peer->book(brief => 1)->{faults}{ $fault->{fault} }, '>', 0, 'though it was asked');
	secret(stripe => $PaymentsTest::SECRET);
	$peer->faults();
}
ok(psp_is("$account test"), 'and it is the account that it was');

# An answer about a secret that is in use no more is none.
$peer->faults({ fault => 'hold', path => '^/v1/account$', count => 1 });
secret(stripe => 'sk_test_stranger');
ok($peer->wait_held(1), 'the PSP is asked about a secret of another account');
secret(stripe => $PaymentsTest::SECRET);
value($node, q{SELECT payments.create_psp('beside', 'sandbox')});
is(outcome($node, create_payment($node, idempotency_key => 'by the sandbox', amount => 1, psp => 'beside', payment_method => 'sandbox_ok')), 'succeeded', 'the worker has read the right one');
$peer->release;
is(outcome($node, pay('taken back', 108)), 'succeeded', 'which was taken back before the PSP answered: payments go on');
is(value($node, "SELECT halted_at IS NULL FROM payments.psp WHERE psp = 'stripe'"), 't', 'and it is not halted');

# An answer that cannot be noted, since somebody has the row, is not lost.
my $log_from = -s $node->logfile;
my $holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SELECT FROM payments.psp WHERE psp = 'stripe' FOR UPDATE});
secret(stripe => 'sk_test_rotated');
$node->wait_for_log(qr/could not finish a step: canceling statement due to lock timeout/, $log_from);
$holder->query_safe('COMMIT');
$holder->quit;
is(outcome($node, pay('noted late', 106)), 'succeeded', 'it is noted when the row is free, and payments go on');

# ---------- an address that is changed between two transactions of the worker: of the look at the PSPs, and of the claim
$node->safe_psql('postgres', q{
	CREATE TABLE dawdles ();
	GRANT SELECT ON dawdles TO PUBLIC;
	CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN WHILE EXISTS (SELECT FROM public.dawdles) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT OR UPDATE ON payments.psp_health DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()});
# The look that finds a PSP without its secret writes it down, and so takes as long as we like.
my $moved = value($node, sprintf q{BEGIN; INSERT INTO dawdles DEFAULT VALUES; SELECT payment_id FROM %s; SELECT FROM payments.create_psp('unfit', 'stripe', secret => 'nowhere'); COMMIT},
	PaymentsTest::create_payment_sql(idempotency_key => 'moved', amount => 107)) =~ s/\n//gr;
ok(wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'payments_worker' AND wait_event = 'PgSleep'}, 1), 'the worker has looked');
$log_from = -s $node->logfile;
value($node, q{UPDATE payments.psp SET base_url = NULL, halted_at = now(), halted_reason = 'of a test' WHERE psp = 'stripe'; DELETE FROM dawdles});
$node->wait_for_log(qr/could not finish a step: PSP "stripe" has got another address or secret/, $log_from);
is(value($node, "SELECT p.status, count(a.*) FROM payments.payment p LEFT JOIN payments.operation o USING (payment_id) LEFT JOIN payments.attempt a USING (operation_id) WHERE payment_id = '$moved' GROUP BY 1"),
	'initiated|0', 'what it then wants to claim is not sent to where the PSP was');
value($node, sprintf q{UPDATE payments.psp SET base_url = '%s' WHERE psp = 'stripe'; SELECT payments.resume_psp('stripe')}, $peer->url);
is(outcome($node, $moved), 'succeeded', 'and goes to where it is');
is(charges($peer, 107), 1, 'once');

# ---------- a PSP that somebody takes away while it is asked
$peer->faults({ fault => 'hold', path => '^/v1/account$' });
value($node, sprintf q{SELECT payments.create_psp('brief', 'stripe', '%s', 'stripe')}, $peer->url);
ok($peer->wait_held(1), 'one that is new is asked');
my $away = $node->background_psql('postgres');
$away->query_safe(q{BEGIN; DELETE FROM payments.psp_feed WHERE psp = 'brief'; DELETE FROM payments.psp WHERE psp = 'brief'});
$peer->release;
ok(wait_until($node, 'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND pid = payments._worker_pid()'), 'its answer cannot be kept yet');
$away->query_safe('COMMIT');
$away->quit;
is(outcome($node, pay('beside', 106)), 'succeeded', 'nor at all: the worker goes on with the others');

check_clean($node, 'the books');
done_testing();
