# If this fails, the example of docs/adapter.md does not work for who copies it;
# or an adapter of SQL functions loses an answer, charges twice, or keeps the
# worker from the PSPs of others.
#
# The functions are those of the page, the PSP is test/peer/tollgate.py.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP ();
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $json = JSON::PP->new->canonical;
my $node = new_payments_node('sql_adapter', secrets => { tollgate => 'key_1', 'tollgate.webhook' => 'sign_1', client => 'client:key_1' });
my $peer = start_peer(command => ['/usr/bin/python3', "$root/test/peer/tollgate.py", '--die-with-parent', '--secret', 'key_1', '--webhook-secret', 'sign_1']);

# What the page says.
open my $page, '<', "$root/docs/adapter.md" or die $!;
my ($section) = do { local $/; <$page> } =~ /^## An adapter in SQL\n(.*?)^### /ms;
my @blocks = $section =~ /^```sql\n(.*?)^```$/msg;
is(scalar @blocks, 5, 'the page has the functions, the adapter, its test and the PSP');
value($node, "$blocks[0] $blocks[1]");
is(value($node, q{SELECT string_agg("check" || ': ' || coalesce(detail, ''), '; ') FROM payments.test_adapter('tollgate') WHERE NOT ok}), '', 'it keeps to what an adapter must');
is(value($node, q{SELECT count(*) > 40 FROM payments.test_adapter('tollgate')}), 't', 'in many ways');

fast_schedules($node);
value($node, sprintf q{SELECT payments.create_psp('tollgate', 'tollgate', '%s', 'tollgate'), payments.arm()}, $peer->url);

