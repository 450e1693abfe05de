# If this fails, whoever moves to another server by logical replication is left
# with a copy that breaks off, or that lacks what was paid meanwhile.
#
# The first copy runs while writers go on, and brings rows in the order of the
# heap; what comes after it is applied transaction by transaction.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $retry = q{wal_retrieve_retry_interval = '200ms'};
my $node = new_payments_node('original', init => [ allows_streaming => 'logical' ], conf => "max_wal_senders = 20\nmax_replication_slots = 50\n$retry");
my $away = new_payments_node('away', worker => 0, extension => 0, conf => "max_logical_replication_workers = 10\nmax_replication_slots = 50\nmax_worker_processes = 20\n$retry");
my $writers = busy_database($node);

# ---------- docs/operations.md: the schema, the rows of tables that are members, then a subscription to the others
my $members = value($node, q{SELECT string_agg('-t payments.' || c.relname, ' ') FROM pg_extension x CROSS JOIN unnest(x.extconfig) m JOIN pg_class c ON c.oid = m WHERE x.extname = 'payments'});
my $tables = value($node, q{SELECT string_agg(format('payments.%I', t.name), ', ') FROM payments._tables() t WHERE t.name <> 'settlement_staging'});
$node->command_ok([ 'pg_dumpall', '-g', '--no-role-passwords', '-f', "$dir/roles", '-d', $node->connstr('postgres') ], 'roles');
$away->command_ok([ 'psql', '-Xq', '-f', "$dir/roles", '-d', $away->connstr('postgres') ], 'brought there');
$node->command_ok([ 'pg_dump', '-s', '-f', "$dir/schema", '-d', $node->connstr('postgres') ], 'the schema');
$node->command_ok([ 'pg_dump', '-a', split(/ /, $members), '-f', "$dir/members", '-d', $node->connstr('postgres') ], 'rules and schedules');
$away->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/schema", '-f', "$dir/members", '-d', $away->connstr('postgres') ], 'made there');
value($node, "CREATE PUBLICATION copy FOR TABLE $tables WITH (publish_via_partition_root = true)");
value($away, sprintf q{CREATE SUBSCRIPTION copy CONNECTION %s PUBLICATION copy}, sql_literal($node->connstr('postgres')));
ok(wait_until($away, q{SELECT count(*) FILTER (WHERE srsubstate = 'r') = count(*) AND count(*) > 0 FROM pg_subscription_rel}), 'the first copy is complete, while they write');
my $more = value($node, 'SELECT count(*) + 100 FROM payments.payment_status');
ok(wait_until($away, "SELECT count(*) > $more FROM payments.payment_status"), 'and goes on');

# ---------- what the writers did is there
$writers->kill_kill;
at_rest($node);
stop_worker($node);
$node->wait_for_catchup('copy');
is(value($away, fingerprint()), value($node, fingerprint()), 'the same rows');
check_clean($node, 'check() is clean here');
check_clean($away, 'and there');
like(value($away, 'SELECT kind FROM payments.verify()'), qr/^ok$/, 'verify() too');
is(join('', grep { /ERROR:/ && !/role "\w+" already exists/ } split /^/, PostgreSQL::Test::Utils::slurp_file($away->logfile)), '', 'without one error');

# ---------- and life goes on there
value($away, 'DROP SUBSCRIPTION copy');
value($away, $_) foreach split /\n/, value($node, q{SELECT format('SELECT setval(%L, %s)', format('%I.%I', schemaname, sequencename), last_value) FROM pg_sequences WHERE schemaname = 'payments' AND last_value IS NOT NULL});
value($away, 'SELECT payments.post(1, 2, 7)');
value($away, q{SELECT payment_id FROM payments.create_payment('there', 100, 'EUR', payment_method => 'sandbox_ok')});
value($away, q{SELECT payments.complete(operation_id, attempt, 200) FROM payments.claim('there', 1)});
value($away, 'SELECT payments.seal_blocks()');
check_clean($away, 'check() is clean');
like(value($away, 'SELECT kind FROM payments.verify()'), qr/^ok$/, 'and verify()');
done_testing();
