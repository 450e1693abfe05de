# Preloaded, a utility hook refuses the DDL that would get around the guard
# triggers.  If this fails, a superuser in a hurry can disable a trigger, change
# what was paid, and enable it again, and nobody sees it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $node = new_payments_node('ddl');
# Of a snapshot before the first of all.
my %old = map { $_ => $node->background_psql('postgres', on_error_stop => 0) } qw(salt table);
$_->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM payments.operation') foreach values %old;
create_payment($node, idempotency_key => 'ddl-1', amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok');
at_rest($node);
$old{salt}->query('DELETE FROM payments.installation_salt; COMMIT');
$old{table}->query('DROP TABLE payments.payment CASCADE; COMMIT');
$_->quit foreach values %old;
is(value($node, q{SELECT to_regclass('payments.payment') IS NOT NULL, count(*) FROM payments.installation_salt}), 't|1',
	'who does not see it yet can neither drop the tables nor take the salt away');

$node->safe_psql('postgres', q{CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far;
	CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	-- Whoever creates the extension owns its schema.
	CREATE ROLE founder SUPERUSER; ALTER SCHEMA payments OWNER TO founder});

# What the table of bypasses in the design names, and their kin; all as superuser.
my @refused = (
	'ALTER TABLE payments.payment_status DISABLE TRIGGER guard_append_only',
	'ALTER TABLE payments.payment_status DISABLE TRIGGER ALL',
	'ALTER TABLE payments.posting DISABLE TRIGGER USER',
	'ALTER TABLE payments.movement ENABLE TRIGGER guard_append_only',
	'ALTER TABLE payments.movement ENABLE REPLICA TRIGGER guard_append_only',
	'DROP TRIGGER guard_append_only ON payments.posting',
	'DROP TRIGGER guard_truncate ON payments.payment',
	'CREATE RULE swallow AS ON INSERT TO payments.posting DO INSTEAD NOTHING',
	q{CREATE TRIGGER swallow BEFORE INSERT ON payments.posting FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()},
	q{ALTER TABLE payments.posting ALTER COLUMN amount TYPE bigint USING amount + 1},
	q{ALTER TABLE payments.payment_status ALTER COLUMN status TYPE text USING 'x'},
	'ALTER TABLE payments.posting DROP COLUMN description',
	'ALTER TABLE payments.payment DROP CONSTRAINT payment_refunded_within_captured',
	'ALTER TABLE payments.posting SET UNLOGGED',
	# None is replaced by one that does nothing, or comes later.
	'CREATE OR REPLACE TRIGGER guard_append_only BEFORE UPDATE ON payments.movement FOR EACH ROW WHEN (false) EXECUTE FUNCTION payments.guard_append_only()',
	'CREATE OR REPLACE TRIGGER guard_truncate AFTER TRUNCATE ON payments.movement EXECUTE FUNCTION noted()',
	'CREATE TRIGGER swallow BEFORE INSERT ON payments.posting FOR EACH ROW EXECUTE FUNCTION payments.forget_routes()',
	'ALTER TRIGGER guard_append_only ON payments.posting DEPENDS ON EXTENSION plpgsql',
	'ALTER EXTENSION payments DROP FUNCTION payments.guard_append_only()',
	'ALTER SCHEMA payments RENAME TO elsewhere',
	'SET ROLE payments_owner; DROP OWNED BY CURRENT_USER CASCADE',
	'DROP OWNED BY founder CASCADE',
	'CREATE FOREIGN TABLE payments.far PARTITION OF payments.posting DEFAULT SERVER far',
	q{CREATE TABLE above (LIKE payments.payment) PARTITION BY LIST (status); ALTER TABLE above ATTACH PARTITION payments.payment DEFAULT},
	# What there must be only one of.
	'DROP INDEX payments.operation_psp_ref',
	'DROP INDEX payments.dead_letter_open, payments.exception_once',
	'SET search_path = payments; DROP INDEX IF EXISTS payment_psp_payment_id CASCADE',
	# What is yet to be done, and what is written where nothing is said.
	'DROP TRIGGER guard_truncate ON payments.queue',
	'ALTER TABLE payments.queue DISABLE TRIGGER ALL',
	'CREATE TRIGGER swallow BEFORE INSERT ON payments.queue FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'ALTER TABLE payments.queue ALTER COLUMN attempts SET DEFAULT 7',
	'ALTER TABLE payments.posting ALTER COLUMN booked_at DROP DEFAULT',
	# What a merchant may see.
	'ALTER TABLE payments.posting FORCE ROW LEVEL SECURITY',
	'ALTER TABLE payments.payment DISABLE ROW LEVEL SECURITY',
	'DROP POLICY by_merchant ON payments.posting',
	'ALTER POLICY by_merchant ON payments.posting USING (true)',
	'CREATE POLICY all_of_it ON payments.payment USING (true)',
	'ALTER TABLE payments.posting RENAME TO elsewhere',
	'ALTER TABLE payments.posting RENAME COLUMN amount TO was',
	'ALTER TRIGGER guard_append_only ON payments.posting RENAME TO was',
	'ALTER TABLE payments.posting SET SCHEMA public',
	'CREATE TABLE parent (LIKE payments.posting); ALTER TABLE payments.posting INHERIT parent',
	'DROP TABLE payments.posting CASCADE',
	'CREATE TABLE child () INHERITS (payments.account)',
	'DROP TABLE payments.payment, payments.payment_status CASCADE',
	'DROP SCHEMA payments CASCADE',
	'DROP OWNED BY payments_owner CASCADE',
	q{CREATE OR REPLACE FUNCTION payments.guard_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'},
	q{DO 'BEGIN EXECUTE ''ALTER TABLE payments.posting DISABLE TRIGGER ALL''; END'},
	# By way of something else.
	'DROP EXTENSION payments CASCADE',
	'DROP FUNCTION payments._seal_xid() CASCADE',
	'CREATE ROLE heir SUPERUSER; ALTER EXTENSION payments ADD FUNCTION noted(); REASSIGN OWNED BY founder TO heir; DROP OWNED BY heir CASCADE',
	'CREATE DOMAIN short AS text; ALTER TABLE payments.payment ADD COLUMN shop short; DROP DOMAIN short CASCADE',
	q{CREATE FUNCTION small(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 < 10'; ALTER TABLE payments.payment ADD CONSTRAINT own CHECK (small(amount)) NOT VALID; DROP FUNCTION small CASCADE},
	q{DO 'BEGIN EXECUTE ''DROP INDEX payments.operation_psp_ref''; END'},
	'ALTER INDEX payments.account_once RENAME TO another',
	'ALTER SEQUENCE payments.posting_posting_id_seq RESTART WITH 1',
	'CREATE OR REPLACE VIEW payments._my_merchant AS SELECT m.merchant FROM payments.merchant m',
	# What guards, and what says that it does.
	'ALTER FUNCTION payments.guard_append_only() RENAME TO g',
	'ALTER FUNCTION payments.guard_append_only() SET SCHEMA public',
	q{ALTER FUNCTION payments.guard_facts() SET search_path = ''},
	'ALTER FUNCTION payments.verify(text, bigint, bigint, int) SECURITY DEFINER',
	q{CREATE OR REPLACE FUNCTION payments._guards_off() RETURNS TABLE (root text, tbl text, guard text) LANGUAGE sql STABLE AS 'SELECT NULL, NULL, NULL WHERE false'},
	q{CREATE OR REPLACE FUNCTION payments._violation(_invariant text, _violations bigint, _sample text) RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text) LANGUAGE sql IMMUTABLE AS 'SELECT _invariant, true, 0::bigint, NULL'},
	# What could be called in place of ours, with the rights of whoever calls us.
	'CREATE FUNCTION payments.mine() RETURNS int LANGUAGE sql RETURN 1',
	q{SET ROLE payments_owner; CREATE FUNCTION payments._refuse_card_numbers(text, text) RETURNS void LANGUAGE sql AS ''},
	'CREATE PROCEDURE payments.mine() LANGUAGE sql BEGIN ATOMIC END',
	'CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1; ALTER FUNCTION mine() SET SCHEMA payments',
	'CREATE AGGREGATE payments.mine(int) (SFUNC = int4pl, STYPE = int)',
	'CREATE OPERATOR payments.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = int8eq)',
	'CREATE OPERATOR FAMILY payments.mine USING btree',
	'CREATE TYPE payments.mine AS (i int)', q{CREATE TYPE payments.mine AS ENUM ('a')}, 'CREATE DOMAIN payments.mine AS int',
	'CREATE TYPE mine AS (i int); ALTER TYPE mine SET SCHEMA payments',
	'CREATE COLLATION payments.mine FROM "C"',
	q{CREATE FUNCTION as_text(payments.payment) RETURNS text LANGUAGE sql RETURN ''; CREATE CAST (payments.payment AS text) WITH FUNCTION as_text(payments.payment) AS IMPLICIT},
	q{SET payments.guard_ddl = off; CREATE FUNCTION payments.mine() RETURNS int LANGUAGE sql RETURN 1; SET payments.guard_ddl = on; CREATE OR REPLACE FUNCTION payments.mine() RETURNS int LANGUAGE sql RETURN 2},
	# What would run as payments_owner.
	(map { "CREATE SCHEMA his; CREATE TYPE his.e AS ENUM ('a'); CREATE DOMAIN his.d AS uuid; CREATE FUNCTION his.u(his.e) RETURNS uuid LANGUAGE sql RETURN NULL::uuid; "
		. "CREATE CAST (his.e AS uuid) WITH FUNCTION his.u(his.e) AS IMPLICIT; $_" }
		'CREATE TABLE his.t (x his.e REFERENCES payments.payment)',
		'CREATE TABLE his.t (x his.d REFERENCES payments.payment)',
		'CREATE TABLE his.t (x his.e); ALTER TABLE his.t ADD FOREIGN KEY (x) REFERENCES payments.operation NOT VALID',
		'CREATE TABLE his.t (y uuid, x his.e, FOREIGN KEY (x) REFERENCES payments.operation)',
		'CREATE TABLE his.t (x uuid REFERENCES payments.payment); ALTER TABLE his.t ALTER x TYPE his.e USING NULL',
		'CREATE TABLE his.t (x uuid REFERENCES payments.payment); ALTER TABLE his.t ALTER x TYPE his.d',
		'CREATE TABLE his.t (x his.e, i int) PARTITION BY LIST (i); CREATE TABLE his.p PARTITION OF his.t DEFAULT; ALTER TABLE his.t ADD FOREIGN KEY (x) REFERENCES payments.payment',
		'CREATE TABLE his.t (m varchar(9), k text, FOREIGN KEY (m, k) REFERENCES payments.idempotency_key)'),
	# A trigger is not ours by the name of its function.
	q{CREATE FUNCTION payments.guard_evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER evil BEFORE UPDATE ON payments.payment FOR EACH ROW EXECUTE FUNCTION payments.guard_evil()},
	'CREATE TRIGGER swallow BEFORE INSERT ON payments.psp_feed FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE TRIGGER swallow BEFORE INSERT ON payments.decline_rule FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'SET ROLE payments_owner; CREATE TRIGGER seen AFTER INSERT ON payments.merchant EXECUTE FUNCTION public.noted()',
	'SET ROLE payments_owner; CREATE CONSTRAINT TRIGGER seen AFTER INSERT ON payments.installation FOR EACH ROW EXECUTE FUNCTION public.noted()',
	'SET ROLE payments_owner; CREATE TRIGGER seen AFTER INSERT ON payments.currency EXECUTE FUNCTION public.noted()',
	# What is shipped.
	'DROP TRIGGER guard_shipped ON payments.posting_rule',
	'ALTER TABLE payments.currency DISABLE TRIGGER ALL',
	'ALTER TABLE payments.transition DROP CONSTRAINT transition_pkey',
	# Views are read by policies, by people and by check().
	q{DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW payments._account_tail AS ' || pg_get_viewdef('payments._account_tail'::regclass); END $$},
	'ALTER VIEW payments._my_merchant RENAME TO theirs',
	'ALTER VIEW payments._my_merchant SET (security_barrier = false)',
	'ALTER TABLE payments.stuck RESET (security_invoker)',
	'DROP VIEW payments.worker_status CASCADE',
	'CREATE OR REPLACE LANGUAGE payments HANDLER plpgsql_call_handler',
	'ALTER LANGUAGE payments RENAME TO theirs',
	# Uniqueness that is asked for too late, numbers that somebody else gives.
	'ALTER TABLE payments.operation ADD CONSTRAINT late UNIQUE USING INDEX operation_psp_ref DEFERRABLE INITIALLY DEFERRED',
	'ALTER TABLE payments.payment ALTER COLUMN amount ADD GENERATED ALWAYS AS IDENTITY',
	'ALTER SEQUENCE payments.posting_posting_id_seq RENAME TO another',
	'ALTER SEQUENCE payments.posting_posting_id_seq SET UNLOGGED',
	q{SET payments.guard_ddl = off; SET payments.guard_ddl = on; DROP TRIGGER guard_truncate ON payments.queue},
	q{SET search_path = payments; ALTER TABLE posting DISABLE TRIGGER ALL},
);
# Later servers have further ways.
push @refused, 'ALTER TABLE payments.payment ADD COLUMN twice bigint GENERATED ALWAYS AS (amount * 2) STORED; '
  . 'ALTER TABLE payments.payment ALTER COLUMN twice SET EXPRESSION AS (amount)' if $node->pg_version >= 17;
push @refused, 'ALTER TABLE payments.movement ALTER CONSTRAINT movement_amount_positive NOT ENFORCED' if $node->pg_version >= 18;
my $before = $node->safe_psql('postgres', q{SELECT string_agg(tgname::text || tgenabled::text || tgrelid::regclass::text, ',' ORDER BY tgrelid, tgname)
	FROM pg_trigger WHERE NOT tgisinternal});
foreach my $sql (@refused)
{
	my ($code, undef, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN;\n$sql;\nROLLBACK;", on_error_stop => 1);
	# What the extension is made of the server itself keeps from DROP OWNED.
	like($stderr, $sql =~ /OWNED|DROP FUNCTION payments/ ? qr/ERROR:  (?:PY012|2BP01)/ : qr/ERROR:  PY012/, "refused: $sql");
}
is($node->safe_psql('postgres', q{SELECT string_agg(tgname::text || tgenabled::text || tgrelid::regclass::text, ',' ORDER BY tgrelid, tgname)
	FROM pg_trigger WHERE NOT tgisinternal}), $before, 'every trigger is as it was');

# What an administrator may want all the same, and what a restore needs.
my @allowed = (
	'CREATE INDEX ON payments.payment (customer)',
	'ALTER TABLE payments.payment ADD COLUMN shop_note text',
	'ALTER TABLE payments.payment ADD CONSTRAINT my_limit CHECK (amount < 100000000) NOT VALID',
	'ALTER TABLE payments.posting ENABLE ALWAYS TRIGGER guard_append_only',
	'CREATE TRIGGER noted AFTER INSERT ON payments.event FOR EACH ROW EXECUTE FUNCTION noted();
	  CREATE OR REPLACE TRIGGER noted AFTER UPDATE ON payments.event FOR EACH ROW EXECUTE FUNCTION noted(); DROP FUNCTION noted() CASCADE',
	q{CREATE FUNCTION guard_dogs() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE OR REPLACE FUNCTION guard_dogs() RETURNS int LANGUAGE sql AS 'SELECT 2'},
	'CREATE POLICY less ON payments.payment AS RESTRICTIVE USING (amount > 0)',
	'DROP OWNED BY payments_app',
	'ANALYZE payments.posting',
	'REINDEX TABLE payments.account',
	'SELECT payments.setup()',
	'CREATE ROLE heir SUPERUSER; REASSIGN OWNED BY founder TO heir; ALTER FUNCTION payments.check() OWNER TO heir; GRANT EXECUTE ON FUNCTION payments.check() TO payments_app',
	'SET payments.guard_ddl = off; CREATE FUNCTION payments.mine() RETURNS int LANGUAGE sql RETURN 1; SET payments.guard_ddl = on; DROP FUNCTION payments.mine()',
	'CREATE STATISTICS payments.mine ON status, amount FROM payments.payment', 'CREATE VIEW payments.mine AS SELECT 1 AS i', 'CREATE TABLE payments.retired_mine (i int)',
	'CREATE TABLE mine (x uuid REFERENCES payments.payment, y uuid, i int, FOREIGN KEY (y) REFERENCES payments.operation); ALTER TABLE mine ALTER i TYPE bigint; DROP TABLE mine',
	'CREATE TABLE mine (x uuid REFERENCES payments.payment, i int) PARTITION BY LIST (i); CREATE TABLE part PARTITION OF mine DEFAULT; CREATE TABLE other (x uuid, i int); ALTER TABLE mine ATTACH PARTITION other FOR VALUES IN (1)',
	'CREATE TABLE mine (j int GENERATED ALWAYS AS IDENTITY); ALTER SEQUENCE mine_j_seq RESTART WITH 7; CREATE VIEW seen AS TABLE mine; CREATE OR REPLACE VIEW seen AS SELECT j FROM mine WHERE j > 0; ALTER VIEW seen RENAME TO shown',
	'CREATE VIEW payments.mine AS SELECT 1 AS i; CREATE OR REPLACE VIEW payments.mine AS SELECT 2 AS i; ALTER VIEW payments.mine RENAME TO ours; DROP VIEW payments.ours',
	q{CREATE TRIGGER seen AFTER INSERT ON payments.merchant EXECUTE FUNCTION noted(); UPDATE payments.installation SET script = 'x'; SELECT payments.setup()},
	'CREATE TABLE mine (i bigint UNIQUE CHECK (i > 0)); CREATE INDEX ON mine (i); DROP TABLE mine',
	'SET payments.guard_ddl = off; DROP EXTENSION payments CASCADE; CREATE EXTENSION payments; SELECT payments.setup()',
);
is($node->psql('postgres', 'REINDEX INDEX CONCURRENTLY payments.operation_psp_ref', on_error_stop => 1), 0, 'a unique index is made anew');
is(sqlstate($node, 'SET ROLE payments_owner; SET payments.guard_ddl = off'), '42501', 'who is no superuser does not switch it off');
foreach my $sql (@allowed)
{
	is($node->psql('postgres', "BEGIN;\n$sql;\nROLLBACK;", on_error_stop => 1), 0, "allowed: $sql");
}

# ---------- setup() has the guard lifted, but not for what others have put in its way
$node->safe_psql('postgres', q{
	CREATE FUNCTION public.undo() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN ALTER TABLE payments.posting DISABLE TRIGGER ALL; RETURN true; END';
	CREATE FUNCTION public.undo_after() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.undo(); RETURN NULL; END';
	CREATE FUNCTION public.is_small(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'});
foreach my $sql (
	'CREATE TRIGGER undo AFTER INSERT ON payments.merchant EXECUTE FUNCTION public.undo_after()',
	'ALTER TABLE payments.merchant ADD CHECK (public.undo()) NOT VALID',
	# Called by the planner, before anything runs.
	q{CREATE INDEX ON payments.merchant (app_role) WHERE public.is_small(1);
		CREATE OR REPLACE FUNCTION public.is_small(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT public.undo()'},
	# Somebody else's error is not ours.
	q{CREATE FUNCTION public.undo_twice() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END; PERFORM public.undo(); RETURN NULL; END';
		CREATE TRIGGER undo AFTER INSERT ON payments.merchant EXECUTE FUNCTION public.undo_twice()})
{
	like(sqlstate($node, "BEGIN; $sql; UPDATE payments.installation SET script = 'x'; SELECT payments.setup(); ROLLBACK"), qr/^PY012$/,
		"setup() does not do for others: $sql");
}
is(sqlstate($node, 'SET ROLE payments_owner; ALTER TABLE payments.posting DISABLE TRIGGER ALL'), 'PY012', 'nor is it lifted afterwards');
$node->safe_psql('postgres', 'DROP FUNCTION public.undo_after(), public.undo(), public.is_small(int)');

# ---------- and says so
is(value($node, q{SELECT w.unguarded, c.ok, c.sample FROM payments.worker_status w, payments.check() c WHERE c.invariant = 'DDL is guarded, or here is why not'}), '|t|', 'DDL is guarded here');
like(value($node, q{SET payments.guard_ddl = off; SELECT unguarded FROM payments.worker_status}), qr/guard_ddl is off/, 'but where that is off');

# ---------- the script of an extension of somebody else's
chomp(my $scripts = `pg_config --sharedir`);
$scripts .= '/extension/payments_theirs';
foreach my $file ([ '.control', "default_version = '1'" ], [ '--1.sql', 'DROP INDEX payments.operation_psp_ref;' ])
{
	open my $out, '>', "$scripts$file->[0]" or die "$scripts$file->[0]: $!";
	print {$out} $file->[1];
	close $out or die $!;
}
is(sqlstate($node, 'CREATE EXTENSION payments_theirs'), 'PY012', 'another extension may not either');
unlink map { "$scripts$_" } '.control', '--1.sql';

# ---------- who may not do it does not wait for it, with all others behind him
$node->safe_psql('postgres', q{
	CREATE ROLE stranger; GRANT USAGE ON SCHEMA payments TO stranger; CREATE SCHEMA his AUTHORIZATION stranger;
	SET ROLE stranger;
	CREATE TABLE his.one (i int PRIMARY KEY); CREATE TABLE his.parts (i int) PARTITION BY LIST (i); CREATE INDEX parts_i ON his.parts (i);
	CREATE FUNCTION his.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'});
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; LOCK TABLE payments.queue, payments.currency, pg_catalog.pg_database IN ROW EXCLUSIVE MODE; '
	. 'SELECT count(*) FROM payments.queue');
foreach my $table ('payments.queue', 'payments.currency', 'pg_catalog.pg_database')
{
	my $index = $table eq 'pg_catalog.pg_database' ? 'pg_catalog.pg_database_oid_index' : "${table}_pkey";

	foreach my $sql (
		"CREATE RULE mine AS ON INSERT TO $table DO INSTEAD NOTHING",
		"CREATE TRIGGER mine AFTER INSERT ON $table FOR EACH ROW EXECUTE FUNCTION his.noted()",
		"CREATE TABLE his.new (i text REFERENCES $table)",
		"CREATE TABLE his.new (i text, FOREIGN KEY (i) REFERENCES $table)",
		"CREATE TABLE his.new PARTITION OF $table DEFAULT",
		"ALTER TABLE his.one ADD COLUMN c text REFERENCES $table",
		"ALTER TABLE his.one ADD FOREIGN KEY (i) REFERENCES $table",
		"ALTER TABLE his.parts ATTACH PARTITION $table DEFAULT",
		"ALTER TABLE his.parts DETACH PARTITION $table",
		"ALTER TABLE his.parts DETACH PARTITION $table FINALIZE",
		"ALTER INDEX his.parts_i ATTACH PARTITION $index",
		"ALTER INDEX $table DEPENDS ON EXTENSION plpgsql",
		# Where the server looks first.
		"CREATE POLICY mine ON $table", "TRUNCATE $table", "BEGIN; LOCK TABLE $table", "DROP TABLE $table", "DROP TRIGGER guard_truncate ON $table",
		"ALTER TABLE $table ADD COLUMN mine int", "CREATE INDEX ON $table ((1))", "REINDEX TABLE $table", "CLUSTER $table USING mine", "COMMENT ON TABLE $table IS 'mine'",
		"CREATE STATISTICS his.mine ON (1), (2) FROM $table")
	{
		like(sqlstate($node, "SET lock_timeout = '1 s'; SET ROLE stranger; $sql"), qr/^(42501|42704|PY012)$/, "at once: $sql");
	}
}
$reader->quit;
# A lock that anybody gets; who waits for the other one keeps everybody from connecting.
$node->safe_psql('postgres', 'CREATE DATABASE shop');
my $holder = $node->background_psql('postgres');
$holder->query_safe(q{SET ROLE stranger; BEGIN; ALTER ROLE stranger IN DATABASE shop SET work_mem = '4MB'});
foreach my $sql ('DROP DATABASE shop', 'ALTER DATABASE shop RENAME TO mine', 'ALTER DATABASE shop SET TABLESPACE pg_default')
{
	is(sqlstate($node, "SET lock_timeout = '1 s'; SET ROLE stranger; $sql"), '42501', "at once: $sql");
}
$holder->quit;
is(sqlstate($node, 'ALTER DATABASE shop OWNER TO stranger; ALTER ROLE stranger CREATEDB; SET ROLE stranger; ALTER DATABASE shop RENAME TO mine; DROP DATABASE mine'),
	'', 'whose it is may');
is($node->psql('postgres', q{SET ROLE stranger; CREATE TABLE his.two (i int PRIMARY KEY REFERENCES his.one);
	ALTER TABLE his.two ADD COLUMN j int REFERENCES his.two, ADD FOREIGN KEY (j) REFERENCES his.one;
	CREATE RULE mine AS ON INSERT TO his.two DO INSTEAD NOTHING; CREATE TRIGGER mine AFTER INSERT ON his.two FOR EACH ROW EXECUTE FUNCTION his.noted();
	CREATE TABLE his.part PARTITION OF his.parts DEFAULT; ALTER TABLE his.parts DETACH PARTITION his.part; ALTER TABLE his.parts ATTACH PARTITION his.part DEFAULT;
	RESET ROLE; GRANT REFERENCES (i), TRIGGER ON his.one TO payments_auditor; GRANT ALL ON SCHEMA his TO payments_auditor; SET ROLE payments_auditor;
	CREATE TABLE his.three (i int REFERENCES his.one); CREATE TRIGGER theirs AFTER INSERT ON his.one FOR EACH ROW EXECUTE FUNCTION his.noted()},
	on_error_stop => 1), 0, 'who may, may');
check_clean($node);
done_testing();
