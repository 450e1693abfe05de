
=pod

=head1 NAME

PaymentsTest - what the TAP scripts of payments share

=head1 SYNOPSIS

  use FindBin;
  use lib "$FindBin::RealBin/../lib";
  use PaymentsTest;
  use Test::More;

  my $node = new_payments_node('main');
  my $peer = start_peer();
  create_stripe_psp($node, $peer);

  $peer->control({ faults => [ { fault => 'lose_answer', per_key => 1 } ] });
  $node->safe_psql('postgres', q{SELECT payments.create_payment(...)});
  at_rest($node);
  is(scalar @{ $peer->book->{charges} }, 1, 'charged once');
  check_clean($node);
  done_testing();

=head1 DESCRIPTION

A node is a L<PostgreSQL::Test::Cluster> object, and every function that asks
SQL uses its database C<postgres> unless told otherwise.  prove needs -I for
the directory src/test/perl beside what C<pg_config --pgxs> prints; PG_REGRESS
is found the same way when the environment does not give it.

The peer is test/peer/stripe.py; faults.py and control.py beside it list faults
and orders.  It ends with this process, however this ends.

=cut

package PaymentsTest;

use strict;
use warnings FATAL => 'all';

use Carp;
use Exporter 'import';
use File::Basename qw(dirname);
use File::Spec;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time usleep);
use Time::Local qw(timegm);

our @EXPORT = qw(
  new_payments_node
  start_peer
  npm_package
  create_stripe_psp
  write_secrets
  secrets_file
  fast_schedules
  create_payment
  value
  sqlstate
  outcome
  no_inquiries
  reload
  stop_worker
  least_time
  sql_literal
  deliver_event
  webhook_sql
  wait_until
  eventually
  at_rest
  check_clean
  many_sessions
  busy_database
  backward_rows
  fingerprint
  log_lacks_deadlocks
  worker_has_no_transaction
  set_clock
  with_clock
);

our $SECRET         = 'sk_test_x';
our $WEBHOOK_SECRET = 'whsec_test_x';

my %log_starts_at;    # node name -> bytes
my $first_node = 1;

my $json = JSON::PP->new->utf8->canonical;

