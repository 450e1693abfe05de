# If this fails, a month ends and postings have nowhere to go; or what a DBA
# retires takes a balance, a reference or a guard with it, or stops the payment
# system while it goes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

# ---------- a server whose clock we move
my $dir = PostgreSQL::Test::Utils::tempdir();
set_clock('2024-01-20');
my $node = with_clock(sub { new_payments_node('partitions', conf => "payments.poll_interval = '1s'\npayments.seal_interval = 0\ntimezone = 'UTC'\nautovacuum = off") });
is(value($node, 'SELECT current_date'), '2024-01-20', 'the clock stands where we set it');
sub months { return value($node, "SELECT string_agg(partition, ' ' ORDER BY is_default, from_time) FROM payments._partitions() WHERE table_name = '$_[0]'") }
is(months('posting'), 'posting_2024_01 posting_2024_02 posting_2024_03 posting_2024_04 posting_default', 'setup() makes months ahead');
is(months('payment_status') =~ s/payment_status/x/gr, months('event') =~ s/event/x/gr, 'of all three tables');

# ---------- January: something of everything
sub sandbox { return create_payment($node, psp => 'sandbox', payment_method => 'sandbox_ok', amount => 1000, @_) }
value($node, q{SELECT payments.create_account('cash', 'EUR', 'asset', history => true), payments.create_account('wallet', 'EUR', 'liability', min_balance => 0),
	payments.create_account('fees', 'EUR', 'income', hot => true)});
my $paid = sandbox(idempotency_key => 'paid');
my $refunded = sandbox(idempotency_key => 'refunded');
# One that no clock ends, as that of an authorization does.
value($node, q{SELECT payments.create_psp('shut', 'sandbox'), payments.pause_psp('shut', 'a test')});
my $held = sandbox(idempotency_key => 'held', psp => 'shut');
is(outcome($node, $_), 'succeeded', 'a payment in January') foreach $paid, $refunded;
my $first = value($node, q{SELECT payments.post(1, 2, 10000, reference => 'january')});
my $reversed = value($node, q{SELECT payments.post(1, 2, 300)});
my $reversal = value($node, qq{SELECT payments.reverse_posting($reversed, 'wrong', reference => 'back')});
my $transaction = value($node, q{SELECT payments.post_transaction(ARRAY[2, 2], ARRAY[1, 3], ARRAY[100, 7], reference => 'legs')});
my $taken_back = value($node, qq{SELECT payments.reverse_transaction($transaction, 'wrong', reference => 'legs back')});
is(value($node, q{SELECT error FROM payments.post_batch(ARRAY[2], ARRAY[1], ARRAY[999999], "references" => ARRAY['refused'])}), 'PY204', 'one is refused');
my $hold = value($node, q{SELECT hold_id FROM payments.hold(2, 1, 500)});
my $parcel = value($node, qq{SELECT payments.post_hold($hold, 100, final => false, reference => 'parcel')});
check_clean($node, 'January: check() is clean');

# ---------- over the boundary of a month
set_clock('2024-01-31', 23, 30);
# The clock goes over it when each has posted twenty; sixty come before they look.
my @sessions = many_sessions($node, 3, sub {
		my ($i) = @_;
		my $post = sub { "SELECT payments.post(1, 2, 1, reference => 'boundary $i $_'); SELECT pg_sleep(0.05);" };
		return join "\n", (map { $post->() } 1 .. 60),
		  q{DO $$ BEGIN WHILE clock_timestamp() < '2024-02-01' LOOP PERFORM pg_sleep(0.05); END LOOP; END $$;}, (map { $post->() } 61 .. 100);
	},
	meanwhile => sub {
		wait_until($node, q{SELECT count(DISTINCT split_part(reference, ' ', 2)) FROM payments.posting WHERE reference LIKE 'boundary % 20'}, 3);
		set_clock('2024-02-01', 0, 0, 1);
	});
is(join('', map { $_->{stderr} } @sessions), '', 'sessions post over the end of the month');
ok(value($node, "SELECT count(*) FROM payments.posting_2024_01 WHERE reference LIKE 'boundary%'") > 0, 'some in January');
ok(value($node, "SELECT count(*) FROM payments.posting_2024_02 WHERE reference LIKE 'boundary%'") > 0, 'some in February');
is(value($node, "SELECT count(*) FROM payments.posting WHERE reference LIKE 'boundary%'"), 300, 'all of them');
value($node, q{SELECT payments.post(1, 3, 5) FROM generate_series(1, 10)});
check_clean($node, 'over the boundary: check() is clean');

