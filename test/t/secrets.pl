# If this fails, the PSP's secret key or a customer's card number stands in a
# log, a table or a backup, where anybody who reads those finds it.
use strict;
use warnings FATAL => 'all';

use File::Find ();
use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $KEY     = 'sk_test_Zq7MarmaladeHeron41';
my $WEBHOOK = 'whsec_Zq7TurnstileOtter58';
my $WRONG   = 'sk_test_Zq7WalrusPlimsoll29';
my $CARD    = '4000056655665556';
my $node = new_payments_node('secrets', secrets => { 'stripe' => $KEY, 'stripe.webhook' => $WEBHOOK },
	conf => "log_min_messages = debug1\nlog_min_error_statement = error\nlog_min_duration_statement = -1\nlog_error_verbosity = verbose");
my $peer = start_peer(secret => $KEY, webhook_secret => $WEBHOOK);
create_stripe_psp($node, $peer);
fast_schedules($node, tries => 5);

# Everything that has the secrets in hand, in good and bad days.
is(outcome($node, create_payment($node, idempotency_key => 'ok', amount => 1000)), 'succeeded', 'a payment');
is(outcome($node, create_payment($node, idempotency_key => 'no', amount => 1000, payment_method => 'pm_card_chargeDeclined')), 'failed', 'a decline');
my ($event) = $peer->events(type => 'payment_intent.succeeded');
is((deliver_event($node, $event))[0], 0, 'a webhook');
isnt((deliver_event($node, $event, signature => 't=1,v1=00'))[0], 0, 'a bad webhook');
$peer->faults({ fault => 'garbage_http' }, { fault => 'reset_before' });
create_payment($node, idempotency_key => 'garbage', amount => 1000);
at_rest($node);
$peer->faults;
write_secrets($node, 'stripe' => $WRONG, 'stripe.webhook' => $WEBHOOK);
reload($node);
create_payment($node, idempotency_key => 'wrong', amount => 1000);
ok(wait_until($node, q{SELECT halted_at IS NOT NULL FROM payments.psp WHERE psp = 'stripe'}, 't'), 'the PSP refuses a wrong secret');
chmod 0644, PaymentsTest::secrets_file($node);
reload($node);
value($node, q{SELECT payments.resume_psp('stripe')});
isnt((deliver_event($node, $event))[0], 0, 'a secrets file that others can read is not used');

# Where it may go is in the configuration: who writes the row around create_psp() learns nothing.
chmod 0600, PaymentsTest::secrets_file($node);
write_secrets($node, 'stripe' => $KEY, 'stripe.webhook' => $WEBHOOK);
reload($node);
create_stripe_psp($node, $peer, psp => 'away', arm => 0);
value($node, q{UPDATE payments.psp SET secret = 'stripe.webhook' WHERE psp = 'away'});
ok(wait_until($node, 'SELECT hint FROM payments.worker_status', qr/PSP "away" is not called: its secret is one that signs webhooks, and is never sent/), 'what signs is not sent');
value($node, q{UPDATE payments.psp SET secret = 'stripe', base_url = 'https://away.example' WHERE psp = 'away'});
ok(wait_until($node, 'SELECT hint FROM payments.worker_status', qr/no secret is sent to host "away\.example": payments\.psp_hosts does not name it/), 'nothing goes to a host that is not named');
$node->append_conf('postgresql.conf', "payments.psp_hosts = 'other.example, away.example'");
reload($node);
ok(wait_until($node, q{SELECT count(*) FROM payments.psp_health WHERE problem ~ 'psp_hosts'}, '0'), 'until it is');
value($node, q{DELETE FROM payments.psp WHERE psp = 'away'});

# Somebody types the secret where its name belongs.
is(sqlstate($node, "SELECT payments.create_psp(psp => 'oops', adapter => 'stripe', secret => '$KEY')"), '22023', 'a secret in place of its name is refused');

# Card numbers, wherever text goes in.
my $spaced = $CARD =~ s/(\d{4})(?=\d)/$1 /gr;
foreach my $try (
	[ 'metadata', metadata => qq({"card": "$CARD"}) ],
	[ 'a key of metadata', metadata => qq({"$CARD": 1}) ],
	[ 'a number in metadata', metadata => qq({"a": {"b": [$CARD]}}) ],
	[ 'the description', description => "card $spaced" ],
	[ 'the order_ref', order_ref => $CARD ],
	[ 'the customer', customer => "cus_$CARD" ],
	[ 'the payment method', payment_method => $CARD ],
	[ 'the idempotency key', idempotency_key => $CARD ])
{
	my ($name, %more) = @$try;
	is(sqlstate($node, 'SELECT * FROM ' . PaymentsTest::create_payment_sql(idempotency_key => 'card', amount => 1000, %more)), 'PY009', "a card number in $name is refused");
}
# Every door that the catalog knows of, as a statement of its own: what is raised must not bring the statement into the log.
my $doors = slurp_lib('doors.sql');
my @statements = map { s/CARD/$spaced/r } split /\n/, $node->safe_psql('postgres', "$doors SELECT statement FROM door WHERE says IS NOT NULL");
cmp_ok(scalar @statements, '>', 100, 'there are many doors');
$node->psql('postgres', join(";\n", @statements), on_error_stop => 0, stderr => \my $raised);
my $refused = () = $raised =~ /contains what looks like a card number/g;
is($refused, scalar @statements, 'each is closed');
# What was asked for along with it is wrong, too.
$node->psql('postgres', "SELECT payments.create_payment('k', -1, 'EUR', description => '$spaced'); SELECT payments.post_transaction(NULL, NULL, NULL, description => '$spaced');"
	  . " SELECT payments.import_settlement('sandbox', 'csv', 'gross $CARD'); SELECT payments.complete(NULL, 1, 200, '{}', 'x', '$CARD')", on_error_stop => 0);
