# If this fails, the books of a month are closed without what was booked in it, or
# never; or what is retired later makes a close that was right look wrong.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

# ---------- a server whose clock we move
set_clock('2024-01-20');
my $node = with_clock(sub { new_payments_node('close', databases => '', conf => "timezone = 'UTC'\nautovacuum = off\npayments.seal_interval = 0\nmax_prepared_transactions = 5") });
is(value($node, 'SELECT current_date'), '2024-01-20', 'the clock stands where we set it');
$node->safe_psql('postgres', 'CREATE ROLE jobs LOGIN IN ROLE payments_admin; CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION payments; SELECT payments.setup()');

foreach my $db ('postgres', 'second')
{
	value($node, q{SELECT payments.create_account('bank', 'EUR', 'asset', hot => true), payments.create_account('sales', 'EUR', 'income', hot => true),
		payments.create_account('yen', 'JPY', 'asset'), payments.create_account('capital', 'JPY', 'equity')}, dbname => $db);
	value($node, q{SELECT payments.post(1, 2, 1000), payments.post(3, 4, 50)}, dbname => $db);
}
# Whatever its result, the last run says it.
sub run
{
	my ($job) = @_;
	$node->psql('postgres', "CALL payments.run_job('$job')", extra_params => [ '-U', 'jobs' ]);
	return value($node, "SELECT concat_ws(' ', result, steps, rows, sqlstate) FROM payments.job_run WHERE job = '$job' ORDER BY run_id DESC LIMIT 1");
}
sub verified { return value($node, "SELECT string_agg(coalesce(ok::text, 'unknown'), ' ') FROM payments.verify_close('default', $_[0])", dbname => $_[1] // 'postgres') }
sub closed { return value($node, "SELECT number, (to_time AT TIME ZONE 'UTC')::date, postings, late, debits ->> 'EUR' FROM payments.period_close ORDER BY number DESC LIMIT 1") }

# As the documents tell: a row of one's own enables what is shipped.
$node->safe_psql('postgres', q{
	INSERT INTO payments.job (job, schedule, command, arguments, catch_up, period, delay, builtin)
		SELECT job, schedule, command, arguments, catch_up, period, delay, false FROM payments.job WHERE job = 'close_month';
	INSERT INTO payments.job (job, schedule, command, arguments, alone, builtin)
		SELECT job, schedule, command, arguments || '{"older_than": "1 month"}', alone, false FROM payments.job WHERE job LIKE 'retire%'}, extra_params => [ '-U', 'jobs' ]);
is(value($node, q{SELECT string_agg(job, ' ' ORDER BY job) FROM payments.schedule_status WHERE enabled AND job ~ 'close|retire'}), 'close_month retire_event retire_payment_status retire_posting', 'the jobs are enabled');
is(run('close_month'), 'done 0 0', 'January is not over');

# ---------- transactions over the end of the month
set_clock('2024-01-31', 22);
$node->safe_psql('postgres', q{BEGIN; SELECT payments.post(1, 2, 10); PREPARE TRANSACTION 'first'});
value($node, 'SELECT payments.post(1, 2, 100)');
$node->safe_psql('postgres', q{BEGIN; SELECT payments.post(1, 2, 7); PREPARE TRANSACTION 'second'});
set_clock('2024-02-01');
value($node, 'SELECT payments.post(1, 2, 5)');
set_clock('2024-02-03');
is(run('close_month'), 'done 0 0', 'it is left alone for three days');
set_clock('2024-02-05');
is(run('close_month'), 'failed 0 0 PY630', 'what is older than a posting of January runs still');
like(value($node, q{SELECT problem FROM payments.schedule_status WHERE job = 'close_month'}), qr/^failed: posting \d+ was booked in the period/, 'the status says so');
is(value($node, 'SELECT count(*) FROM payments.period_close'), 0, 'nothing is closed');
$node->safe_psql('postgres', q{COMMIT PREPARED 'first'});
is(run('close_month'), 'done 1 1', 'the next run closes January, without waiting for what has nothing committed behind it');
is(closed(), '1|2024-02-01|4|0|1110', 'with what had committed');
is(run('close_month'), 'done 0 0', 'once');
$node->safe_psql('postgres', q{COMMIT PREPARED 'second'});
is(value($node, q{SELECT count(*) FROM payments.posting WHERE booked_at < '2024-02-01'}), 5, 'the last one of January comes in February');
is(sqlstate($node, q{SELECT payments.post(1, 2, 1, effective_at => '2024-01-31 23:59:59.999999+00', imported => true)}), 'PY218', 'nothing takes effect in January any more');
is(sqlstate($node, q{SELECT payments.post(1, 2, 1, effective_at => '2024-02-01 00:00:00+00', imported => true)}), '', 'in February it does');
is(verified(1), 'true true true true', 'January is what its postings make');
check_clean($node, 'late postings: check() is clean');

# ---------- retention waits for closing
set_clock('2024-03-05');
value($node, 'SELECT payments.post(1, 2, 3)');
is(run('seal_blocks') =~ s/ .*//r, 'done', 'all is sealed');
like(value($node, q{SELECT refused FROM payments.retire_partitions('posting', '1 month')}), qr/^posting \d+ committed after the close: close the next period$/, 'what no close has counted stays');
is(run('close_month'), 'done 1 1', 'February is closed');
is(closed(), '2|2024-03-01|3|1|13', 'and counts it');
is(verified(2), 'true true true true', 'February is what its postings make');
is(run('seal_blocks') =~ s/ .*//r, 'done', 'the close is sealed');
is(run('retire_posting'), 'done 1 5', 'the job retires January');
is(value($node, q{SELECT table_name, partition, kept_as FROM payments.partition_retired}), 'posting|posting_2024_01|retired_posting_2024_01', 'as its arguments say');
is(verified(1), 'true true true unknown', 'January cannot be told from its sums alone: one of them is of February');
like(value($node, q{SELECT detail FROM payments.verify_close('default', 1) WHERE ok IS NULL}), qr/cannot be told any more.*retired/, 'which is said');
is(verified(2), 'true true true unknown', 'nor February');
is(value($node, q{SELECT bool_or(r = 'The period balances.') FROM payments.close_report('default', 1) r}), 't', 'the report is still there');
check_clean($node, 'retired: check() is clean');

# ---------- months whose sums are one period's
set_clock('2024-05-06');
value($node, 'SELECT payments.post(1, 2, 4)');
run('seal_blocks');
like(value($node, q{SELECT string_agg(refused, ' ') FROM payments.retire_partitions('posting', '1 month')}), qr/^merchant "default" has not closed it: SELECT payments.close_period\('2024-04-01/, 'a month that is not closed stays');
is(run('close_month'), 'done 2 2', 'two months that were missed are closed');
run('seal_blocks');
is(run('retire_posting') =~ s/ .*//r, 'done', 'more months are retired');
is(value($node, q{SELECT string_agg(partition, ' ' ORDER BY from_time) FROM payments.partition_retired}), 'posting_2024_01 posting_2024_02 posting_2024_03', 'these');
is(verified(3), 'true true true true', 'March is what was kept of it');
is(value($node, q{SELECT detail FROM payments.verify_close('default', 3) WHERE subject ~ 'postings'}), 'months of it are retired: compared with the sums that were kept of them', 'and it says what it looked at');
is(verified(4), 'true true true true', 'April is here');
check_clean($node, 'months later: check() is clean');

# ---------- closed for the first time when months are gone
value($node, 'SELECT payments.post(1, 2, 6)', dbname => 'second');
value($node, 'SELECT payments.seal_blocks()', dbname => 'second');
value($node, q{SELECT count(*) FROM payments.retire_partitions('posting', '1 month')}, dbname => 'second');
is(value($node, q{SELECT string_agg(partition, ' ' ORDER BY from_time) FROM payments.partition_retired}, dbname => 'second'), 'posting_2024_01 posting_2024_02 posting_2024_03', 'who does not close retires as before');
is(sqlstate($node, q{SELECT payments.close_period('2024-03-31')}, dbname => 'second'), 'PY216', 'a time whose months are gone cannot be closed');
is(value($node, q{SELECT number, postings FROM payments.close_period('2024-05-01')}, dbname => 'second'), '1|0', 'a later one can');
is(value($node, q{SELECT string_agg(format('%s %s %s', code, opening, closing), ', ' ORDER BY account_id) FROM payments.closed_balance}, dbname => 'second'), 'bank 1000 1000, sales 1000 1000, yen 50 50, capital 50 50', 'and opens with what was retired');
is(verified(1, 'second'), 'true true true true', 'which is verified');
set_clock('2024-05-20');
is(value($node, q{SELECT number, postings, late FROM payments.close_period('2024-05-10')}, dbname => 'second'), '2|1|0', 'and goes on');
value($node, 'SELECT payments.seal_blocks()', dbname => 'second');
set_clock('2024-06-15');
value($node, q{SELECT payments.close_period('2024-06-10'), payments.seal_blocks()}, dbname => 'second');
is(value($node, q{SELECT string_agg(concat_ws(' ', partition, refused), ', ') FROM payments.retire_partitions('posting', '1 month')}, dbname => 'second'), 'posting_2024_04', 'April, in which nothing was');
is(verified(1, 'second') . ' / ' . verified(2, 'second') . ' / ' . verified(3, 'second'), 'true true true true / true true true true / true true true true', 'all are verified still');
is(value($node, 'SELECT count(*) FROM payments.check() WHERE NOT ok', dbname => 'second'), 0, 'check() is clean there');

# ---------- closed again and again while others post, commit late, roll back and backdate
my $before = value($node, 'SELECT count(*) FROM payments.posting');
$node->safe_psql('postgres', 'CREATE TABLE closer AS SELECT 0 AS closed');
my @sessions = many_sessions($node, 4, sub {
	my ($i) = @_;
	# Cut a little behind now, so that transactions are open over it; what is refused because of them is tried again.
	return q{
		DO $$
		BEGIN
			WHILE (SELECT closed < 12 FROM closer) LOOP
				BEGIN
					PERFORM payments.close_period(clock_timestamp() - interval '25 ms', 'default');
					UPDATE closer SET closed = closed + 1;
				EXCEPTION WHEN SQLSTATE 'PY630' THEN
				END;
				COMMIT;
				PERFORM pg_sleep(0.05);
				COMMIT;
			END LOOP;
		END $$;} if $i == 0;
	# Others post until that has come about, and for a while at least.
	return qq{
		DO \$\$
		DECLARE
			n int := 0;
			refused int := 0;
		BEGIN
			WHILE n < 80 OR (SELECT closed < 12 FROM closer) LOOP
				n := n + 1;
				COMMIT;
				BEGIN
					IF n % 5 = 0 THEN
						PERFORM payments.post(1, 2, n, effective_at => clock_timestamp() - n % 80 * interval '3 ms', imported => true);
					ELSE
						PERFORM payments.post(1, 2, n);
					END IF;
				EXCEPTION WHEN SQLSTATE 'PY218' THEN
					refused := refused + 1;
				END;
				PERFORM pg_sleep(n * (7 + $i) % 60 / 1000.0);
				IF n % 9 = 0 THEN
					ROLLBACK;
				END IF;
			END LOOP;
			RAISE NOTICE '% posted, % refused', n, refused;
		END \$\$;};
});
is($sessions[0]{stderr}, '', 'periods are closed meanwhile, twelve times');
is(join('', map { $_->{stderr} =~ s/^psql.*NOTICE:  \d+ posted, \d+ refused$//mr } @sessions[ 1 .. 3 ]), '', 'nobody who posts fails, but who is earlier than a close');
note($_->{stderr}) foreach @sessions[ 1 .. 3 ];
set_clock('2024-06-16');
value($node, q{SELECT payments.close_period(clock_timestamp(), 'default')});
is(value($node, q{SELECT count(*) FROM payments.posting p JOIN payments.merchant m USING (merchant) WHERE p.booked_at < m.closed_until}),
	value($node, q{SELECT sum(c.postings) - (SELECT sum(rows) FROM payments.partition_retired WHERE table_name = 'posting') FROM payments.period_close c}), 'each posting is in one period');
cmp_ok(value($node, 'SELECT count(*) FROM payments.posting') - $before, '>', 100, 'of many');
is(value($node, q{SELECT string_agg(c.number || ' ' || v.subject, ', ') FROM payments.period_close c, payments.verify_close('default', c.number) v WHERE v.ok IS FALSE}), '', 'and all are what their postings make');
note('closes ' . value($node, q{SELECT count(*) || ', late postings in them ' || sum(late) || ', backdated ' || sum(backdated) FROM payments.period_close}));
check_clean($node, 'closed under load: check() is clean');

# ---------- the other two, by their jobs
is(run('retire_event') =~ s/ .*//r, 'done', 'events are retired by a job');
is(run('retire_payment_status') =~ s/ .*//r, 'done', 'and histories');
is(value($node, q{SELECT string_agg(DISTINCT table_name, ' ' ORDER BY table_name) FROM payments.partition_retired}), 'event payment_status posting', 'all three tables have lost months');
is(value($node, q{SELECT string_agg(job, ' ') FROM payments.schedule_status WHERE job ~ 'close|retire' AND last_result <> 'done'}), '', 'and no job has a problem');
check_clean($node, 'at the end: check() is clean');
log_lacks_deadlocks($node);
$node->stop;
done_testing();
