# If this fails, somebody with the rights of the owner, or of a superuser, can
# change what was paid without a trace; or an honest restore looks like a crime.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run ();
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $FINDINGS = q{SELECT coalesce(string_agg(concat_ws(' ', kind, block, table_name, row_key), '; ' ORDER BY kind = 'chain' DESC, block, table_name, kind), '')
	FROM payments.verify(%s)};
my $LINES = q{(SELECT string_agg(payments._seal_head_line(block, hash, sealed_at), E'\n') FROM payments.seal)};

sub post_some
{
	my ($node, $n, %options) = @_;
	value($node, "SELECT payments.post(1, 2, $_ * 100, description => 'number $_')", %options) foreach 1 .. $n;
	return;
}

sub ledger
{
	my ($node, %options) = @_;
	value($node, q{SELECT payments.create_account('till', 'EUR', 'asset'), payments.create_account('sales', 'EUR', 'income'),
		payments.create_account('hot till', 'EUR', 'asset', hot => true), payments.create_account('hot sales', 'EUR', 'income', hot => true)}, %options);
	return;
}

sub findings { my ($node, $heads, %options) = @_; return value($node, sprintf($FINDINGS, $heads // ''), %options) }

# ---------- the worker seals, and writes heads
my $main = new_payments_node('sealing', start => 0, init => [ allows_streaming => 1 ],
	conf => "payments.seal_interval = '300ms'\nmax_prepared_transactions = 5\nmax_worker_processes = 16");
my $file = $main->basedir . '/heads';
$main->append_conf('postgresql.conf', "payments.seal_file = '$file'");
$main->start;
value($main, 'CREATE EXTENSION payments; SELECT payments.setup()');
ledger($main);
is(outcome($main, create_payment($main, idempotency_key => 'seal-1', amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok')), 'succeeded', 'a payment');
post_some($main, 3);
ok(wait_until($main, q{SELECT sum(rows) >= 3 FROM payments.seal_table WHERE name ~ '^posting/'}), 'the worker seals what was posted');
ok(wait_until($main, q{SELECT payments._seal_count(s.to_xid, payments.seal_horizon(), 10) FROM payments.seal s ORDER BY block DESC LIMIT 1}, '0'), 'all of it');
post_some($main, 2);
ok(wait_until($main, q{SELECT payments._seal_count(s.to_xid, payments.seal_horizon(), 10) FROM payments.seal s ORDER BY block DESC LIMIT 1}, '0'), 'and what comes later');

sub slurp_heads { return PostgreSQL::Test::Utils::slurp_file($file) }
sub heads_literal { return sql_literal(slurp_heads()) }
ok(wait_until($main, sprintf(q{SELECT block FROM payments.seal_head}), qr/^[2-9]/), 'in several blocks');
my $head = value($main, 'SELECT head FROM payments.seal_head');
wait_until($main, "SELECT strpos(E'\\n' || pg_read_file('$file', 0, 1000000, true), E'\\n$head\\n') > 0");
like(slurp_heads(), qr/^\Q$head\E$/m, 'the newest head is in the file');
is((() = slurp_heads() =~ /^\d+ [0-9a-f]{64} \S+Z postgres \d+ [0-9a-f]{8}$/mg), () = slurp_heads() =~ /\n/g, 'which has nothing but heads');
is((stat $file)[2] & 0022, 0, 'and is for the server to write');
like(findings($main, heads_literal()), qr/^ok \d+$/, 'verify() finds nothing wrong, and knows the heads');
like(value($main, 'SET ROLE payments_auditor; SELECT kind FROM payments.verify()'), qr/^ok$/, 'nor for an auditor');
isnt(sqlstate($main, 'SET ROLE payments_app; SELECT * FROM payments.verify()'), '', 'which is nobody else\'s business');
check_clean($main, 'check() is clean');
my $lines = () = slurp_heads() =~ /\n/g;
stop_worker($main);
value($main, 'SELECT payments.start_worker()');
$main->restart;
ok(wait_until($main, "SELECT length(pg_read_file('$file')) - length(replace(pg_read_file('$file'), E'\\n', '')) > $lines"), 'a worker that starts writes the newest head again');

# ---------- what holds the horizon, holds sealing; nothing slips through
value($main, q{BEGIN; SELECT payments.post(3, 4, 7, description => 'prepared'); PREPARE TRANSACTION 'held'});
post_some($main, 3);
value($main, 'SELECT payments.seal_blocks()');
my $waiting = q{SELECT count(*) FROM payments.posting p WHERE p.xid >= (SELECT to_xid FROM payments.seal ORDER BY block DESC LIMIT 1)};
is(value($main, $waiting), 3, 'behind a prepared transaction nothing is sealed');
$main->stop('immediate');
$main->start;
ok(wait_until($main, 'SELECT running FROM payments.worker_status'), 'also after a crash');
is(value($main, "SELECT payments.seal_blocks(); $waiting") =~ s/.*\n//sr, 3, 'it still waits');
value($main, q{COMMIT PREPARED 'held'});
ok(wait_until($main, $waiting, '0'), 'then all of it is');
like(findings($main, heads_literal()), qr/^ok \d+$/, 'in one go');

# ---------- two sealers, and one that dies
# Not the worker; which may be at it now.
$main->append_conf('postgresql.conf', 'payments.seal_interval = 0');
$main->restart;
ok(wait_until($main, 'SELECT running FROM payments.worker_status'), 'the worker seals no more');
post_some($main, 1);
my $first = $main->background_psql('postgres');
$first->query_safe('BEGIN');
is($first->query_safe('SELECT payments.seal_blocks()'), 1, 'one sealer seals');
is(value($main, 'SELECT payments.seal_blocks()'), 0, 'a second one has nothing to do');
my $newest = value($main, 'SELECT block FROM payments.seal_head');
$main->stop('immediate');
eval { $first->quit };
$main->start;
is(value($main, 'SELECT block FROM payments.seal_head'), $newest, 'of a sealer that died nothing is left');
is(value($main, 'SELECT payments.seal_blocks()'), 1, 'the next one seals');
like(findings($main, heads_literal()), qr/^ok \d+$/, 'and all is well');

# ---------- honest copies: no alarm, and sealing goes on with higher numbers
sub goes_on
{
	my ($node, $name, %options) = @_;

	like(findings($node, heads_literal(), %options), qr/^ok \d+$/, "$name: no alarm");
	my $before = value($node, q{SELECT max(xid::text::numeric) FROM payments.posting}, %options);
	post_some($node, 2, %options);
	cmp_ok(value($node, q{SELECT min(xid::text::numeric) FROM (SELECT xid FROM payments.posting ORDER BY posting_id DESC LIMIT 2) p}, %options), '>', $before, "$name: numbers go on");
	cmp_ok(value($node, 'SELECT payments.seal_blocks()', %options), '>=', 1, "$name: sealing goes on");
	like(findings($node, heads_literal(), %options), qr/^ok \d+$/, "$name: still no alarm");
	check_clean($node, "$name: check() is clean", %options);
	return;
}
# Rows that are not sealed yet come along.
post_some($main, 2);
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$main->command_ok([ 'pg_dump', '-f', "$dump.sql", '-d', $main->connstr('postgres') ], 'pg_dump');
$main->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", '-d', $main->connstr('postgres') ], 'pg_dump -Fc');
$main->command_ok([ 'pg_dump', '-a', '-n', 'payments', '-f', "$dump.data", '-d', $main->connstr('postgres') ], 'pg_dump --data-only');
$main->backup('base');
$main->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$main->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", '-o', '/dev/null', '-d', $main->connstr('restored') ], 'restored beside it');
value($main, q{UPDATE pg_database SET datname = 'original' WHERE datname = 'postgres'}, dbname => 'restored');
value($main, q{UPDATE pg_database SET datname = 'postgres' WHERE datname = 'restored'}, dbname => 'template1');
goes_on($main, 'another database');
$main->stop;

my $young = new_payments_node('younger', worker => 0, extension => 0);
cmp_ok(value($young, 'SELECT pg_current_xact_id()'), '<', 1000, 'another cluster, with lower transaction ids');
my @roles = map { "CREATE ROLE $_" . ($_ eq 'payments_worker' ? ' LOGIN' : '') } map { "payments_$_" } qw(owner app operator admin auditor worker);
value($young, join ';', @roles);
value($young, 'CREATE DATABASE restored TEMPLATE template0');
$young->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $young->connstr('restored'), "$dump.custom" ], 'pg_restore -j 2 there');
$young->safe_psql('restored', 'ALTER DATABASE postgres RENAME TO original; ');
$young->safe_psql('original', 'ALTER DATABASE restored RENAME TO postgres');
goes_on($young, 'another cluster');
is(value($young, 'SELECT max(epoch) FROM payments.seal_epoch'), 1, 'another cluster: another epoch');
# From there to a third one; what is newest was written in the second.
$young->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.again", '-d', $young->connstr('postgres') ], 'pg_dump again');
value($young, 'CREATE DATABASE data_only');
value($young, 'CREATE EXTENSION payments; SELECT payments.setup()', dbname => 'data_only');
# setup() has made rows of its own, which the dump has as well.
value($young, q{SET session_replication_role = replica;
	ALTER TABLE payments.merchant DISABLE TRIGGER ALL; DELETE FROM payments.merchant; ALTER TABLE payments.merchant ENABLE ALWAYS TRIGGER guard_facts;
	ALTER TABLE payments.merchant ENABLE ALWAYS TRIGGER forget_routes; ALTER TABLE payments.merchant ENABLE ALWAYS TRIGGER guard_truncate;
	DELETE FROM payments.psp; DELETE FROM payments.installation; DELETE FROM payments.installation_salt}, dbname => 'data_only');
$young->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.data", '-o', '/dev/null', '-d', $young->connstr('data_only') ], 'data only, into tables that setup() made');
value($young, 'ALTER DATABASE postgres RENAME TO second', dbname => 'data_only');
value($young, 'ALTER DATABASE data_only RENAME TO postgres', dbname => 'original');
goes_on($young, 'data only');
$young->stop;

my $third = new_payments_node('third', worker => 0, extension => 0);
value($third, join ';', @roles);
value($third, 'CREATE DATABASE restored TEMPLATE template0');
$third->command_ok([ 'pg_restore', '--exit-on-error', '-d', $third->connstr('restored'), "$dump.again" ], 'into a third cluster');
$third->safe_psql('restored', 'ALTER DATABASE postgres RENAME TO original; ');
$third->safe_psql('original', 'ALTER DATABASE restored RENAME TO postgres');
goes_on($third, 'third cluster');
is(value($third, 'SELECT max(epoch) FROM payments.seal_epoch'), 2, 'third cluster: the next epoch');
$third->stop;

# A standby is promoted while a prepared transaction is on its way: it may commit yet.
my $standby = PostgreSQL::Test::Cluster->new('seal_standby');
$main->start;
$main->safe_psql('original', q{BEGIN; SELECT payments.post(3, 4, 9, description => 'prepared before'); PREPARE TRANSACTION 'over'});
$main->backup('later');
$main->stop;
$standby->init_from_backup($main, 'later', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_conninfo = ''\npayments.databases = ''");
$standby->start;
$standby->promote;
ok(wait_until($standby, 'SELECT pg_is_in_recovery()', 'f', undef, dbname => 'original'), 'a standby is promoted');
post_some($standby, 2, dbname => 'original');
value($standby, 'SELECT payments.seal_blocks()', dbname => 'original');
is(value($standby, $waiting, dbname => 'original'), 2, 'a prepared transaction of the old timeline holds the horizon');
value($standby, q{COMMIT PREPARED 'over'}, dbname => 'original');
cmp_ok(value($standby, 'SELECT payments.seal_blocks()', dbname => 'original'), '>=', 1, 'until it has ended');
is(value($standby, $waiting, dbname => 'original'), 0, 'then everything is sealed');
like(findings($standby, '', dbname => 'original'), qr/^ok \d+$/, 'and nothing came too late');
$standby->stop;

# ---------- tampers, on copies of one database, in a server that does not preload the library
my $node = new_payments_node('tampers', worker => 0, conf => 'allow_system_table_mods = on');
value($node, 'CREATE DATABASE base');
value($node, 'CREATE EXTENSION payments; SELECT payments.setup()', dbname => 'base');
ledger($node, dbname => 'base');
my @base = (dbname => 'base');
foreach my $block (1 .. 4)
{
	my @made = (idempotency_key => "tamper-$block", amount => 1000 * $block, psp => 'sandbox', payment_method => 'sandbox_ok', @base);
	create_payment($node, @made);
	value($node, q{SELECT payments.complete(operation_id, attempt, 200) FROM payments.claim('tamper', 1)}, @base);
	post_some($node, 6, @base);
	value($node, q{SELECT payments.void_hold(h.hold_id) FROM payments.hold(1, 2, 10) h}, @base);
	value($node, 'SELECT payments.seal_blocks()', @base);
}
is(value($node, q{SELECT count(DISTINCT split_part(name, '/', 1)) || ' ' || count(DISTINCT block) FROM payments.seal_table}, @base), '15 4', 'fifteen tables, four blocks');
is(findings($node, $LINES, @base), 'ok 4', 'before: no alarm');
my $heads = sql_literal(value($node, "SELECT $LINES", @base) =~ s/ base / tampered /gr);
# The postings of block 2, by their place in it; one of a payment comes first.
my @id = split /\n/, value($node, q{SELECT posting_id FROM payments.posting p JOIN payments.seal s ON p.xid >= s.from_xid AND p.xid < s.to_xid WHERE s.block = 2 ORDER BY 1}, @base);
my $n = $#id;
my $key = sub { return qq({"posting_id": "$_[0]"}) };
my $gap = sub { return sprintf '{"after": %s, "before": %s}', map { defined $_ ? $key->($_) : 'null' } @_ };
my $of = sub { my ($table, $columns) = @_; return value($node, "SELECT jsonb_build_object(" . join(', ', map { "'$_', concat(t.$_)" } @$columns) . ") FROM payments.$table t JOIN payments.seal s ON t.xid >= s.from_xid AND t.xid < s.to_xid WHERE s.block = 2 ORDER BY " . join(', ', @$columns) . ' LIMIT 1', @base) };
my $where = sub { my ($key) = @_; return join ' AND ', map { sprintf q{concat(%s) = '%s'}, $_, $key->{$_} } sort keys %$key };

# As owner: his triggers are his to disable, where nobody has preloaded the library.
sub as_owner { my ($table, $sql) = @_; return "SET ROLE payments_owner; ALTER TABLE payments.$table DISABLE TRIGGER ALL; $sql; ALTER TABLE payments.$table ENABLE ALWAYS TRIGGER guard_append_only; ALTER TABLE payments.$table ENABLE ALWAYS TRIGGER guard_truncate" }
# As superuser: what the catalog says.
sub as_superuser { my ($sql) = @_; return "CREATE TEMP TABLE was AS SELECT oid, tgenabled FROM pg_trigger; UPDATE pg_trigger SET tgenabled = 'D' WHERE NOT tgisinternal; $sql; UPDATE pg_trigger t SET tgenabled = w.tgenabled FROM was w WHERE w.oid = t.oid" }

my $another = q{INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, xid)
	SELECT debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, xid FROM payments.posting WHERE posting_id = };
my @tampers = (
	[ 'an amount', as_owner('posting', "UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = $id[3]"), 'changed 2 posting ' . $key->($id[3]) ],
	[ 'the first row of a block', as_owner('posting', "UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = $id[0]"), 'changed 2 posting ' . $key->($id[0]) ],
	[ 'a deleted row', as_owner('posting', "DELETE FROM payments.posting WHERE posting_id = $id[3]"), 'missing 2 posting ' . $gap->($id[2], $id[4]) ],
	[ 'the last row deleted', as_owner('posting', "DELETE FROM payments.posting WHERE posting_id = $id[$n]"), 'missing 2 posting ' . $gap->($id[ $n - 1 ], undef) ],
	[ 'an inserted row', as_owner('posting', "$another $id[3]"), qr/^added 2 posting \{"posting_id": "\d+"\}$/ ],
	[ 'null made empty', as_owner('ledger_hold', "UPDATE payments.ledger_hold SET description = '' WHERE " . '$where'), 'changed 2 ledger_hold $key', 'ledger_hold', ['hold_id'] ],
	[ 'a row moved to another block', as_owner('posting', "UPDATE payments.posting SET xid = (SELECT min(xid::text::bigint) FROM payments.posting)::text::xid8 WHERE posting_id = $id[3]"),
		'added 1 posting ' . $key->($id[3]) . '; missing 2 posting ' . $gap->($id[2], $id[4]) ],
	[ 'its transaction', as_owner('posting', "UPDATE payments.posting SET xid = (SELECT xid FROM payments.posting WHERE posting_id = $id[4]) WHERE posting_id = $id[3]"), 'changed 2 posting ' . $key->($id[3]) ],
	[ 'its transaction made null', as_owner('posting', "ALTER TABLE payments.posting ALTER xid DROP NOT NULL; UPDATE payments.posting SET xid = NULL WHERE posting_id = $id[3]"),
		'missing 2 posting ' . $gap->($id[2], $id[4]) . '; added posting' ],
	[ 'its transaction in the future', as_owner('posting', "UPDATE payments.posting SET xid = '999999999999' WHERE posting_id = $id[3]"), 'missing 2 posting ' . $gap->($id[2], $id[4]) ],
	[ 'amounts exchanged', as_owner('posting', "UPDATE payments.posting p SET amount = o.amount FROM payments.posting o WHERE p.posting_id IN ($id[3], $id[5]) AND o.posting_id IN ($id[3], $id[5]) AND o.posting_id <> p.posting_id"),
		'changed 2 posting ' . $key->($id[3]) ],
	[ 'rows in another order', as_owner('posting', "ALTER TABLE payments.posting ALTER posting_id SET GENERATED BY DEFAULT; UPDATE payments.posting SET posting_id = 1000000 WHERE posting_id = $id[3]; UPDATE payments.posting SET posting_id = $id[3] WHERE posting_id = $id[4]; UPDATE payments.posting SET posting_id = $id[4] WHERE posting_id = 1000000"),
		'changed 2 posting ' . $key->($id[3]), ],
	[ 'a column rewritten by ALTER TYPE', "SET ROLE payments_owner; ALTER TABLE payments.posting ALTER currency TYPE text USING CASE WHEN posting_id = $id[3] THEN 'USD' ELSE currency END", 'changed 2 posting ' . $key->($id[3]) ],
	[ 'a column of another type', 'SET ROLE payments_owner; ALTER TABLE payments.ledger_hold ALTER asked TYPE numeric', qr/^changed 1 ledger_hold .*; changed 2 ledger_hold/ ],
	[ 'a column dropped', 'SET ROLE payments_owner; ALTER TABLE payments.attempt DROP COLUMN worker', qr/^changed 1 attempt .*; changed 2 attempt .*; changed 3 attempt/ ],
	[ 'a column renamed', 'SET ROLE payments_owner; ALTER TABLE payments.movement RENAME COLUMN source TO origin', qr/^changed 1 movement/ ],
	[ 'a history with new hashes', as_owner('payment_status', q{UPDATE payments.payment_status t SET actor = 'somebody', hash = payments._status_hash(
		(SELECT p.hash FROM payments.payment_status p WHERE p.payment_id = t.payment_id AND p.seq = t.seq - 1), payment_id, seq, status, event, operation_id, source, 'somebody', code, recorded_at)
		WHERE $where AND seq = 1}), 'changed 2 payment_status $key', 'payment_status', [ 'payment_id', 'seq' ] ],
	[ 'an event', as_owner('event', q{UPDATE payments.event SET payload = payload || '{"amount": 1}' WHERE $where}), 'changed 2 event $key', 'event', ['id'] ],
	[ 'bytes that were sent', as_owner('attempt', q{UPDATE payments.attempt SET path = path || '?' WHERE $where}), 'changed 2 attempt $key', 'attempt', [ 'operation_id', 'attempt' ] ],
	[ 'an answer', as_owner('attempt_answer', q{UPDATE payments.attempt_answer SET body = 'another', class = 'declined' WHERE $where}), 'changed 2 attempt_answer $key', 'attempt_answer', [ 'operation_id', 'attempt', 'late' ] ],
	[ 'a movement', as_owner('movement', q{UPDATE payments.movement SET amount = 1 WHERE $where}), 'changed 2 movement $key', 'movement', [ 'psp', 'object_id', 'kind' ] ],
	[ 'an idempotency key', as_owner('idempotency_key', q{UPDATE payments.idempotency_key SET request_hash = sha256('x') WHERE $where}), 'changed 2 idempotency_key $key', 'idempotency_key', [ 'merchant', 'key' ] ],
	[ 'what became of a hold', as_owner('ledger_hold_resolution', q{UPDATE payments.ledger_hold_resolution SET reason = 'expired' WHERE $where}), 'changed 2 ledger_hold_resolution $key', 'ledger_hold_resolution', [ 'hold_id', 'seq' ] ],
	[ 'an amount, catalogs edited', as_superuser("UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = $id[3]"), 'changed 2 posting ' . $key->($id[3]) ],
	[ 'an amount as replica', 'SET session_replication_role = replica; ' . as_superuser("UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = $id[3]"), 'changed 2 posting ' . $key->($id[3]) ],
	[ 'an emptied table', as_superuser('TRUNCATE payments.movement'), qr/^missing 1 movement \{"after": null, "before": null\}; missing 2 movement/ ],
	[ 'a dropped table', 'DROP TABLE payments.attempt_answer CASCADE', 'missing attempt_answer' ],
	[ 'an unlogged table, emptied by a crash', 'ALTER TABLE payments.movement SET UNLOGGED; ' . as_superuser('DELETE FROM payments.movement'), qr/^missing 1 movement/ ],
	[ 'a row in a partition of its own', "CREATE TABLE payments.child (LIKE payments.posting INCLUDING CONSTRAINTS); INSERT INTO payments.child SELECT * FROM payments.posting WHERE posting_id = $id[3]; UPDATE payments.child SET posting_id = 999999, booked_at = '2001-01-15'; ALTER TABLE payments.posting ATTACH PARTITION payments.child FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')", 'added 2 posting ' . $key->(999999) ],
	[ 'a row hidden by row security', "ALTER TABLE payments.posting FORCE ROW LEVEL SECURITY; DROP POLICY by_merchant ON payments.posting; CREATE POLICY p ON payments.posting USING (posting_id <> $id[3])", 'missing 2 posting ' . $gap->($id[2], $id[4]) ],
	[ 'a leaf', as_superuser(q{UPDATE payments.seal_leaf SET leaves = set_byte(leaves, 70, 255 - get_byte(leaves, 70)) WHERE block = 2 AND name ~ '^posting/'}), 'leaves 2 posting' ],
	[ 'leaves deleted', as_superuser(q{DELETE FROM payments.seal_leaf WHERE block = 2 AND name ~ '^posting/'}), 'leaves 2 posting' ],
	[ 'a root', as_superuser(q{UPDATE payments.seal_table SET root = sha256('x') WHERE block = 2 AND name ~ '^posting/'}), 'chain 2; root 2 posting' ],
	[ 'the number of rows', as_superuser(q{UPDATE payments.seal_table SET rows = rows + 1 WHERE block = 2 AND name ~ '^posting/'}), qr/^chain 2; missing 2 posting/ ],
	[ 'a table of a block', as_superuser(q{DELETE FROM payments.seal_table WHERE block = 2 AND name = 'movement'}), qr/^chain 2; added 2 movement/ ],
	[ 'the hash of a block', as_superuser(q{UPDATE payments.seal SET hash = sha256('x') WHERE block = 2}), 'chain 2; chain 3; head 2' ],
	[ 'the time of a block', as_superuser(q{UPDATE payments.seal SET sealed_at = sealed_at - interval '1 us' WHERE block = 2}), 'chain 2' ],
	[ 'the range of a block', as_superuser(q{UPDATE payments.seal s SET to_xid = (SELECT p.xid FROM payments.posting p WHERE p.xid < s.to_xid ORDER BY p.posting_id DESC LIMIT 1) WHERE block = 2}), qr/^chain 2; chain 3; missing 2 .*added 3/ ],
	[ 'a block', as_superuser(q{DELETE FROM payments.seal WHERE block = 2}), qr/^chain 2 seal_table; chain 3/ ],
	[ 'the end of the chain', as_superuser('DELETE FROM payments.seal WHERE block >= 3; DELETE FROM payments.seal_table WHERE block >= 3; DELETE FROM payments.seal_leaf WHERE block >= 3'), 'head 3; head 4' ],
	[ 'the end, sealed again', as_superuser("UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = $id[3]; DELETE FROM payments.seal WHERE block >= 2; DELETE FROM payments.seal_table WHERE block >= 2; DELETE FROM payments.seal_leaf WHERE block >= 2")
		. '; SELECT payments.seal_blocks()', qr/^head 2; head 3; head 4$/ ],
	[ 'the whole chain', as_superuser("UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = $id[3]; DELETE FROM payments.seal; DELETE FROM payments.seal_table; DELETE FROM payments.seal_leaf")
		. '; SELECT payments.seal_blocks()', qr/^head 1; head 2; head 3; head 4$/ ],
);

# ---------- facts of tables whose rows change all the same
sub fact { my ($name, $table, $column, $value, @key) = @_; return [ $name, as_superuser("UPDATE payments.$table SET $column = $value WHERE \$where"), "changed 2 $table \$key", $table, [@key] ] }
my $month = value($node, q{SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')}, @base);
my $note = q{INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, rows, retired_at, retired_by) VALUES ('posting', %s, %s, 'posting_gone', %s, now(), 'payments_admin'); SELECT payments.seal_blocks()};
my $to_come = qq{INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, rows, retired_at, retired_by)
	SELECT 'posting', '$month-01', '$month-01'::timestamptz + interval '1 month', 'posting_gone', sum(t.rows), '$month-01'::timestamptz + interval '2 months', 'payments_admin' FROM payments.seal_table t WHERE t.name = 'posting/$month';
	SELECT payments.seal_blocks()};
# A block that seals nothing, rightly chained.
my $block = q{INSERT INTO payments.seal (block, from_xid, to_xid, previous, hash, sealed_at)
	SELECT s.block + 1, s.to_xid, x.to_xid, s.hash, payments._seal_hash(s.hash, s.block + 1, s.to_xid, x.to_xid, x.at, '{}', '{}', '{}'), x.at
	FROM payments.seal_head h JOIN payments.seal s USING (block) CROSS JOIN LATERAL (SELECT %s::timestamptz AS at, (s.to_xid::text::bigint + %s)::text::xid8 AS to_xid) x};
my $copy = sub { my ($table, $column, $value) = @_; return as_superuser("CREATE TEMP TABLE twin AS SELECT t.* FROM payments.$table t JOIN payments.seal s ON t.xid >= s.from_xid AND t.xid < s.to_xid WHERE s.block = 2 LIMIT 1; UPDATE twin SET $column = $value; INSERT INTO payments.$table SELECT * FROM twin") };
push @tampers, (
	[ 'the codes of two accounts, exchanged', as_superuser(q{UPDATE payments.account SET code = 'none' WHERE account_id = 1; UPDATE payments.account SET code = 'till' WHERE account_id = 2; UPDATE payments.account SET code = 'sales' WHERE account_id = 1}), 'changed 1 account {"account_id": "1"}' ],
	[ 'whose account it is', as_superuser(q{UPDATE payments.account SET merchant = 'another' WHERE account_id = 2}), 'changed 1 account {"account_id": "2"}' ],
	[ 'the side of an account', as_superuser(q{UPDATE payments.account SET type = 'expense' WHERE account_id = 2}), 'changed 1 account {"account_id": "2"}' ],
	[ 'the limit of an account', as_superuser(q{UPDATE payments.account SET min_balance = -1000000 WHERE account_id = 2}), 'changed 1 account {"account_id": "2"}' ],
	[ 'an account removed', as_superuser('DELETE FROM payments.account WHERE account_id = 4'), qr/^missing 1 account \{"after": \{"account_id": "3"\}, "before": / ],
	[ 'a merchant of another name', as_superuser(q{UPDATE payments.merchant SET merchant = 'mine'}), 'changed 1 merchant {"merchant": "mine"}' ],
	fact('what was asked for', 'payment', 'amount', 'amount + 1', 'payment_id'),
	fact('in which currency', 'payment', 'currency', q{'USD'}, 'payment_id'),
	fact('how it was paid', 'payment', 'payment_method', 'NULL', 'payment_id'),
	fact('by whom', 'payment', 'customer', q{'somebody'}, 'payment_id'),
	fact('when', 'payment', 'created_at', q{created_at - interval '1 day'}, 'payment_id'),
	fact('what for', 'payment', 'metadata', q{'{"gift": true}'}, 'payment_id'),
	[ 'a payment removed', as_superuser('DELETE FROM payments.payment p USING payments.seal s WHERE p.xid >= s.from_xid AND p.xid < s.to_xid AND s.block = 2'), 'missing 2 payment {"after": null, "before": null}' ],
	[ 'a payment put in', $copy->('payment', '(payment_id, psp_payment_id)', '(gen_random_uuid(), NULL)'), qr/^added 2 payment/ ],
	fact('what an operation does', 'operation', 'kind', q{'refund'}, 'operation_id'),
	fact('its name at the PSP', 'operation', 'psp_ref', q{'another'}, 'operation_id'),
	fact('whose operation it is', 'operation', 'payment_id', '(SELECT max(payment_id::text)::uuid FROM payments.payment)', 'operation_id'),
	fact('in which transaction it was asked for', 'operation', 'xid', q{(xid::text::bigint + 1)::text::xid8}, 'operation_id'),
	[ 'an operation put in', $copy->('operation', '(operation_id, psp_ref)', q{(gen_random_uuid(), 'twin')}), qr/^added 2 operation/ ],
	[ 'a key removed, to be used again', as_superuser('DELETE FROM payments.idempotency_key k USING payments.seal s WHERE k.xid >= s.from_xid AND k.xid < s.to_xid AND s.block = 2'), 'missing 2 idempotency_key {"after": null, "before": null}' ],
	[ 'a row moved to another month', as_superuser("UPDATE payments.posting SET booked_at = '2001-01-15' WHERE posting_id = $id[3]"), 'added 2 posting ' . $key->($id[3]) . '; missing 2 posting ' . $gap->($id[2], $id[4]) ],
	[ 'a row of no time', as_superuser("UPDATE payments.posting SET booked_at = 'infinity' WHERE posting_id = $id[3]"), 'added 2 posting ' . $key->($id[3]) . '; missing 2 posting ' . $gap->($id[2], $id[4]) ],
	[ 'a row that no block comes to', as_superuser("$another $id[3]; UPDATE payments.posting SET xid = '9223372036854775000' WHERE posting_id > $id[3] AND description IS NULL AND xid = (SELECT xid FROM payments.posting WHERE posting_id = $id[3])"), 'added posting' ],
	[ 'an account that no block comes to', as_superuser(q{UPDATE payments.account SET xid = '9223372036854775000' WHERE account_id = 1}), qr/^missing 1 account .*; added account$/ ],
	[ 'a partition taken out', 'ALTER TABLE payments.posting DETACH PARTITION payments.posting_' . $month =~ tr/-/_/r, qr/^missing 1 posting .*missing 4 posting/ ],
	[ 'a view in place of a table', 'ALTER TABLE payments.movement RENAME TO was_movement; CREATE VIEW payments.movement AS SELECT * FROM payments.was_movement', 'missing movement' ],
	[ 'leaves in another order', as_superuser(q{UPDATE payments.seal_leaf SET chunk = 1 WHERE block = 2 AND name = 'payment'}), 'leaves 2 payment' ],
	# What retention is said to have done.
	[ 'a row, and a note that its month is gone', as_superuser("DELETE FROM payments.posting WHERE posting_id = $id[3]") . '; ' . sprintf($note, "'$month-01'", "'$month-01'::timestamptz + interval '1 month'", 1), qr/^retired 1 posting .*; retired posting \{"from_time": / ],
	[ 'a row, and a note of a month that never was', as_superuser("DELETE FROM payments.posting WHERE posting_id = $id[3]; UPDATE payments.account SET debits = debits - 300 WHERE account_id = 1; UPDATE payments.account SET credits = credits - 300 WHERE account_id = 2") . '; ' . sprintf($note, q{'2019-01-01'}, q{'2019-02-01'}, 1),
		'missing 2 posting ' . $gap->($id[2], $id[4]) . '; retired posting {"from_time": "2019-01-01T00:00:00+00:00"}' ],
	[ 'a row, and its tree given to a month that is over', as_superuser("DELETE FROM payments.posting p USING payments.seal s WHERE p.xid >= s.from_xid AND p.xid < s.to_xid AND s.block = 2; UPDATE payments.seal_table SET name = 'posting/2019-01' WHERE block = 2 AND name ~ '^posting/'; UPDATE payments.seal_leaf SET name = 'posting/2019-01' WHERE block = 2 AND name ~ '^posting/'") . '; ' . sprintf($note, q{'2019-01-01'}, q{'2019-02-01'}, scalar @id), 'chain 2' ],
	[ 'all rows, and a note of a day that is yet to come', as_superuser('DELETE FROM payments.posting') . '; ' . $to_come, qr/^retired posting \{"from_time": / ],
	[ 'all rows, such a note, and then other rows', as_superuser("CREATE TEMP TABLE old AS TABLE payments.posting; DELETE FROM payments.posting") . "; $to_come; "
		. as_superuser("UPDATE old SET xid = payments._seal_xid(), amount = amount + 1; INSERT INTO payments.posting OVERRIDING SYSTEM VALUE SELECT * FROM old") =~ s/was/was_then/gr . '; SELECT payments.seal_blocks()', qr/^retired posting \{"from_time": / ],
	[ 'all events, and a note of a day that is yet to come', as_superuser('DELETE FROM payments.event') . '; ' . $to_come =~ s/posting/event/gr, qr/^retired event \{"from_time": / ],
	[ 'a row of a month that was retired', sprintf($note, q{'2019-01-01'}, q{'2019-02-01'}, 0) . "; CREATE TEMP TABLE late AS SELECT * FROM payments.posting WHERE posting_id = $id[3]; UPDATE late SET booked_at = '2019-01-15', posting_id = 999999, xid = payments._seal_xid(); INSERT INTO payments.posting OVERRIDING SYSTEM VALUE SELECT * FROM late; SELECT payments.seal_blocks()",
		'retired posting {"from_time": "2019-01-01T00:00:00+00:00"}' ],
	[ 'where the tables have been', as_superuser('UPDATE payments.seal_epoch SET database = 1'), qr/^changed 1 seal_epoch \{"epoch": "0", "since": "\d+"\}$/ ],
	[ 'where they have been, forgotten', as_superuser('DELETE FROM payments.seal_epoch'), 'missing 1 seal_epoch {"after": null, "before": null}' ],
	[ 'a block of a time that is yet to come', 'SET ROLE payments_owner; ' . sprintf($block, q{'2100-01-01 00:00+00'}, 1), 'chain 5; chain 5' ],
	[ 'a block of transactions that are yet to begin', 'SET ROLE payments_owner; ' . sprintf($block, 'now()', '(2::numeric ^ 50)::bigint'), 'chain 5; chain 5' ],
	[ 'a note taken back', sprintf($note, q{'2019-01-01'}, q{'2019-02-01'}, 0) . '; ' . as_owner('partition_retired', 'DELETE FROM payments.partition_retired'), qr/^missing 5 partition_retired/ ],
);

# A row and its leaf, and everything above it, as far as somebody goes.
my $new_leaf = sprintf q{UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = %d;
	UPDATE payments.seal_leaf l SET leaves = overlay(l.leaves PLACING sha256(x.row) FROM 1 + 32 * 3 FOR 32)
	FROM (SELECT payments._seal_row('posting', '{"posting_id": %d}') AS row) x WHERE l.block = 2 AND l.name ~ '^posting/'}, $id[3], $id[3];
push @tampers, [ 'a row with its leaf', as_superuser($new_leaf), 'root 2 posting' ];

# All rows, types and policies.
my $as_it_is = sub { return value($node, q{
	SELECT c.relname, c.relkind, c.relforcerowsecurity, (SELECT string_agg(a.attname || a.atttypid, ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid),
		query_to_xml(format('SELECT md5(string_agg(t::text, E''\n'' ORDER BY t::text)) FROM payments.%I t', c.relname), false, true, '')
	FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1}, dbname => $_[0]) };
my $before = $as_it_is->('base');

foreach my $tamper (@tampers)
{
	my ($name, $sql, $expected, $table, $columns) = @$tamper;

	if ($table)
	{
		my $of_row = $of->($table, $columns);
		my %values = $of_row =~ /"(\w+)": "([^"]*)"/g;
		my $where_row = $where->(\%values);
		$sql =~ s/\$where/$where_row/;
		$expected =~ s/\$key/$of_row/;
	}
	value($node, "DROP DATABASE IF EXISTS tampered;\nCREATE DATABASE tampered TEMPLATE base");
	my ($code, undef, $stderr) = $node->psql('tampered', $sql, on_error_stop => 1);
	is("$code$stderr" =~ s/^0?\Kpsql:\S+ NOTICE:.*\n?|^DETAIL:.*\n?|^drop cascades.*\n?//gmr, '0', "$name: done");
	isnt($as_it_is->('tampered'), $before, "$name: it made a difference");
	my $found = findings($node, $heads, dbname => 'tampered');
	ref $expected ? like($found, $expected, "$name: found") : is($found, $expected, "$name: found");
}
# Without a witness a chain that was made anew looks like any other.
is(findings($node, '', dbname => 'tampered'), 'root 2 posting', 'the last one again, without heads');

# ---------- what is not sealed follows from what is, and check() compares it
value($node, 'CREATE DATABASE projected TEMPLATE base');
my @projected = (dbname => 'projected');
my $made = sub { my ($name, %more) = @_; return create_payment($node, idempotency_key => "projected-$name", amount => 5000, psp => 'sandbox', payment_method => 'sandbox_ok', @projected, %more) };
my $answered = q{SELECT payments.complete(operation_id, attempt, 200) FROM payments.claim('projected', 9)};
my ($paid) = $made->('paid') =~ /([0-9a-f-]{36})/;
$made->('declined', payment_method => 'sandbox_declined');
$made->('held', capture => 'manual');
value($node, $answered, @projected);
value($node, "SELECT payments.refund_payment('$paid', 'projected-refund', 500); $answered", @projected);
$made->('queued');
value($node, q{SELECT payments.close_period(now(), 'default'); SELECT payments.seal_blocks()}, @projected);
check_clean($node, 'before: check() is clean', @projected);
my $op = sub { my ($what, $where) = @_; return "UPDATE payments.operation SET $what WHERE $where" };
my $was_moved = 'an operation has succeeded when its money has moved';
my $was_tried = 'attempts, generation, step and key of an operation are those of its attempts';
my $amounts = 'amounts of a payment are the sums of its movements';
my $shipped = 'shipped rules are as they were shipped';
my $salt = 'the salt of the installation is that which its operations derive from';
foreach my $tamper (
	[ 'a charge that succeeded, failed', $op->(q{status = 'failed'}, q{kind = 'charge' AND status = 'succeeded'}), $was_moved ],
	[ 'one that failed, succeeded', $op->(q{status = 'succeeded', failure_code = NULL, failure_message = NULL}, q{status = 'failed'}), $was_moved ],
	[ 'a refund that succeeded, failed', $op->(q{status = 'failed'}, q{kind = 'refund'}), $was_moved ],
	[ 'the object of a refund', $op->(q{psp_object_id = 're_other'}, q{kind = 'refund'}), $was_moved ],
	[ 'an authorization, cancelled and opened', $op->(q{status = 'processing'}, q{kind = 'authorize'}), $was_moved ],
	[ 'when one ended', $op->(q{completed_at = NULL}, q{kind = 'refund'}), $was_moved ],
	[ 'who ended it', $op->(q{source = NULL}, q{kind = 'refund'}), $was_moved ],
	[ 'how often it was tried', $op->(q{attempts = attempts + 1}, q{kind = 'refund'}), $was_tried ],
	[ 'its generation', $op->(q{generation = generation + 1}, q{kind = 'refund'}), $was_tried ],
	[ 'its step', $op->(q{step = step + 1}, q{kind = 'refund'}), $was_tried ],
	[ 'when its key was used', $op->(q{key_used_at = now() + interval '1 day'}, q{kind = 'refund'}), $was_tried ],
	[ 'what was authorized', q{UPDATE payments.payment SET authorized = authorized - 1 WHERE authorized > captured}, $amounts ],
	[ 'why one failed', q{UPDATE payments.payment SET failure_code = 'x' WHERE status = 'failed'}, 'why a payment failed is what its history says, and none did both' ],
	[ 'what is due, for ever', q{UPDATE payments.queue SET due_at = 'infinity'}, 'nothing in the queue is put off for good' ],
	[ 'what is due, for years', q{UPDATE payments.queue SET due_at = now() + interval '2 years'}, 'nothing in the queue is put off for good' ],
	[ 'how far books are closed', q{UPDATE payments.merchant SET closed_until = closed_until - interval '1 day'}, 'closes follow one another, and each opens as the one before closed' ],
	[ 'a note of a month to come', q{INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, rows, retired_at, retired_by) VALUES ('posting', '2100-01-01', '2100-02-01', 'x', 0, '2100-03-01', 'me')},
		'what is noted as retired can have been', 'superuser' ],
	[ 'and what it would excuse', q{DELETE FROM payments.posting_reversal; SELECT payments.reverse_posting(5, 'wrong'); DELETE FROM payments.posting_reversal; INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, rows, retired_at, retired_by) VALUES ('posting', '2100-01-01', '2100-02-01', 'x', 0, '2100-03-01', 'me')},
		'a reversal takes back one posting, whole', 'superuser' ],
	[ 'an id given twice', q{SELECT setval('payments.posting_posting_id_seq', 3, false); SELECT payments.post(3, 4, 77777)}, 'every posting has an id of its own' ],
	[ 'another salt', q{UPDATE payments.installation_salt SET salt = sha256('x')}, $salt, 'superuser' ],
	[ 'no salt', q{DELETE FROM payments.installation_salt}, $salt, 'superuser' ],
	[ 'the decimals of a currency', q{UPDATE payments.currency SET exponent = 0 WHERE currency = 'EUR'}, $shipped, 'superuser' ],
	[ 'where money goes', q{UPDATE payments.posting_rule SET credit = debit, debit = credit WHERE event = 'capture'}, $shipped, 'superuser' ],
	[ 'what a decline means', q{DELETE FROM payments.decline_rule WHERE code = (SELECT min(code) FROM payments.decline_rule)}, $shipped, 'superuser' ],
	[ 'rules that pass for somebody\'s own', q{UPDATE payments.retry_schedule SET builtin = false}, $shipped, 'superuser' ],
	[ 'no limits', 'TRUNCATE payments.amount_limit', $shipped, 'superuser' ],
	[ 'no states', 'TRUNCATE payments.transition', $shipped, 'superuser' ])
{
	my ($name, $sql, $expected, $by) = @$tamper;
	$sql = $by ? as_superuser($sql) : "SET LOCAL ROLE payments_owner; $sql; RESET ROLE";
	like(value($node, "BEGIN; $sql; SELECT coalesce(string_agg(invariant, '; '), '') FROM payments.check() WHERE NOT ok; ROLLBACK", @projected), qr/(^|\n|; )\Q$expected\E/, "$name: check() names it");
}
is(sqlstate($node, q{SET ROLE payments_owner; INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, rows, retired_at, retired_by) VALUES ('posting', '2019-01-01', '2019-02-01', 'x', 0, now(), 'me')}, @projected), 'PY003',
	'retirements are noted by retire_partitions() alone');
is(sqlstate($node, q{SET ROLE payments_owner; INSERT INTO payments.posting_retired VALUES (1, '2019-01-01', 1, 1, 1)}, @projected), 'PY003', 'so is what they come to');
is(sqlstate($node, q{SET ROLE payments_owner; INSERT INTO payments.payment_retired VALUES (gen_random_uuid(), '2019-01-01', 1, 'failed', sha256('x'))}, @projected), 'PY003', 'and of which payments');

# A clock that was ahead for some minutes is nobody's crime, and keeps nobody waiting.
my $ahead = q{WITH t AS (SELECT array_agg(name ORDER BY name COLLATE "C") AS names, array_agg(rows ORDER BY name COLLATE "C") AS rows, array_agg(root ORDER BY name COLLATE "C") AS roots FROM payments.seal_table WHERE block = (SELECT block FROM payments.seal_head))
	UPDATE payments.seal s SET sealed_at = x.at, hash = payments._seal_hash(previous, block, from_xid, to_xid, x.at, names, rows, roots) FROM t, (SELECT now() + interval '%s' AS at) x WHERE s.block = (SELECT block FROM payments.seal_head)};
value($node, as_superuser(sprintf $ahead, '5 minutes'), @projected);
like(findings($node, '', @projected), qr/^ok /, 'a block that a clock ahead has cut');
post_some($node, 1, @projected);
is(value($node, q{SELECT payments.seal_blocks(every => '1 hour')}, @projected), 1, 'the next one does not wait for that time');
value($node, as_superuser(sprintf($ahead, '80 years') =~ s/s\.block = .*/s.block = (SELECT block FROM payments.seal_head)/r), @projected);
post_some($node, 1, @projected);
like(value($node, q{BEGIN; ALTER TABLE payments.posting DISABLE TRIGGER ALL; UPDATE payments.posting SET booked_at = booked_at - interval '2 hours' WHERE xid >= (SELECT to_xid FROM payments.seal ORDER BY block DESC LIMIT 1);
	SELECT payments._seal_overdue(); ROLLBACK}, @projected), qr/^rows wait to be sealed/, 'nor does a block of another century say that all is sealed');
is(value($node, q{SELECT payments.seal_blocks(every => '1 hour')}, @projected), 1, 'nor keep one from sealing');
is(value($node, q{SELECT ok FROM payments.check() WHERE invariant = 'the blocks are a chain'}, @projected), 'f', 'and check() names it');

# Whoever reads it may not be who has switched it off.
$node->append_conf('postgresql.conf', 'payments.seal_interval = 0');
$node->reload;
ok(wait_until($node, q{SELECT detail FROM payments.verify()}, qr/^blocks 1 to 4, .*; sealing is off: payments\.seal_interval is 0/, undef, @base), 'sealing is off: verify() says so');
is(value($node, q{SELECT ok || ' ' || sample FROM payments.check() WHERE invariant = 'rows are sealed in time'}, @base) =~ s/:.*//r, 'true sealing is off', 'so does check()');
like(value($node, 'SELECT hint FROM payments.worker_status', @base), qr/sealing is off/, 'and worker_status');
$node->append_conf('postgresql.conf', "payments.seal_interval = '1min'");
$node->reload;

# A file of the table itself, edited on disk.
value($node, 'DROP DATABASE tampered');
value($node, 'CREATE DATABASE tampered TEMPLATE base');
my $path = $node->data_dir . '/' . value($node, q{SELECT pg_relation_filepath('payments.movement')}, dbname => 'tampered');
my $object = value($node, q{SELECT object_id FROM payments.movement m JOIN payments.seal s ON m.xid >= s.from_xid AND m.xid < s.to_xid WHERE block = 2 AND kind = 'capture'}, dbname => 'tampered');
my $checksums = value($node, 'SHOW data_checksums') eq 'on';
value($node, 'CHECKPOINT');
$node->stop;
my $bytes = PostgreSQL::Test::Utils::slurp_file($path);
(my $edited = $object) =~ s/.$/!/;
ok($bytes =~ s/\Q$object\E/$edited/, 'the bytes of a row are edited on disk');
open my $out, '>:raw', $path or die $!;
print $out $bytes;
close $out;
# Whoever edits files makes their checksums anew; from 18 on a cluster has them without being asked.
PostgreSQL::Test::Utils::system_or_bail('pg_checksums', "--$_", '--pgdata', $node->data_dir) foreach $checksums ? qw(disable enable) : ();
$node->start;
like(findings($node, $heads, dbname => 'tampered'), qr/^changed 2 movement .*\Q$edited\E/, 'and found');

# ---------- proofs, outside of the database
my $proof = value($node, qq{SELECT payments.seal_proof('posting', '{"posting_id": $id[3]}')}, @base);
my $own   = value($node, q{SELECT encode(hash, 'hex') FROM payments.seal WHERE block = 2}, @base);
my $late  = value($node, q{SELECT encode(hash, 'hex') FROM payments.seal_head}, @base);
my $long  = value($node, qq{SELECT payments.seal_proof('posting', '{"posting_id": $id[3]}', 4)}, @base);

sub outside
{
	my ($text, $hash) = @_;
	my ($stdout, $stderr) = ('', '');
	IPC::Run::run([ '/usr/bin/python3', "$root/docs/seal_check.py", $hash ], '<', \$text, '>', \$stdout, '2>', \$stderr);
	return $stdout . $stderr;
}
like(outside($proof, $own), qr/^sealed in block 2, table posting:\n(?:.*\n)*    amount = 200\n(?:.*\n)*    posting_id = $id[3]\n/, 'the script takes a proof, and shows the row');
like(outside($long, $late), qr/^sealed in block 2/, 'also against a later head');
value($node, q{SELECT payments.post(1, 2, 5, description => E'coffee\n    posting_id = 1'); SELECT payments.hold(1, 2, 10, expires_at => '12026-02-03 04:05:06.789+00')}, @base);
value($node, 'SELECT payments.seal_blocks()', @base);
my $newest_head = value($node, q{SELECT encode(hash, 'hex') FROM payments.seal_head}, @base);
my $proof_of = sub { my ($table, $where) = @_; return value($node, "SELECT payments.seal_proof('$table', jsonb_build_object('${table}_id', max(${table}_id))) FROM payments.$table WHERE $where" =~ s/ledger_hold_id/hold_id/gr, @base) };
my $lined = outside($proof_of->('posting', q{description ~ 'coffee'}), $newest_head);
like($lined, qr/^    description = 'coffee\\n    posting_id = 1'$/m, 'a text of two lines is one');
is(() = $lined =~ /^    posting_id = /mg, 1, 'and passes for no other column');
like(outside($proof_of->('ledger_hold', q{expires_at > '12000-01-01'}), $newest_head), qr/^    expires_at = 12026-02-03 04:05:06\.789000\+00:00$/m, 'a year that Python does not know');
like(outside($proof, $late), qr/^refused: its last block/, 'not against a head that it does not reach');
my $refused = my $tried = 0;
my @forged;
for (my $at = 20; $at < length $long; $at += 37)
{
	my $forged = $long;
	my $was = substr $forged, $at, 1;
	substr($forged, $at, 1) = $was eq '1' ? '2' : '1';
	push @forged, $forged;
}
foreach my $forged (@forged[ map { $_ * 4 } 0 .. $#forged / 4 ])
{
	$tried++;
	$refused++ if outside($forged, $late) =~ /^refused: /;
}
is($refused, $tried, "$tried forged proofs are refused by the script");
is(value($node, 'SELECT count(*) FROM unnest(ARRAY[' . join(', ', map { sql_literal($_) } @forged) . "]) f, payments.verify_proof(f, '$late') v WHERE NOT v.ok", @base),
	scalar @forged, scalar(@forged) . ' by verify_proof()');
$node->stop;
done_testing();
