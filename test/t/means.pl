# If this fails, a worker that has fewer open files or less memory than it was
# told to use takes its own want for a PSP that is down: it stops calling a
# healthy one, gives payments up, or loses slots for good until nothing moves.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils qw(slurp_file system_or_bail);
use Test::More;

my $PAYMENTS = 400;
my $FILES    = 300;
my $SLOTS    = 8;

sub worker_pid { return value($_[0], 'SELECT pid FROM payments.worker_status') }

# Its child processes are given the same; the worker that runs is not.
sub limit_files
{
	my ($pid, $soft, $hard) = @_;

	return system_or_bail('prlimit', '--pid', $pid, "--nofile=$soft:$hard");
}

sub new_worker
{
	my ($node) = @_;
	my $old = worker_pid($node);

	value($node, "SELECT pg_terminate_backend($old)");
	ok(wait_until($node, "SELECT running AND pid <> $old FROM payments.worker_status"), 'another worker');
	return worker_pid($node);
}

sub pay
{
	my ($node, $name, $n, $psp) = @_;

	return $node->safe_psql('postgres', "SELECT FROM generate_series(1, $n) i, LATERAL payments.create_payment(
		idempotency_key => '$name-' || i, amount => 1000, currency => 'EUR', psp => '$psp', payment_method => 'pm_card_visa')");
}

# ---------- fewer files than requests, from the start
my $node = new_payments_node('means', conf => "payments.lease = '1 h'");
my $peer = start_peer(faults => [ { fault => 'hold' } ]);
create_stripe_psp($node, $peer);
# One try, and it is not to be used up: a second would be one too many.
fast_schedules($node, schedules => ['not_sent'], tries => 1);
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
limit_files($postmaster, $FILES, $FILES);
my $log_from = -s $node->logfile;
new_worker($node);
pay($node, 'few', $PAYMENTS, 'stripe');
my ($bound) = slurp_file($node->logfile, $log_from) =~ /keeps at most (\d+) requests in flight/;
ok($bound > 0 && $bound < $FILES / 2, 'it says how many it has the files for');
# Of a PSP that has answered nothing yet no more than these; the rest comes when they are answered, as much as there are files for.
ok($peer->wait_held(30), 'a good many hang at once');
cmp_ok(value($node, 'SELECT in_flight FROM payments.worker_status'), '<=', $bound, 'and no more are claimed than can be sent');
$peer->release;
at_rest($node);
is(value($node, 'SELECT status, count(*) FROM payments.payment GROUP BY 1'), "succeeded|$PAYMENTS", 'all succeed');
is(value($node, 'SELECT count(*) FROM payments.attempt'), $PAYMENTS, 'at the first attempt');

$node->stop;

# ---------- they run out in the middle: a name cannot be looked up, nor a socket be made
{
	package NamedPeer;
	sub url { return $_[0]{url} }
}
# Few files of the server's own: those it would close for others, who then lack nothing.
$node = new_payments_node('less', conf => "payments.lease = '1 h'\npayments.psp_hosts = 'psp.invalid'\nmax_files_per_process = 64");
$log_from = -s $node->logfile;
fast_schedules($node, schedules => ['not_sent'], tries => 1);
my $other = start_peer(faults => [ { fault => 'hold' } ]);
create_stripe_psp($node, $peer);
create_stripe_psp($node, $other, psp => $_, arm => 0) foreach 'by_address', 'beside';
create_stripe_psp($node, bless({ url => 'http://localhost:' . $other->port }, 'NamedPeer'), psp => 'by_name', arm => 0);
my $pid = new_worker($node);
# So that it has opened what it needs for these itself.
is(outcome($node, create_payment($node, idempotency_key => 'warm', amount => 1000)), 'succeeded', 'it works');
my $free = 0;
$free++ while -e "/proc/$pid/fd/$free" || -l "/proc/$pid/fd/$free";
limit_files($pid, $free, '');
pay($node, "lacking-$_", 40, $_) foreach 'by_address', 'beside', 'by_name';
ok( wait_until($node, q{SELECT count(*) FROM (SELECT FROM payments.attempt_answer JOIN payments.operation o USING (operation_id)
		WHERE error ~ 'no means on this host' GROUP BY o.operation_id HAVING count(*) > 1) s}, qr/^[1-9]/), 'calls that cannot be made are put off, again and again');
ok(wait_until($node, 'SELECT hint FROM payments.worker_status', qr/short of open files/), 'worker_status says why');
is(value($node, 'SELECT count(*) FROM payments.dead_letter'), '0', 'no try was used up');
like(slurp_file($node->logfile, $log_from), qr/lacks open files, memory or threads/, 'so does the log');
limit_files($pid, 1024, '');
$other->release;
at_rest($node);
is(value($node, q{SELECT status, count(*) FROM payments.payment GROUP BY 1}), 'succeeded|121', 'with files they all succeed');
is(scalar(@{ $other->book->{charges} }), 120, 'and are charged once each');
ok(wait_until($node, 'SELECT hint IS NULL FROM payments.worker_status'), 'the hint goes');
is(worker_pid($node), $pid, 'all the while it was the same worker');

