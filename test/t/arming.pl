# If this fails, a copy of the database charges customers: one that was started
# beside the original or into another database of its server, an earlier state
# of its volume, or a standby that was promoted and does not know what the
# primary had sent.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP ();
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use POSIX qw(strftime);
use Test::More;

my $hours = 0;

sub later
{
	$hours += $_[0];
	my ($date, @time) = split / /, strftime('%Y-%m-%d %H %M %S', gmtime(time + 3600 * $hours));
	set_clock($date, @time);
	return;
}

sub reason { return value($_[0], 'SELECT payments._unarmed_reason()') }
sub arming_files { return glob secrets_file($_[0]) . '.armed.*' }

# Armed, and its worker has had its turn with a real PSP.
sub sends
{
	my ($node, $name) = @_;
	ok(wait_until($node, 'SELECT running AND armed FROM payments.worker_status'), "$name: armed");
	return is(outcome($node, create_payment($node, idempotency_key => $name, amount => 700)), 'succeeded', "$name: sends");
}

# A payment of the sandbox is done, so the worker has been through its whole round.
sub sends_nothing
{
	my ($node, $name, $why, $waiting) = @_;

	is(outcome($node, create_payment($node, idempotency_key => "sandbox $name", amount => 1, psp => 'sandbox', payment_method => 'sandbox_ok')), 'succeeded', "$name: its worker runs");
	like(reason($node), $why, "$name: it says why it is not armed");
	is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$waiting'"), 'initiated', "$name: nothing is sent");
	is(sqlstate($node, q{SELECT * FROM payments.claim('me', psp => 'stripe')}), 'PY405', "$name: nor handed out");
	return;
}

# As a snapshot of the volume comes back: in the same place, the file that is asked for its number included.
sub restore_in_place
{
	my ($from, $to) = @_;

	PostgreSQL::Test::Utils::system_or_bail('find', $to, '-mindepth', 1, '-maxdepth', 1, '!', '-name', 'PG_VERSION', '-exec', 'rm', '-rf', '{}', '+');
	return PostgreSQL::Test::Utils::system_or_bail('sh', '-c', "cd '$from' && tar cf - --exclude=./PG_VERSION . | tar xpf - -C '$to'");
}

later(0);
my $peer = start_peer();
my $main = with_clock(sub { new_payments_node('original', init => [ allows_streaming => 1 ], conf => "max_wal_senders = 10\nmax_worker_processes = 16\npayments.seal_interval = 0") });
create_stripe_psp($main, $peer, arm => 0);
fast_schedules($main);

# ---------- arm(), and what rolls back
like(reason($main), qr/nobody has armed/, 'nobody has armed it');
value($main, 'BEGIN; SELECT payments.arm(); ROLLBACK');
like(reason($main), qr/nobody has armed/, 'what is rolled back arms nobody');
value($main, 'SELECT payments.arm()');
sends($main, 'armed');
my ($file) = arming_files($main);
is(sprintf('%o', (stat $file)[2] & 07777), '600', 'its file is for the server\'s user alone');
my $armed_at = value($main, 'SELECT armed_at FROM payments.installation');
value($main, 'SELECT payments.arm()');
is(value($main, 'SELECT armed_at FROM payments.installation'), $armed_at, 'what is armed stays as it is');

# ---------- the same server, however it ends
my $token = value($main, 'SELECT armed_token FROM payments.installation');
foreach my $mode (qw(fast immediate))
{
	$main->stop($mode);
	with_clock(sub { $main->start });
	sends($main, "again after stop -m $mode");
}
isnt(value($main, 'SELECT armed_token FROM payments.installation'), $token, 'a start changes the token');
ok(wait_until($main, 'SELECT running FROM payments.worker_status'), 'the worker runs');
my $pid = value($main, 'SELECT pid FROM payments.worker_status');
value($main, "SELECT pg_terminate_backend($pid)");
ok(wait_until($main, "SELECT pid <> $pid FROM payments.worker_status"), 'another worker');
sends($main, 'again with another worker');

# A crash between the file and the commit: the database has the token before the last.
my $written = PostgreSQL::Test::Utils::slurp_file($file);
$token = value($main, 'SELECT armed_token FROM payments.installation');
$main->stop;
open my $out, '+<', $file or die $!;
print $out $written =~ s/^run .*/run 1/mr =~ s/^next .*/next 0123456789abcdef0123456789abcdef/mr;
truncate $out, tell $out;
close $out;
with_clock(sub { $main->start });
sends($main, 'a token that was never committed');
is(value($main, qq{SELECT armed_token <> '$token' AND armed_token <> '0123456789abcdef0123456789abcdef' FROM payments.installation}), 't', 'is replaced');