sub pay { my ($key, $card, %more) = @_; return create_payment($node, idempotency_key => $key, amount => 1050, psp => $more{psp} // 'tollgate', payment_method => $card, %more) }
sub objects { my ($id) = @_; my $refs = value($node, "SELECT string_agg(psp_ref, ' ') FROM payments.operation WHERE payment_id = '$id'"); return grep { index($refs, $_->{reference}) >= 0 } @{ $peer->book->{objects} } }
sub asked { return scalar grep { $_->{method} eq 'GET' } @{ $peer->book->{requests} } }

# ---------- what a PSP does, and what becomes of it
my $id = pay('charge', 'card');
is(outcome($node, $id), 'succeeded', 'charged');
is(scalar objects($id), 1, 'once');
is(value($node, "SELECT request_id FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"), 'req_1', "the PSP's id of the request is on record");
is($peer->book->{unauthorized}, 0, 'with the key');
value($node, "SELECT payments.refund_payment('$id', 'refund', 300)");
ok(wait_until($node, "SELECT refunded FROM payments.payment WHERE payment_id = '$id'", 300), 'a part refunded');

my $held = pay('hold', 'card', capture => 'manual');
is(outcome($node, $held), 'authorized', 'authorized');
value($node, "SELECT payments.capture_payment('$held', 'capture', 400)");
ok(wait_until($node, "SELECT captured FROM payments.payment WHERE payment_id = '$held'", 400), 'a part captured');
my $void = pay('void', 'card', capture => 'manual');
is(outcome($node, $void), 'authorized', 'authorized');
value($node, "SELECT payments.cancel_payment('$void', 'cancel')");
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$void'", 'cancelled'), 'and voided');

is(outcome($node, pay('no', 'declined')), 'failed', 'declined');
my $before = asked();
foreach my $card ('lost', 'page')
{
	my $lost = pay($card, $card);
	is(outcome($node, $lost), 'succeeded', "$card: found out");
	is(scalar objects($lost), 1, "$card: charged once");
}
cmp_ok(asked(), '>=', $before + 2, 'by asking');
my $wrong = pay('wrong', 'wrong');
ok(wait_until($node, "SELECT kind FROM payments.exception WHERE payment_id = '$wrong'", 'conflicted'), 'another amount is for a person');

# ---------- events
no_inquiries($node);
my $pending = pay('pending', 'pending');
ok(wait_until($node, "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$pending' AND class = 'pending'", 1), 'pending');
my $ref = value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$pending'");
my $event = $peer->control({ finish => $ref });
sub receive { my ($body, $headers) = @_; return PaymentsTest::webhook_sql({ body => $body }, psp => 'tollgate', headers => $headers) }
is(sqlstate($node, receive($event->{body}, { %{ $event->{headers} }, 'Tollgate-Signature' => '0' x 64 })), 'PY501', 'a wrong signature is refused');
is(sqlstate($node, receive($event->{body}, { %{ $event->{headers} }, 'Tollgate-Time' => '1' })), 'PY501', 'so is another time');
is(sqlstate($node, receive($event->{body}, {})), 'PY501', 'and none');
is(value($node, "SELECT duplicate, status FROM (" . receive($event->{body}, $event->{headers}) . ") r"), 'f|succeeded', 'a signed event is applied');
is(value($node, "SELECT duplicate, status FROM (" . receive($event->{body}, $event->{headers}) . ") r"), 't|succeeded', 'and a second time known');
is(outcome($node, $pending), 'succeeded', 'paid');

# ---------- functions that do not end, or lie, and a PSP beside them
value($node, q{
	CREATE FUNCTION tollgate.loops(jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN LOOP BEGIN LOOP END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
	ALTER FUNCTION tollgate.loops(jsonb) OWNER TO tollgate_author;
	SELECT payments.create_adapter('hangs', build => 'tollgate.build(jsonb)', build_inquiry => 'tollgate.build_inquiry(jsonb)', classify => 'tollgate.loops(jsonb)', can => '{charge}',
		authorize => '{"scheme": "bearer"}', key_header => 'Tollgate-Key', key_valid => '1 hour', time_limit => '50 ms')});
value($node, sprintf q{SELECT payments.create_psp('hangs', 'hangs', '%s', 'tollgate')}, $peer->url);
my @hang = map { pay("hang-$_", 'card', psp => 'hangs') } 1 .. 20;
my @beside = map { pay("beside-$_", 'card') } 1 .. 20;
is(outcome($node, $_), 'succeeded', 'beside it another PSP goes on') foreach $beside[-1];
ok(wait_until($node, q{SELECT count(*) FROM payments.payment WHERE psp = 'hangs' AND status = 'in_doubt'}, 20), 'what nobody could read is in doubt, all of it');
is(value($node, q{SELECT count(*) FROM payments.attempt_answer a JOIN payments.operation o USING (operation_id) WHERE o.psp = 'hangs' AND a.body IS NULL}), 0, 'and the answers are kept');
is(value($node, q{SELECT string_agg("check", '; ') FROM payments.test_adapter('hangs') WHERE NOT ok AND "check" = 'it ends in time'}), 'it ends in time', 'test_adapter() sees that it does not end');
value($node, q{SELECT payments.create_adapter('hangs', classify => 'tollgate.classify(jsonb)')});
value($node, q{UPDATE payments.queue SET due_at = now() WHERE psp = 'hangs'});
ok(wait_until($node, q{SELECT count(*) FROM payments.payment WHERE psp = 'hangs' AND status = 'succeeded'}, 20), 'repaired: asked, and paid');
is(scalar(map { objects($_) } @hang), 20, 'each charged once');

# ---------- a token, and a PSP that signs nothing
value($node, q{SELECT payments.create_adapter('by_token', build => 'tollgate.build(jsonb)', build_inquiry => 'tollgate.build_inquiry(jsonb)', classify => 'tollgate.classify(jsonb)',
	parse => 'tollgate.parse(jsonb)', can => '{charge}', authorize => '{"scheme": "oauth2", "path": "/v1/token"}', verify => '{"scheme": "none"}', key_header => 'Tollgate-Key', key_valid => '1 hour')});
value($node, sprintf q{SELECT payments.create_psp('by_token', 'by_token', '%s', 'client')}, $peer->url);
is(outcome($node, pay('token', 'card', psp => 'by_token')), 'succeeded', 'charged with a token');
is(scalar(grep { $_->{path} eq '/v1/token' } @{ $peer->book->{requests} }), 1, 'that was fetched once');
my $hinted = pay('hint', 'pending', psp => 'by_token');
ok(wait_until($node, "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$hinted' AND class = 'pending'", 1), 'pending');
$event = $peer->control({ finish => value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$hinted'") });
value($node, PaymentsTest::webhook_sql({ body => $event->{body} }, psp => 'by_token', headers => {}));
is(outcome($node, $hinted), 'succeeded', 'a hint has the PSP asked');

# ---------- a function that goes while its PSP is in use
value($node, 'ALTER FUNCTION tollgate.build(jsonb) RENAME TO built');
my $waits = pay_waits('gone');
sub pay_waits { my ($key) = @_; return sqlstate($node, "SELECT payments.create_payment('$key', 1050, 'EUR', psp => 'tollgate', payment_method => 'card')") }
is($waits, '38000', 'without its function nothing is accepted');
value($node, 'ALTER FUNCTION tollgate.built(jsonb) RENAME TO build');
is(outcome($node, pay('back', 'card')), 'succeeded', 'with it again it is');

is(scalar(grep { $_->{status} eq 'done' && $_->{object} eq 'charge' } @{ $peer->book->{objects} }),
	value($node, q{SELECT count(*) FROM payments.movement WHERE kind = 'capture' AND object_id IN (SELECT psp_object_id FROM payments.operation WHERE kind = 'charge')}) + 1, "the PSP's book and ours agree, but for what a person is to look at");

# ---------- dump and restore
my $dump = $node->backup_dir . '.sql';
$node->command_ok(['pg_dump', '-f', $dump, '-d', $node->connstr('postgres')], 'dumped');
value($node, 'CREATE DATABASE copy');
$node->command_ok(['psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy')], 'restored');
is($node->safe_psql('copy', q{SELECT count(*) FROM payments.test_adapter('tollgate') WHERE NOT ok}), 0, 'the adapter is there, and works');

check_clean($node);
$node->stop;
done_testing();