# ---------- a name that cannot be looked up for want of files looks like one that nobody has
$log_from = -s $node->logfile;
$free = 0;
$free++ while -e "/proc/$pid/fd/$free" || -l "/proc/$pid/fd/$free";
limit_files($pid, $free, '');
create_stripe_psp($node, bless({ url => 'https://psp.invalid' }, 'NamedPeer'), psp => 'nameless', arm => 0);
# It is asked whose account this is, every second.
value($node, 'SELECT pg_sleep(3)');
unlike(slurp_file($node->logfile, $log_from), qr/PSP "nameless" does not say/, 'it is not the PSP that is at fault');
limit_files($pid, 1024, '');
$node->wait_for_log(qr/PSP "nameless" does not say whose account/, $log_from);

# ---------- an address that we do not allow says nothing of the PSP either
$node->append_conf('postgresql.conf', 'payments.allow_http = off');
reload($node);
my $id = create_payment($node, idempotency_key => 'refused', amount => 1000);
ok(wait_until($node, q{SELECT hint ~ 'plain http is not allowed' FROM payments.worker_status}), 'a call that our own rules forbid is not made');
is(value($node, qq{SELECT o.status, q.try, q.claimed_by IS NULL FROM payments.queue q JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$id'}),
	'initiated|0|t', 'and uses up no try');
check_clean($node);
$node->stop;

# ---------- memory runs out, here and there in the middle of a call
# A sanitizer brings its own.
if (($ENV{PAY_BUILD} // '') eq 'sanitize')
{
	done_testing();
	exit;
}
my $dir = PostgreSQL::Test::Utils::tempdir();
# What is asked for, see short.c.
my ($OURS, $DESCRIPTORS, $ANYTHING) = (2, 4, 7);
my ($short, $orders) = ("$dir/short.so", "$dir/orders");

sub fail_every
{
	open my $file, -e $orders ? '+<' : '>', $orders or die "$orders: $!";
	syswrite $file, pack 'iii', @_[ 0, 1 ], $_[2] // $ANYTHING;
	return close $file;
}

system_or_bail('cc', '-O1', '-shared', '-fPIC', '-o', $short, dirname(__FILE__) . '/../lib/short.c');
fail_every(0, 0);
my $poor = new_payments_node('poor', start => 0, worker => 0, conf => "payments.inflight_max = $SLOTS\npayments.lease = '1 h'\npayments.connect_timeout = '1 s'");
{
	local $ENV{LD_PRELOAD} = $short;
	local $ENV{PAY_SHORT}  = $orders;
	$poor->start;
}
$poor->safe_psql('postgres', 'CREATE EXTENSION payments; SELECT payments.setup();');
create_stripe_psp($poor, $peer);
fast_schedules($poor);
# Already when the worker begins: each thing that it needs in turn.
my ($needs, $lacked) = (0, '');
while ($lacked !~ /libcurl multi handle/ && $needs++ < 20)
{
	$log_from = -s $poor->logfile;
	fail_every(-1, $needs);
	$poor->psql('postgres', 'SELECT payments.start_worker()');
	fail_every(0, 0);
	$poor->wait_for_log(qr/payments worker started|could not create|could not initialize libcurl/, $log_from);
	my ($what) = slurp_file($poor->logfile, $log_from) =~ /could not create ([a-z ]+): Cannot allocate memory/ or last;
	$lacked .= "$what, ";
	wait_until($poor, 'SELECT pid IS NULL FROM payments.worker_status');
}
like($lacked, qr/^room for answers, an epoll descriptor, a timer descriptor, an epoll entry, a libcurl multi handle, $/, 'a worker that cannot begin says what it lacks');
$pid = value($poor, 'SELECT payments.start_worker()');
ok(wait_until($poor, 'SELECT running FROM payments.worker_status'), 'when there is enough, it begins');
# And has asked whose account it is: without an answer to that it sends nothing.
is(outcome($poor, create_payment($poor, idempotency_key => 'warm', amount => 1000)), 'succeeded', 'and works');
my $made = 0;
foreach my $case ((map { [ $_, $OURS ] } 2, 3, 1), [3], [7], [20], [50])
{
	my ($every, $kind) = @$case;

	fail_every($pid, $every, $kind);
	my $before = value($poor, q{SELECT count(*) FROM payments.attempt_answer WHERE error ~ 'memory|no means|set up'});
	my $most = $made + 40;
	do { pay($poor, 'poor-' . $made++, 20, 'stripe') }
	until wait_until($poor, qq{SELECT count(*) > $before FROM payments.attempt_answer WHERE error ~ 'memory|no means|set up'}, 't', 10) || $made > $most;
	fail_every($pid, 0);
	cmp_ok($made, '<=', $most, "one in $every requests " . ($kind ? 'of ours ' : '') . 'fails, and calls with it');
}
# A socket that cannot be watched is looked at by and by.
$log_from = -s $poor->logfile;
fail_every($pid, 1, $DESCRIPTORS);
pay($poor, 'poor-' . $made++, 20, 'stripe');
$poor->wait_for_log(qr/could not watch a socket of payments: Cannot allocate memory/, $log_from);
ok(at_rest($poor), 'no descriptor to wait on: calls go on');
fail_every($pid, 0);
at_rest($poor);
is(value($poor, 'SELECT status, count(*) FROM payments.payment GROUP BY 1'), 'succeeded|' . (20 * $made + 1), 'all succeed in the end');
is_deeply($peer->book(brief => 1)->{double_charged}, [], 'charged once each');
$peer->faults({ fault => 'hold' });
pay($poor, 'last', 2 * $SLOTS, 'stripe');
ok($peer->wait_held($SLOTS), 'no slot was lost');
$peer->release;
at_rest($poor);
is(worker_pid($poor), $pid, 'all the while it was the same worker');
check_clean($poor);
$poor->stop;
done_testing();