# A file that is cut short, or gone, or open to others arms nobody.
$written = PostgreSQL::Test::Utils::slurp_file($file);
foreach my $case ([ 'cut short', sub { truncate $file, 20 }, qr/damaged/ ], [ 'open to others', sub { chmod 0644, $file }, qr/0600/ ], [ 'gone', sub { unlink $file }, qr/not here/ ])
{
	my ($name, $break, $why) = @$case;

	$break->();
	like(reason($main), $why, "a file that is $name arms nobody");
	unlink $file;
	value($main, 'SELECT payments.arm()');
	sends($main, "armed again after a file was $name");
}

# ---------- a copy in another database of the same server: it has the same keys for the same PSP
ok(wait_until($main, 'SELECT running AND armed FROM payments.worker_status'), 'the original is armed, and its worker holds the file');
value($main, 'CREATE DATABASE twin TEMPLATE postgres');
is(value($main, 'SELECT payments.installation_tag()', dbname => 'twin'), value($main, 'SELECT payments.installation_tag()'), 'a copy is the same installation');
sends($main, 'beside a copy in the same server');
my (undef, undef, $refused) = $main->psql('twin', 'SELECT payments.arm()');
like($refused, qr/cannot arm this database: another one is armed that is the same installation.*database "postgres" of this server/s, 'which cannot be armed while the worker of the original runs');
is(value($main, 'SELECT payments._unarmed_reason()', dbname => 'twin'), 'armed as another database', 'and is not');
sends($main, 'the original goes on');
value($main, "BEGIN; SELECT payments.disarm(); $_") foreach 'ROLLBACK', 'SELECT payments.arm(); COMMIT';
value($main, 'BEGIN; SAVEPOINT s; SELECT payments.disarm(); ROLLBACK TO s; COMMIT');
sends($main, 'disarmed by nobody who rolls back, or arms again at once');
foreach my $both ('disarm(), payments.arm()', 'disarm(), payments.arm(), payments.disarm(), payments.arm()')
{
	value($main, "BEGIN; SELECT payments.$both; ROLLBACK");
	is(reason($main), '', "nor by who takes back both: $both");
	value($main, 'SELECT payments.arm()');
}
value($main, 'BEGIN; SAVEPOINT s; SELECT payments.disarm(); RELEASE s; COMMIT');
is(scalar(my @left = arming_files($main)), 0, 'what is disarmed leaves no file');
like(reason($main), qr/somebody has disarmed/, 'disarmed is another thing than never armed');
value($main, 'SELECT payments.arm()', dbname => 'twin');
value($main, 'SELECT payments.start_worker()', dbname => 'twin');
ok(wait_until($main, 'SELECT running AND armed FROM payments.worker_status', 't', undef, dbname => 'twin'), 'its worker runs');
is(outcome($main, create_payment($main, idempotency_key => 'by the twin', amount => 700, dbname => 'twin'), undef, dbname => 'twin'), 'succeeded', 'and sends');
is(sqlstate($main, 'SELECT payments.arm()'), 'PY405', 'the original cannot be armed beside it');
is(scalar(my @files = arming_files($main)), 1, 'there is one file for all databases of an installation');
value($main, 'DROP DATABASE twin');
value($main, 'SELECT payments.arm()');
sends($main, 'what a dropped database left behind is in nobody\'s way');

# Whose worker does not run loses its arming to the copy, and says so.
value($main, 'CREATE DATABASE twin TEMPLATE postgres');
sends($main, 'beside a second copy');
$main->append_conf('postgresql.conf', "payments.databases = ''");
reload($main);
ok(wait_until($main, 'SELECT pid IS NULL FROM payments.worker_status'), 'the worker of the original is off');
value($main, 'SELECT payments.arm()', dbname => 'twin');
like(reason($main), qr/not of this state.*taken it over/, 'the original has lost its arming to the copy');
is(sqlstate($main, q{SELECT * FROM payments.claim('me', psp => 'stripe')}), 'PY405', 'and hands out nothing');
value($main, 'DROP DATABASE twin');
$main->append_conf('postgresql.conf', "payments.databases = 'postgres'");
reload($main);
value($main, 'SELECT payments.arm()');
sends($main, 'armed again after the copies');

# ---------- what a session hands out changes the token too, each time
stop_worker($main);
my @handed = map { create_payment($main, idempotency_key => "handed out $_", amount => 700) } 1, 2;
is(value($main, join '; ', map { q{SELECT count(*) FROM payments.claim('me', 1, '1 s', 'stripe'); SELECT armed_token <> lag FROM payments.installation, coalesce(nullif(current_setting('test.token', true), ''), '-') lag; SELECT set_config('test.token', armed_token, false) FROM payments.installation} } 1, 2) =~ s/^[0-9a-f]{30,}$/token/mgr,
	"1\nt\ntoken\n1\nt\ntoken", 'within a second as well');
