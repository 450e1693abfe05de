# If this fails, a database that is restored beneath its worker, which goes on,
# charges somebody twice, or the worker is busy for ever with answers to calls
# that the restored state does not know.
#
# The server is not preloaded: with the guards of a preloaded one the tables
# cannot be dropped while there are payments in them.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_payments_node('beneath', worker => 0);
my $peer = start_peer();

sub reason { return value($node, 'SELECT payments._unarmed_reason()') }
sub attempts { return value($node, "SELECT string_agg(action, ' ' ORDER BY attempt) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$_[0]'") }
sub pays { return is(outcome($node, create_payment($node, idempotency_key => $_[0], amount => $_[1])), 'succeeded', $_[2] // $_[0]) }
sub dumps { my ($name, @options) = @_; PostgreSQL::Test::Utils::system_or_bail('pg_dump', '-f', "$dir/$name", @options, '-d', $node->connstr('postgres')); return "$dir/$name" }
sub restores
{
	my (@files) = @_;

	$node->safe_psql('postgres', 'SET client_min_messages = warning; DROP EXTENSION payments CASCADE; DROP SCHEMA payments CASCADE');
	return $node->command_checks_all([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', (map { ('-f', $_) } @files), '-d', $node->connstr('postgres') ], 0, [qr/^$/], [qr/^$/], 'restored into the same database');
}

create_stripe_psp($node, $peer);
fast_schedules($node);
my $worker = value($node, 'SELECT payments.start_worker()');

# ---------- a state since which nothing was sent goes on
pays('first', 700);
ok(wait_until($node, "SELECT count(DISTINCT line) = 1 FROM regexp_split_to_table(pg_read_file('" . (glob secrets_file($node) . '.armed.*')[0] . "'), E'\\n') l, regexp_replace(l, '^(token|next) ', '') line WHERE l ~ '^(token|next) '"), 'the token has changed since');
restores(dumps('schema', '-s'), dumps('data', '-a'));
is(reason(), '', 'the same state is armed as it was');
pays('second', 701);

# ---------- what the dump has waiting is sent, and then restored; of another payment the dump knows nothing, and a call for it is in flight
stop_worker($node);
my $waiting = create_payment($node, idempotency_key => 'waiting', amount => 900);
# In the dump it is not stopped.
value($node, 'UPDATE payments.installation SET worker_enabled = true');
my $earlier = dumps('earlier');
$worker = value($node, 'SELECT payments.start_worker()');
$peer->faults({ fault => 'hold' });
my $unknown = create_payment($node, idempotency_key => 'unknown', amount => 901);
ok($peer->wait_held(2), 'both are in flight');
restores($earlier);
$peer->faults;
$peer->release;
is(value($node, 'SELECT payments.start_worker()'), $worker, 'the worker is the same');
is(outcome($node, $waiting), 'succeeded', 'what it is told of a payment that is here counts');
$node->wait_for_log(qr/PSP "stripe" has answered about payment $unknown, which is not here any more/);
like(reason(), qr/not of this state/, 'nothing more is sent');
my $again = create_payment($node, idempotency_key => 'unknown', amount => 901);
isnt($again, $unknown, 'a client calls again');
value($node, 'SELECT payments.arm()');
is(outcome($node, $again), 'succeeded', 'and is answered');
is(attempts($again), 'inquire', 'the PSP was asked');
pays('third', 702);
at_rest($node);
is_deeply([ map { my $amount = $_; scalar grep { $_->{amount} == $amount } $peer->charges } 700 .. 702, 900, 901 ], [ (1) x 5 ], 'everything was charged once');
check_clean($node);
value($node, 'SELECT payments.stop_worker()');
ok(wait_until($node, 'SELECT pid IS NULL FROM payments.worker_status'), 'the worker ends when it is told to');
$node->stop;
done_testing();