# A file, a body, a batch: whatever fails, nobody sees the statement, nor the line.
my $file = "gross\n$CARD\n";
my $import = "SELECT payments.import_settlement('sandbox', 'csv', '$file')";
my $batch = "SELECT payments.post_batch(ARRAY[1], ARRAY[2], ARRAY[1, 2], descriptions => ARRAY['$spaced'])";
my $hook = qq(SELECT payments.receive_webhook('stripe', '{"a": "$CARD"}', '$CARD'));
foreach my $try (
	[ 'an import, read only', "SET default_transaction_read_only = on; $import" ],
	[ 'a batch, read only', "SET default_transaction_read_only = on; $batch" ],
	[ 'a batch of arrays of other lengths', $batch ],
	[ 'a webhook, read only', "SET default_transaction_read_only = on; $hook" ],
	[ 'a long text with a number at its end', "SELECT payments.create_payment('k', 1, 'EUR', description => repeat('x', 300000) || '$CARD')" ],
	[ 'COPY of a line that has too much', "COPY payments.settlement_staging (line) FROM stdin;\nx $CARD\tx\n\\.\n" ],
	[ 'a schedule', "SELECT payments._cron_next('$spaced', now())" ])
{
	isnt($node->psql('postgres', $try->[1], on_error_stop => 1), 0, "$try->[0] fails");
}
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT payments._settlement_turn('sandbox')");
isnt($node->psql('postgres', "SET lock_timeout = '100ms'; SELECT payments.import_settlement('sandbox', 'generic', '$file')", on_error_stop => 1), 0, 'an import that waits too long fails');
$holder->quit;
# Parameters are no part of the statement, but of its context.
$node->append_conf('postgresql.conf', 'log_parameter_max_length_on_error = -1');
$node->reload;
$node->safe_psql('postgres', 'SELECT 1');
$node->pgbench("-n -t 1 -M extended -D b=$CARD", 2, [], [qr/ERROR/], "$_->[0] fails, with its text for a parameter", { "secrets_$_->[0]" => $_->[1] })
  foreach ([ 'import', "SELECT payments.import_settlement('nopsp', 'csv', :b::text);" ],
	[ 'text', "SELECT payments.settlement_text(convert_to(:b, 'UTF8'), 'UTF99');" ],
	[ 'batch', 'SELECT payments.post_batch(ARRAY[1], ARRAY[2], ARRAY[1, 2], descriptions => ARRAY[:b]);' ]);
# A key where something else belongs.
isnt($node->psql('postgres', "SELECT payments.create_psp($_)", on_error_stop => 1), 0, "create_psp($_) is refused")
  foreach ("'oops', '$KEY'", "'oops', 'stripe', config => '{\"account\": \"$KEY\"}'", "'oops', 'stripe', config => '{\"a\": \"$KEY\"}'", "'$KEY', 'stripe'",
	"'oops', 'stripe', base_url => 'https://$KEY\@example.com'", "'oops', 'none', secret => 'stripe', config => '{\"a\": \"$WEBHOOK\"}'");
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop;

# ---------- look everywhere
my %found;
my $files = 0;
my @needles = ($KEY, $WEBHOOK, $WRONG, $CARD, $spaced);
File::Find::find(
	{
		no_chdir => 1,
		wanted   => sub {
			return unless -f $_;
			my $content = PostgreSQL::Test::Utils::slurp_file($_);
			$files++;
			foreach my $needle (@needles)
			{
				push @{ $found{$needle} }, $_ if index($content, $needle) >= 0;
			}
		}
	},
	$node->data_dir, $node->logfile);
cmp_ok($files, '>', 500, "$files files of the data directory and the log were read");
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
like($log, qr/DEBUG: /, 'the log was talkative');
is_deeply($found{$KEY}     // [], [], 'the secret key is nowhere');
is_deeply($found{$WEBHOOK} // [], [], 'the webhook secret is nowhere');
is_deeply($found{$WRONG}   // [], [], 'the wrong secret is nowhere');
is_deeply($found{$CARD}    // [], [], 'the card number is nowhere');
is_deeply($found{$spaced}  // [], [], 'nor with spaces');
done_testing();

sub slurp_lib { return PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../lib/$_[0]") }
