# If this fails, what somebody else has made is taken for ours: a schema or a
# role that he prepared before CREATE EXTENSION, a trigger, policy or privilege
# that he put in place of ours while the guards were gone.  Then setup() says
# that all is in place, and he reads every merchant's payments, or alters them.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

# No library is preloaded: a session's own DDL guard is not there before it calls something of ours.
my $node = new_payments_node('foreign', worker => 0);
sub said { my ($sql, $db) = @_; my ($out, $err); $node->psql($db // 'postgres', $sql, stdout => \$out, stderr => \$err); return $err =~ /^(?:psql:.*?)?((?:ERROR|WARNING):.*)/ms ? $1 : '' }
# Nobody seals here, for as long as this takes.
sub wrong { return value($node, q{SELECT coalesce(string_agg(invariant || ': ' || sample, '; ' ORDER BY invariant), '') FROM payments.check() WHERE NOT ok AND invariant <> 'rows are sealed in time'}) }

# Whoever wants it so is not in the wrong, but knows.
like(value($node, 'SELECT unguarded FROM payments.worker_status'), qr/not preloaded.*shared_preload_libraries/, 'that DDL is not guarded here is said');
like(value($node, q{SELECT ok, sample FROM payments.check() WHERE invariant = 'DDL is guarded, or here is why not'}), qr/^t\|the library is not preloaded/, 'by check(), too, as no violation');

# ---------- the code goes and comes again: everybody has what he had
# Whose is what: every relation and column with each grantee, and nothing of the owner's own.
my $PRIVILEGES = q{
	SELECT string_agg(concat_ws(' ', c.relname, x.attname, (x.acl).grantee::regrole, (x.acl).privilege_type), E'\n' ORDER BY c.relname, x.attname, (x.acl).grantee::regrole::text, (x.acl).privilege_type)
	FROM pg_class c CROSS JOIN LATERAL (
		SELECT NULL AS attname, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS acl
		UNION ALL SELECT a.attname, aclexplode(a.attacl) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) x
	WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND (x.acl).grantee <> c.relowner};
my $TABLES = $PRIVILEGES =~ s/AND c\.relkind/AND EXISTS (SELECT FROM lived l WHERE l.oid = c.oid) AND c.relkind/r;
value($node, q{SELECT payments.create_payment('o', 1000, 'EUR', payment_method => 'sandbox_ok')});
value($node, q{CREATE TABLE lived AS SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p')
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')});
# Who may call what, and make a column of which row type.
my $CALLS = q{
	SELECT string_agg(concat_ws(' ', o.name, a.grantee::regrole, a.privilege_type), E'\n' ORDER BY o.name, a.grantee::regrole::text)
	FROM (
		SELECT p.oid::regprocedure::text AS name, coalesce(p.proacl, acldefault('f', p.proowner)) AS privileges, p.proowner AS owner FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace
		UNION ALL
		SELECT t.oid::regtype::text, coalesce(t.typacl, acldefault('T', t.typowner)), t.typowner FROM pg_type t WHERE t.typnamespace = 'payments'::regnamespace AND t.typelem = 0) o
	CROSS JOIN LATERAL aclexplode(o.privileges) a WHERE a.grantee <> o.owner};
my ($before, $tables, $calls) = (value($node, $PRIVILEGES), value($node, $TABLES), value($node, $CALLS));
unlike($calls, qr/ USAGE$/m, 'nobody makes a column of a row type');
unlike($before, qr/^(\w+_(default|\d{4}_\d\d)|installation_salt) /m, 'nobody reads a partition, or the salt');
value($node, 'DROP EXTENSION payments CASCADE');
value($node, 'CREATE EXTENSION payments');
is(value($node, $TABLES), $tables, 'of tables that outlive the extension CREATE EXTENSION grants nothing');
value($node, 'SELECT payments.setup()');
is(value($node, $PRIVILEGES), $before, 'and after setup() all privileges are what they were');
is(value($node, $CALLS), $calls, 'and all may call what they could');
is(wrong(), '', 'and check() has nothing against it');

# A definition that a dump brings is written by the server as the one that setup() made.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'it is dumped');
value($node, 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', $dump ], 'and restored');
is($node->safe_psql('restored', 'SELECT payments._setup_is_done()'), 't', 'and there, too, all is as setup() made it');
isnt($node->safe_psql('restored', $CALLS), $calls, 'but for what no dump has: USAGE of row types');
$node->safe_psql('restored', 'SELECT payments.make_partitions()');
is($node->safe_psql('restored', $CALLS), $calls, 'which the next making of months takes away');

# ---------- what setup() makes is altered: it makes it anew, and check() names it before
my @repaired = (
	[ 'a partition is granted', 'GRANT SELECT ON payments.posting_default TO payments_app', qr/who is listed: grant posting_default payments_app SELECT/ ],
	[ 'the salt is granted', 'GRANT SELECT ON payments.installation_salt TO payments_auditor', qr/who is listed: grant installation_salt payments_auditor SELECT/ ],
	[ 'a column is granted', 'GRANT SELECT (salt) ON payments.installation_salt TO payments_app', qr/who is listed: grant installation_salt.salt payments_app SELECT/ ],
	[ 'all may write', 'GRANT ALL ON payments.posting TO PUBLIC', qr/who is listed: grant posting PUBLIC DELETE/ ],
	[ 'all may write rules', 'GRANT UPDATE ON payments.retry_schedule TO PUBLIC', qr/who is listed: grant retry_schedule PUBLIC UPDATE/ ],
	[ 'all may call a verb', 'GRANT EXECUTE ON FUNCTION payments.refund_payment(uuid, text, bigint, text) TO PUBLIC', qr/who is listed: grant payments\.refund_payment\(uuid,text,bigint,text\) PUBLIC EXECUTE/ ],
	[ 'a role may call what is internal', 'GRANT EXECUTE ON FUNCTION payments._act_for_all(boolean) TO payments_app', qr/who is listed: grant payments\._act_for_all\(boolean\) payments_app EXECUTE/ ],
	[ 'another role, too', 'CREATE ROLE another; GRANT EXECUTE ON FUNCTION payments._act_for_all(boolean) TO another', qr/who is listed: grant payments\._act_for_all\(boolean\) another EXECUTE/ ],
	[ 'who may call a verb may hand it on', 'GRANT EXECUTE ON FUNCTION payments.balance(bigint) TO payments_app WITH GRANT OPTION; SET ROLE payments_app; GRANT EXECUTE ON FUNCTION payments.balance(bigint) TO another; RESET ROLE',
		qr/who is listed: grant payments\.balance\(bigint\) another EXECUTE/ ],
	[ 'another role reads a partition', 'GRANT SELECT ON payments.posting_default TO another', qr/who is listed: grant posting_default another SELECT/ ],
	[ 'another role reads the salt', 'GRANT SELECT (salt) ON payments.installation_salt TO another', qr/who is listed: grant installation_salt.salt another SELECT/ ],
	[ 'another role counts', 'GRANT USAGE ON SEQUENCE payments.posting_posting_id_seq TO another', qr/who is listed: grant posting_posting_id_seq another USAGE/ ],
	[ 'another role refers to a table', 'GRANT REFERENCES ON payments.merchant TO another', qr/who is listed: grant merchant another REFERENCES/ ],
	[ 'another role refers to any column', 'GRANT REFERENCES ON payments.payment TO another', qr/who is listed: grant payment another REFERENCES/ ],
	[ 'an application refers to payments', 'GRANT REFERENCES (payment_id) ON payments.payment TO payments_app', qr/who is listed: grant payment.payment_id payments_app REFERENCES/ ],
	[ 'a privilege is gone', 'REVOKE SELECT ON payments.payment FROM payments_app', qr/as setup\(\) made them: grant payment payments_app SELECT/ ],
	[ 'a policy permits all', 'CREATE POLICY too ON payments.payment USING (true)', qr/who is listed: permits payments.payment too/ ],
	[ 'the policy permits all', 'ALTER POLICY by_merchant ON payments.posting USING (true)', qr/who is listed: permits payments.posting by_merchant/ ],
	[ 'row security binds the owner', 'ALTER TABLE payments.payment FORCE ROW LEVEL SECURITY', qr/as setup\(\) made them: relation payment r/ ],
	[ 'a view shows all', 'CREATE OR REPLACE VIEW payments._my_merchant AS SELECT m.merchant FROM payments.merchant m', qr/as setup\(\) made them: view _my_merchant/ ],
	[ 'a guard is off', 'ALTER TABLE payments.queue DISABLE TRIGGER ALL', qr/guards are armed: queue\.guard_truncate/ ],
	[ 'a guard of a partition is off', q{SET allow_system_table_mods = on; UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'payments.payment_status_default'::regclass AND tgname = 'guard_append_only'}, qr/guards are armed: payment_status_default\.guard_append_only/ ],
	[ 'a guard has a condition', 'CREATE OR REPLACE TRIGGER guard_append_only BEFORE UPDATE OR DELETE ON payments.attempt_answer FOR EACH ROW WHEN (false) EXECUTE FUNCTION payments.guard_append_only(); ALTER TABLE payments.attempt_answer ENABLE ALWAYS TRIGGER guard_append_only', qr/guards are armed: attempt_answer\.guard_append_only/ ],
	[ 'a guard sees less', 'CREATE OR REPLACE TRIGGER guard_facts BEFORE UPDATE OF merchant ON payments.payment FOR EACH ROW EXECUTE FUNCTION payments.guard_facts(); ALTER TABLE payments.payment ENABLE ALWAYS TRIGGER guard_facts', qr/guards are armed: payment\.guard_facts/ ],
	[ 'a table says that it has no triggers', q{UPDATE pg_class SET relhastriggers = false WHERE relnamespace = 'payments'::regnamespace AND relname ~ '^(queue|posting|posting_default|merchant)$'}, qr/say of it what they must: table (?:\w+) does not tell of its triggers/ ],
	[ 'the digest is another', q{UPDATE payments.installation SET script = 'x'}, qr/setup\(\) has been run for this version: .*SELECT payments\.setup\(\)/ ],
	[ 'a trigger is another', 'CREATE OR REPLACE TRIGGER forget_routes AFTER TRUNCATE ON payments.merchant FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes(); ALTER TABLE payments.merchant ENABLE ALWAYS TRIGGER forget_routes', qr/as setup\(\) made them: trigger merchant forget_routes/ ],
);
foreach my $case (@repaired)
{
	my ($name, $sql, $expected) = @$case;
	value($node, $sql);
	like(wrong(), $expected, "$name: check() says so");
	is(said('SELECT payments.setup()'), '', "$name: setup() makes it anew");
	is(value($node, 'SELECT payments._setup_is_done()'), 't', "$name: as it was");
}
is(wrong(), '', 'and check() has nothing against it');
is(value($node, $PRIVILEGES), $before, 'no privilege is left, none is lost');
is(value($node, $CALLS), $calls, 'nor to call');
value($node, 'GRANT REFERENCES (payment_id) ON payments.payment TO another; GRANT REFERENCES (operation_id) ON payments.operation TO another; GRANT SELECT (created_at) ON payments.payment TO another');
is(wrong(), '', 'what a superuser gives away on purpose is his to give: check() has nothing against it');
is(said('SELECT payments.setup(); UPDATE payments.installation SET made = NULL; SELECT payments.setup()'), '', 'nor setup()');
is(value($node, $PRIVILEGES =~ s/>(?= c\.relowner$)/> ALL (ARRAY['payments_owner', 'payments_app', 'payments_operator', 'payments_admin', 'payments_auditor']::regrole[]) AND (x.acl).grantee <>/r),
	"operation operation_id another REFERENCES\npayment created_at another SELECT\npayment payment_id another REFERENCES", 'which keeps it');
value($node, 'REVOKE ALL ON payments.payment, payments.operation FROM another');

# ---------- what it does not make anew it does not take for its own either
foreach my $case (
	[ 'a column may be null', 'ALTER TABLE payments.queue ALTER psp DROP NOT NULL', 'ALTER TABLE payments.queue ALTER psp SET NOT NULL', qr/column queue psp text not null/ ],
	[ 'a default is another', q{ALTER TABLE payments.merchant ALTER created_at SET DEFAULT '2020-01-01'}, 'ALTER TABLE payments.merchant ALTER created_at SET DEFAULT now()', qr/column merchant created_at .* now\(\)/ ],
	[ 'a constraint is weaker', 'ALTER TABLE payments.merchant DROP CONSTRAINT merchant_name_length, ADD CONSTRAINT merchant_name_length CHECK (true)',
		'ALTER TABLE payments.merchant DROP CONSTRAINT merchant_name_length, ADD CONSTRAINT merchant_name_length CHECK (length(merchant) BETWEEN 1 AND 63)', qr/constraint merchant merchant_name_length CHECK \(.*63/ ],
	[ 'a guard does nothing', q{CREATE TABLE def AS SELECT pg_get_functiondef('payments.guard_facts()'::regprocedure); CREATE OR REPLACE FUNCTION payments.guard_facts() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'},
		q{DO $$ BEGIN EXECUTE (TABLE def); END $$; DROP TABLE def}, qr/function payments\.guard_facts\(\) \w{32}/ ],
	[ 'who checks finds nothing', q{CREATE TABLE def AS SELECT pg_get_functiondef('payments._guards_off()'::regprocedure); CREATE OR REPLACE FUNCTION payments._guards_off() RETURNS TABLE (root text, tbl text, guard text) LANGUAGE sql STABLE AS 'SELECT NULL, NULL, NULL WHERE false'},
		q{DO $$ BEGIN EXECUTE (TABLE def); END $$; DROP TABLE def}, qr/function payments\._guards_off\(\) \w{32}/ ],
	[ 'a function is no member', 'ALTER EXTENSION payments DROP FUNCTION payments.guard_status()', 'ALTER EXTENSION payments ADD FUNCTION payments.guard_status()', qr/function payments\.guard_status\(\) \w{32}/ ],
	# Of this version setup() knows what it has made, whatever the digest.
	[ 'a constraint is weaker, the digest another', q{UPDATE payments.installation SET script = regexp_replace(script, '[^ ]*$', 'x');
		ALTER TABLE payments.merchant DROP CONSTRAINT merchant_name_length, ADD CONSTRAINT merchant_name_length CHECK (true)},
		'ALTER TABLE payments.merchant DROP CONSTRAINT merchant_name_length, ADD CONSTRAINT merchant_name_length CHECK (length(merchant) BETWEEN 1 AND 63)', qr/constraint merchant merchant_name_length CHECK \(.*63/ ],
	[ 'an index is another', 'DROP INDEX payments.dead_letter_open; CREATE INDEX dead_letter_open ON payments.dead_letter (operation_id)', undef, qr/index dead_letter_open CREATE/ ])
{
	my ($name, $sql, $back, $expected) = @$case;
	$back //= 'DROP INDEX payments.dead_letter_open';
	value($node, $sql);
	like(said('SELECT payments.setup()'), qr/^WARNING:  1 things are not as setup\(\) made them.*$expected/, "$name: setup() says so");
	like(said('SELECT payments.setup()'), $expected, "$name: each time");
	like(wrong(), qr/as setup\(\) (?:made|found) them: $expected/, "$name: check(), too");
	value($node, $back);
	is(said('SELECT payments.setup(); SELECT 1 / payments._setup_is_done()::int'), '', "$name: until it is as it was");
}
is(wrong(), '', 'then all is well');

# ---------- what the server passes over by a flag, or by what hangs together with it no more: check() names it
foreach my $case (
	[ 'CHECKs are not counted', q{UPDATE pg_class SET relchecks = 0 WHERE oid = 'payments.payment'::regclass},
		q{UPDATE pg_class SET relchecks = (SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'payments.payment'::regclass) WHERE oid = 'payments.payment'::regclass}, qr/table payment does not tell of its constraints/ ],
	(map { [ "a unique index has no $_", "UPDATE pg_index SET $_ = false WHERE indexrelid = 'payments.operation_psp_ref'::regclass",
		"UPDATE pg_index SET $_ = true WHERE indexrelid = 'payments.operation_psp_ref'::regclass", qr/index operation_psp_ref / ] } qw(indimmediate indisready)),
	[ 'a sequence begins anew', q{UPDATE pg_sequence SET seqcycle = true WHERE seqrelid = 'payments.posting_posting_id_seq'::regclass},
		q{UPDATE pg_sequence SET seqcycle = false WHERE seqrelid = 'payments.posting_posting_id_seq'::regclass}, qr/sequence posting_posting_id_seq gives other numbers/ ],
	[ 'a view shows nothing', q{UPDATE pg_rewrite SET ev_enabled = 'D' WHERE ev_class = 'payments.stuck'::regclass},
		q{UPDATE pg_rewrite SET ev_enabled = 'O' WHERE ev_class = 'payments.stuck'::regclass}, qr/view stuck does not show/ ],
	[ 'the language acts as nobody', q{UPDATE pg_language SET lanplcallfoid = 'plpgsql_call_handler'::regproc WHERE lanname = 'payments'},
		q{UPDATE pg_language SET lanplcallfoid = 'payments._call_plpgsql'::regproc WHERE lanname = 'payments'}, qr/language payments runs functions by plpgsql_call_handler/ ],
	[ 'a default of a month is gone', 'ALTER TABLE payments.event_default ALTER xid DROP DEFAULT', 'ALTER TABLE payments.event_default ALTER xid SET DEFAULT payments._seal_xid()', qr/column event_default xid is not that of payments\.event/ ],
	[ 'an index of a month is not unique', q{UPDATE pg_index SET indisunique = false WHERE indexrelid = 'payments.event_default_pkey'::regclass},
		q{UPDATE pg_index SET indisunique = true WHERE indexrelid = 'payments.event_default_pkey'::regclass}, qr/index payments\.event_pkey has no part in event_default/ ],
	[ 'what is shipped has no guard', 'ALTER TABLE payments.transition DISABLE TRIGGER guard_shipped_truncate', 'ALTER TABLE payments.transition ENABLE ALWAYS TRIGGER guard_shipped_truncate', qr/trigger transition guard_shipped_truncate/ ],
	[ 'a trigger comes before', 'CREATE TRIGGER swallow BEFORE INSERT ON payments.psp_health FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'DROP TRIGGER swallow ON payments.psp_health', qr/trigger psp_health swallow is another's/ ])
{
	my ($name, $sql, $back, $expected) = @$case;
	value($node, $sql);
	like(wrong(), qr/(?:as setup\(\) made them|what they must): $expected/, "$name: check() says so");
	is(value($node, 'SELECT payments._setup_is_done()'), 'f', "$name: setup() does not take it for done");
	value($node, $back);
}
is(wrong(), '', 'until it is as it was');
foreach my $table (qw(posting posting_default queue))
{
	value($node, "CREATE TRIGGER swallow BEFORE INSERT ON payments.$table FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()");
	like(wrong(), qr/guards are armed: $table(?:\w*)\.swallow is another's and comes before/, "a trigger before what is written to $table: check() says so");
	value($node, "DROP TRIGGER swallow ON payments.$table");
}
is(wrong(), '', 'until it is gone');
value($node, 'CREATE INDEX own ON payments.payment (created_at)');
value($node, q{UPDATE payments.installation SET made = '{}'});
is(said('SELECT payments.setup()'), '', 'a list that is lost is made again');
value($node, 'DROP INDEX payments.own');
is(said('SELECT payments.setup()') . wrong(), '', 'an index of your own comes and goes');
my $began = time;
value($node, 'SELECT payments.setup() FROM generate_series(1, 5)');
diag('five times setup() where all is in place took ' . (time - $began) . ' s');

# ---------- what others make could be called in place of ours, or run with our rights
value($node, 'CREATE TYPE public.word AS ENUM (); CREATE FUNCTION public.pay(public.word) RETURNS uuid LANGUAGE sql RETURN NULL::uuid; CREATE CAST (public.word AS uuid) WITH FUNCTION public.pay(public.word) AS IMPLICIT');
foreach my $case (
	[ 'an overload', q{CREATE FUNCTION payments._refuse_card_numbers(text, text) RETURNS void LANGUAGE sql AS ''}, 'DROP FUNCTION payments._refuse_card_numbers(text, text)', qr/function payments\._refuse_card_numbers\(text,text\)/ ],
	[ 'a domain', 'CREATE DOMAIN payments.money AS int', 'DROP DOMAIN payments.money', qr/type payments\.money/ ],
	[ 'a composite type', 'CREATE TYPE payments.pair AS (a int, b int)', 'DROP TYPE payments.pair', qr/type payments\.pair/ ],
	[ 'default privileges', 'ALTER DEFAULT PRIVILEGES IN SCHEMA payments GRANT SELECT ON TABLES TO another', 'ALTER DEFAULT PRIVILEGES IN SCHEMA payments REVOKE SELECT ON TABLES FROM another', qr/default privileges on new relations/ ],
	[ 'a cast', q{CREATE FUNCTION public.as_text(payments.payment) RETURNS text LANGUAGE sql RETURN ''; CREATE CAST (payments.payment AS text) WITH FUNCTION public.as_text(payments.payment)}, 'DROP FUNCTION public.as_text CASCADE', qr/cast from payments\.payment to text/ ],
	[ 'a foreign key that casts', 'CREATE TABLE public.keyed (x public.word REFERENCES payments.payment)', 'DROP TABLE public.keyed', qr/constraint keyed_x_fkey on table (?:public\.)?keyed/ ])
{
	my ($name, $sql, $back, $expected) = @$case;
	value($node, $sql);
	like(said('SELECT payments.setup()'), qr/^WARNING:  1 things that are no part of the extension may run in its place: $expected/, "$name: setup() says so");
	like(said('SELECT payments.setup()'), $expected, "$name: each time");
	like(wrong(), qr/nothing of others stands in for ours: $expected/, "$name: check(), too");
	value($node, $back);
	is(said('SELECT payments.setup()') . wrong(), '', "$name: until it is gone");
}

# ---------- what others make of a partition keeps it from being dropped, and whose it is is told
value($node, q{SELECT payments.make_partitions(since => now() - interval '3 months'); CREATE SCHEMA theirs});
my $month = value($node, q{SELECT partition FROM payments._partitions() WHERE table_name = 'event' AND to_time < now() - interval '1 month' ORDER BY from_time LIMIT 1});
my $retire = q{SELECT payments.retire_partitions('event', '1 month', keep => false)};
value($node, "CREATE TABLE theirs.guarded (i int); CREATE POLICY looks ON theirs.guarded USING (EXISTS (SELECT FROM payments.$month))");
like(said("\\set VERBOSITY verbose\n$retire"), qr/^ERROR:  2BP01: partition "payments\.$month" cannot be dropped: policy looks on table theirs\.guarded depends on table payments\.$month\n/, 'one that somebody looks at');
value($node, 'DROP TABLE theirs.guarded');
value($node, q{INSERT INTO payments.job (job, schedule, command, arguments, alone, builtin) VALUES ('retire', '27 4 4 * *', 'payments.retire_partitions', '{"table_name": "event", "older_than": "1 month", "keep": false}', true, false);
	CREATE ROLE boss LOGIN IN ROLE payments_admin});
foreach my $case (
	[ "VIEW theirs.seen AS SELECT id FROM payments.$month", qr/rule _RETURN on view theirs\.seen/ ],
	[ "TABLE theirs.kept (x payments.${month}[])", qr/column x of table theirs\.kept/ ],
	[ "FUNCTION theirs.counted() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM payments.$month; END", qr/function theirs\.counted\(\)/ ])
{
	my ($made, $expected) = @$case;
	value($node, "CREATE $made");
	like(value($node, $retire), qr/^\($month,.*$expected depends on it: drop that/, "nothing is dropped: $made");
	is(said(q{SET ROLE boss; CALL payments.run_job('retire')}), '', 'a job goes on');
	like(value($node, q{SELECT problem FROM payments.schedule_status WHERE job = 'retire'}), qr/^1 open findings/, 'and says so');
	like(value($node, q{SELECT detail ->> 'refused' FROM payments.job_finding WHERE job = 'retire' AND resolved_at IS NULL}), qr/^$expected depends on it/, 'with what is in the way');
	# It keeps what was found first.
	value($node, q{DROP SCHEMA theirs CASCADE; CREATE SCHEMA theirs; SELECT payments.resolve_finding(finding_id, 'dropped') FROM payments.job_finding WHERE job = 'retire' AND resolved_at IS NULL});
}
value($node, 'DROP SCHEMA theirs CASCADE');
is(value($node, q{SELECT count(*) > 0 AND count(refused) = 0 FROM payments.retire_partitions('event', '1 month', keep => false)}), 't', 'until it is gone');
value($node, q{DELETE FROM payments.job WHERE job = 'retire'});

# ---------- triggers of others under our names, made while the extension was away
value($node, q{
	CREATE TABLE ours AS SELECT d.name AS tbl, g AS trg FROM payments._tables() d, unnest(d.guards) g;
	DROP EXTENSION payments CASCADE;
	CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	DO $$ DECLARE o record; BEGIN
		FOR o IN SELECT * FROM ours LOOP
			EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON payments.%I FOR EACH ROW EXECUTE FUNCTION public.nothing()', o.trg, o.tbl);
			EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER %I', o.tbl, o.trg);
		END LOOP;
	END $$;
	CREATE EXTENSION payments});
cmp_ok(value($node, q{SELECT count(*) FROM payments._guards_off()}), '>', 50, 'triggers of others are no guards');
value($node, 'SELECT payments.setup()');
is(value($node, q{SELECT count(*) FROM payments._guards_off()}) . wrong(), '0', 'setup() makes its own in their place');
is(sqlstate($node, q{UPDATE payments.payment_status SET actor = 'evil'}), 'PY003', 'and they guard');

# ---------- default privileges give away what is made, to whoever they say
value($node, q{
	CREATE DATABASE given;
	CREATE ROLE heir;
	CREATE ROLE chief SUPERUSER LOGIN});
$node->safe_psql('given', q{
	ALTER DEFAULT PRIVILEGES FOR ROLE chief GRANT EXECUTE ON FUNCTIONS TO heir, payments_app;
	ALTER DEFAULT PRIVILEGES FOR ROLE chief GRANT ALL ON TABLES TO heir, payments_app;
	ALTER DEFAULT PRIVILEGES FOR ROLE chief GRANT USAGE ON TYPES TO heir;
	ALTER DEFAULT PRIVILEGES FOR ROLE payments_owner GRANT ALL ON TABLES TO heir, payments_app;
	ALTER DEFAULT PRIVILEGES FOR ROLE payments_owner GRANT ALL ON SEQUENCES TO heir, payments_app;
	SET ROLE chief; CREATE EXTENSION payments; SELECT payments.setup(); SELECT payments.make_partitions(ahead => '5 months')});
is($node->safe_psql('given', $PRIVILEGES =~ s/_\d{4}_\d\d//gr), $before, 'default privileges of whoever makes it give nobody a table or a view');
is($node->safe_psql('given', $CALLS), $calls, 'nor a function, nor a type');
is($node->safe_psql('given', q{SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'payments'::regnamespace AND a.grantee = 'heir'::regrole}), '0', 'nor months, nor counters');
is($node->safe_psql('given', 'SELECT bool_and(ok) FROM payments.check()'), 't', 'and check() has nothing against it');

# ---------- a schema that somebody has made before
value($node, 'CREATE ROLE planter LOGIN');
my $n = 0;
foreach my $case (
	[ 'CREATE SCHEMA payments AUTHORIZATION planter', qr/belongs to a role that is not a superuser/ ],
	[ q{CREATE SCHEMA payments; CREATE FUNCTION payments.pwn(s text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'begin execute s; end'}, qr/holds function payments\.pwn\(text\)/ ],
	[ 'CREATE SCHEMA payments; CREATE DOMAIN payments.money AS int', qr/holds type payments\.money/ ],
	[ 'CREATE SCHEMA payments; CREATE OPERATOR payments.### (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_catalog.int8eq)', qr/holds operator/ ],
	[ 'CREATE SCHEMA payments; CREATE TABLE payments.payment (payment_id uuid)', qr/holds table payments\.payment/ ],
	[ 'CREATE SCHEMA payments; CREATE SEQUENCE payments.posting_id', qr/holds sequence/ ],
	[ 'CREATE SCHEMA payments; ALTER DEFAULT PRIVILEGES IN SCHEMA payments GRANT SELECT ON TABLES TO planter', qr/holds default privileges/ ],
	[ 'CREATE SCHEMA payments; GRANT CREATE ON SCHEMA payments TO planter', qr/others may make something in it/ ],
	[ 'CREATE SCHEMA payments; GRANT CREATE ON SCHEMA payments TO PUBLIC', qr/others may make something in it/ ])
{
	my $db = 'planted' . ++$n;
	value($node, "CREATE DATABASE $db");
	$node->safe_psql($db, $case->[0]);
	like(said('\set VERBOSITY verbose' . "\nCREATE EXTENSION payments", $db), qr/^ERROR:  42501: schema "payments" is there and cannot be trusted: .*$case->[1].*HINT:  Drop the schema/s, "planted: $case->[0]");
	$node->safe_psql($db, 'DROP SCHEMA payments CASCADE; CREATE SCHEMA payments; CREATE EXTENSION payments; SELECT payments.setup()');
}

# ---------- roles that somebody has made before
my $bare = new_payments_node('squatted', extension => 0);
$bare->safe_psql('postgres', 'CREATE ROLE mallory LOGIN');
foreach my $case (
	[ 'CREATE ROLE payments_owner LOGIN', 'ALTER ROLE payments_owner NOLOGIN' ],
	[ 'GRANT payments_owner TO mallory', 'REVOKE payments_owner FROM mallory' ],
	[ 'GRANT pg_read_all_data TO payments_owner', 'REVOKE pg_read_all_data FROM payments_owner' ],
	[ 'CREATE ROLE payments_worker LOGIN', undef ],
	[ 'GRANT payments_worker TO mallory', 'REVOKE payments_worker FROM mallory' ],
	[ q{ALTER ROLE payments_worker PASSWORD 'x'}, 'ALTER ROLE payments_worker PASSWORD NULL' ],
	[ 'CREATE ROLE payments_app', undef ],
	[ 'GRANT payments_app TO mallory', undef ],
	(map { [ "ALTER ROLE payments_app $_", "ALTER ROLE payments_app NO$_" ] } qw(SUPERUSER CREATEROLE CREATEDB REPLICATION BYPASSRLS)))
{
	my ($sql, $repair) = @$case;
	my $err = '';
	$bare->safe_psql('postgres', $sql);
	$bare->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; CREATE EXTENSION payments; ROLLBACK", stderr => \$err);
	if (!$repair) { unlike($err, qr/ERROR/, "accepted: $sql"); next }
	like($err, qr/ERROR:  42501: role "payments_\w+" is there already.*HINT:  Find out who made it\. Then run \Q$repair\E;/s, "refused: $sql");
	$bare->safe_psql('postgres', $repair);
}
$bare->safe_psql('postgres', 'CREATE EXTENSION payments; SELECT payments.setup(); CREATE DATABASE second');
$bare->safe_psql('second', 'CREATE EXTENSION payments; SELECT payments.setup()');
is($bare->safe_psql('second', 'SELECT bool_and(ok) FROM payments.check()'), 't', 'a second database takes the roles that the first has made');

$_->stop foreach $node, $bare;
done_testing();
