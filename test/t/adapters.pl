# If this fails, the adapter interface fits Stripe alone: a PSP with an API key,
# with name and password or with a token cannot be called; events that are
# signed in the body, come several at once or are not signed at all are lost,
# believed without proof, or applied by halves; or a PSP whose token endpoint
# hangs, or that is made again with another adapter, takes others down with it.
#
# The adapters are those of test/adapters.  They are in no library that anybody
# installs: it is linked here, from the objects of the build and the list of the
# tests, into a copy of the server.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use FindBin;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $json = JSON::PP->new->canonical;

sub pg_config { my ($what) = @_; chomp(my $said = `pg_config --$what`); return $said }

# A library with the adapters of the tests.
sub link_library
{
	my ($to) = @_;
	my $build = PostgreSQL::Test::Utils::tempdir();
	my @objects = grep { !m{/psp/psp\.o$} } glob("$root/src/*.o $root/src/*/*.o");
	# What those were compiled with beside, see test/lib/stage.sh.
	my @flags = split ' ', $ENV{PAY_BUILD_FLAGS} // '';

	BAIL_OUT('src/ is not built') if @objects < 50;
	foreach my $source ("$root/src/psp/psp.c", glob("$root/test/adapters/*.c"))
	{
		my ($name) = $source =~ m{([^/]+)\.c$};
		push @objects, "$build/test_$name.o";
		PostgreSQL::Test::Utils::system_or_bail('cc', '-c', '-std=gnu99', '-O1', '-g', @flags, '-fPIC', '-fvisibility=hidden', '-Wall', '-Werror',
			"-I$root/test/adapters", "-I$root/src", '-isystem', pg_config('includedir-server'), $source, '-o', $objects[-1]);
	}
	PostgreSQL::Test::Utils::system_or_bail('cc', '-shared', @flags, '-o', $to, @objects, '-lcurl', '-lxml2');
	return;
}

# A copy of the server: what it needs finds itself by the way from one folder to another.
sub install
{
	my $copy = PostgreSQL::Test::Utils::tempdir();
	my ($tree, $share) = (dirname(pg_config('bindir')), pg_config('sharedir'));
	my ($common) = "$tree\n$share" =~ m{^(/.*)/[^\n]*\n\1/};

	foreach my $folder ($tree, $share)
	{
		my $to = $copy . substr($folder, length $common);
		make_path(dirname($to));
		PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $folder, $to);
	}
	my $library = $copy . substr(pg_config('pkglibdir'), length $common) . '/payments.so';
	unlink $library or BAIL_OUT("$library is not there");
	link_library($library);
	return $copy . substr($tree, length $common);
}

sub start_plain
{
	my ($auth, $secret) = @_;
	return start_peer(command => ['/usr/bin/python3', "$root/test/peer/plain.py", '--die-with-parent', '--auth', $auth, '--secret', $secret]);
}

my %secret = (apikey => 'apikey_test', basic => 'shop:pass word', oauth => 'client:hush');
my %secrets = map { ($_ => $secret{$_}, "$_.webhook" => "sign-$_") } keys %secret;
# Few files of the server's own: those it would close for others, where these are to lack some.
my $node = new_payments_node('adapters', install_path => install(), secrets => \%secrets, conf => 'max_files_per_process = 64');
my %peer = map { $_ => start_plain($_, $secret{$_}) } keys %secret;
# What waits for the PSP's word waits long: whatever comes sooner was asked for.
value($node, q{INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) SELECT 'pending', n, interval '1 hour', false FROM generate_series(1, 5) n});
value($node, q{INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) SELECT 'not_sent', n, interval '300 ms', false FROM generate_series(1, 20) n});
foreach my $psp (sort keys %secret)
{
	my $config = $psp eq 'apikey' ? '{"account": "shop-1"}' : '{}';
	value($node, sprintf q{SELECT payments.create_psp('%s', '%s', '%s', '%s', '%s')}, $psp, $psp, $peer{$psp}->url, $psp, $config);
}
value($node, 'SELECT payments.arm()');

