# If this fails, a full disk or a crash in the middle of a write leaves a file
# beside the database that says something else than what was meant: a head of
# another block, or half a secret that the PSP refuses.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils qw(slurp_file append_to_file);
use Test::More;

my $node = new_payments_node('torn', start => 0, conf => "payments.seal_interval = '100ms'");
my $file = $node->basedir . '/heads';
$node->append_conf('postgresql.conf', "payments.seal_file = '$file'");
$node->start;
value($node, q{CREATE EXTENSION payments; SELECT payments.setup(); SELECT payments.create_account('till', 'EUR', 'asset'), payments.create_account('sales', 'EUR', 'income')});

# What stands behind the first `from` bytes.
sub tail { my ($from) = @_; return substr slurp_file($file), $from }
sub newest_in_file
{
	my ($from) = @_;
	return wait_until($node, 'SELECT head FROM payments.seal_head WHERE strpos(E\'\n\' || pg_read_file(' . sql_literal($file) . ", $from, 1000000), E'\\n' || head || E'\\n') > 0", qr/^\d+ /);
}
sub verified { my ($from) = @_; return value($node, sprintf 'SELECT kind, detail FROM payments.verify(%s)', sql_literal(tail($from))) }

# ---------- a disk that is full in the midst of a line
value($node, 'SELECT payments.post(1, 2, 1)');
ok(newest_in_file(0), 'a head is written');
# Larger than any other file that the worker writes, so that a limit is met by this one alone.
my $size = 64 * 1024 * 1024;
truncate $file, $size - 1 or die $!;
append_to_file($file, "\n");
my $worker = value($node, 'SELECT payments._worker_pid()');
$node->command_ok([ 'prlimit', '--pid', $worker, '--fsize=' . ($size + 30) . ':' ], 'room for thirty bytes');
value($node, 'SELECT payments.post(1, 2, 2)');
ok(wait_until($node, sprintf('SELECT size = %d FROM pg_stat_file(%s)', $size + 30, sql_literal($file))), 'thirty bytes of a line are written');
like(tail($size), qr/^\d+ [0-9a-f]+$/, 'a line cut short');
ok(wait_until($node, sprintf(q{SELECT pg_read_file(%s) ~ 'cannot write heads of sealed blocks: could not write .*File too large'}, sql_literal($node->logfile))), 'the log says so');
like(verified($size), qr/^head\|nothing of what was given is a head/, 'no witness is left then, and that is said');
$node->command_ok([ 'prlimit', '--pid', $worker, '--fsize=unlimited:' ], 'room again');
value($node, 'SELECT payments.post(1, 2, 3)');
ok(newest_in_file($size), 'the next head stands on a line of its own');
my @lines = split /\n/, tail($size);
is(scalar(grep { !/^\d+ [0-9a-f]{64} \S+Z postgres \d+ [0-9a-f]{8}$/ } @lines), 1, 'one line is none');
like(verified($size), qr/^ok\|.* [2-9] heads and 1 lines that are none;/, 'verify() passes it over and says so');
like(slurp_file($node->logfile), qr/LOG:  the file that payments.seal_file names ends with a line that was cut short/, 'so does the log');

# ---------- a crash that leaves any part of the last line, or zeros in its place
my $last = $lines[-1];
foreach my $left ('1', substr($last, 0, 66), substr($last, 0, -1), $last, "\0\0\0\0")
{
	$node->stop('immediate');
	open my $heads, '>', $file or die $!;
	print $heads join("\n", @lines[ 1 .. $#lines ]), "\n", $left;
	close $heads;
	my $name = $left =~ /\0/ ? 'zeros' : length($left) . ' bytes';
	my $there = -s $file;
	$node->start;
	value($node, 'SELECT payments.post(1, 2, 4)');
	ok(wait_until($node, 'SELECT head FROM payments.seal_head WHERE strpos(pg_read_file(' . sql_literal($file) . ", $there, 1000000), E'\\n' || head || E'\\n') > 0", qr/^\d+ /), "$name: the next head begins on a line of its own");
	my $kept = tail(0) =~ s/\0//gr;
	like(value($node, sprintf 'SELECT kind, detail FROM payments.verify(%s)', sql_literal($kept)), qr/^ok\|/, "$name: verify() is not misled");
}

# ---------- a file that is none
my $folder = $node->basedir . '/folder';
mkdir $folder or die $!;
mkfifo("$folder/fifo", 0600) or die $!;
sub named
{
	my ($path) = @_;
	$node->append_conf('postgresql.conf', "payments.seal_file = '$path'");
	return reload($node);
}
foreach my $wrong ([ 'heads', 'payments.seal_file is not an absolute path' ], [ "$folder/none/heads", 'could not find the folder .*: No such file' ],
	[ $node->data_dir . '/heads', 'the file that payments.seal_file names is inside the data directory' ],
	[ $folder, 'could not open the file .*: Is a directory' ], [ "$folder/fifo", 'payments.seal_file does not name a regular file' ])
{
	my ($path, $why) = @$wrong;
	named($path);
	value($node, 'SELECT payments.post(1, 2, 5)');
	ok(wait_until($node, sprintf(q{SELECT pg_read_file(%s) ~ %s}, sql_literal($node->logfile), sql_literal("cannot write heads of sealed blocks: $why"))), "the log says: $why");
	my $blocks = value($node, 'SELECT max(block) FROM payments.seal');
	value($node, 'SELECT payments.post(1, 2, 6)');
	ok(wait_until($node, 'SELECT max(block) FROM payments.seal', qr/^(?!$blocks$)/), 'sealing goes on');
}
my @said = slurp_file($node->logfile) =~ /cannot write heads of sealed blocks: (.*)/g;
is(scalar(@said), 6, 'each is told once, with the full disk') or diag join "\n", @said;
named("$folder/heads");
ok(wait_until($node, 'SELECT head FROM payments.seal_head WHERE strpos(pg_read_file(' . sql_literal("$folder/heads") . ', 0, 1000000, true), head) = 1', qr/^\d+ /), 'a right one begins with the newest head');
check_clean($node, 'check() is clean');

# ---------- a secrets file that is read while somebody writes it
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node);
is(outcome($node, create_payment($node, idempotency_key => 'whole', amount => 1)), 'succeeded', 'a payment with the whole secret');
my $secrets = secrets_file($node);
sub half_written
{
	my ($text) = @_;
	open my $out, '>', $secrets or die $!;
	print $out $text;
	close $out;
	reload($node);
	return;
}
half_written('stripe = ' . substr $PaymentsTest::SECRET, 0, -2);
my $id = create_payment($node, idempotency_key => 'half', amount => 2);
ok(wait_until($node, sprintf(q{SELECT pg_read_file(%s) ~ 'sends nothing to PSP "stripe": the entry in payments.secrets_file has no newline at its end'}, sql_literal($node->logfile))), 'half a line is not used, and the log says why');
is(value($node, q{SELECT halted_at IS NULL FROM payments.psp WHERE psp = 'stripe'}), 't', 'nor is the PSP halted by it');
is(value($node, "SELECT status FROM payments.get_payment('$id')"), 'initiated', 'the payment waits');
half_written('stripe.webhook = x');
isnt((deliver_event($node, ($peer->events)[0]))[0], 0, 'an event is not judged by half a secret either');
write_secrets($node);
reload($node);
is(outcome($node, $id), 'succeeded', 'with the whole file it goes on');
is($peer->book->{keys}{keys_with_many_bodies}, 0, 'sent once');
check_clean($node, 'check() is clean');
done_testing();
