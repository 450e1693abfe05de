# If this fails, a backup of a busy database cannot be restored in one of the
# ways that people restore, or what comes back is not what was there.
#
# Writers go on all the while, so rows lie in the heap in another order than
# they follow one another: COPY brings a later step of a payment before the one
# that it is chained to.
#
# Those ways that differ most; PAY_RESTORES=all (make test-long) tries each.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run ();
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_payments_node('busy', init => [ allows_streaming => 1 ], conf => 'max_wal_senders = 10');
my $restored = 0;

my $writers = busy_database($node);

# ---------- what was there at one moment
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $snapshot = $session->query_safe('SELECT pg_export_snapshot()');
my $there = $session->query_safe(fingerprint());
my $empty = join ' ', $there =~ /^(\w+)\|0 /mg;
note "empty: $empty";
unlike($empty, qr/\b(payment|payment_status|operation|posting|account_history|account_part|dead_letter|feed_entry|psp_feed|seal|seal_leaf|settlement_line|period_close|ledger_hold|event)\b/, 'there is something in every kind of table');
like($session->query_safe(backward_rows()), qr/^t$/, 'the snapshot has such rows');

sub dump_of { my ($name, @options) = @_; my $file = "$dir/$name"; $node->command_ok([ 'pg_dump', "--snapshot=$snapshot", '-f', $file, @options, '-d', $node->connstr('postgres') ], "pg_dump $name"); return $file }
sub psql_of { my ($db, @what) = @_; return [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', @what, '-d', $node->connstr($db) ] }
sub pg_restore_of { my ($db, @what) = @_; return [ 'pg_restore', '--exit-on-error', '-d', $node->connstr($db), @what ] }
sub restores_too { return restores(@_) if ($ENV{PAY_RESTORES} // '') eq 'all' }
sub restores
{
	my ($name, $make, %options) = @_;
	my $db = 'r' . ++$restored;

	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0" . ($options{owner} ? " OWNER $options{owner}" : ''));
	$node->command_checks_all($_, 0, [qr/^$/], [qr/^$/], "$name: not one complaint") foreach $make->($db);
	is(value($node, fingerprint($options{without}), dbname => $db), $options{there} // $there, "$name: the same rows");
	check_clean($node, "$name: check() is clean", dbname => $db);
	like(value($node, 'SELECT kind FROM payments.verify()', dbname => $db), qr/^ok$/, "$name: verify() too");
	isnt(sqlstate($node, q{INSERT INTO payments.payment_status (payment_id, seq, status, event, source, actor, recorded_at, hash)
		SELECT payment_id, seq + 2, 'failed', 'decline', 'person', 'x', now(), hash FROM payments.payment_status ORDER BY payment_id DESC, seq DESC LIMIT 1}, dbname => $db), '', "$name: and the guards bite");
	$node->safe_psql('postgres', "DROP DATABASE $db");
	return;
}

my @only = qw(-a -n payments);
my %dump = map { $_->[0] => dump_of(@$_) } (
	['plain'], [ 'custom', '-Fc' ], [ 'folder', '-Fd', '-j', '2' ], [ 'inserts', '--inserts' ],
	[ 'data', @only ], [ 'data_inserts', '--inserts', @only ], [ 'data_rows', '--rows-per-insert=7', @only ],
	[ 'first', '-a', '--rows-per-insert=1000', '--on-conflict-do-nothing', '-t', 'payments.merchant', '-t', 'payments.psp' ],
	[ 'rest', '-a', '--load-via-partition-root', '-n', 'payments', map { ('-T', "payments.$_") } qw(merchant psp installation retired_*) ]);
# Of what setup() makes as well, and where a partition is another one.
my $but = '(^(installation|job|merchant|psp)$|_20\d\d_|_default$)';
my $there_but = $session->query_safe(fingerprint($but));
$session->quit;

restores('plain', sub { psql_of($_[0], '-f', $dump{plain}) });
restores_too('plain, one transaction', sub { psql_of($_[0], '-1', '-f', $dump{plain}) });
restores_too('inserts', sub { psql_of($_[0], '-f', $dump{inserts}) });
restores('custom, two jobs', sub { pg_restore_of($_[0], '-j', '2', $dump{custom}) });
restores_too('folder, two jobs', sub { pg_restore_of($_[0], '-j', '2', $dump{folder}) });
restores('by sections', sub { my $db = shift; map { pg_restore_of($db, "--section=$_", $dump{custom}) } qw(pre-data data post-data) });
restores_too('schema, then data', sub { (pg_restore_of($_[0], '-s', $dump{custom}), pg_restore_of($_[0], '-a', $dump{custom})) });
restores('schema, then data with two jobs', sub { (pg_restore_of($_[0], '-s', $dump{folder}), pg_restore_of($_[0], '-a', '-j', '2', $dump{folder})) });
restores_too('schema, then a dump of the data', sub { (pg_restore_of($_[0], '-s', $dump{custom}), psql_of($_[0], '-f', $dump{data})) });
my @at_commit = ('-1', '-c', 'SET CONSTRAINTS ALL DEFERRED');
restores('schema, then inserts in one transaction', sub { (pg_restore_of($_[0], '-s', $dump{custom}), psql_of($_[0], @at_commit, '-f', $dump{data_inserts})) });
restores_too('schema, then inserts of many rows', sub { (pg_restore_of($_[0], '-s', $dump{custom}), psql_of($_[0], @at_commit, '-f', $dump{data_rows})) });
# Whoever restores, and whosever the database is.
$node->safe_psql('postgres', q{CREATE ROLE restorer SUPERUSER LOGIN; CREATE ROLE landlord});
restores('by another superuser, into a database of somebody', sub { my $db = shift; [ @{ pg_restore_of($db, $dump{custom}) }, '-U', 'restorer' ] }, owner => 'landlord');
# docs/retention.md: into the tables of a new setup()
restores('the data into a new setup()', sub { (psql_of($_[0], '-c', 'CREATE EXTENSION payments; SELECT payments.setup(), payments.stop_worker(); DELETE FROM payments.installation_salt'),
	psql_of($_[0], '-f', $dump{first}, '-f', $dump{rest})) }, without => $but, there => $there_but);
$writers->kill_kill;
at_rest($node);
stop_worker($node);
check_clean($node, 'check() is clean here');

# ---------- the whole cluster
my $all = new_payments_node('all', worker => 0, extension => 0);
$node->command_ok([ 'pg_dumpall', '-f', "$dir/all", '-d', $node->connstr('postgres') ], 'pg_dumpall');
IPC::Run::run([ 'psql', '-Xq', '-o', '/dev/null', '-f', "$dir/all", '-d', $all->connstr('postgres') ], '2>', \my $stderr);
is($stderr =~ s/^psql.*role "\w+" already exists\n//mr, '', 'its restore complains of the superuser alone');
is(value($all, fingerprint()), value($node, fingerprint()), 'pg_dumpall: the same rows');
check_clean($all, 'pg_dumpall: check() is clean');
done_testing();
