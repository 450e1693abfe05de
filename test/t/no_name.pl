# If this fails, a PSP whose name cannot be looked up takes payments for sent, or
# for failed, that never left this host, or holds up those of the others.  Or one
# whose address our own rules forbid keeps payments waiting, and nobody is told.
use strict;
use warnings FATAL => 'all';

use FindBin;
use IO::Socket::IP;
use IPC::Run ();
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = new_payments_node('no_name', conf => "payments.psp_hosts = 'psp.invalid, 10.0.0.1'");
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node, tries => 2);
# RFC 6761: nobody has this name, whoever is asked.
# A second of that name has its answer with the first.  One that is there speaks no TLS, and one does with a certificate that nobody trusts.
my $dir = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();
PostgreSQL::Test::Utils::system_or_bail(qw(openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -days 1 -keyout), "$dir/key", '-out', "$dir/certificate");
my $stranger = IPC::Run::start([ qw(openssl s_server -www -accept), "127.0.0.1:$port", '-key', "$dir/key", '-cert', "$dir/certificate" ], '<', \undef, '>', '/dev/null', '2>&1');
ok(eventually(sub { IO::Socket::IP->new(PeerAddr => '127.0.0.1', PeerPort => $port) }), 'it listens');
END { my $status = $?; $stranger->kill_kill if $stranger; $? = $status }
value($node, sprintf q{SELECT payments.create_psp(psp, 'stripe', base_url => url, secret => 'stripe')
	FROM (VALUES ('nameless', 'https://psp.invalid'), ('nameless_too', 'https://psp.invalid'), ('untrusted', 'https://127.0.0.1:%d'), ('stranger', 'https://127.0.0.1:%d')) p (psp, url);
	SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed}, $peer->port, $port);
my $strange = create_payment($node, idempotency_key => 'stranger', amount => 5000, psp => 'stranger');
my $untrusted = create_payment($node, idempotency_key => 'untrusted', amount => 5000, psp => 'untrusted');

my @lost = map { create_payment($node, idempotency_key => "lost-$_", amount => 1000 + $_, psp => 'nameless') } 1 .. 3;
is(outcome($node, create_payment($node, idempotency_key => "beside-$_", amount => 2000 + $_)), 'succeeded', 'the other PSP is called meanwhile') foreach 1 .. 3;
ok(wait_until($node, q{SELECT count(*) FROM payments.dead_letter WHERE reason = 'psp_unreachable'}, 5), 'those that cannot be sent are dead letters in the end');
is(value($node, q{SELECT DISTINCT p.status || ', ' || o.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.psp = 'nameless'}),
	'awaiting_retry, awaiting_retry', 'nothing was sent: they are neither failed nor in doubt');
is(value($node, q{SELECT DISTINCT r.class FROM payments.attempt_answer r JOIN payments.operation o USING (operation_id) WHERE o.psp = 'nameless'}), 'not_sent', 'of no call it is unknown what became of it');
like(value($node, q{SELECT string_agg(DISTINCT r.error, ' ') FROM payments.attempt_answer r JOIN payments.operation o USING (operation_id) WHERE o.psp = 'nameless'}),
	qr/resolve/i, 'and it is said why');
like(value($node, "SELECT DISTINCT r.class || ': ' || r.error FROM payments.attempt_answer r JOIN payments.operation o USING (operation_id) WHERE payment_id = '$untrusted'"),
	qr/^not_sent: (.*SSL|Timeout was reached)/, 'where there is no TLS nothing is sent either, and it is said why');
like(value($node, "SELECT DISTINCT r.class || ': ' || r.error FROM payments.attempt_answer r JOIN payments.operation o USING (operation_id) WHERE payment_id = '$strange'"),
	qr/^not_sent: .*certificate/, 'nor to one whose certificate nobody trusts');
is(value($node, "SELECT status FROM payments.cancel_payment('$lost[0]', 'lost-cancel')"), 'succeeded', 'so it can be cancelled at once');

# ---------- more digits than a port has: create_psp() would not take such an address
value($node, sprintf q{INSERT INTO payments.psp (psp, adapter, base_url, secret) VALUES ('long', 'stripe', 'http://127.0.0.1:%0300d', 'stripe')}, $peer->port);
ok(wait_until($node, 'SELECT hint FROM payments.worker_status', qr/PSP "long" is not called: its base_url is malformed/), 'an address that is none is not called, and worker_status says so');
value($node, sprintf q{UPDATE payments.psp SET base_url = '%s' WHERE psp = 'long'}, $peer->url);

# ---------- the other kind of address
SKIP: {
	skip 'this host has no ::1', 1 unless IO::Socket::IP->new(PeerAddr => '::1', PeerPort => $peer->port);
	value($node, sprintf q{SELECT payments.create_psp('sixth', 'stripe', base_url => 'http://[::1]:%d', secret => 'stripe')}, $peer->port);
	is(outcome($node, create_payment($node, idempotency_key => 'sixth', amount => 3500, psp => 'sixth')), 'succeeded', 'a PSP is reached by IPv6');
}

# ---------- an address that we do not allow: such as a name that has become one of our own network's
foreach my $case ([ 'inside', 'https://10.0.0.1', 'address refused' ], [ 'elsewhere', 'ftp://127.0.0.1', 'malformed URL' ])
{
	my ($psp, $url, $why) = @$case;

	value($node, "INSERT INTO payments.psp (psp, adapter, base_url, secret) VALUES ('$psp', 'stripe', '$url', 'stripe')");
	my $waits = create_payment($node, idempotency_key => $psp, amount => 4000, psp => $psp);
	ok(wait_until($node, 'SELECT hint FROM payments.worker_status', qr/PSP "$psp" is not called: $why/), "$url: worker_status says why nothing is sent there");
	$node->wait_for_log(qr/sends nothing to PSP "$psp": $why\n.*HINT:  Nothing is sent before/);
	is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$waits'"), 'initiated', 'the payment waits');
	value($node, sprintf q{UPDATE payments.psp SET base_url = '%s' WHERE psp = '%s'}, $peer->url, $psp);
	is(outcome($node, $waits), 'succeeded', 'and goes out when the address is one that is allowed');
	ok(wait_until($node, "SELECT coalesce(hint, '') !~ '$psp' FROM payments.worker_status"), 'the hint goes');
}
check_clean($node);
$node->stop;
done_testing();