sub pay { my ($psp, $key, $method, %more) = @_; return create_payment($node, idempotency_key => $key, amount => 1000, psp => $psp, payment_method => $method // 'card', %more) }
sub status_of { return value($node, "SELECT status FROM payments.payment WHERE payment_id = '$_[0]'") }
sub operation_of { my ($psp, $id) = @_; my $ref = value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$id' ORDER BY created_at LIMIT 1"); return (grep { $_->{ref} eq $ref } @{ $peer{$psp}->book->{operations} })[0] }
sub asked { return scalar grep { $_->{method} eq 'GET' } @{ $peer{ $_[0] }->book->{requests} } }
sub pending
{
	my ($psp, $key, %more) = @_;
	my $id = pay($psp, $key, 'pending', %more);
	wait_until($node, "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$id' AND class = 'pending'", 1)
	  or die "$key is not pending";
	return $id;
}
# A payment that is in the hands of an external worker before ours sees it.
sub by_hand
{
	my ($psp, $key, $columns, $method) = @_;
	return split /[|\n]/, value($node, sprintf q{BEGIN; SELECT payment_id FROM payments.create_payment('%s', 1000, 'EUR', psp => '%s', payment_method => '%s');
		SELECT %s FROM payments.claim('hand', psp => '%s') JOIN payments.operation USING (operation_id); COMMIT}, $key, $psp, $method // 'card', $columns, $psp);
}
sub receive { my ($psp, $body, %headers) = @_; return value($node, PaymentsTest::webhook_sql({ body => $body }, psp => $psp, headers => \%headers)) }
sub refusal { my ($sql) = @_; my ($code, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql"); return $stderr }
sub received_state { my ($psp, $body, %headers) = @_; return sqlstate($node, PaymentsTest::webhook_sql({ body => $body }, psp => $psp, headers => \%headers)) }

# ---------- an API key; several signed events in one body, and a reply
my $id = pay('apikey', 'key');
is(outcome($node, $id), 'succeeded', 'API key: charged');
is_deeply([map { "$_->{method} $_->{path}" } @{ $peer{apikey}->book->{requests} }], ['POST /operations?account=shop-1'], 'once, at the account that config names');
is(value($node, "SELECT request_id FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"), 'req_1', "the PSP's id of the request is on record");
is(sqlstate($node, "SELECT * FROM payments.create_payment('hold', 1000, 'EUR', psp => 'apikey', payment_method => 'card', capture => 'manual')"), 'PY407', 'it cannot authorize: refused at once');
is(sqlstate($node, "SELECT * FROM payments.refund_payment('$id', 'part', 300)"), 'PY407', 'nor refund a part');
value($node, "SELECT payments.refund_payment('$id', 'whole')");
ok(wait_until($node, "SELECT refunded FROM payments.payment WHERE payment_id = '$id'", 1000), 'it refunds the whole');
like(refusal("SELECT payments.create_psp('typed', 'apikey', '" . $peer{apikey}->url . "', 'apikey_live')"), qr/22023: secret must be the name of an entry, not the secret itself/, 'its secret is known when it is typed in');
like(refusal("SELECT payments.create_psp('nowhere', 'apikey', secret => 'apikey')"), qr/22023: adapter "apikey" does not know where its PSP is.*base_url => /s, 'an adapter without an address wants one');
like(refusal("SELECT payments.create_psp('misspelt', 'apikey', '" . $peer{apikey}->url . "', 'apikey', '{\"acount\": \"shop-1\"}')"), qr/22023: config has a key that is not known.*Known are feeds, merchant, account\./s, 'nor one with a setting that it does not know');
is(value($node, "SELECT count(*) FROM payments.psp WHERE psp IN ('typed', 'nowhere', 'misspelt')"), 0, 'none of them is made');
value($node, sprintf q{SELECT payments.create_psp('homeless', 'apikey', '%s', 'apikey')}, $peer{apikey}->url);
like(refusal("SELECT payments.create_payment('homeless', 1000, 'EUR', psp => 'homeless', payment_method => 'card')"), qr/PY407: .*cannot take this payment: config names no account/, 'without an account nothing can be built: refused at once');
$id = pay('apikey', 'transient', 'transient');
is(outcome($node, $id), 'succeeded', 'a hint in a header is heeded: sent again at once');
my @sent = grep { $_->{body} =~ /transient/ } @{ $peer{apikey}->book->{requests} };
ok(@sent == 2 && $sent[0]{key} eq $sent[1]{key} && $sent[0]{body} eq $sent[1]{body}, 'under the same key, with the same bytes');
is(asked('apikey'), 0, 'and without asking');

my @ids = (pending('apikey', 'first'), pending('apikey', 'second'));
sub item
{
	my ($event, $operation, $key, %other) = @_;
	my $text = $json->encode({ %$operation, event => $event, status => 'done', %other });
	return sprintf '{"operation":%s,"signature":"%s"}', $text, hmac_sha256_hex($text, $key // 'sign-apikey');
}
sub items { return '{"items":[' . join(',', @_) . ']}' }
sub dead_letters { return value($node, "SELECT string_agg(concat_ws(' ', reason, decision), ', ' ORDER BY created_at, dead_letter_id) FROM payments.dead_letter WHERE payment_id = '$_[0]'") }
sub waiting { return value($node, "SELECT count(*) FROM payments.queue WHERE payment_id = '$_[0]'") }
my @operations = map { operation_of('apikey', $_) } @ids;
my %stranger = (%{ $operations[0] }, ref => 'STRANGER', payment => 'pay_other', id => 'op_other');
my @items = (item('e0', \%stranger), item('e1', $operations[0]), item('e2', $operations[1]));
my $body = '{"items":[' . join(',', @items) . ']}';
is(received_state('apikey', $body =~ s/e2/e3/r), 'PY501', 'one of three is not signed: refused');
is(received_state('apikey', '{"items":[]}'), 'PY501', 'so are none at all');
is(received_state('apikey', '{"items":[' . item('e1', $operations[0], '') . ']}'), 'PY501', 'so is one that an empty key signs');
is(join(' ', map { status_of($_) } @ids), 'processing processing', 'nothing of it is applied');
is(value($node, 'SELECT count(*) FROM payments.psp_event'), 0, 'nor stored');
is(receive('apikey', $body), "e1|f|$ids[0]|succeeded|[accepted]", 'signed in the body: the row tells of the first that changed something, and the reply');
is(join(' ', map { status_of($_) } @ids), 'succeeded succeeded', 'all are applied');
is(value($node, 'SELECT string_agg(outcome, $$ $$ ORDER BY event_id) FROM payments.psp_event'), 'unmatched applied applied', 'each is stored');
is(value($node, q{SELECT bool_and(position(convert_to('"event":"' || event_id || '"', 'UTF8') IN body) > 0) AND sum(length(body)) < } . length($body) . ' FROM payments.psp_event'), 't', 'with its own part of the body');
is(receive('apikey', $body), "e1|t|$ids[0]|succeeded|[accepted]", 'again: a duplicate, and the reply all the same');

# ---------- a dead letter is decided by what the PSP says later, also in the same request
$id = pending('apikey', 'conflict');
my $conflict = operation_of('apikey', $id);
receive('apikey', items(item('c1', $conflict, undef, id => 'op_c', amount => 999), item('c2', $conflict)));
is(status_of($id), 'succeeded', 'another amount, then the right one, in one request');
is(dead_letters($id), 'conflicted resolved', 'the one has made a dead letter, the other has decided it');
is(waiting($id), 0, 'and nothing waits');

$id = pending('apikey', 'patience');
value($node, "UPDATE payments.queue SET try = 5, due_at = clock_timestamp() WHERE payment_id = '$id'");
ok(wait_until($node, "SELECT count(*) FROM payments.dead_letter WHERE payment_id = '$id'", 1), 'pending for too long');
my $patience = operation_of('apikey', $id);
receive('apikey', items(item('p1', $patience, undef, status => 'pending')));
is(dead_letters($id), 'pending_too_long resolved', 'the PSP says that it is on its way: that decides the dead letter');
is(waiting($id), 1, 'and it waits again');
receive('apikey', items(item('p2', $patience, undef, id => 'op_p', amount => 999), item('p3', $patience, undef, status => 'pending')));
is(dead_letters($id), 'pending_too_long resolved, conflicted', 'what a person must decide is not decided by that');
is(waiting($id) . status_of($id), '0in_doubt', 'nor brought back');
value($node, "SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE payment_id = '$id' AND decision IS NULL");
is(dead_letters($id), 'pending_too_long resolved, conflicted redriven', 'but by a person');
receive('apikey', items(item('p4', $patience)));
is(status_of($id), 'succeeded', 'and then it is done');

$id = pending('apikey', 'resolved');
value($node, "UPDATE payments.queue SET try = 5, due_at = clock_timestamp() WHERE payment_id = '$id'");
ok(wait_until($node, "SELECT count(*) FROM payments.dead_letter WHERE payment_id = '$id'", 1), 'once more pending for too long');
my $resolved = operation_of('apikey', $id);
receive('apikey', items(item('r1', $resolved, undef, status => 'pending'), item('r2', $resolved, undef, id => 'op_r', amount => 999)));
is(dead_letters($id), 'pending_too_long resolved, conflicted', 'on its way, and another amount, in one request: the one decides the old dead letter, the other makes a new one');
is(waiting($id), 0, 'so nothing waits');

value($node, "INSERT INTO payments.decline_rule (adapter, code, class, builtin) VALUES ('apikey', 'declined', 'retry_later', false)");
$id = pending('apikey', 'soft', off_session => 'true');
value($node, "UPDATE payments.queue SET try = 5 WHERE payment_id = '$id'");
my $soft = operation_of('apikey', $id);
receive('apikey', items(item('t1', $soft, undef, status => 'pending'), item('t2', $soft, undef, status => 'declined')));
is(dead_letters($id), 'pending_too_long resolved', 'pending for too long, and declined for now, in one request: the dead letter is decided at once');
is(status_of($id) . waiting($id), 'awaiting_retry1', 'and it is tried again later');

# ---------- several of one request are as good as one by one
$id = pending('apikey', 'row');
my $charge = operation_of('apikey', $id);
is(receive('apikey', items(item('s1', $charge), item('s2', { %$charge, kind => 'refund', ref => 'DASHBOARD', id => 'op_s' }))), "s1|f|$id|refunded|[accepted]", 'charged and refunded: the row has the status afterwards');

($id, my $named) = by_hand('apikey', 'named', 'psp_ref');
$charge = { kind => 'charge', ref => $named, generation => 1, amount => 1000, currency => 'EUR', id => 'op_n1', payment => 'pay_named' };
my %nameless = (%$charge, kind => 'refund', ref => 'DASHBOARD-2', id => 'op_n3', amount => 50);
delete $nameless{payment};
receive('apikey', items(item('n0', { %$charge, kind => 'refund', ref => 'DASHBOARD-0', id => 'op_n0', amount => 100, payment => 'pay_stranger' }), item('n1', $charge),
	item('n2', { %$charge, kind => 'refund', ref => 'DASHBOARD-1', id => 'op_n2', amount => 300 }), item('n3', \%nameless)));
is(value($node, "SELECT captured, refunded FROM payments.payment WHERE payment_id = '$id'"), '1000|300', 'a refund by the id that the event before it tells');
is(value($node, "SELECT string_agg(outcome, ' ' ORDER BY event_id) FROM payments.psp_event WHERE event_id LIKE 'n_'"), 'unmatched applied applied unmatched', 'of four: one is of another payment, one says not of which');
is(value($node, "SELECT count(*) FROM payments.exception WHERE object_id = 'op_n2'"), 0, 'and no orphan');

# Two requests with the same events, one the other way round: the later waits, neither is lost.
my $twice = sub {
	my ($round) = @_;
	my @many = map { item("m$round-$_", { %stranger, id => "op_$round-$_", payment => "pay_$round-$_", ref => "m$round-$_" }) } 10 .. 99;
	return many_sessions($node, 2, sub { return PaymentsTest::webhook_sql({ body => items($_[0] ? reverse @many : @many) }, psp => 'apikey', headers => {}) . ';' });
};
is(join('', map { $_->{stderr} } map { $twice->($_) } 1 .. 6), '', 'the same events in two orders at once: no deadlock');

write_secrets($node, %secrets, 'apikey.webhook' => 'sign-new', 'apikey.webhook.previous' => 'sign-apikey');
like(receive('apikey', $body), qr/\|t\|/, 'while the secret is changed, the old one counts');
like(receive('apikey', '{"items":[' . item('e1', $operations[0], 'sign-new') . ']}'), qr/\|t\|/, 'and the new one');
write_secrets($node, %secrets, 'apikey.webhook' => 'sign-new');
is(received_state('apikey', $body), 'PY501', 'afterwards, the new one alone');

# ---------- name and password; what comes unasked is a hint
$id = pay('basic', 'name');
is(outcome($node, $id), 'succeeded', 'name and password: charged');
$id = pending('basic', 'hint');
my $asked = asked('basic');
my $operation = operation_of('basic', $id);
$body = $json->encode({ %$operation, event => 'hint-1', status => 'done' });
is(receive('basic', $body), "hint-1|f|$id|processing|", 'somebody says that it is done: not believed');
ok(wait_until($node, "SELECT count(*) FROM payments.attempt WHERE action = 'inquire' AND operation_id = (SELECT operation_id FROM payments.operation WHERE payment_id = '$id')", 1), 'the PSP is asked at once');
ok(wait_until($node, "SELECT claimed_by IS NULL AND due_at > clock_timestamp() + interval '50 min' FROM payments.queue WHERE payment_id = '$id'"), 'and says pending');
is(status_of($id), 'processing', 'which it stays');
is(value($node, "SELECT outcome FROM payments.psp_event WHERE psp = 'basic' AND payment_id = '$id'"), 'asked', 'that is on record');
is(value($node, "SELECT try FROM payments.queue WHERE payment_id = '$id'"), 1, 'and has cost no try');
value($node, join ';', map { PaymentsTest::webhook_sql({ body => $json->encode({ %$operation, event => "forged-$_", status => 'done' }) }, psp => 'basic', headers => {}) } 1 .. 10);
ok(wait_until($node, "SELECT count(*) FROM payments.attempt WHERE action = 'inquire' AND operation_id = (SELECT operation_id FROM payments.operation WHERE payment_id = '$id')", 2), 'ten more at once: asked once for all of them');
is(value($node, "SELECT max(claimed_at) - min(claimed_at) >= interval '10 s' FROM payments.attempt WHERE action = 'inquire' AND operation_id = (SELECT operation_id FROM payments.operation WHERE payment_id = '$id')"), 't', 'ten seconds after the last time');
ok(wait_until($node, "SELECT claimed_by IS NULL AND due_at > clock_timestamp() + interval '50 min' FROM payments.queue WHERE payment_id = '$id'"), 'and the answer is the same');
is(value($node, "SELECT try FROM payments.queue WHERE payment_id = '$id'"), 1, 'which has cost no try either');
$peer{basic}->control({ finish => $operation->{ref} });
is(receive('basic', $body), "hint-1|t|$id|processing|", 'the same again, now that it is true');
is(outcome($node, $id), 'succeeded', 'the PSP is asked once more, and says so');
is(asked('basic'), $asked + 3, 'three times in all');
is(value($node, "SELECT kind, amount FROM payments.movement WHERE payment_id = '$id'"), 'capture|1000', 'what is booked is what it said');
is(receive('basic', $json->encode({ %$operation, event => 'hint-2', amount => 5 })), "hint-2|f|$id|succeeded|", 'about what is over there is nothing to ask');
is(receive('basic', $json->encode({ %$operation, event => 'hint-3', ref => 'STRANGER', payment => 'pay_other' })), 'hint-3|f|||', 'a payment that is not ours');
is(value($node, "SELECT string_agg(event_id || ' ' || outcome, ', ' ORDER BY event_id) FROM payments.psp_event WHERE psp = 'basic'"), "hint:$id:approved:captured asked, hint:$id:pending:none no_effect", 'is not even stored, and those about ours are a row for what they say');
is(asked('basic'), $asked + 3, 'nor asked about');

# One that comes while a call is in flight: its answer may be older than what the hint is about.
($id, my $held, my $attempt, my $mark) = by_hand('basic', 'in flight', 'operation_id, attempt, psp_ref', 'pending');
$operation = { kind => 'charge', ref => $mark, generation => 1, amount => 1000, currency => 'EUR', id => 'op_hand', payment => 'pay_hand', status => 'pending' };
is(receive('basic', $json->encode({ %$operation, event => 'hint-4', status => 'done' })), "hint-4|f|$id|processing|", 'a hint while a call is in flight');
my $lease = "SELECT claimed_by, due_at > clock_timestamp() FROM payments.queue WHERE payment_id = '$id'";
is(value($node, $lease), 'external:hand|t', 'leaves the lease as it is');
is(value($node, sprintf q{SELECT payments.complete('%s', %d, 200, '{}', convert_to('%s', 'UTF8'))}, $held, $attempt, $json->encode($operation)), 'processing', 'the call is answered: pending');
ok(wait_until($node, "SELECT count(*) FROM payments.attempt WHERE operation_id = '$held' AND action = 'inquire'", 1), 'and asked again at once');

# ---------- a token; three headers that sign
$id = pay('oauth', 'token');
is(outcome($node, $id), 'succeeded', 'token: charged');
is(outcome($node, pay('oauth', 'again')), 'succeeded', 'and again');
is($peer{oauth}->book->{tokens_given}, 1, 'with one token');
$peer{oauth}->control({ end_tokens => JSON::PP::true });
is(outcome($node, pay('oauth', 'ended')), 'succeeded', 'the PSP ended it early: another is fetched');
my $book = $peer{oauth}->book;
is("$book->{tokens_given} $book->{unauthorized}", '2 1', 'once, on the first refusal');
is(value($node, "SELECT count(*) FROM payments.psp WHERE halted_at IS NOT NULL"), 0, 'and nothing is halted');
is(value($node, "SELECT string_agg(class || ' ' || http_status, ', ' ORDER BY attempt) FROM payments.attempt_answer JOIN payments.operation o USING (operation_id) WHERE http_status = 401 AND psp = 'oauth'"), 'not_sent 401', 'the call counts as not sent');

$peer{oauth}->control({ end_tokens => JSON::PP::true, refuse_tokens => JSON::PP::true });
my $refused = pay('oauth', 'refused');
ok(wait_until($node, "SELECT halted_at IS NOT NULL FROM payments.psp WHERE psp = 'oauth'"), 'a new token is refused as well: the PSP is halted');
is(status_of($refused), 'awaiting_retry', 'the payment waits');
$peer{oauth}->control({ refuse_tokens => JSON::PP::false });
value($node, "SELECT payments.resume_psp('oauth'); UPDATE payments.queue SET due_at = clock_timestamp()");
is(outcome($node, $refused), 'succeeded', 'resumed: charged');

$peer{oauth}->control({ valid_s => 8, end_tokens => JSON::PP::true });
is(outcome($node, pay('oauth', 'short')), 'succeeded', 'a token that is good for eight seconds');
$book = $peer{oauth}->book;
my ($given, $unauthorized) = @$book{qw(tokens_given unauthorized)};
# The second that follows it is asked for when half of the time of the first that does has passed: the token itself is over by then.
ok(eventually(sub { $peer{oauth}->book->{tokens_given} > $given + 1 }), 'is renewed before it ends, by itself');
is(outcome($node, pay('oauth', 'renewed')), 'succeeded', 'charged with a later one');
is($peer{oauth}->book->{unauthorized}, $unauthorized, 'none was used after its end');
$peer{oauth}->control({ valid_s => 0, end_tokens => JSON::PP::true });
value($node, 'SELECT pg_terminate_backend(pid) FROM payments.worker_status');
my $never = pay('oauth', 'never valid');
ok(eventually(sub { PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /got no token from PSP "oauth": HTTP status 200/ }), 'one that is over as it comes is none, and the log says so');
is(status_of($never), 'initiated', 'nothing is sent with it');
$peer{oauth}->control({ valid_s => 3600 });
is(outcome($node, $never), 'succeeded', 'but with the next that is good');

# A pause that the PSP wants holds for its tokens too, also when the one that is here ends meanwhile.
$peer{oauth}->control({ valid_s => 2, end_tokens => JSON::PP::true, too_many_s => 3000 });
my $limited = pay('oauth', 'limited');
ok(wait_until($node, "SELECT paused_until > now() + interval '10 min' FROM payments.psp_health WHERE psp = 'oauth'"), 'the PSP wants a pause');
$given = $peer{oauth}->book->{tokens_given};
value($node, 'SELECT pg_sleep(3)');
is($peer{oauth}->book->{tokens_given}, $given, 'while it lasts no token is asked for');
$peer{oauth}->control({ valid_s => 3600, too_many_s => 0 });
value($node, "SELECT payments.resume_psp('oauth'); UPDATE payments.queue SET due_at = clock_timestamp()");
is(outcome($node, $limited), 'succeeded', 'resumed by a person: charged');

$id = pending('oauth', 'headers');
$body = $json->encode({ %{ operation_of('oauth', $id) }, event => 'h1', status => 'done' });
sub signed { my ($body, $t) = @_; $t //= time; return ('X-Event-Id' => 'd1', 'x-event-time' => "$t", 'X-EVENT-SIGNATURE' => hmac_sha256_hex("d1.$t.$body", 'sign-oauth')) }
my %all = signed($body);
foreach my $name (sort keys %all)
{
	my %less = %all;
	delete $less{$name};
	is(received_state('oauth', $body, %less), 'PY501', "without $name it is not signed");
}
is(received_state('oauth', $body, %all, 'X-Event-Id' => 'd2'), 'PY501', 'nor with the id of another');
is(received_state('oauth', $body, %all, 'x-event-id' => 'd1'), 'PY503', 'a header that is there twice is refused');
is(received_state('oauth', $body, signed($body, time - 1000)), 'PY502', 'so is an old request');
is(received_state('oauth', $body, signed($body, time + 1000)), 'PY502', 'or one from the future');
is(receive('oauth', $body, %all), "h1|f|$id|succeeded|", 'three headers sign: applied');
is(receive('oauth', '{"ping":1}', signed('{"ping":1}')), '|f|||', 'a request without events is taken');

# ---------- no token to be had, and then another secret
write_secrets($node, %secrets, oauth => 'client:wrong');
reload($node);
my $patient = pay('oauth', 'patient');
my $log = sub { return PostgreSQL::Test::Utils::slurp_file($node->logfile) };
ok(eventually(sub { $log->() =~ /got no token from PSP "oauth": HTTP status 401/ }), 'a wrong secret: the log says that there is no token');
is(status_of($patient), 'initiated', 'nothing is sent without one');
ok(eventually(sub { $peer{oauth}->book->{tokens_refused} > 2 }), 'it is asked for again');
is(scalar(() = $log->() =~ /got no token from PSP "oauth": HTTP status 401/g), 1, 'which is said once');
write_secrets($node, %secrets);
reload($node);
is(outcome($node, $patient), 'succeeded', 'the right secret: charged');
unlike($log->(), qr/token-\d|client:|pass word|apikey_test/, 'no token and no secret is in the log');
is(value($node, q{SELECT count(*) FROM payments.attempt WHERE body LIKE '%client%' OR body LIKE '%token-%'}), 0, 'nor in a table');

# ---------- a PSP that is made again with another adapter
my $silent = IO::Socket::INET->new(Listen => 200, LocalAddr => '127.0.0.1') or die "cannot listen: $!";
my $silent_url = 'http://127.0.0.1:' . $silent->sockport;

# A request that was sent to the silent one; nobody answers it.
sub held
{
	IO::Select->new($silent)->can_read($PostgreSQL::Test::Utils::timeout_default) or die 'nobody calls';
	my $held = $silent->accept;

	<$held> =~ m{^POST /token } or die 'not for a token';
	return $held;
}
sub again { my ($psp, @arguments) = @_; return value($node, "BEGIN; DELETE FROM payments.psp WHERE psp = '$psp'; SELECT payments.create_psp(" . join(', ', map { "'$_'" } $psp, @arguments) . '); COMMIT') }
sub lives { return value($node, 'SELECT pg_postmaster_start_time(), pid FROM payments.worker_status') }
my $lives = lives();

my $before = $peer{oauth}->book->{tokens_given};
value($node, sprintf q{SELECT payments.create_psp('kept', 'oauth', '%s', 'oauth')}, $peer{oauth}->url);
ok(eventually(sub { $peer{oauth}->book->{tokens_given} > $before }), 'a token is kept');
again('kept', 'basic', $peer{basic}->url, 'basic');
is(outcome($node, pay('kept', 'kept')), 'succeeded', 'when the PSP is made again with an adapter that wants none, that one charges');

value($node, "SELECT payments.create_psp('asked', 'oauth', '$silent_url', 'oauth')");
my $in_flight = held();
again('asked', 'sandbox');
is(outcome($node, pay('asked', 'while', 'sandbox_ok')), 'succeeded', 'so does one that is made while a token is asked for');
print $in_flight "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
close $in_flight;
ok(eventually(sub { $log->() =~ /got no token from PSP "asked": (HTTP status 200|Timeout was reached)/ }), 'the answer is read by the adapter that asked');
is(outcome($node, pay('asked', 'behind', 'sandbox_ok')), 'succeeded', 'and changes nothing');
is(lives(), $lives, 'the worker goes on through all of it');

# ---------- means run out as a token is asked for
my $worker = value($node, 'SELECT pid FROM payments.worker_status');
my $free = 0;
$free++ while -e "/proc/$worker/fd/$free" || -l "/proc/$worker/fd/$free";
PostgreSQL::Test::Utils::system_or_bail('prlimit', '--pid', $worker, "--nofile=$free:");
# A file or two the server may close for us, but not so many.
my $mute = IO::Socket::INET->new(Listen => 200, LocalAddr => '127.0.0.1') or die "cannot listen: $!";
my $mute_url = 'http://127.0.0.1:' . $mute->sockport;
value($node, "SELECT payments.create_psp('short' || i, 'oauth', '$mute_url', 'oauth') FROM generate_series(1, 9) i; SELECT pg_sleep(2)");
unlike($log->(), qr/got no token from PSP "short\d": no means/, 'what this host lacks is not the PSP\'s doing');
PostgreSQL::Test::Utils::system_or_bail('prlimit', '--pid', $worker, '--nofile=1024:');
ok(eventually(sub { my %asked = map { $_ => 1 } $log->() =~ /got no token from PSP "short(\d)"/g; return keys %asked == 9 }), 'each is asked when there are means, and then it is the PSP that gives none');
value($node, "DELETE FROM payments.psp WHERE psp ~ '^short'");
close $mute;

# ---------- token endpoints that hang
# More than there are slots: without a timeout of their own they would keep them for an hour.
my $HANG = 70;
my @held;
value($node, "SELECT payments.create_psp('hang' || i, 'oauth', '$silent_url', 'oauth') FROM generate_series(1, $HANG) i; UPDATE payments.psp SET timeout = '10 min' WHERE psp ~ '^hang'");
value($node, "SELECT FROM generate_series(1, $HANG) i, LATERAL payments.create_payment('hang' || i, 1000, 'EUR', psp => 'hang' || i, payment_method => 'card')");
push @held, held() for 1 .. 20;
value($node, sprintf q{SELECT payments.create_psp('healthy', 'oauth', '%s', 'oauth')}, $peer{oauth}->url);
is(outcome($node, pay('healthy', 'healthy')), 'succeeded', "$HANG PSPs hang when asked for a token: one that does not is charged");
is(value($node, "SELECT string_agg(DISTINCT status, ' ') FROM payments.payment WHERE psp ~ '^hang'"), 'initiated', 'while they wait');
value($node, "UPDATE payments.psp SET base_url = '" . $peer{oauth}->url . "' WHERE psp ~ '^hang'");
close $_ foreach @held, $silent;
ok(wait_until($node, "SELECT count(*) FROM payments.payment WHERE psp ~ '^hang' AND status = 'succeeded'", $HANG), 'and are charged when they answer');

# ---------- a PSP whose adapter the library does not have
value($node, "INSERT INTO payments.psp (psp, adapter) VALUES ('foreign', 'of_another_version')");
value($node, 'SELECT pg_terminate_backend(pid) FROM payments.worker_status');
is(outcome($node, pay('basic', 'beside')), 'succeeded', 'a worker that starts leaves it alone, and charges at the others');

check_clean($node);
done_testing();