set_clock('2024-02-09');
ok(wait_until($node, q{SELECT count(*) FROM (VALUES ('posting'), ('payment_status'), ('event')) t (n) WHERE to_regclass('payments.' || n || '_2024_05') IS NOT NULL}, '3'), 'the worker makes the next months');
value($node, "SELECT payments.refund_payment('$refunded', 'refund', 400)");
is(outcome($node, $refunded), 'partially_refunded', 'a refund in February of a payment of January');
is(value($node, "SELECT string_agg(DISTINCT tableoid::regclass::text, ' ') FROM payments.payment_status WHERE payment_id = '$refunded'"), 'payments.payment_status_2024_01', 'a history lies in one partition');

set_clock('2024-03-10');
value($node, q{SELECT payments.post(1, 2, 2000, reference => 'march'), payments.post(2, 3, 50)});
my $in_march = sandbox(idempotency_key => 'march');
my $march = value($node, q{SELECT payments.post(1, 2, 70)});
is(outcome($node, $in_march), 'succeeded', 'a payment in March');
my $ANSWERS = q{SELECT a, payments.balance(a), payments.balance_at(a, '2024-03-01'), payments.balance_at(a, '2024-02-29 23:59:59.999999'),
	payments.balance_at(a, '2024-03-10 11:00'), (SELECT string_agg(s::text, E'\n') FROM payments.statement(a, '2024-03-01', '2024-04-01') s)
	FROM generate_series(1, (SELECT max(account_id) FROM payments.account)) a ORDER BY a};
my $answers = value($node, $ANSWERS);