value($main, 'SELECT payments.start_worker()');
is(outcome($main, $_), 'succeeded', 'what was handed out and lost is found out') foreach @handed;

# ---------- a copy beside the original
stop_worker($main);
my $waiting = create_payment($main, idempotency_key => 'waiting', amount => 900);
my $declined = create_payment($main, idempotency_key => 'declined', amount => 801, payment_method => 'pm_card_visa_chargeDeclined');
my $refunded = create_payment($main, idempotency_key => 'refunded', amount => 800);
$main->backup('copy');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($main, 'copy');
my $standby = PostgreSQL::Test::Cluster->new('promoted');
$standby->init_from_backup($main, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_conninfo = ''");
with_clock(sub { $copy->start });
value($copy, 'SELECT payments.start_worker()');
is(value($copy, 'SELECT timeline_id FROM pg_control_checkpoint()'), value($main, 'SELECT timeline_id FROM pg_control_checkpoint()'), 'no other timeline tells them apart');
sends_nothing($copy, 'a copy beside the original', qr/another data directory/, $waiting);
value($main, 'SELECT payments.start_worker()');
is(outcome($main, $waiting), 'succeeded', 'the original sends it');
is(outcome($main, $refunded), 'succeeded', 'and another one');
is(outcome($main, $declined), 'failed', 'and one that is declined');
is(sqlstate($copy, 'SELECT payments.arm()'), 'PY405', 'the copy cannot be armed while the original runs');
sends($main, 'nor does the trial disarm the original');
value($copy, 'SELECT payments.disarm()');
sends($main, 'nor does disarm() on the copy');
$main->stop;
sends_nothing($copy, 'a copy after the original', qr/somebody has disarmed/, $waiting);

# ---------- a move: the copy is armed, and the original starts again
value($copy, 'SELECT payments.arm()');
ok(wait_until($copy, 'SELECT armed FROM payments.worker_status'), 'the copy is armed when the original is off');
is(outcome($copy, $waiting), 'succeeded', 'what it has waiting is found out');
is(scalar(grep { $_->{amount} == 900 } $peer->charges), 1, 'and not charged again');
with_clock(sub { $main->start });
ok(wait_until($main, 'SELECT running FROM payments.worker_status'), 'the original starts');
my $late = create_payment($main, idempotency_key => 'two of them', amount => 901);
sends_nothing($main, 'the original after the copy', qr/another data directory/, $late);
$copy->stop;

# ---------- an earlier state of the same volume
value($main, 'SELECT payments.arm()');
sends($main, 'armed for good');
stop_worker($main);
$late = create_payment($main, idempotency_key => 'snapshot', amount => 902);
$main->stop;
my $data = $main->data_dir;
my $snapshot = PostgreSQL::Test::Utils::tempdir() . '/snapshot';
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $data, $snapshot);
with_clock(sub { $main->start });
value($main, 'SELECT payments.start_worker()');
is(outcome($main, $late), 'succeeded', 'what was waiting is sent');
$main->stop;
restore_in_place($snapshot, $data);
with_clock(sub { $main->start });
value($main, 'SELECT payments.start_worker()');
sends_nothing($main, 'an earlier state of the volume', qr/not of this state/, $late);
$main->stop;

# ---------- a state of the same volume from while it ran: no start of the server lies between
with_clock(sub { $main->start });
value($main, 'SELECT payments.arm()');
sends($main, 'armed for what comes');
stop_worker($main);
my $hot = create_payment($main, idempotency_key => 'hot snapshot', amount => 906);
$main->backup('hot');
$token = value($main, 'SELECT armed_token FROM payments.installation');
value($main, 'SELECT payments.start_worker()');
is(outcome($main, $hot), 'succeeded', 'what waits in the snapshot is sent');
ok(wait_until($main, "SELECT armed_token <> '$token' FROM payments.installation"), 'what is sent changes the token');
ok(wait_until($main, "SELECT pg_read_file('$file') !~ '$token'"), 'and its file has the one of before no more');
$main->stop('immediate');
restore_in_place($main->backup_dir . '/hot', $data);
with_clock(sub { $main->start });
value($main, 'SELECT payments.start_worker()');
sends_nothing($main, 'a state from while it ran', qr/not of this state/, $hot);
$main->stop;