# Where it is counted which lines run, a process that is killed does not say so: Cluster.pm kills what a script leaves,
# and before a script kills a server its worker is ended.
my @to_be_counted;
END
{
	my $status = $?;

	foreach my $node (@to_be_counted) { $node->stop('fast', fail_ok => 1) if defined $node->{_pid}; }
	$? = $status;
}
if (($ENV{PAY_BUILD} // '') eq 'coverage')
{
	no warnings 'redefine';
	my $stop = \&PostgreSQL::Test::Cluster::stop;

	*PostgreSQL::Test::Cluster::stop = sub {
		my ($node, $mode) = @_;

		eval { $node->psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'payments_worker'}) }
		  if ($mode // '') eq 'immediate' && defined $node->{_pid};
		return $stop->(@_);
	};
}

# Cluster->init runs pg_regress --config-auth; beside PGXS it lies here.
if (!defined $ENV{PG_REGRESS})
{
	chomp(my $pgxs = `pg_config --pgxs`);
	my $found =
	  File::Spec->catfile(dirname($pgxs), '..', 'test', 'regress', 'pg_regress');
	$ENV{PG_REGRESS} = $found if -x $found;
}

=pod

=head1 FUNCTIONS

=over

=item new_payments_node(name, %options)

A started node with the extension installed and set up, its worker serving the
database.  Options:

  conf       => text       lines for the end of postgresql.conf
  fsync      => 1          keep fsync on (default off)
  init       => [...]      parameters for $node->init (allows_streaming => 1, ...)
  dbname     => 'postgres' where to install, and what the worker serves
  databases  => 'a,b'      payments.databases, when it differs
  secrets    => {...}      more entries of the secrets file
  worker     => 0          do not preload, and serve nothing
  start      => 0          only initialise and configure
  extension  => 0          do not preload nor install: a plain node
  install_path => PATH     of another installation of the server

The secrets file is $node->basedir . '/payments.secrets'; write_secrets() below
writes it anew.

=cut

sub new_payments_node
{
	my ($name, %options) = @_;
	my $dbname    = $options{dbname}    // 'postgres';
	my $extension = $options{extension} // 1;
	my $worker    = $extension && ($options{worker} // 1);
	my $node      = PostgreSQL::Test::Cluster->new($name, $options{install_path} ? (install_path => $options{install_path}) : ());

	push @to_be_counted, $node if ($ENV{PAY_BUILD} // '') eq 'coverage';
	# The log of an earlier run may lie there: log_lacks_deadlocks() starts behind it.
	$log_starts_at{$name} = -s $node->logfile // 0;
	# The environment says nothing of an encoding, and setup() takes UTF8 alone.
	my %init = @{ $options{init} // [] };
	my $template = template_of($extension, %options);
	$init{extra} = [ '--encoding=UTF8', '--locale=C', @{ $init{extra} // [] } ];
	init_from_template($node, $template, %init);
	write_secrets($node, %{ $options{secrets} // {} });

	# Cluster.pm asks for every statement to be logged: too much for tests of thousands of payments.
	my @conf = ('log_statement = none', 'max_connections = 200', 'jit = off',
		'fsync = ' . ($options{fsync} ? 'on' : 'off'));
	if ($extension)
	{
		push @conf,
		  'payments.allow_http = on',
		  sprintf("payments.secrets_file = '%s'", secrets_file($node));
	}
	if ($worker)
	{
		push @conf,
		  q{shared_preload_libraries = 'payments'},
		  sprintf("payments.databases = '%s'", $options{databases} // $dbname);
	}
	push @conf, $options{conf} if defined $options{conf};
	$node->append_conf('postgresql.conf', join("\n", @conf));
	return $node unless $options{start} // 1;

	$node->start;
	$node->safe_psql('postgres', qq{CREATE DATABASE "$dbname"})
	  if $dbname ne 'postgres';
	$node->safe_psql($dbname, 'CREATE EXTENSION payments; SELECT payments.setup();')
	  if $extension && ($template // '') ne 'installed';
	return $node;
}

# The first server of a script is a copy of one that tap.sh has made.  No other is: of one cluster, and one salt, they
# would take each other's payments for their own.
sub template_of
{
	my ($extension, %options) = @_;

	return undef if !$first_node || !defined $ENV{PAY_TAP_TEMPLATE} || $options{install_path} || { @{ $options{init} // [] } }->{extra};
	$first_node = 0;
	# Partitions are made for the clock's months.
	return 'installed' if $extension && !defined $options{dbname} && ($options{start} // 1) && !defined $ENV{PAY_CLOCK};
	return 'bare';
}

sub init_from_template
{
	my ($node, $template, %init) = @_;
	my $run = \&PostgreSQL::Test::Utils::system_or_bail;

	no warnings 'redefine';
	local *PostgreSQL::Test::Utils::system_or_bail = !defined $template ? $run : sub {
		return $run->($_[0] eq 'initdb' ? ('cp', '-a', "$ENV{PAY_TAP_TEMPLATE}/$template", $node->data_dir) : @_);
	};
	return $node->init(%init);
}

=pod

=item secrets_file(node), write_secrets(node, name => value, ...)

Where the node's secrets file is, and how to write it anew: the two entries for
the psp C<stripe> are there unless overridden; undef leaves an entry out.

=cut

sub secrets_file
{
	my ($node) = @_;
	return $node->basedir . '/payments.secrets';
}

sub write_secrets
{
	my ($node, %more) = @_;
	my %secrets = (
		'stripe'         => $SECRET,
		'stripe.webhook' => $WEBHOOK_SECRET,
		%more);
	my $path = secrets_file($node);

	unlink $path;
	my $umask = umask 0077;
	open my $file, '>', $path or die "could not write $path: $!";
	umask $umask;
	foreach my $name (sort keys %secrets)
	{
		print $file "$name = $secrets{$name}\n" if defined $secrets{$name};
	}
	close $file or die "could not write $path: $!";
	return $path;
}

=pod

=item start_peer(%options)

Starts the scripted PSP and waits until it listens.  Options: secret,
webhook_secret, faults (a reference, or JSON text), seed, port; command =>
[...] starts another peer, which answers /_control and /_book.  The object has
the methods listed under PEER.

=cut

sub start_peer
{
	return PaymentsTest::Peer->new(@_);
}

=pod

=item npm_package('name@version')

Begins to fetch a vendor's own package, without what it depends on, and returns
a function that waits for it and says in which folder it is.

=cut

sub npm_package
{
	my ($package) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my ($said, $errors) = ('', '');
	local $ENV{npm_config_cache} = "$dir/cache";
	my $run = IPC::Run::start([ 'npm', 'pack', '--silent', '--pack-destination', $dir, $package ], '<', \undef, '>', \$said, '2>', \$errors);

	return sub {
		$run->finish or croak "npm pack $package: $errors";
		chomp $said;
		PostgreSQL::Test::Utils::system_or_bail('tar', '-xzf', "$dir/$said", '-C', $dir);
		return "$dir/package";
	};
}

=pod

=item create_stripe_psp(node, peer, %options)

Makes the PSP C<stripe> that talks to the peer, and arms the worker.  Options:
dbname, psp, arm => 0, config => {...}, feeds => {interval_s => 1, ...}, timeout
(default '2 min': calls end when the peer says so, however slow the machine is).
Without feeds they are off: they would do on their own what a test wants to do.

=cut

sub create_stripe_psp
{
	my ($node, $peer, %options) = @_;
	my $psp    = $options{psp} // 'stripe';
	my %config = %{ $options{config} // {} };

	$config{feeds} = $options{feeds} if $options{feeds};
	$node->safe_psql(
		$options{dbname} // 'postgres',
		sprintf(
			q{BEGIN; SELECT payments.create_psp(psp => %s, adapter => 'stripe', base_url => %s, secret => 'stripe', config => %s::jsonb);},
			sql_literal($psp), sql_literal($peer->url), sql_literal($json->encode(\%config)))
		  . sprintf(q{ UPDATE payments.psp SET timeout = %s WHERE psp = %s;}, sql_literal($options{timeout} // '2 min'), sql_literal($psp))
		  . ($options{feeds} ? '' : sprintf(q{ SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed WHERE psp = %s;}, sql_literal($psp)))
		  . (($options{arm} // 1) ? ' SELECT payments.arm();' : '') . ' COMMIT;');
	return;
}

=pod

=item fast_schedules(node, %options)

Rows of the user's own that replace shipped schedules.  Options: dbname, delay
(default '200 ms'), tries (default 60), schedules (default all that have to do
with PSPs).

=cut

sub fast_schedules
{
	my ($node, %options) = @_;

	$node->safe_psql(
		$options{dbname} // 'postgres',
		sprintf(
			q{DELETE FROM payments.retry_schedule WHERE NOT builtin;
			  INSERT INTO payments.retry_schedule (schedule, try, delay, builtin)
			  SELECT s, n, interval %s, false
			  FROM unnest(ARRAY[%s]) s, generate_series(1, %d) n},
			sql_literal($options{delay} // '200 ms'),
			join(', ', map { sql_literal($_) } @{ $options{schedules} // [qw(not_sent unknown pending requires_action soft_decline)] }),
			$options{tries} // 60));
	return;
}

=pod

=item no_inquiries(node)

Rows of the user's own that put off by a day whatever the worker would ask the
PSP by itself: what a payment becomes, an event or an answer says.

=cut

sub no_inquiries
{
	my ($node) = @_;

	return fast_schedules($node, delay => '1 day', tries => 2, schedules => [qw(unknown pending requires_action)]);
}

=pod

=item reload(node)

Has the server read its files again, and waits until it has told the worker,
which then reads them before it does anything else.

=cut

my $reloads = 0;

sub reload
{
	my ($node) = @_;

	# Sessions are started with the settings of the postmaster, which tells its children first.
	$node->append_conf('postgresql.conf', 'payments_test.reloads = ' . ++$reloads);
	$node->reload;
	return wait_until($node, 'SHOW payments_test.reloads', $reloads);
}

=pod

=item stop_worker(node, %options)

payments.stop_worker(), and waits until the worker has come to know it: it is
gone, or asleep, and claims nothing any more.  Option: dbname.

=cut

sub stop_worker
{
	my ($node, %options) = @_;

	value($node, 'SELECT payments.stop_worker()', %options);
	# Asleep it stands before its next look, which is one at what we have committed.
	return wait_until($node, q{SELECT coalesce((SELECT a.wait_event_type = 'Extension' FROM pg_stat_activity a WHERE a.pid = payments._worker_pid()), true)},
		't', undef, %options);
}

=pod

=item least_time(limit_s, work)

For promises in seconds.  A busy machine makes things slower, and never faster:
work->(n) is done until it says that it took less than limit_s, five times at
most.  Returns the least.

=cut

sub least_time
{
	my ($limit_s, $work) = @_;
	my $least;

	foreach my $n (1 .. 5)
	{
		my $took = $work->($n);

		$least = $took if !defined $least || $took < $least;
		last if $least < $limit_s;
	}
	return $least;
}

=pod

=item create_payment(node, %arguments)

Calls payments.create_payment() with these arguments by name (idempotency_key
and amount are needed; default currency EUR, psp stripe, payment_method
pm_card_visa) and returns the payment_id.  The argument dbname is ours.

=item create_payment_sql(%arguments)

The same call as an expression for FROM.

=cut

sub create_payment_sql
{
	my (%arguments) = @_;
	my %all = (
		currency       => 'EUR',
		psp            => 'stripe',
		payment_method => 'pm_card_visa',
		%arguments);

	return 'payments.create_payment('
	  . join(', ', map { "$_ => " . sql_literal($all{$_}) } sort keys %all) . ')';
}

sub create_payment
{
	my ($node, %arguments) = @_;
	my $dbname = delete $arguments{dbname} // 'postgres';

	return $node->safe_psql($dbname,
		'SELECT payment_id FROM ' . create_payment_sql(%arguments));
}

=pod

=item value(node, sql, %options)

What safe_psql says; option dbname.

=item sqlstate(node, sql, %options)

The SQLSTATE with which the statement fails, '' when it does not.  Option: dbname.

=item outcome(node, payment_id, timeout_s, %options)

payments.wait_payment(): the status in which the payment rests.

=cut

sub value
{
	my ($node, $sql, %options) = @_;

	return $node->safe_psql($options{dbname} // 'postgres', $sql);
}

sub sqlstate
{
	my ($node, $sql, %options) = @_;
	my ($code, $stdout, $stderr) = $node->psql($options{dbname} // 'postgres',
		"\\set VERBOSITY sqlstate\n$sql");

	return $stderr =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $code == 0 ? '' : $stderr;
}

sub outcome
{
	my ($node, $payment_id, $timeout_s, %options) = @_;

	return value(
		$node,
		sprintf(q{SELECT payments.wait_payment('%s', interval '%s s')},
			$payment_id, $timeout_s // $PostgreSQL::Test::Utils::timeout_default),
		%options);
}

=pod

=item deliver_event(node, event, %options)

Hands one element of $peer->events to receive_webhook(), as the application's
endpoint would.  Returns what psql did: in list context (code, stdout, stderr).
Options: dbname, psp, body, signature (to send something else).

=cut

sub deliver_event
{
	my ($node, $event, %options) = @_;

	return $node->psql($options{dbname} // 'postgres', webhook_sql($event, %options));
}

=pod

=item webhook_sql(event, %options)

The statement that deliver_event() runs, for sessions of your own.  The option
headers replaces them all.

=cut

sub webhook_sql
{
	my ($event, %options) = @_;
	my $body    = $options{body} // $event->{body};
	my $headers = $json->encode($options{headers}
		  // { 'Stripe-Signature' => $options{signature} // $event->{signature} });

	utf8::encode($body) if utf8::is_utf8($body);
	return sprintf(
		q{SELECT * FROM payments.receive_webhook(psp => %s, headers => %s::jsonb, body => decode('%s', 'hex'))},
		sql_literal($options{psp} // 'stripe'), sql_literal($headers),
		unpack('H*', $body));
}

=pod

=item wait_until(node, sql, expected, timeout_s, %options)

Asks until the answer is expected (a string, or a regular expression; default
't'), at most timeout_s seconds (default PG_TEST_TIMEOUT_DEFAULT).  An error
counts as an answer that is not expected.  Returns whether it came, and says
what the last answer was if not.  Option: dbname.

=cut

sub wait_until
{
	my ($node, $sql, $expected, $timeout_s, %options) = @_;
	my $dbname = $options{dbname} // 'postgres';
	my $pause_us = 10_000;

	$expected = 't' unless defined $expected;
	$timeout_s = $PostgreSQL::Test::Utils::timeout_default
	  unless defined $timeout_s;
	my $deadline = time + $timeout_s;
	while (1)
	{
		# A psql that is refused may be gone before it is told what to ask: IPC::Run dies of that.
		my ($code, $stdout, $stderr) = eval { $node->psql($dbname, $sql) };

		($code, $stdout, $stderr) = (-1, '', $@) unless defined $code;
		return 1
		  if $code == 0
		  && (ref $expected ? $stdout =~ $expected : $stdout eq $expected);
		if (time > $deadline)
		{
			diag("waited $timeout_s s in vain for \"$expected\" from:\n$sql\nlast answer:\n$stdout\n$stderr");
			return 0;
		}
		usleep($pause_us);
		$pause_us = $pause_us * 1.5 if $pause_us < 200_000;
	}
}

=pod

=item eventually(look)

The same of what SQL does not tell: asks the function until it says yes.

=cut

sub eventually
{
	my ($look) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($look->())
	{
		return 0 if time > $until;
		usleep(100_000);
	}
	return 1;
}

=pod

=item at_rest(node, timeout_s, %options)

Waits until payments.queue is empty: the worker has nothing left to do.  Dies
when it does not come to that, since what a test would find afterwards means
little.  Option: dbname.

=cut

sub at_rest
{
	my ($node, $timeout_s, %options) = @_;

	return 1
	  if wait_until($node, 'SELECT count(*) FROM payments.queue',
		'0', $timeout_s, %options);
	my ($code, $stdout, $stderr) = $node->psql($options{dbname} // 'postgres',
		'SELECT * FROM payments.queue LIMIT 10');
	diag("left in the queue:\n$stdout");
	croak 'payments.queue did not become empty';
}

=pod

=item check_clean(node, name, %options)

One test: payments.check() finds nothing wrong.  Option: dbname.

=cut

sub check_clean
{
	my ($node, $name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($code, $stdout, $stderr) = $node->psql($options{dbname} // 'postgres',
		'SELECT * FROM payments.check() WHERE NOT ok');

	return is("$code|$stdout|$stderr", '0||',
		$name // 'payments.check() finds nothing wrong');
}

=pod

=item many_sessions(node, n, generator, %options)

Runs n psql sessions at once.  generator->(i), i from 0, gives the SQL of one.
All connect first and start together: they wait for an advisory lock that is
let go when the last has come (barrier => 0: each starts when it can); then
meanwhile->() is called.  Returns n hashes {code, stdout, stderr}, in order.
Options: dbname, barrier, meanwhile, on_error_stop => 0, timeout_s.

=cut

my $BARRIER       = 0x5041594d;    # first half of the advisory lock's key; the second half counts
my $barriers_made = 0;

sub many_sessions
{
	my ($node, $n, $generator, %options) = @_;
	my $dbname    = $options{dbname}    // 'postgres';
	my $barrier   = $options{barrier}   // 1;
	my $timeout_s = $options{timeout_s} // $PostgreSQL::Test::Utils::timeout_default;
	my $stop      = $options{on_error_stop} // 1;
	my @command   = (
		$node->installed_command('psql'),
		'-XAtq', '-v', "ON_ERROR_STOP=$stop", '-d', $node->connstr($dbname),
		'-f', '-');
	my ($gate, $prefix, @sessions, @results) = (undef, '');

	my $lock = sprintf '%d, %d', $BARRIER, ++$barriers_made;
	if ($barrier)
	{
		$prefix = "DO \$\$ BEGIN PERFORM pg_advisory_lock_shared($lock); END \$\$;\n"
		  . "DO \$\$ BEGIN PERFORM pg_advisory_unlock_shared($lock); END \$\$;\n";
		$gate = $node->background_psql($dbname);
		$gate->query_safe("SELECT pg_advisory_lock($lock)");
	}
	foreach my $i (0 .. $n - 1)
	{
		# psql runs a last line only when it has ended, and its input stays open until finish().
		my $session = { stdin => $prefix . $generator->($i) . "\n", stdout => '', stderr => '' };

		$session->{run} = IPC::Run::start(
			\@command,
			'<', \$session->{stdin},
			'>', \$session->{stdout},
			'2>', \$session->{stderr},
			IPC::Run::timeout($timeout_s));
		$session->{run}->pump_nb;
		push @sessions, $session;
	}
	if ($barrier)
	{
		my $deadline = time + $timeout_s;
		my $waiting  = 0;

		while ($waiting < $n && time < $deadline)
		{
			$_->{run}->pump_nb foreach @sessions;
			$waiting = $gate->query_safe(
				"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
				  . " AND classid = $BARRIER AND objid = $barriers_made");
			usleep(20_000) if $waiting < $n;
		}
		$gate->query_safe("SELECT pg_advisory_unlock($lock)");
		$gate->quit;
		diag("only $waiting of $n sessions reached the barrier") if $waiting < $n;
	}
	if ($options{meanwhile})
	{
		$_->{run}->pump_nb foreach @sessions;
		$options{meanwhile}->();
	}
	foreach my $session (@sessions)
	{
		my $done = eval { $session->{run}->finish; 1 };

		$session->{stderr} .= "many_sessions: $@" unless $done;
		$session->{run}->kill_kill unless $done;
		chomp(my $stdout = $session->{stdout});
		chomp(my $stderr = $session->{stderr});
		push @results,
		  {
			code   => $done ? $session->{run}->result(0) : -1,
			stdout => $stdout,
			stderr => $stderr
		  };
	}
	return @results;
}

=pod

=item busy_database(node)

Puts rows into every kind of table, by the sandbox, and starts writers that go
on until $writers->kill_kill: payments, captures, refunds, postings, holds, and
now and then a ROLLBACK.  Returns them once rows of payment_status lie in the
heap in another order than they follow one another: what ROLLBACK left is used
again after VACUUM.

=item backward_rows

The statement that says whether there are such rows.

=item fingerprint(without)

A statement: each table of payments, with the number of its rows and a hash of
them; without those whose name matches (default installation and job).

=cut

sub backward_rows
{
	return q{SELECT count(*) >= 20 FROM payments.payment_status s JOIN payments.payment_status p
		ON p.tableoid = s.tableoid AND p.payment_id = s.payment_id AND p.seq = s.seq - 1 WHERE p.ctid > s.ctid};
}

sub fingerprint
{
	my ($without) = @_;

	return sprintf q{SELECT c.relname, (xpath('/row/f/text()', query_to_xml(format(
		'SELECT count(*) || '' '' || coalesce(md5(string_agg(t::text, E''\n'' ORDER BY t::text)), ''-'') AS f FROM payments.%%I t', c.relname), false, true, '')))[1]
		FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname !~ %s ORDER BY 1},
	  sql_literal($without // '^(installation|job)$');
}

sub busy_database
{
	my ($node) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/writer.sql';

	value($node, q{SELECT payments.create_merchant('books'), payments.create_psp(psp => 'stripe', adapter => 'stripe', secret => 'stripe');
		INSERT INTO payments.retry_schedule (schedule, psp, try, delay, builtin) VALUES ('unknown', 'sandbox', 1, '10 ms', false);
		INSERT INTO payments.feed_entry (psp, feed, entry_id, body, reason, seen_at, due_at) SELECT psp, feed, 'e-1', '{}', 'not yet', now(), 'infinity' FROM payments.psp_feed;
		SELECT payments.create_account('till', 'EUR', 'asset'), payments.create_account('sales', 'EUR', 'income', history => true),
			payments.create_account('card', 'EUR', 'liability', hot => true, parts => 4, min_balance => -1000000), payments.create_account('hot', 'EUR', 'liability', hot => true)});
	create_payment($node, idempotency_key => 'gone', amount => 1, psp => 'sandbox', payment_method => 'sandbox_vanished');
	wait_until($node, q{SELECT count(*) FROM payments.dead_letter WHERE decision IS NULL}, '1') or croak 'no dead letter';
	value($node, q{SELECT payments.import_settlement('sandbox', 'csv', E'kind,psp_object_id,payout_ref,gross,currency,occurred_at\ncharge,ch_x,p1,10.00,EUR,2026-01-02\npayout,po_x,p1,-10.00,EUR,2026-01-03\n')});
	value($node, q{SELECT payments.post(1, 2, 500, reference => 'first')});
	my $until = value($node, 'SELECT clock_timestamp()');
	wait_until($node, "SELECT closed_until IS NOT NULL FROM payments.close_period('$until')") or croak 'no closed period';

	PostgreSQL::Test::Utils::append_to_file($script, q{
\set k random(1, 1000000000)
\set a random(1, 500)
\set kind random(1, 10)
\if :kind <= 4
SELECT payments.create_payment('w-' || :k, :a, 'EUR', payment_method => 'sandbox_ok', merchant => CASE WHEN :a > 250 THEN 'books' ELSE 'default' END);
\elif :kind = 5
SELECT payments.create_payment('m-' || :k, :a, 'EUR', payment_method => 'sandbox_ok', capture => 'manual');
\elif :kind = 6
DO 'BEGIN PERFORM payments.capture_payment(payment_id, ''c-'' || payment_id) FROM (SELECT payment_id FROM payments.payment WHERE status = ''authorized'' LIMIT 1) p; EXCEPTION WHEN OTHERS THEN NULL; END';
\elif :kind = 7
DO 'BEGIN PERFORM payments.refund_payment(payment_id, ''r-'' || payment_id || captured || refunded, 1) FROM (SELECT * FROM payments.payment WHERE status = ''succeeded'' LIMIT 1 OFFSET 5) p; EXCEPTION WHEN OTHERS THEN NULL; END';
\elif :kind = 8
SELECT payments.post(1, 2, :a, reference => 'p-' || :k), payments.post(1, 3, :a), payments.post(1, 4, :a);
\elif :kind = 9
SELECT payments.post_hold(h.hold_id, 1) FROM payments.hold(1, 2, :a) h;
\else
BEGIN;
SELECT payments.create_payment('n-' || :k || '-' || n, :a, 'EUR', payment_method => 'sandbox_ok') FROM generate_series(1, 5) n;
ROLLBACK;
\endif
});

	my $said = '';
	my $writers = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', '3', '-T', '100000', '-R', '60', '-f', $script, $node->connstr('postgres') ],
		'<', \undef, '>', \$said, '2>', \$said);
	wait_until($node, 'VACUUM payments.payment_status; ' . backward_rows()) or croak "rows lie in order: $said";
	value($node, 'SELECT payments.seal_blocks()');
	return $writers;
}

=pod

=item log_lacks_deadlocks(node, name)

One test: the server's log tells of no deadlock.

=cut

sub log_lacks_deadlocks
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $found = () =
	  PostgreSQL::Test::Utils::slurp_file($node->logfile,
		$log_starts_at{ $node->name }) =~ /deadlock detected/g;

	return is($found, 0, $name // 'no deadlock in the log');
}

# Quotes text for SQL, backslashes included, whatever standard_conforming_strings says.
sub sql_literal
{
	my ($text) = @_;

	return 'NULL' unless defined $text;
	$text =~ s/(['\\])/$1$1/g;
	return "E'$text'";
}

=pod

=back

=head1 PEER

=over

=item $peer->port, $peer->url, $peer->pid

=item $peer->control({ ... })

POST /_control; dies when the peer refuses.  Returns its answer.

=item $peer->faults(rule, ...)

Replaces the fault rules; without arguments ends all faults.

=item $peer->book(brief => 1), $peer->book_tsv, $peer->events(type => T, ref => R, t => UNIXTIME)

What the peer wrote down; see its GET /_book and GET /_events.

=item $peer->transactions

The movements of the balance in its book, oldest first.

=item $peer->charges(payments_ref)

The rows of the book's charges that moved or hold money (of one ref, or all).

=item $peer->wait_held(n)

Waits until the fault C<hold> keeps back n answers.  Returns whether it came to
that.

=item $peer->release

Ends all faults, and sends the answers that are kept back.

=item $peer->pause, $peer->resume

Stops the process: connections are taken by the kernel, nothing is answered.

=item $peer->stop

Ends it.  Its book is gone with it.

=item worker_has_no_transaction(node, name)

For when all calls hang.  Passes if each transaction and snapshot of the worker
that 200 looks meet is over while they hang.  What it does beside sending is
done in transactions of milliseconds, and a look may meet one; one that is open
while a call is out would last as long as that.

=cut

sub worker_has_no_transaction
{
	my ($node, $name) = @_;

	# Half of the shortest time that a caller lets its calls hang.
	my $looks = value($node, q{
		DO $$
		DECLARE
			bad int := 0;
			found int := 0;
			met text;
			still text;
			until timestamptz := clock_timestamp() + interval '1 min';
		BEGIN
			FOR i IN 1 .. 200 LOOP
				met := NULL;
				LOOP
					PERFORM pg_stat_clear_snapshot();
					SELECT min(concat_ws(' ', a.xact_start, a.backend_xmin, a.backend_xid))
					INTO STRICT still FROM pg_stat_activity a WHERE a.pid = payments._worker_pid();
					found := found + (still IS NOT NULL AND met IS NULL)::int;
					met := coalesce(met, still);
					EXIT WHEN still = '' OR still IS DISTINCT FROM met;
					IF clock_timestamp() > until THEN
						bad := bad + 1;
						EXIT;
					END IF;
					PERFORM pg_sleep(0.005);
				END LOOP;
				PERFORM pg_sleep(0.005);
			END LOOP;
			CREATE TABLE looked AS SELECT found, bad;
		END
		$$;
		SELECT found, bad FROM looked});
	return is($looks, '200|0', $name);
}

=item set_clock(date, hour, minute, second), with_clock(sub)

The first sets the clock, UTC, of what the second starts, also when it runs
already: test/lib/clock.c.  The hour is noon unless given.

=cut

my ($clock, $clock_file);

sub set_clock
{
	my ($date, $hour, $minute, $second) = @_;
	my ($year, $month, $day) = split /-/, $date;

	if (!defined $clock)
	{
		my $dir = PostgreSQL::Test::Utils::tempdir();
		($clock, $clock_file) = ("$dir/clock.so", "$dir/clock");
		PostgreSQL::Test::Utils::system_or_bail('cc', '-O1', '-shared', '-fPIC', '-o', $clock, dirname(__FILE__) . '/clock.c');
		chmod 0755, $dir;
	}
	open my $file, -e $clock_file ? '+<' : '>', $clock_file or die "$clock_file: $!";
	syswrite $file, pack('q<', timegm($second // 0, $minute // 0, $hour // 12, $day, $month - 1, $year) - int time);
	close $file;
	chmod 0644, $clock_file;
	return;
}

sub with_clock
{
	my ($work) = @_;
	local $ENV{LD_PRELOAD} = $clock;
	local $ENV{PAY_CLOCK} = $clock_file;
	return $work->();
}

=back

=cut

package PaymentsTest::Peer;

use strict;
use warnings FATAL => 'all';

use Carp;
use File::Basename qw(dirname);
use File::Spec;
use HTTP::Tiny;
use IO::Select;
use POSIX ();
use Test::More ();

my %running;
my $script = File::Spec->catfile(dirname(File::Spec->rel2abs(__FILE__)),
	'..', 'peer', 'stripe.py');

sub new
{
	my ($class, %options) = @_;
	my @command = $options{command} ? @{ $options{command} } : (
		'/usr/bin/python3', $script, '--die-with-parent',
		'--port', $options{port} // 0,
		'--secret', $options{secret} // $PaymentsTest::SECRET,
		'--webhook-secret', $options{webhook_secret} // $PaymentsTest::WEBHOOK_SECRET,
		'--seed', $options{seed} // 0);
	my $faults = $options{faults};

	push @command, '--faults', ref $faults ? $json->encode($faults) : $faults
	  if defined $faults;

	# Perl makes both pipes close-on-exec, so nobody but us holds the end that keeps the peer alive.
	pipe(my $life_reader, my $life)      or die "could not make a pipe: $!";
	pipe(my $said,        my $said_writer) or die "could not make a pipe: $!";
	my $pid = fork // die "could not fork: $!";
	if ($pid == 0)
	{
		POSIX::dup2(fileno $life_reader, 0);
		POSIX::dup2(fileno $said_writer, 1);
		if (defined $PostgreSQL::Test::Utils::log_path
			&& open(my $log, '>>', "$PostgreSQL::Test::Utils::log_path/peer.log"))
		{
			POSIX::dup2(fileno $log, 2);
		}
		{ no warnings; exec @command }
		POSIX::_exit(127);    # without END blocks: they are the parent's
	}
	close $life_reader;
	close $said_writer;

	my $self = bless {
		pid   => $pid,
		life  => $life,
		owner => $$,
		http  => HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default, keep_alive => 0, no_proxy => ['127.0.0.1'])
	}, $class;

	$running{$pid} = $self;
	my $line =
	  IO::Select->new($said)->can_read($PostgreSQL::Test::Utils::timeout_default) ? scalar readline $said : undef;
	if (!defined $line || $line !~ /^port (\d+)/)
	{
		$self->stop;
		croak 'the peer did not start';
	}
	$self->{port} = $1;
	return $self;
}

sub port { return $_[0]{port} }
sub pid  { return $_[0]{pid} }
sub url  { return "http://127.0.0.1:$_[0]{port}" }

sub control
{
	my ($self, $orders) = @_;

	return $self->_ask('POST', '/_control', $orders);
}

sub faults
{
	my ($self, @rules) = @_;

	return $self->control({ faults => \@rules });
}

sub book
{
	my ($self, %query) = @_;

	return $self->_ask('GET', '/_book', undef, %query);
}

sub book_tsv
{
	my ($self, %query) = @_;
	my $answer = $self->{http}->get($self->_address('/_book.tsv', %query));

	croak "GET /_book.tsv: $answer->{status} $answer->{content}"
	  unless $answer->{success};
	return $answer->{content};
}

sub transactions { return $_[0]->_ask('GET', '/_transactions') }

sub events
{
	my ($self, %query) = @_;

	return @{ $self->_ask('GET', '/_events', undef, %query) };
}

sub charges
{
	my ($self, $ref) = @_;

	return grep {
		$_->{status} =~ /^(?:succeeded|authorized)$/
		  && (!defined $ref || ($_->{payments_ref} // '') eq $ref)
	} @{ $self->book->{charges} };
}

sub wait_held
{
	my ($self, $n) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $held;

	while (($held = $self->book(brief => 1)->{held}) < $n)
	{
		if (time > $deadline)
		{
			Test::More::diag("waited in vain for $n answers that are kept back; there are $held");
			return 0;
		}
		select undef, undef, undef, 0.02;
	}
	return 1;
}

sub release { return $_[0]->control({ faults => [], release => JSON::PP::true() }) }

sub pause { return kill 'STOP', $_[0]{pid} }
sub resume { return kill 'CONT', $_[0]{pid} }

sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid};

	return unless defined $pid;
	delete $running{$pid};
	close delete $self->{life};
	return unless $self->{owner} == $$;    # a forked child's copy only lets go
	local $?;
	kill 'TERM', $pid;
	kill 'CONT', $pid;
	foreach (1 .. 200)
	{
		return if waitpid($pid, POSIX::WNOHANG()) != 0;
		select undef, undef, undef, 0.01;
	}
	kill 'KILL', $pid;
	waitpid $pid, 0;
	return;
}

sub _address
{
	my ($self, $path, %query) = @_;
	my $query = $self->{http}->www_form_urlencode(\%query);

	return $self->url . $path . ($query eq '' ? '' : "?$query");
}

sub _ask
{
	my ($self, $method, $path, $value, %query) = @_;
	my %request;

	%request = (content => $json->encode($value),
		headers => { 'Content-Type' => 'application/json' }) if defined $value;
	my $answer = $self->{http}->request($method, $self->_address($path, %query), \%request);
	croak "$method $path: $answer->{status} $answer->{content}"
	  unless $answer->{success};
	return $json->decode($answer->{content});
}

# When the script dies, so does the peer; when it is killed, the peer sees its standard input close.
END
{
	my $exit_code = $?;

	$_->stop foreach grep { $_->{owner} == $$ } values %running;
	$? = $exit_code;
}

1;
