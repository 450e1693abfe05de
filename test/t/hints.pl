# If this fails, payments wait and nobody is told why: the secrets file lacks an
# entry, the PSP refused our key, a name in payments.databases is mistyped, the
# library is not preloaded, or somebody works on the standby.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $peer = start_peer();
my $node = new_payments_node('told', init => [ allows_streaming => 1 ], secrets => { stripe => undef }, conf => 'max_wal_senders = 10');

sub hint { return wait_until($node, q{SELECT coalesce(hint, 'all is well') FROM payments.worker_status}, $_[0]) }
sub why { return wait_until($node, "SELECT why FROM payments.stuck WHERE payment_id = '$_[0]'", $_[1]) }

# ---------- not armed, and no secret
my $log_from = -s $node->logfile;
create_stripe_psp($node, $peer, arm => 0);
fast_schedules($node);
my $waits = create_payment($node, idempotency_key => 'waits', amount => 1000);
my $no_entry = qr/payments\.secrets_file has no entry "stripe"/;
ok(hint(qr/^nothing is sent to real PSPs: nobody has armed this database: SELECT payments\.arm\(\), once no other copy of this database sends; PSP "stripe" is not called: $no_entry$/),
	'not armed, and no secret: worker_status says both, and what to do');
ok(why($waits, qr/^not armed: nobody has armed this database; the worker cannot call the PSP: $no_entry$/), 'stuck says so too');
$node->wait_for_log(qr/sends nothing to PSP "stripe": nobody has armed this database; $no_entry\n.*HINT:  SELECT payments\.arm\(\)/, $log_from);
value($node, 'SELECT payments.arm()');
ok(hint(qr/^PSP "stripe" is not called: payments\.secrets_file has no entry "stripe"$/), 'armed, but the secret is not there: worker_status names the PSP and says so');
ok(why($waits, 'the worker cannot call the PSP: payments.secrets_file has no entry "stripe"'), 'so does stuck');
is(value($node, q{SELECT DISTINCT problem FROM payments.feed_status WHERE enabled}), '', 'a feed that is not enabled is another matter');
value($node, q{SELECT payments.enable_feed('stripe', 'events')});
ok(wait_until($node, q{SELECT problem FROM payments.feed_status WHERE feed = 'events'}, 'the worker cannot call the PSP: payments.secrets_file has no entry "stripe"'), 'so does feed_status');
value($node, q{SELECT payments.enable_feed('stripe', 'events', false)});
$node->wait_for_log(qr/sends nothing to PSP "stripe": payments\.secrets_file has no entry "stripe"\n.*HINT:  psp\.secret names the entry/, $log_from);
is(value($node, 'SELECT slowed FROM payments.worker_status'), 0, 'it is not a PSP that wants fewer calls');
write_secrets($node, stripe => 'a key that the PSP refuses');
chmod 0644, secrets_file($node);
reload($node);
ok(hint(qr/^PSP "stripe" is not called: the file that payments\.secrets_file names can be reached by group or others/), 'a file that others can read: another reason');