# ---------- a failover a day later: what is unsent here was charged there
later(25);
$peer->control({ forget_keys => JSON::PP::true() });
with_clock(sub { $standby->start });
$standby->promote;
ok(wait_until($standby, 'SELECT pg_is_in_recovery()', 'f'), 'the standby is promoted');
fast_schedules($standby, tries => 3);
# Of these the primary never heard; the first is a day old, the second is not.
my $old = create_payment($standby, idempotency_key => 'old', amount => 903);
later(25);
my $new = create_payment($standby, idempotency_key => 'new', amount => 904);
value($standby, 'SELECT payments.start_worker()');
sends_nothing($standby, 'a promoted standby', qr/timeline/, $waiting);
# The PSP's word on what is unsent here.
is((deliver_event($standby, (grep { $_->{type} eq 'payment_intent.payment_failed' } $peer->events(t => time + 3600 * $hours))[-1]))[0], 0, 'the PSP tells of one');
is(value($standby, "SELECT p.status || ' ' || o.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE payment_id = '$declined'"), 'initiated initiated', 'which the PSP must be asked about first');
is(sqlstate($standby, "SELECT payments.cancel_payment('$waiting', 'cancel it')"), 'PY008', 'what it has not sent is not cancelled: the primary may have');
is(sqlstate($standby, "BEGIN; SELECT payments.arm(); SELECT payments.cancel_payment('$waiting', 'cancel it')"), 'PY008', 'nor once it is armed, before the PSP was asked');
value($standby, 'SELECT payments.arm()');
is(outcome($standby, $declined), 'failed', 'what was declined there is found, when it can be asked');
is(outcome($standby, $waiting), 'succeeded', 'what the primary had charged is found');
is(outcome($standby, $refunded), 'succeeded', 'all of it');
is(outcome($standby, $new), 'succeeded', 'what nobody has sent is, while the PSP would honour a key of then');
is(value($standby, "SELECT string_agg(a.action, ' ' ORDER BY attempt) FROM payments.attempt a JOIN payments.operation USING (operation_id) WHERE payment_id = '$new'"), 'inquire send', 'but inquired first');
ok(wait_until($standby, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$old'", 'outcome_unknown'), 'later a person decides');
is(value($standby, "SELECT string_agg(DISTINCT a.action, ' ') FROM payments.attempt a JOIN payments.operation USING (operation_id) WHERE payment_id = '$old'"), 'inquire', 'and nothing was sent');
value($standby, "SELECT payments.redrive(dead_letter_id, true, 'no charge on the dashboard') FROM payments.dead_letter WHERE payment_id = '$old'");
is(outcome($standby, $old), 'succeeded', 'who may say so');
my $after = create_payment($standby, idempotency_key => 'after', amount => 905);
is(outcome($standby, $after), 'succeeded', 'what comes after the arming');
is(value($standby, "SELECT string_agg(a.action, ' ') FROM payments.attempt a JOIN payments.operation USING (operation_id) WHERE payment_id = '$after'"), 'send', 'is sent at once');
my $book = $peer->book;
foreach my $amount (800, 900 .. 906)
{
	next if $amount == 901;
	is(scalar(grep { $_->{amount} == $amount } $peer->charges), 1, "$amount was charged once");
}
is_deeply($book->{double_charged}, [], 'nobody was charged twice');
at_rest($standby);
check_clean($standby, 'after the failover: check() is clean');

# ---------- a restore that leaves out the salt: what clients repeat would be other calls
value($standby, 'CREATE DATABASE nosalt TEMPLATE template0');
PostgreSQL::Test::Utils::system_or_bail('sh', '-c', sprintf q{pg_dump -T payments.installation_salt -d '%s' | psql -Xq -o /dev/null -d '%s'}, map { $standby->connstr($_) } qw(postgres nosalt));
is(value($standby, 'SELECT count(*) > 0 FROM payments.operation', dbname => 'nosalt'), 't', 'restored without the salt');
is(sqlstate($standby, 'SELECT payments.setup()', dbname => 'nosalt'), 'PY001', 'setup() makes no other salt');
value($standby, q{CREATE TABLE IF NOT EXISTS payments.installation_salt (singleton boolean DEFAULT true, salt bytea); ALTER TABLE payments.installation_salt OWNER TO payments_owner; INSERT INTO payments.installation_salt (salt) VALUES (sha256('another'))}, dbname => 'nosalt');
is(sqlstate($standby, 'SELECT payments.arm()', dbname => 'nosalt'), 'PY405', 'and where somebody made one, nothing is armed');

# ---------- armed by a clock that is behind
stop_worker($standby);
create_payment($standby, idempotency_key => 'behind', amount => 907);
later(-30);
value($standby, 'SELECT payments.disarm()');
value($standby, 'SELECT payments.arm()');
is(value($standby, 'SELECT i.armed_at > max(q.enqueued_at) FROM payments.installation i, payments.queue q GROUP BY i.armed_at'), 't', 'what was there counts as older all the same');
$standby->stop;
done_testing();