# ---------- refused
my $RETIRE = q{SELECT partition, kept_as, refused FROM payments.retire_partitions('%s', older_than => '%s')};
sub retire { my ($table, $age) = @_; return value($node, sprintf $RETIRE, $table, $age // '1 month') }
is(sqlstate($node, sprintf $RETIRE, 'posting', '29 days'), '22023', 'younger than a month');
is(sqlstate($node, sprintf $RETIRE, 'movement', '1 year'), '22023', 'another table');
is(sqlstate($node, 'BEGIN; ' . sprintf($RETIRE, 'posting', '1 year')), '25001', 'in a transaction that would keep the lock');
is(sqlstate($node, 'SET default_transaction_isolation = \'repeatable read\'; ' . sprintf($RETIRE, 'posting', '1 year')), '25001', 'under a snapshot that may be too old');
is(sqlstate($node, 'SET ROLE payments_operator; ' . sprintf($RETIRE, 'posting', '1 year')), '42501', 'by an operator');
is(retire('posting', '1 year'), '', 'nothing is that old');
is(retire('posting'), "posting_2024_01||hold $hold was posted in part and is still open: post the rest of it, or void it", 'a hold is open');
is(retire('payment_status'), "payment_status_2024_01||payment $held is not over, or has changed since", 'a payment is not over');
value($node, "SELECT payments.void_hold($hold)");
value($node, "SELECT payments.cancel_payment('$held', 'cancel')");
is(outcome($node, $held), 'cancelled', 'both are ended');
is(retire('payment_status'), "payment_status_2024_01||payment $held is not over, or has changed since", 'a payment has just changed');

is(retire('posting'), 'posting_2024_01||it has rows that are not sealed yet: SELECT payments.seal_blocks()', 'rows are not sealed');
sub seal { return value($node, 'SELECT payments.seal_blocks() > 0') }
is(seal(), 't', 'now they are');
# The lock of one that posted in January and has not committed yet.
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe('BEGIN; LOCK TABLE payments.posting_2024_01 IN ROW EXCLUSIVE MODE');
is(retire('posting'), 'posting_2024_01||a transaction that is open may write into it', 'what is open may still add a row');
$writer->quit;

# ---------- a violation is not forgotten
sub break_by_catalog { return $node->safe_psql('postgres', "SET allow_system_table_mods = on; UPDATE pg_trigger SET tgenabled = '$_[1]' WHERE tgname = 'guard_append_only' AND tgrelid = 'payments.$_[0]'::regclass; $_[2]") }
break_by_catalog('posting_2024_01', 'D', "UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = $first");
is(sqlstate($node, sprintf $RETIRE, 'posting', '1 month'), 'PY217', 'rows that check() finds wrong are not retired');
break_by_catalog('posting_2024_01', 'D', "UPDATE payments.posting SET amount = amount - 1 WHERE posting_id = $first");
like(value($node, 'SELECT sample FROM payments.check() WHERE NOT ok'), qr/posting_2024_01\.guard_append_only/, 'check() sees a partition without its guard');
break_by_catalog('posting_2024_01', 'A', '');
check_clean($node, 'as before: check() is clean');

# ---------- a crash while it waits for a long reader; two at once
my $reader = $node->background_psql('postgres', on_error_stop => 0);
$reader->query_safe('BEGIN; SELECT count(*) FROM payments.posting');
my $retiring = $node->background_psql('postgres', on_error_stop => 0);
$retiring->query_until(qr/started/, "\\echo started\n" . sprintf($RETIRE, 'posting', '1 month') . ";\n");
ok(wait_until($node, q{SELECT count(*) > 0 FROM pg_locks WHERE mode = 'ShareLock' AND relation = 'payments.posting_2024_01'::regclass}, 't'), 'it has begun');
sub longest { return (sort { $b <=> $a } map { $_->{stdout} =~ /^Time: ([\d.]+) ms/mg } @_)[0] / 1000 }
my $longest = least_time(3, sub { return longest(many_sessions($node, 1, sub { return "\\timing on\n" . join "\n", map { "SELECT payments.post(1, 2, 1);" } 1 .. 2000 })) });
cmp_ok($longest, '<', 3, sprintf 'nobody waits for it for long while it waits for a reader (longest: %.3f s)', $longest);
is(sqlstate($node, sprintf $RETIRE, 'posting', '1 month'), '55P03', 'a second one does not wait for the first');
$node->stop('immediate');
eval { $_->quit } foreach $reader, $retiring;
with_clock(sub { $node->start });
is(value($node, 'SELECT count(*) FROM payments.partition_retired') . months('posting'), '0posting_2024_01 posting_2024_02 posting_2024_03 posting_2024_04 posting_2024_05 posting_2024_06 posting_default', 'after a crash nothing was retired');
check_clean($node, 'crash: check() is clean');
$answers = value($node, $ANSWERS);

# ---------- retired, while others post and an old snapshot reads
set_clock('2024-04-15');
ok(wait_until($node, q{SELECT to_regclass('payments.posting_2024_07') IS NOT NULL}, 't'), 'the worker makes months ahead before');
my $old = $node->background_psql('postgres', on_error_stop => 0);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM payments.merchant');
@sessions = many_sessions($node, 5, sub {
	my ($i) = @_;
	return sprintf($RETIRE, 'posting', '1 month') . ';' if $i == 0;
	return "\\timing on\n" . join "\n", map { "SELECT payments.post(1, 2, 1, reference => 'meanwhile $i $_');" } 1 .. 500;
});
is(join('', map { $_->{stderr} } @sessions), '', 'nobody fails while months are retired');
is($sessions[0]{stdout}, "posting_2024_01|retired_posting_2024_01|\nposting_2024_02|retired_posting_2024_02|", 'two months are');
note(sprintf 'the longest post() took %.3f s', longest(@sessions[1 .. 4]));
is(value($node, q{SELECT count(*) FROM payments.posting WHERE reference LIKE 'meanwhile%'}), 2000, 'all is posted');
check_clean($node, 'retired: check() is clean');
is(value($node, 'SELECT kind FROM payments.verify()'), 'ok', 'verify() misses nothing');
is(months('posting'), 'posting_2024_03 posting_2024_04 posting_2024_05 posting_2024_06 posting_2024_07 posting_default', 'they are no partitions any more');
ok(value($node, q{SELECT bool_and((xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM payments.' || kept_as, false, true, '')))[1]::text::bigint = rows) FROM payments.partition_retired}) eq 't', 'but tables, with all their rows');
is(value($node, 'SELECT payments.make_partitions(since => \'2024-01-01\')'), 0, 'retired months are not made again');

# What was true stays true.
sub now_answers { my $text = value($node, $ANSWERS); return $text =~ s/^(\d+\|)\([^)]*\)/$1/gmr }
is(now_answers(), $answers =~ s/^(\d+\|)\([^)]*\)/$1/gmr, 'balances and statements of the times that are left are the same');
is(sqlstate($node, q{SELECT payments.balance_at(2, '2024-02-29 23:59:59.999998')}), 'PY216', 'of earlier ones nothing is said');
isnt(value($node, q{SELECT payments.balance_at(1, '2024-01-25')}), '', 'but of an account with a history of its own');
is(sqlstate($node, q{SELECT payments.statement(2, '2024-02-29', NULL)}), 'PY216', 'nor in a statement');
is(value($node, q{SELECT booked_at, balance FROM payments.statement(2, NULL, NULL) LIMIT 1}), value($node, q{SELECT '2024-03-01 00:00:00+00', payments.balance_at(2, '2024-03-01')}), 'one from the beginning opens with what came before');
is($old->query(q{\set VERBOSITY sqlstate
SELECT payments.balance_at(2, '2024-03-05') > 0;}), 't', 'a snapshot from before reads balances that are left');
foreach my $refused ([ q{SELECT payments.balance_at(2, '2024-02-05')}, 'PY216', 'and no others' ], [ 'SELECT * FROM payments.check()', '40001', 'check() does not mistake it for a loss' ],
	[ 'SELECT * FROM payments.verify()', '40001', 'nor does verify()' ])
{
	$old->query("SAVEPOINT s; $refused->[0]");
	like($old->{stderr}, qr/$refused->[1]/, $refused->[2]);
	$old->{stderr} = '';
	$old->query('ROLLBACK TO s');
}
$old->quit;
is(value($node, q{SELECT payments.post(1, 2, 10000, reference => 'january')}), $first, 'a repeated reference gets the first posting');
is(value($node, q{SELECT payments.post_transaction(ARRAY[2, 2], ARRAY[1, 3], ARRAY[100, 7], reference => 'legs')}), $transaction, 'a repeated transaction too');
is(value($node, q{SELECT error FROM payments.post_batch(ARRAY[2], ARRAY[1], ARRAY[999999], "references" => ARRAY['refused'])}), 'PY204', 'what was refused stays so');
is(value($node, qq{SELECT payments.post_hold($hold, 100, final => false, reference => 'parcel')}), $parcel, 'a repeated post_hold() too');
is(value($node, qq{SELECT payments.reverse_posting($reversed, 'wrong', reference => 'back')}), $reversal, 'a repeated reversal too');
is(value($node, qq{SELECT payments.reverse_transaction($transaction, 'wrong', reference => 'legs back')}), $taken_back, 'and of a transaction');
is(sqlstate($node, qq{SELECT payments.reverse_posting($first, 'too late')}), 'PY213', 'a retired posting is not reversed');
like(($node->psql('postgres', qq{SELECT payments.reverse_posting($first, 'too late')}))[2], qr/not here any more.*retired.*other way round/s, 'with a hint');
ok(value($node, qq{SELECT payments.reverse_posting($march, 'in time')}) > 0, 'one that is left is');
check_clean($node, 'and check() is clean');

# ---------- and check() has not lost its teeth
foreach my $change (
	[ 'posting_retired', 'UPDATE payments.posting_retired SET debits = debits + 1 WHERE account_id = 1', 'sums of an account' ],
	[ 'posting_retired', 'UPDATE payments.posting_retired SET credits = credits + 1, debits = debits + 1 WHERE account_id = 3', 'retired postings balance' ],
	[ 'posting_reference', "DELETE FROM payments.posting_reference WHERE reference = 'january'", 'every reference of a retired posting' ],
	[ 'posting_reference', "DELETE FROM payments.posting_reference WHERE reference LIKE 'sandbox:%:capture:1' AND booked_at < '2024-02-01'", 'every movement of money' ],
	[ 'posting_2024_03', "DELETE FROM payments.posting WHERE reference = 'march'", 'a reference belongs' ])
{
	my ($table, $sql, $invariant) = @$change;
	my $found = $node->safe_psql('postgres', "BEGIN; SET allow_system_table_mods = on; UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'guard_append_only' AND tgrelid = 'payments.$table'::regclass;
		$sql; SELECT invariant FROM payments.check() WHERE NOT ok; ROLLBACK");
	like($found, qr/^\Q$invariant/m, "check() finds: $sql");
}

# ---------- histories and events
is(retire('payment_status'), "payment_status_2024_01|retired_payment_status_2024_01|\npayment_status_2024_02|retired_payment_status_2024_02|", 'histories are retired');
check_clean($node, 'histories: check() is clean');
is(value($node, "SELECT seq, status, event, source FROM payments.payment_history('$paid')"), '3|succeeded|retired|person', 'payment_history() says so');
value($node, "SELECT payments.refund_payment('$paid', 'late refund')");
is(outcome($node, $paid), 'refunded', 'such a payment can still be refunded');
is(value($node, "SELECT string_agg(seq || ' ' || status, ', ') FROM payments.payment_history('$paid')"), '3 succeeded, 4 refunded', 'its history goes on');
check_clean($node, 'and the chain holds');
is(value($node, q{SELECT count(*), count(kept_as) FROM payments.retire_partitions('event', older_than => '1 month', keep => false)}), '2|0', 'events are dropped');
is(value($node, q{SELECT to_regclass('payments.event_2024_01') IS NULL AND to_regclass('payments.retired_event_2024_01') IS NULL}), 't', 'for good');
check_clean($node, 'events: check() is clean');
seal();
is(value($node, 'SELECT kind FROM payments.verify()'), 'ok', 'events: verify() misses nothing');

# ---------- the guards of partitions
foreach my $part (qw(posting_2024_03 posting_2024_07 posting_default payment_status_2024_03 event_2024_03))
{
	is(sqlstate($node, "TRUNCATE payments.$part"), 'PY003', "TRUNCATE $part");
}
is(sqlstate($node, "SET session_replication_role = replica; $_"), 'PY003', $_) foreach 'UPDATE payments.posting_2024_03 SET amount = 1', 'DELETE FROM payments.payment_status_2024_03', 'DELETE FROM payments.event_2024_03';
foreach my $sql (
	'ALTER TABLE payments.posting_2024_03 DISABLE TRIGGER ALL',
	'ALTER TABLE payments.posting DETACH PARTITION payments.posting_2024_03',
	'ALTER TABLE payments.posting DETACH PARTITION payments.posting_2024_03 CONCURRENTLY',
	'ALTER TABLE payments.posting_2024_03 SET UNLOGGED',
	'ALTER TABLE payments.posting_2024_03 RENAME TO mine',
	'ALTER TABLE payments.posting_2024_03 SET SCHEMA public',
	'DROP TRIGGER guard_truncate ON payments.posting_2024_03',
	'CREATE RULE swallow AS ON INSERT TO payments.posting_2024_03 DO INSTEAD NOTHING',
	q{CREATE TRIGGER swallow BEFORE INSERT ON payments.posting_2024_03 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()},
	'DROP TABLE payments.posting_2024_03',
	'DROP TABLE payments.posting CASCADE',
	q{CREATE TABLE mine PARTITION OF payments.posting FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')},
	q{CREATE TABLE mine (LIKE payments.posting); ALTER TABLE payments.posting ATTACH PARTITION mine FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')},
	'CREATE TABLE mine () INHERITS (payments.payment)',
	'CREATE TABLE mine (LIKE payments.payment); ALTER TABLE mine INHERIT payments.payment',
	q{SELECT payments._detach_partitions('posting', '{posting_2024_03}', true)})
{
	is(sqlstate($node, "BEGIN; $sql; ROLLBACK"), 'PY012', "refused: $sql");
}
is(sqlstate($node, "SET ROLE payments_auditor; SELECT FROM payments.posting_2024_03"), '42501', 'partitions are read through their table only');
ok(value($node, 'SET ROLE payments_auditor; SELECT count(*) FROM payments.posting') > 0, 'through it they are');

# ---------- dump and restore
my $FINGERPRINT = q{SELECT c.relname, (xpath('/row/f/text()', query_to_xml(format(
		'SELECT count(*) || '' '' || coalesce(md5(string_agg(t::text, E''\n'' ORDER BY t::text)), ''-'') AS f FROM payments.%I t', c.relname), false, true, '')))[1]
	FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('installation', 'job') AND c.relname !~ %s ORDER BY 1};
my $GUARDS = q{SELECT c.relname, t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'payments'::regnamespace AND t.tgname LIKE 'guard%' ORDER BY 1, 2};
my $same = $FINGERPRINT =~ s/%s/'^\$'/r;
$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", '-o', '/dev/null', '-d', $node->connstr('restored') ], 'restore, not one error');
is(value($node, $same, dbname => 'restored'), value($node, $same), 'the same rows in every partition');
is(value($node, $GUARDS, dbname => 'restored'), value($node, $GUARDS), 'the same guards');
unlike(value($node, $GUARDS, dbname => 'restored'), qr/\|[^A]$/m, 'all of them ALWAYS');
is(sqlstate($node, 'TRUNCATE payments.posting_2024_03', dbname => 'restored'), 'PY003', 'and they bite');
check_clean($node, 'restored: check() is clean', dbname => 'restored');
is(value($node, q{SELECT payments.setup(); SELECT payments.make_partitions('4 months') > 0}, dbname => 'restored'), "\nt", 'setup() and make_partitions() go on there');
is(value($node, q{SELECT payments.post(1, 2, 10000, reference => 'january')}, dbname => 'restored'), $first, 'references too');

# The data alone, into the tables of a new setup(), which has some of the rows and not those months.
$node->command_ok([ 'pg_dump', '-a', '--rows-per-insert=1000', '--on-conflict-do-nothing', '-t', 'payments.merchant', '-t', 'payments.psp',
	'-f', "$dir/first.sql", '-d', $node->connstr('postgres') ], 'pg_dump of merchants and PSPs');
$node->command_ok([ 'pg_dump', '-a', '--load-via-partition-root', '-n', 'payments', '-T', 'payments.merchant', '-T', 'payments.psp', '-T', 'payments.installation',
	'-T', 'payments.retired_*', '-f', "$dir/data.sql", '-d', $node->connstr('postgres') ], 'pg_dump of all other data');
$node->safe_psql('postgres', 'CREATE DATABASE data_only TEMPLATE template0');
$node->safe_psql('data_only', q{CREATE EXTENSION payments; SELECT payments.setup(); DELETE FROM payments.installation_salt; SELECT payments.make_partitions(since => '2024-03-01')});
$node->command_checks_all([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/first.sql", '-f', "$dir/data.sql", '-o', '/dev/null', '-d', $node->connstr('data_only') ],
	0, [qr/^$/], [qr/^$/], 'restored, not one error');
my $through = $FINGERPRINT =~ s/%s/'(_20\\d\\d_|_default|^retired_|^merchant\$|^psp\$)'/r;
is(value($node, $through, dbname => 'data_only'), value($node, $through), 'the same rows in every table');
check_clean($node, 'data only: check() is clean', dbname => 'data_only');

# ---------- nobody made the month in time
stop_worker($node);
set_clock('2024-10-05');
ok(value($node, q{SELECT payments.post(1, 2, 11, reference => 'late month')}) > 0, 'no insert fails for want of a partition');
is(value($node, q{SELECT tableoid::regclass FROM payments.posting WHERE reference = 'late month'}), 'payments.posting_default', 'the default one takes it');
like(value($node, q{SELECT hint FROM payments.partition_status WHERE partition = 'posting_default'}), qr/without a partition/, 'the view says so');
value($node, 'SELECT payments.start_worker()');
ok(wait_until($node, q{SELECT to_regclass('payments.posting_2024_12') IS NOT NULL}, 't'), 'the worker makes the others');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/WARNING:  could not make partition "payments.posting_2024_10".*\n.*HINT.*clock/, 'and warns of the one that it cannot make');
set_clock('2024-11-05');
value($node, q{SELECT payments.post(1, 2, 12, reference => 'in time again')});
is(value($node, q{SELECT tableoid::regclass FROM payments.posting WHERE reference = 'in time again'}), 'payments.posting_2024_11', 'from the next month on all is well');
seal();
# Somebody else's trigger on what a retirement writes is not of it.
value($node, q{CREATE TABLE undone (state text); GRANT INSERT ON undone TO payments_owner;
	CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		ALTER TABLE payments.movement DISABLE TRIGGER ALL; INSERT INTO public.undone VALUES ('done'); RETURN NULL;
	EXCEPTION WHEN OTHERS THEN INSERT INTO public.undone VALUES (sqlstate); RETURN NULL; END $$;
	CREATE TRIGGER undo AFTER INSERT ON payments.partition_retired EXECUTE FUNCTION undo()});
is(value($node, q{SELECT count(*) FROM payments.retire_partitions('posting', older_than => '1 month') WHERE refused IS NULL}), 5, 'the months that there were are retired');
is(value($node, 'SELECT DISTINCT state FROM undone'), 'PY012', 'and not by way of it the guards of another table');
value($node, 'DROP FUNCTION undo() CASCADE');
check_clean($node, 'and check() is clean');
log_lacks_deadlocks($node);
done_testing();
