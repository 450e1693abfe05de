# Settings of a database or of a role that change what SQL means, or stop whoever
# they are set for.  If this fails, verify() ignores the heads it was given and
# says that all is well, months are not made, files are not read, or the worker
# stands still, since somebody has changed a default.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = new_payments_node('settings', databases => 'postgres,hostile', conf => "payments.seal_interval = 0\ntimezone = 'UTC'");
my @hostile = grep { /=/ } split /\n/, PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../lib/hostile.conf");
cmp_ok(scalar @hostile, '>', 15, 'there are settings');

# ---------- the extension is created, set up and used under them
value($node, 'CREATE DATABASE hostile TEMPLATE template0');
foreach (@hostile) { /^(\S+) = (.*)$/ or die; value($node, "ALTER DATABASE hostile SET $1 = $2") }
# The worker's own: it may do nothing, nor for long.
value($node, "ALTER ROLE payments_worker SET $_") foreach "default_transaction_read_only = on", "statement_timeout = '1ms'", "lock_timeout = '1ms'", "default_transaction_isolation = 'serializable'",
  "search_path = 'nowhere'", "idle_session_timeout = '1ms'", "standard_conforming_strings = off", "datestyle = 'SQL, DMY'";
value($node, 'CREATE EXTENSION payments; SELECT payments.setup()', dbname => 'hostile');

# Both are the same.  PGOPTIONS comes after what is set for the database.
my %catalog;
foreach my $db ('postgres', 'hostile')
{
	local $ENV{PGOPTIONS} = '-c standard_conforming_strings=on -c quote_all_identifiers=off -c datestyle=ISO,MDY -c timezone=UTC -c transform_null_equals=off -c intervalstyle=postgres';
	my ($out, $err) = ('', '');
	ok(IPC::Run::run([ $node->installed_command('psql'), '-qX', '-d', $node->connstr($db), '-v', 'schema=payments', '-f', "$FindBin::RealBin/../lib/catalog.sql" ], '>', \$out, '2>', \$err), "catalog of $db");
	is($err, '', 'without a complaint');
	$catalog{$db} = $out;
}
cmp_ok(length $catalog{postgres}, '>', 100_000, 'a schema');
my %lines;
$lines{$_}++ foreach split /\n/, $catalog{hostile};
$lines{$_}-- foreach split /\n/, $catalog{postgres};
is(join("\n", map { "$lines{$_} $_" } grep { $lines{$_} } sort keys %lines), '', 'setup() makes the same schema whatever is set');

# ---------- a payment goes its way, though its worker was to do nothing
sub hostile { return value($node, $_[0], dbname => 'hostile') }
hostile(q{SELECT payments.start_worker()});
my $payment = hostile(q{SELECT payment_id FROM payments.create_payment('one', 1050, 'EUR', payment_method => 'sandbox_ok', metadata => '{"a": null}')});
wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$payment'", 'succeeded', undef, dbname => 'hostile');
at_rest($node, undef, dbname => 'hostile');
is(hostile('SELECT count(*) FROM payments.check() WHERE NOT ok'), 0, 'check() is clean');

# ---------- seals
my @heads = map { hostile($_) } 'SELECT payments.seal_blocks() >= 0', 'SELECT head FROM payments.seal_head';
like($heads[1], qr/^\d+ [0-9a-f]{64} \S+ hostile \d+ [0-9a-f]{8}$/, 'a head');
is(hostile("SELECT string_agg(kind, ',') FROM payments.verify(heads => '$heads[1]')"), 'ok', 'verify() knows it');
my $other = $heads[1] =~ s/^\d+ \K./$& eq '0' ? '1' : '0'/er;
isnt(hostile("SELECT string_agg(kind, ',') FROM payments.verify(heads => '$other')"), 'ok', 'and contradicts another');

# ---------- months
my $months = hostile(q{SELECT count(*) FROM payments.partition_status});
is(hostile(q{SELECT payments.make_partitions('6 months')}), 9, 'three months more for three tables are made');
is(hostile(q{SELECT count(*) FROM payments.partition_status}), $months + 9, 'and known');
is(hostile(q{SELECT payments.make_partitions('6 months')}), 0, 'once');

# ---------- files
is(hostile(q{SELECT lines FROM payments.import_settlement('sandbox', 'csv', content => E'kind,psp_object_id,gross,fee,currency,occurred_at\ncharge,ch_1,10.50,0.55,EUR,2026-02-03 04:05:06Z\n')}), 1, 'a file is read');
is(hostile(q{SELECT to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM payments.settlement_line}), '2026-02-03 04:05:06', 'and its times mean what they say');
is(hostile(q{SELECT lines FROM payments.reconcile('sandbox')}), 1, 'and reconciled');
is(hostile(q{SELECT count(*) FROM payments.check() WHERE NOT ok}), 0, 'check() is clean');

# ---------- every function that means text has the pins
is(value($node, q{SELECT string_agg(p.oid::regprocedure::text || ' ' || s, ', ') FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang,
	unnest(ARRAY['search_path=pg_catalog, pg_temp', 'standard_conforming_strings=on', 'quote_all_identifiers=off', 'DateStyle=ISO, MDY', 'IntervalStyle=postgres', 'bytea_output=hex',
		'extra_float_digits=1', 'array_nulls=on', 'transform_null_equals=off']) s
	WHERE p.pronamespace = 'payments'::regnamespace AND l.lanname IN ('sql', 'plpgsql', 'payments') AND p.prokind = 'f' AND p.provolatile <> 'i'
	-- Parts of the query that calls them.
	AND p.proname NOT IN ('_in_scope', '_decision', '_close_line', '_statement_line_text')
	AND lower(s) <> ALL (SELECT lower(c) FROM unnest(coalesce(p.proconfig, '{}')) c)}), '', 'every function in SQL and PL/pgSQL pins what it depends on');
done_testing();
