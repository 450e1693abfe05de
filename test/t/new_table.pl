# If this fails, a new table is more than its CREATE TABLE and its row in
# core/table.c: one of the guards, seals, partitions or grants was forgotten, and
# nobody is told.
#
# The project is copied, both edits are made, and it is built and installed
# into a server of its own.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use File::Basename qw(dirname);
use IPC::Run ();
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

# ---------- the two edits
my $CREATE = <<'SQL';

CREATE TABLE IF NOT EXISTS payments.parcel (
	merchant text NOT NULL,
	number bigint NOT NULL,
	handed_at timestamptz NOT NULL,
	grams int,
	PRIMARY KEY (merchant, number, handed_at)
) PARTITION BY RANGE (handed_at);

COMMENT ON TABLE payments.parcel IS 'what was handed to a carrier, append-only';
COMMENT ON COLUMN payments.parcel.merchant IS 'merchant.merchant';
COMMENT ON COLUMN payments.parcel.number IS 'as the merchant counts';
COMMENT ON COLUMN payments.parcel.handed_at IS 'when it was';
COMMENT ON COLUMN payments.parcel.grams IS 'what it weighs; null: not known';
SQL
my $ROW = <<'C';
	{.name = "parcel", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"merchant", "text"}, {"number", "bigint"}}, .partition_key = {"handed_at", "timestamptz"},
		.app_reads = true, .merchant_by = "merchant"},
C

my $dir = PostgreSQL::Test::Utils::tempdir();
my $copy = "$dir/payments";
sub run_ok { my ($what, @command) = @_; my $out = ''; ok(IPC::Run::run(\@command, '>&', \$out), $what) or diag($out); return $out }
sub slurp { return PostgreSQL::Test::Utils::slurp_file("$copy/$_[0]") }
sub spew { my ($file, $text) = @_; unlink "$copy/$file"; open my $out, '>', "$copy/$file" or die "$file: $!"; print {$out} $text; close $out or die "$file: $!"; return }

mkdir $copy;
run_ok('a copy of the project', 'cp', '-a', (map { "$FindBin::RealBin/../../$_" } qw(Makefile payments.control src sql ci docs)), $copy);
mkdir "$copy/test";
run_ok('and of what its Makefile includes', 'cp', '-a', "$FindBin::RealBin/../test.mk", "$copy/test/");