# ---------- the PSP refuses our key
chmod 0600, secrets_file($node);
reload($node);
ok(hint(qr/^PSP "stripe" is halted: the PSP refused our credentials: .*: once that is put right, an administrator's SELECT payments\.resume_psp\('stripe'\)$/), 'a refused key: worker_status names the PSP and the function');
like(value($node, 'SELECT halted_reason FROM payments.psp WHERE halted_at IS NOT NULL'), qr/^the PSP refused our credentials: HTTP status 401/, 'the reason can be read');
ok(why($waits, qr/^PSP halted: the PSP refused our credentials/), 'so does stuck');
$node->wait_for_log(qr/sends nothing to PSP "stripe": it is halted: the PSP refused our credentials.*\n.*HINT:.*resume_psp/, $log_from);
value($node, 'SELECT payments.disarm()');
ok(hint(qr/^nothing is sent to real PSPs: somebody has disarmed this database.*; PSP "stripe" is halted/), 'not armed comes first, and the rest is not hidden');

# ---------- all that applies, at once
chmod 0644, secrets_file($node);
$node->append_conf('postgresql.conf', 'payments.allow_http = off');
reload($node);
my $ours = qr/plain http is not allowed: payments\.allow_http is off; the file that payments\.secrets_file names can be reached by group or others \(its mode must be 0600\)/;
ok(hint(qr/^nothing is sent to real PSPs: somebody has disarmed.*; PSP "stripe" is halted: the PSP refused our credentials.*; PSP "stripe" is not called: $ours$/), 'four things are in the way: worker_status says all of them');
ok(why($waits, qr/^not armed: somebody has disarmed this database; PSP halted: the PSP refused our credentials.*; the worker cannot call the PSP: $ours$/), 'so does stuck');
$node->wait_for_log(qr/sends nothing to PSP "stripe": it is halted: the PSP refused our credentials.*; somebody has disarmed this database; $ours\n/, $log_from);
value($node, 'SELECT payments.stop_worker()');
ok(hint(qr/^stopped: SELECT payments\.start_worker\(\); nothing is sent to real PSPs.*; PSP "stripe" is halted/), 'that the worker is stopped hides none of it');
ok(why($waits, qr/^the worker is stopped; not armed: .*; PSP halted: /), 'nor in stuck');
value($node, 'SELECT payments.start_worker()');
chmod 0600, secrets_file($node);
$node->append_conf('postgresql.conf', 'payments.allow_http = on');
reload($node);
value($node, 'SELECT payments.arm()');
write_secrets($node);
reload($node);
value($node, q{SELECT payments.resume_psp('stripe')});
is(outcome($node, $waits), 'succeeded', 'what waited goes out when all is repaired');
ok(hint('all is well'), 'and there is no hint any more');

# ---------- create_psp() without a secret
my (undef, undef, $notice) = $node->psql('postgres', q{SELECT payments.create_psp(psp => 'later', adapter => 'stripe')});
like($notice, qr/NOTICE:.*PSP "later" has no secret.*HINT/s, 'create_psp() without a secret says so');
(undef, undef, $notice) = $node->psql('postgres', q{SELECT payments.create_psp(psp => 'play', adapter => 'sandbox')});
is($notice, '', 'but not of the sandbox');
(undef, undef, $notice) = $node->psql('postgres', q{SELECT payments.create_psp(psp => 'stripe', adapter => 'stripe')});
is($notice, '', 'nor of one that keeps the secret it has');
ok(hint(qr/^PSP "later" is not called: no secret is configured$/), 'and so does worker_status');
value($node, q{DELETE FROM payments.psp WHERE psp = 'later'});
ok(hint('all is well'), 'until it is gone');

# ---------- another version of the extension than of the library
$log_from = -s $node->logfile;
my $version = value($node, q{SELECT extversion FROM pg_extension WHERE extname = 'payments'});
$node->safe_psql('postgres', q{UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'payments'});
my $later = create_payment($node, idempotency_key => 'of another version', amount => 1000);
ok(hint(qr/the worker is of another version than the extension: restart the server, and run ALTER EXTENSION payments UPDATE/), 'the worker is of another version: worker_status says so');
$node->wait_for_log(qr/WARNING:  payments worker is of version \S+ but the extension is of version 0\.0\n.*HINT:  Restart the server/, $log_from);
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$later'"), 'initiated', 'and does nothing');
$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'payments'");
is(outcome($node, $later), 'succeeded', 'when they are the same it goes on');
ok(hint('all is well'), 'without a hint');

# ---------- a worker that runs and does nothing
$log_from = value($node, 'SELECT pid FROM payments.worker_status');
kill STOP => $log_from;
my $left = create_payment($node, idempotency_key => 'left', amount => 1000);
is(value($node, 'SELECT hint FROM payments.worker_status'), '', 'what has just been asked for is about to be claimed');
value($node, "UPDATE payments.queue SET due_at = now() - interval '2 minutes' WHERE payment_id = '$left'");
like(value($node, 'SELECT hint FROM payments.worker_status'), qr/^the worker runs, but does not claim what is due since .*terminate process $log_from$/, 'a worker that makes no round: worker_status says so');
# Of the same transaction, as if time had passed: more than a day, so that it does not matter in what the worker was stopped.
my $days_ago = q{SET LOCAL payments.guard_ddl = off;
	ALTER TABLE payments.seal DISABLE TRIGGER ALL; ALTER TABLE payments.event DISABLE TRIGGER ALL;
	UPDATE payments.seal SET sealed_at = sealed_at - interval '3 days'; UPDATE payments.event SET created_at = created_at - interval '2 days'};
like(value($node, "BEGIN; $days_ago; SELECT hint FROM payments.worker_status; ROLLBACK"), qr/^rows wait to be sealed that were written before .*pg_prepared_xacts/, 'nor a block: likewise');
kill CONT => $log_from;
is(outcome($node, $left), 'succeeded', 'and it goes on');
ok(hint('all is well'), 'without a hint');

# ---------- a name in payments.databases that is mistyped
my $pid = value($node, 'SELECT pid FROM payments.worker_status');
$log_from = -s $node->logfile;
$node->append_conf('postgresql.conf', q{payments.databases = 'postgres; postgres2'});
reload($node);
$node->wait_for_log(qr/invalid value for parameter "payments\.databases"/, $log_from);
is(value($node, 'SHOW payments.databases'), 'postgres', 'a mistyped list leaves what was there');
is(outcome($node, create_payment($node, idempotency_key => 'typo', amount => 1000)), 'succeeded', 'payments go on');
is(value($node, 'SELECT pid FROM payments.worker_status'), $pid, 'by the same worker');
my (undef, undef, $refused) = $node->psql('postgres', q{ALTER SYSTEM SET payments.databases = 'postgres; postgres2'});
like($refused, qr/ERROR:.*payments\.databases.*DETAIL:.*comma/s, 'ALTER SYSTEM refuses it, and says why');
$node->append_conf('postgresql.conf', q{payments.databases = 'postgres'});
reload($node);

# ---------- on a standby
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
foreach my $function (qw(arm disarm start_worker stop_worker))
{
	(undef, undef, $refused) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT payments.$function()");
	like($refused, qr/ERROR:  PY40[58]: this is a standby.*HINT:.*primary/s, "$function() on a standby");
}
foreach my $call (q{create_payment('x', 1000, 'EUR')}, q{refund_payment(gen_random_uuid(), 'x')}, q{receive_webhook('stripe', '{}', '')}, q{decide_operation(gen_random_uuid(), 'failed', 'x')})
{
	(undef, undef, $refused) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT payments.$call");
	like($refused, qr/ERROR:  25006: .*HINT:  This is a standby: connect to the primary/s, "$call on a standby");
}
(undef, undef, $refused) = $node->psql('postgres', q{BEGIN READ ONLY; SELECT payments.create_payment('x', 1000, 'EUR')});
like($refused, qr/HINT:  Begin the transaction READ WRITE/, 'in a transaction that is read only: another hint');
like(value($standby, 'SELECT hint FROM payments.worker_status'), qr/^this is a standby: promote it, and SELECT payments\.arm\(\) when the primary is off for good; nothing is sent to real PSPs: /, 'worker_status of a standby');
$standby->stop;
$node->stop;

# ---------- listed, but not preloaded
my $bare = new_payments_node('bare', worker => 0);
like(value($bare, 'SELECT hint FROM payments.worker_status'), qr/^not running: list this database in payments\.databases/, 'not listed');
$bare->append_conf('postgresql.conf', q{payments.databases = 'template1, postgres'});
reload($bare);
like(value($bare, 'SELECT hint FROM payments.worker_status'), qr/^not running: .*shared_preload_libraries/, 'listed, but not preloaded');
$bare->stop;
done_testing();
