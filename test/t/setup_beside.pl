# setup() "may be run again at any time".  If this fails, whoever runs it stops
# clients, the worker or a dump, which are ended by the deadlock detector or wait
# for each other until somebody looks.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

# Deadlocks are looked for at once: what could be one is one.
my $node = new_payments_node('beside', conf => "deadlock_timeout = '10ms'\nlog_lock_waits = on");
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';

# ---------- nothing is missing: it locks no table of theirs
my $held = $node->background_psql('postgres');
$held->query_safe('BEGIN');
$held->query_safe(q{DO $$ DECLARE t text; BEGIN
	FOR t IN SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'transition' LOOP
		EXECUTE 'LOCK TABLE ' || t || ' IN ROW EXCLUSIVE MODE'; END LOOP; END $$});
is($node->psql('postgres', "SET lock_timeout = '1ms'; SELECT payments.setup(); SELECT payments.migrate(); SELECT payments.make_partitions()"), 0, 'setup(), migrate() and make_partitions() beside one who writes everywhere');

# ---------- something is missing: it says that it cannot have them, and waits in no queue meanwhile
value($node, 'SET payments.guard_ddl = off; DROP VIEW payments.partition_status');
my ($said) = many_sessions($node, 1, sub { "\\set VERBOSITY verbose\nSELECT payments.setup();" }, on_error_stop => 0, meanwhile => sub {
		is($node->psql('postgres', "SELECT payments.post(payments.create_account('a' || n, 'EUR', 'asset'), payments.create_account('b' || n, 'EUR', 'asset'), 1) FROM generate_series(1, 20) n"), 0, 'others go on');
	});
like($said->{stderr}, qr/ERROR:  55P03: setup\(\) could not have the tables.*HINT:  .*end long transactions/s, 'who never gets them is told');
$held->query_safe('COMMIT');
$held->quit;
value($node, 'SELECT payments.setup()');
is(value($node, q{SELECT count(*) > 0 FROM payments.partition_status}), 't', 'and then it makes what is missing');

# ---------- both, over and over, beside clients, the worker and pg_dump
value($node, q{
	CREATE TABLE ended (client int);
	CREATE TABLE setups (took interval, refused boolean);
	CREATE PROCEDURE setups() LANGUAGE plpgsql AS $$
	DECLARE
		began timestamptz;
	BEGIN
		SET client_min_messages = error;
		WHILE (SELECT count(*) FROM ended) < 4 OR (SELECT count(*) FROM setups WHERE NOT refused) < 5 LOOP
			began := clock_timestamp();
			BEGIN
				PERFORM payments.setup();
				PERFORM payments.make_partitions(ahead => (random() * 20) * interval '1 month');
				INSERT INTO setups VALUES (clock_timestamp() - began, false);
			EXCEPTION WHEN lock_not_available THEN
				INSERT INTO setups VALUES (clock_timestamp() - began, true);
			END;
			COMMIT;
			-- Now and then there is something to do.
			BEGIN
				SET LOCAL lock_timeout = '1ms';
				SET LOCAL payments.guard_ddl = off;
				-- Not that a view is dropped: whoever reads definitions then, pg_dump or setup(), fails.
				IF random() < 0.3 THEN
					ALTER VIEW payments.partition_status SET (security_barrier);
				END IF;
			EXCEPTION WHEN lock_not_available THEN
				NULL;
			END;
			COMMIT;
		END LOOP;
	END $$;
	SELECT payments.create_account('till', 'EUR', 'asset') AS till, payments.create_account('shop', 'EUR', 'liability') AS shop;
});
my ($till, $shop) = split /\|/, value($node, q{SELECT max(account_id) FILTER (WHERE code = 'till'), max(account_id) FILTER (WHERE code = 'shop') FROM payments.account});

sub client
{
	my ($i) = @_;
	return join '', (map { <<"SQL" } 1 .. 6), "INSERT INTO ended VALUES ($i);\n";
BEGIN;
SELECT payment_id FROM payments.create_payment('$i-$_', 100, 'EUR', payment_method => 'sandbox_ok', psp => 'sandbox') \\gset
SELECT payments.post($till, $shop, 1);
COMMIT;
SELECT payments.wait_payment(:'payment_id');
SELECT payments.refund_payment(:'payment_id', '$i-$_-back', 10);
SELECT count(*) FROM payments.check() WHERE NOT ok;
SQL
}
my $dumper = join '', (map { "\\! pg_dump -f $dump.$_ '" . $node->connstr('postgres') . "' || echo pg_dump failed >&2\n" } 1 .. 2), "INSERT INTO ended VALUES (3);\n";
my @sessions = many_sessions($node, 6, sub { $_[0] < 3 ? client($_[0]) : $_[0] == 3 ? $dumper : "CALL setups();" });
is(join('', map { $_->{stderr} } @sessions), '', 'nobody hears of it');
ok(value($node, 'SELECT count(*) FROM setups WHERE NOT refused') >= 5, 'it was run');
value($node, 'SELECT payments.setup()');
at_rest($node);
log_lacks_deadlocks($node, 'no deadlock');
check_clean($node);
done_testing();
