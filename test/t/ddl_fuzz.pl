# Random DDL through the utility hook of a preloaded server.  If this fails, a
# statement that anybody may type ends every session, since its parse tree is
# not what the hook takes it for; or a chain of statements gets round the
# guards, and what was paid can be changed.
#
#	PAY_DDL_STATEMENTS	how many (1500)
#	PAY_DDL_SEED		which (a new one each time; it is printed)
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $statements = $ENV{PAY_DDL_STATEMENTS} || 1500;
my $seed       = $ENV{PAY_DDL_SEED} || int(rand(2**31));
note("PAY_DDL_SEED=$seed PAY_DDL_STATEMENTS=$statements");
srand($seed);

# ---------- a language: <name> is one of its alternatives; what stands twice is twice as likely
my %grammar = (
	statement => [ ('<alter_table>') x 8, ('<create>') x 4, ('<drop>') x 4, ('<rename>') x 4, ('<database>') x 2, ('<other>') x 3 ],
	guarded   => [
		qw(payments.posting payments.payment payments.payment_status payments.movement payments.event payments.attempt payments.account),
		qw(payments.idempotency_key payments.posting_default payments.seal payments.dead_letter payments.installation payments.merchant),
		qw(posting payment payment_status movement event_default), '"payments"."posting"', 'postgres.payments.posting', 'payments."posting"',
	],
	table => [ ('<guarded>') x 8, 'bystander', 'public.bystander', 'parent', 'parent', 'nosuch.t', 'a.b.c.d', 'elsewhere.payments.posting', 'pg_class', 'payments.worker_status' ],
	only   => [ ('') x 4, 'ONLY', 'IF EXISTS', 'IF EXISTS ONLY' ],
	column => [ qw(amount status payment_id booked_at posting_id created_at merchant x debit_account kind xid) ],
	trigger => [ ('guard_append_only') x 2, ('guard_facts') x 2, qw(guard_truncate guard_status guard_account t) ],
	function => [
		qw(payments.guard_append_only payments.guard_facts payments.guard_status payments.forget_routes guard_append_only swallow),
		qw(public.swallow suppress_redundant_updates_trigger pg_catalog.suppress_redundant_updates_trigger nosuch.f a.b.c.d)
	],
	constraint => [ qw(payment_amount_positive payment_refunded_within_captured dead_letter_has_operation payment_pkey posting_pkey movement_pkey c) ],
	policy => [ 'by_merchant', 'by_merchant', 'p' ],
	index  => [ 'payments.operation_psp_ref', 'payments.payment_psp_payment_id', 'payments.dead_letter_open', 'payments.movement_pkey', 'bystander_pkey' ],
	role   => [ qw(payments_owner payments_owner CURRENT_USER SESSION_USER CURRENT_ROLE PUBLIC stranger payments_app postgres) ],
	type   => [ 'bigint', 'text', 'int', 'numeric(20, 2)', 'nosuch', 'payments.posting', 'int[]' ],
	value  => [ '5', '-5', '1.5', q{'x'}, q{''}, 'true', 'false', 'on', 'off', 'DEFAULT', 'NULL', 'name', 'a.b', 'NONE', '99999999999999999999', '(1, 2)', q{E'\\\\x'}, q{U&'d\\0061t'}, q{B'101'}, '$$x$$' ],
	bound => [ 'DEFAULT', q{FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')}, 'FOR VALUES FROM (MINVALUE) TO (1)', q{FOR VALUES IN ('x')}, 'FOR VALUES WITH (MODULUS 2, REMAINDER 0)' ],
	behavior => [ '', '', 'CASCADE', 'CASCADE', 'RESTRICT' ],
	alter_table => [ ('ALTER TABLE <only> <table> <alter_commands>') x 12, 'ALTER <kind> <table> <alter_commands>' ],
	alter_commands => [ ('<alter_command>') x 6, '<alter_command>, <alter_command>' ],
	alter_command  => [
		('DISABLE TRIGGER <which>', 'ENABLE <how> TRIGGER <which>') x 3,
		'ALTER COLUMN <column> TYPE <type>', 'ALTER <column> TYPE <type> USING <column>::<type>', 'DROP COLUMN IF EXISTS <column> <behavior>', 'DROP <column> <behavior>',
		'DROP CONSTRAINT <constraint> <behavior>', 'ALTER <column> DROP NOT NULL', 'ALTER <column> SET DEFAULT <value>', 'ALTER <column> SET STATISTICS <value>',
		'SET UNLOGGED', 'SET LOGGED', 'DETACH PARTITION <table>', 'DETACH PARTITION <table> FINALIZE', 'ATTACH PARTITION <table> <bound>', 'INHERIT <table>', 'NO INHERIT <table>',
		'<on> RULE r', 'ENABLE ALWAYS RULE r', '<on> ROW LEVEL SECURITY', 'FORCE ROW LEVEL SECURITY', 'NO FORCE ROW LEVEL SECURITY', 'OWNER TO <role>', 'SET (fillfactor = <value>)', 'RESET (fillfactor)',
		'SET TABLESPACE <value>', 'CLUSTER ON payment_pkey', 'REPLICA IDENTITY <identity>', 'ADD COLUMN x <type> DEFAULT <value>', 'ADD COLUMN x bigint GENERATED ALWAYS AS (<column> * 2) STORED',
		'ADD CONSTRAINT c CHECK (<column> IS NOT NULL) NOT VALID', 'ADD CONSTRAINT c UNIQUE (<column>)', 'ADD CONSTRAINT c FOREIGN KEY (<column>) REFERENCES <table>', 'OF <type>', 'NOT OF',
		'ALTER CONSTRAINT <constraint> DEFERRABLE', 'VALIDATE CONSTRAINT <constraint>', 'OPTIONS (ADD a <value>)', 'ALTER <column> ADD GENERATED ALWAYS AS IDENTITY', 'ALTER <column> DROP IDENTITY IF EXISTS',
		'ALTER <column> DROP EXPRESSION IF EXISTS', 'ALTER <column> SET STORAGE PLAIN', 'SET ACCESS METHOD heap', 'ATTACH PARTITION <index>', 'SET SCHEMA public', 'RENAME TO x', 'RENAME <column> TO x',
	],
	which    => [ '<trigger>', '<trigger>', 'ALL', 'USER' ],
	how      => [ '', 'ALWAYS', 'REPLICA' ],
	on       => [ 'ENABLE', 'DISABLE' ],
	identity => [ 'FULL', 'NOTHING', 'DEFAULT', 'USING INDEX payment_pkey' ],
	kind => [ 'INDEX', 'VIEW', 'SEQUENCE', 'FOREIGN TABLE', 'MATERIALIZED VIEW', 'TABLE', 'TYPE' ],
	replace => [ '', 'OR REPLACE' ],
	timing  => [ 'BEFORE', 'BEFORE', 'AFTER', 'INSTEAD OF' ],
	events  => [ 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'INSERT OR UPDATE OR DELETE', 'UPDATE OF <column>', 'UPDATE OR DELETE' ],
	each    => [ 'FOR EACH ROW', 'FOR EACH ROW', 'FOR EACH STATEMENT', '' ],
	when    => [ ('') x 3, 'WHEN (false)', 'WHEN (<value> IS NULL)', 'WHEN (pg_trigger_depth() = 7)' ],
	create  => [
		('CREATE <replace> TRIGGER <trigger> <timing> <events> ON <table> <each> <when> EXECUTE FUNCTION <function>()') x 6,
		'CREATE CONSTRAINT TRIGGER <trigger> AFTER <events> ON <table> DEFERRABLE FOR EACH ROW EXECUTE FUNCTION <function>(<value>)',
		('CREATE <replace> RULE r AS ON <event> TO <table> DO <also> <action>') x 2,
		('CREATE <temp> TABLE <new> PARTITION OF <table> <bound>', 'CREATE <temp> TABLE <new> () INHERITS (<table>, <table>)') x 2,
		'CREATE FOREIGN TABLE <new> PARTITION OF <table> <bound> SERVER s', 'CREATE FOREIGN TABLE <new> () INHERITS (<table>) SERVER s',
		'CREATE TABLE <new> (LIKE <table> INCLUDING ALL)', 'CREATE TABLE <new> OF <type>', 'CREATE TABLE <new> AS TABLE <table>', 'CREATE <replace> VIEW <new> AS TABLE <table>',
		'CREATE SCHEMA n CREATE TABLE c PARTITION OF <table> <bound> CREATE TRIGGER <trigger> <timing> <events> ON c <each> EXECUTE FUNCTION <function>()',
		('CREATE <replace> FUNCTION <function>() RETURNS trigger LANGUAGE plpgsql AS <body>') x 3,
		'CREATE <replace> PROCEDURE <function>() LANGUAGE sql AS $$$$', 'CREATE <replace> FUNCTION <function>() RETURNS int LANGUAGE sql RETURN <value>',
		'CREATE POLICY <policy> ON <table> AS <permissive> FOR ALL TO <role> USING (true)', 'CREATE INDEX ON <table> (<column>)', 'CREATE UNIQUE INDEX i ON <table> (<column>)',
		'CREATE STATISTICS s ON <column>, <column> FROM <table>', 'CREATE PUBLICATION p FOR TABLE <table>', 'CREATE SEQUENCE <new> OWNED BY <table>.<column>',
	],
	body => [ q{$$ BEGIN RETURN NULL; END $$}, q{'BEGIN RETURN NEW; END'}, '<value>' ],
	event => [ 'INSERT', 'UPDATE', 'DELETE', 'SELECT' ],
	also  => [ 'INSTEAD', 'ALSO', '' ],
	action => [ 'NOTHING', 'DELETE FROM bystander', '(DELETE FROM bystander; NOTIFY n)', 'NOTIFY n' ],
	permissive => [ 'PERMISSIVE', 'RESTRICTIVE' ],
	temp => [ ('') x 4, 'TEMP', 'UNLOGGED' ],
	new  => [ 'n', 'public.n', 'payments.n', 'payments.posting_2001_01', 'pg_temp.n', 'payments.posting', 'a.b.c.d' ],
	drop => [
		('DROP TRIGGER <exists> <trigger> ON <table> <behavior>') x 3, ('DROP TABLE <exists> <table> <behavior>') x 2, 'DROP TABLE <table>, <table> <behavior>',
		'DROP RULE <exists> r ON <table>', 'DROP POLICY <exists> <policy> ON <table>', 'DROP SCHEMA <exists> payments, public <behavior>', 'DROP SCHEMA <value> <behavior>',
		('DROP OWNED BY <role> <behavior>') x 2, 'DROP OWNED BY <role>, <role> <behavior>', 'DROP FUNCTION <exists> <function> <behavior>', 'DROP ROUTINE <function>() <behavior>', 'DROP INDEX <index> <behavior>',
		'DROP TYPE <type> <behavior>', 'DROP VIEW <table> <behavior>', 'DROP ROLE <role>', 'DROP FOREIGN TABLE <table> <behavior>', 'DROP SEQUENCE <table> <behavior>', 'DROP SERVER s <behavior>',
		'DROP LANGUAGE c <behavior>', 'DROP AGGREGATE <function>(*)', 'DROP OPERATOR = (<type>, NONE)', 'DROP CAST (<type> AS <type>)',
	],
	exists => [ '', 'IF EXISTS' ],
	rename => [
		'ALTER TABLE <only> <table> RENAME TO x', 'ALTER TABLE <table> RENAME COLUMN <column> TO x', 'ALTER TABLE <table> RENAME CONSTRAINT <constraint> TO x', 'ALTER TRIGGER <trigger> ON <table> RENAME TO x',
		'ALTER POLICY <policy> ON <table> RENAME TO x', 'ALTER POLICY <policy> ON <table> TO <role> USING (true)', 'ALTER RULE r ON <table> RENAME TO x', 'ALTER INDEX <index> RENAME TO x', 'ALTER VIEW <table> RENAME TO x',
		('ALTER SCHEMA payments RENAME TO x') x 3, 'ALTER SCHEMA payments OWNER TO <role>', 'ALTER ROLE <role> RENAME TO x', 'ALTER FUNCTION <function>() RENAME TO x', 'ALTER FUNCTION <function> SET SCHEMA public',
		'ALTER TABLE <only> <table> SET SCHEMA public', 'ALTER EXTENSION payments SET SCHEMA public', 'ALTER EXTENSION payments <add> FUNCTION <function>()', 'ALTER EXTENSION payments <add> TABLE <table>', 'ALTER TYPE <type> RENAME TO x',
		'ALTER FUNCTION <function>() <option>', 'ALTER TRIGGER <trigger> ON <table> DEPENDS ON EXTENSION payments', 'REASSIGN OWNED BY <role> TO <role>', 'ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE <value>',
	],
	add    => [ 'ADD', 'DROP' ],
	option => [ 'STRICT', 'IMMUTABLE', 'SECURITY INVOKER', 'SET session_replication_role = replica', 'RESET ALL', 'OWNER TO <role>', 'COST <value>' ],
	db => [ 'x', 'postgres', 'template1', '"a b"', '<value>' ],
	database => [
		('CREATE DATABASE <db> <database_options>') x 4, 'DROP DATABASE <exists> <db>', 'DROP DATABASE <db> WITH (FORCE)', 'ALTER DATABASE <db> RENAME TO <db>', 'ALTER DATABASE <db> SET TABLESPACE <value>',
		'ALTER DATABASE <db> SET work_mem = <value>', 'ALTER DATABASE <db> WITH <database_option>', 'ALTER DATABASE <db> OWNER TO <role>',
	],
	database_options => [ '<database_option>', '<database_option> <database_option>' ],
	database_option  => [ ('TEMPLATE <value>', 'TEMPLATE = <value>') x 3, 'OWNER <value>', 'ENCODING <value>', 'CONNECTION LIMIT <value>', 'IS_TEMPLATE <value>', 'nosuch <value>', 'STRATEGY = <value>', 'TEMPLATE postgres' ],
	other => [
		'TRUNCATE <table> <behavior>', 'COMMENT ON TABLE <table> IS <value>', 'GRANT ALL ON <table> TO <role>', 'SECURITY LABEL ON TABLE <table> IS <value>', 'SET session_replication_role = <value>', 'SET search_path = <value>',
		'SET search_path = payments, public', 'SET ROLE payments_owner', 'LOCK <table>', 'REINDEX TABLE <table>', 'REFRESH MATERIALIZED VIEW <table>', 'IMPORT FOREIGN SCHEMA s FROM SERVER s INTO payments', 'CREATE EXTENSION payments',
		'ALTER SEQUENCE <table> OWNED BY <table>.<column>', 'PREPARE q AS TABLE <table>', 'EXPLAIN CREATE TABLE <new> AS TABLE <table>', 'DECLARE c CURSOR FOR TABLE <table>', 'ALTER DEFAULT PRIVILEGES FOR ROLE <role> GRANT ALL ON TABLES TO <role>',
		'ALTER SYSTEM SET work_mem = <value>', 'VACUUM <table>', 'ANALYZE <table>', 'DISCARD ALL', 'CALL <function>(<value>)', 'DO <body>', 'ALTER EVENT TRIGGER x DISABLE', 'CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION <function>()',
	],
);

my %words;    # all that the grammar has, for the mutations
foreach my $alternative (map { @$_ } values %grammar) { $words{$_} = 1 foreach grep { !/[<>]/ } split ' ', $alternative }
my @words = sort keys %words;

sub one { return $_[ int rand @_ ] }

sub produce
{
	my ($text) = @_;
	1 while $text =~ s/<(\w+)>/one(@{ $grammar{$1} })/e;
	return $text =~ s/ +/ /gr;
}

sub mutate
{
	my ($text) = @_;
	my @tokens = $text =~ /('(?:[^']|'')*'|\$\$.*?\$\$|"[^"]*"|[\w.]+|\S)/g;
	for (1 .. 1 + int rand 3)
	{
		last if !@tokens;
		my $at = int rand @tokens;
		my $what = int rand 4;
		if ($what == 0) { splice @tokens, $at, 1 }
		elsif ($what == 1) { splice @tokens, $at, 0, $tokens[$at] }
		elsif ($what == 2) { $tokens[$at] = one(@words) }
		else { @tokens[ $at, 0 ] = @tokens[ 0, $at ] }
	}
	return join ' ', @tokens;
}

# ---------- a server with something to lose
my $node = new_payments_node('ddl_fuzz');
my $payment = create_payment($node, idempotency_key => 'fuzz', amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok');
is(outcome($node, $payment), 'succeeded', 'a payment');
at_rest($node);
value($node, q{
	CREATE ROLE stranger;
	CREATE TABLE public.bystander (LIKE payments.posting);
	CREATE TABLE public.parent (LIKE payments.payment) PARTITION BY LIST (status);
	CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE EXTENSION IF NOT EXISTS plpgsql;
	CREATE FOREIGN DATA WRAPPER w;
	CREATE SERVER s FOREIGN DATA WRAPPER w;
	SET client_min_messages = error;
	SELECT payments.stop_worker();
});

# One statement after the other, and then what they were good for; none of it stays.
value($node, q{
	CREATE FUNCTION public.rows_of(key text) RETURNS text LANGUAGE sql AS $$
		SELECT concat_ws(' ', (SELECT count(*) FROM payments.idempotency_key i WHERE i.key = rows_of.key),
			(SELECT count(*) FROM payments.payment p WHERE p.order_ref = rows_of.key),
			(SELECT count(*) FROM payments.payment_status s JOIN payments.payment p USING (payment_id) WHERE p.order_ref = rows_of.key),
			(SELECT count(*) FROM payments.queue q JOIN payments.payment p USING (payment_id) WHERE p.order_ref = rows_of.key),
			(SELECT count(*) FROM payments.event e WHERE e.payload ->> 'order_ref' = rows_of.key))
	$$;
	CREATE FUNCTION public.attack(who text, statements text[]) RETURNS text LANGUAGE plpgsql SET client_min_messages = error AS $$
	DECLARE
		statement text;
		passed int := 0;
		refused int := 0;
		harm text := '';
		changed bigint;
	BEGIN
		PERFORM set_config('search_path', 'public', true), set_config('role', who, true);
		FOREACH statement IN ARRAY statements LOOP
			BEGIN
				EXECUTE statement;
				passed := passed + 1;
			EXCEPTION WHEN SQLSTATE 'PY012' THEN
				refused := refused + 1;
			WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		IF passed > 0 THEN
			EXECUTE 'RESET ROLE';
			EXECUTE 'SET search_path = pg_catalog';
			-- Whoever drops the extension takes its functions, and says CASCADE for it.
			IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'payments') THEN
				FOREACH statement IN ARRAY ARRAY['UPDATE payments.posting SET amount = amount + 1', 'DELETE FROM payments.posting', 'DELETE FROM payments.payment_status',
					'UPDATE payments.payment SET amount = amount + 1', 'DELETE FROM payments.payment', 'UPDATE payments.movement SET amount = amount + 1', 'DELETE FROM payments.idempotency_key',
					'TRUNCATE payments.event', 'DELETE FROM payments.event', 'UPDATE payments.attempt SET psp_key = 1', 'TRUNCATE payments.movement', 'DELETE FROM payments.account',
					'SET session_replication_role = replica; DELETE FROM payments.movement'] LOOP
					BEGIN
						EXECUTE statement;
						harm := harm || '; ' || statement;
					EXCEPTION WHEN undefined_table OR invalid_schema_name THEN
						harm := harm || '; gone: ' || statement;
					WHEN OTHERS THEN
						NULL;
					END;
				END LOOP;
				-- What is accepted is there: nothing swallows a row.
				BEGIN
					EXECUTE 'RESET session_replication_role';
					PERFORM payments.create_payment('fuzzed', 100, 'EUR', payment_method => 'sandbox_ok', order_ref => 'fuzzed');
					IF public.rows_of('fuzzed') <> '1 1 1 1 1' THEN
						harm := harm || '; swallowed: ' || public.rows_of('fuzzed');
					END IF;
				EXCEPTION WHEN OTHERS THEN
					NULL;
				END;
			END IF;
		END IF;
		RAISE EXCEPTION USING ERRCODE = 'TAP00', MESSAGE = format('%s %s %s', passed, refused, harm);
	EXCEPTION WHEN SQLSTATE 'TAP00' THEN
		RETURN sqlerrm;
	END
	$$;
});
my $triggers = q{SELECT md5(string_agg(tgname::text || tgenabled::text || tgrelid::regclass::text || tgtype || tgfoid, ',' ORDER BY tgrelid, tgname)) FROM pg_trigger WHERE NOT tgisinternal};
my $before   = value($node, $triggers);
is(value($node, q{SELECT public.attack('postgres', ARRAY['SELECT 1'])}), '1 0 ', 'without DDL nothing gives way');

# ---------- attacks, a hundred to a session: it would not outlive a crash
my ($passed, $refused, @harm) = (0, 0);
for (my $done = 0; $done < $statements; $done += 100)
{
	my @attacks = map {
		my @chain = map { my $s = produce('<statement>'); rand() < 0.3 ? mutate($s) : $s } 1 .. one(1, 1, 2, 3);
		[ one('postgres', 'postgres', 'postgres', 'stranger', 'payments_admin', 'payments_owner'), @chain ]
	} 1 .. 100;
	my $sql = join '', map { my ($who, @chain) = @$_; "SELECT public.attack('$who', ARRAY[" . join(', ', map { sql_literal($_) } @chain) . "]);\n" } @attacks;
	my ($code, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 0);
	if ($code != 0 || $err =~ /server closed|terminating connection/)
	{
		diag(join "\n", grep { /was terminated|Failed process/ } split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile));
		BAIL_OUT("the server fell: $err");
	}
	my @answers = split /\n/, $out;
	for my $i (0 .. $#attacks)
	{
		my ($p, $r, $harm) = ($answers[$i] // '') =~ /^(\d+) (\d+) ?(.*)$/ or next;
		$passed += $p;
		$refused += $r;
		push @harm, "as $attacks[$i][0]: " . join('; ', @{ $attacks[$i] }[ 1 .. $#{ $attacks[$i] } ]) . " LETS " . substr($harm, 2, 90) if $harm ne '';
	}
}
is(join("\n", @harm), '', 'and what is guarded stays guarded');
note("$passed passed, $refused were refused by the hook");
cmp_ok($passed,  '>', $statements / 50, 'many statements were run');
cmp_ok($refused, '>', $statements / 50, 'and many were refused');
is(value($node, $triggers), $before, 'every trigger is as it was');
value($node, 'SELECT payments.start_worker()');
check_clean($node);
done_testing();