# ---------- one edit without the other
sub complaints { my $out = ''; IPC::Run::run([ 'perl', 'ci/tables_registered' ], '>&', \$out, init => sub { chdir $copy or die }); return $out }
my ($tables, $registry) = ('sql/payment/tables.sql', 'src/core/table.c');
my ($sql, $c) = (slurp($tables), slurp($registry));
my $with_row = $c =~ s/^(?=\t\{\.name = "partition_retired")/$ROW/mr;
isnt($with_row, $c, 'the row has its place in the order of names');
like(complaints(), qr/^\d+ tables$/, 'the guard has nothing against the tables there are');
spew($tables, $sql . $CREATE);
like(complaints(), qr{^sql/payment/tables\.sql:\d+: parcel has no row in src/core/table\.c$}, 'it wants a row for a table');
spew($tables, $sql);
spew($registry, $with_row);
like(complaints(), qr{^src/core/table\.c:\d+: no CREATE TABLE payments\.parcel }, 'and a table for a row');
spew($tables, $sql . $CREATE =~ s/^COMMENT ON COLUMN payments\.parcel\.grams.*\n//mr);
like(complaints(), qr{^sql/payment/tables\.sql:\d+: no COMMENT ON COLUMN payments\.parcel\.grams in this file$}, 'and a comment for each column');
spew($tables, $sql . $CREATE);
foreach my $wrong ([ '"number", "bigint"', '"number", "int"', qr/parcel\.number is no int, but bigint/ ], [ '"number", "bigint"', '"box", "bigint"', qr/parcel has no column box/ ],
	[ '"handed_at", "timestamptz"', '"number", "bigint"', qr/parcel is partitioned by handed_at/ ], [ 'APPEND_ONLY', 'FREE', qr/only what is append-only, or has a projection, can be sealed/ ])
{
	spew($registry, $c =~ s/^(?=\t\{\.name = "partition_retired")/$ROW =~ s{\Q$wrong->[0]}{$wrong->[1]}r/mre);
	like(complaints(), $wrong->[2], "and a row that is right: not $wrong->[1]");
}
spew($registry, $c =~ s/^(?=\t\{\.name = "queue")/$ROW/mr);
like(complaints(), qr/parcel is there twice, or not in the order of names/, 'in its place');

# ---------- both: built, and installed into a server of its own
spew($registry, $with_row);
like(complaints(), qr/^\d+ tables$/, 'of both edits it is content');

# The same folders below another root: the server finds its files by where its own lies.
chomp(my %at = map { $_ => `pg_config --$_` } qw(bindir pkglibdir sharedir includedir));
my ($root) = join("\n", @at{qw(bindir sharedir)}) =~ m{^(/.*)/.*\n\1/} or die 'no root of bindir and sharedir';
sub below { return $at{ $_[0] } =~ s/^\Q$root\E/$dir/r }
# Programs find themselves through a link, so these are copied.
my %how = (bindir => [qw(cp -rL)], pkglibdir => [qw(cp -rs)], sharedir => [qw(cp -rs)], includedir => [qw(ln -s)]);
foreach my $what (sort keys %how)
{
	PostgreSQL::Test::Utils::system_or_bail('mkdir', '-p', dirname(below($what)));
	PostgreSQL::Test::Utils::system_or_bail(@{ $how{$what} }, $at{$what}, below($what));
}
unlink below('pkglibdir') . '/payments.so', glob(below('sharedir') . '/extension/payments*');
$ENV{PATH} = below('bindir') . ":$ENV{PATH}";
run_ok('it builds and installs', 'make', '-s', '-C', $copy, 'with_llvm=no', 'COPT=' . ($ENV{PAY_BUILD_FLAGS} // ''), 'PG_CONFIG=' . below('bindir') . '/pg_config', 'install');
set_clock('2024-04-10');
my $node = with_clock(sub { new_payments_node('new_table', conf => "payments.seal_interval = 0\ntimezone = 'UTC'") });
ok(-e below('pkglibdir') . '/payments.so' && !-l below('pkglibdir') . '/payments.so', 'there and nowhere else');
is(value($node, q{SELECT to_regclass('payments.parcel')}), 'payments.parcel', 'setup() makes the table');

# ---------- partitions, made ahead
is(value($node, q{SELECT string_agg(partition, ' ' ORDER BY is_default, from_time) FROM payments._partitions() WHERE table_name = 'parcel'}),
	'parcel_2024_04 parcel_2024_05 parcel_2024_06 parcel_2024_07 parcel_default', 'its months are made ahead');
value($node, q{SELECT payments.make_partitions(since => '2024-01-01')});
is(value($node, q{SELECT count(*), count(hint) FROM payments.partition_status WHERE table_name = 'parcel'}), '8|0', 'and behind, when asked for');

# ---------- grants, and whose rows
value($node, q{CREATE ROLE shop LOGIN; CREATE ROLE other LOGIN; CREATE ROLE clerk LOGIN; GRANT payments_app TO shop, other; GRANT payments_operator TO clerk;
	SELECT payments.create_merchant('shop', 'shop')});
value($node, q{INSERT INTO payments.parcel (merchant, number, handed_at, grams) VALUES ('shop', 1, '2024-01-20', 100), ('shop', 2, now(), 200), ('default', 1, now(), NULL)});
sub as_role { return value($node, "SET ROLE $_[0]; SELECT count(*) FROM payments.parcel") }
is(as_role('shop'), 3, 'an application reads what is its merchants\'');
is(as_role('other'), 1, 'another sees nothing of these');
is(as_role('clerk'), 3, 'an operator sees all');
is(sqlstate($node, "SET ROLE $_; INSERT INTO payments.parcel VALUES ('shop', 3, now(), 1)"), '42501', "$_ writes none") foreach qw(shop clerk payments_admin);
is(sqlstate($node, 'SET ROLE clerk; SELECT * FROM payments.parcel_2024_04'), '42501', 'and goes by the table, not by its parts');

# ---------- append-only, for everybody
foreach my $role (qw(postgres payments_owner))
{
	foreach my $mode (qw(origin replica))
	{
		my $as = ($mode eq 'replica' ? 'SET session_replication_role = replica; ' : '') . "SET ROLE $role; ";
		is(sqlstate($node, "$as$_"), 'PY003', "$role, $mode: $_")
		  foreach 'UPDATE payments.parcel SET grams = 1', 'DELETE FROM payments.parcel', 'TRUNCATE payments.parcel', 'TRUNCATE payments.parcel_2024_04';
	}
}
is(sqlstate($node, $_), 'PY012', $_) foreach 'ALTER TABLE payments.parcel DISABLE TRIGGER guard_append_only', 'DROP TABLE payments.parcel',
  'ALTER TABLE payments.parcel DETACH PARTITION payments.parcel_2024_04', 'ALTER TABLE payments.parcel_2024_04 DISABLE TRIGGER ALL';
check_clean($node, 'check() is clean');

# ---------- sealed
is(value($node, 'SELECT payments.seal_blocks() > 0'), 't', 'a block is cut');
is(value($node, q{SELECT sum(rows) FROM payments.seal_table WHERE name ~ '^parcel/'}), 3, 'which holds its rows');
is(value($node, 'SELECT kind FROM payments.verify()'), 'ok', 'as they are');
my ($head, $proof) = map { value($node, $_) } 'SELECT encode(hash, $$hex$$) FROM payments.seal_head', q{SELECT payments.seal_proof('parcel', '{"merchant": "shop", "number": 2}')};
is(value($node, 'SELECT ok, row_data ->> $$grams$$ FROM payments.verify_proof(' . sql_literal($proof) . ", '$head')"), 't|200', 'a proof of one of them holds');

# What a superuser can do by editing catalogs.
sub disarm { my ($to, $sql) = @_; return $node->safe_psql('postgres', "SET allow_system_table_mods = on; UPDATE pg_trigger SET tgenabled = '$to' WHERE tgname = 'guard_append_only' AND tgrelid IN ('payments.parcel'::regclass, 'payments.parcel_2024_04'::regclass); $sql") }
disarm('D', 'UPDATE payments.parcel SET grams = grams + 1 WHERE number = 2');
is(value($node, 'SELECT kind, block, table_name, row_key FROM payments.verify()'), 'changed|1|parcel|{"number": "2", "merchant": "shop"}', 'verify() names a row that was tampered with');
is(value($node, q{SELECT violations, sample FROM payments.check() WHERE invariant = 'the guards are armed'}), '2|parcel.guard_append_only', 'and check() the guard that is off');
disarm('D', 'UPDATE payments.parcel SET grams = grams - 1 WHERE number = 2');
disarm('A', '');
is(value($node, 'SELECT kind FROM payments.verify()'), 'ok', 'put right');

# ---------- retired
is(value($node, q{SELECT partition, rows, kept_as, refused FROM payments.retire_partitions('parcel', '2 months')}),
	'parcel_2024_01|1|retired_parcel_2024_01|', 'a month is retired');
is(value($node, 'SELECT count(*) FROM payments.parcel'), 2, 'its rows are gone');
is(value($node, 'SELECT kind FROM payments.verify()'), 'ok', 'which verify() knows');
value($node, 'SELECT payments.setup()');
is(value($node, q{SELECT count(*) FROM payments.partition_status WHERE table_name = 'parcel'}), 7, 'and setup() leaves it so');
check_clean($node, 'check() is clean in the end');

done_testing();
