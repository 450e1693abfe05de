# If this fails, limited accounts are overdrawn when many draw on them at once:
# money is promised or paid out that nobody has.
#
# Eight clients drain ten limited accounts by holds, postings and reversals, and
# two split ones by postings and reversals, at three isolation levels, while the
# worker releases expired holds and folds the hot account.  Watchers look at all
# accounts all the time, and every snapshot must be within every limit.
# PAY_ATTACK_SECONDS says how long (make test-long: a minute); it is done again
# on a machine that did not get far enough in that time.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $SECONDS = $ENV{PAY_ATTACK_SECONDS} // 8;
my $CLIENTS = 8;
my $FUNDS   = 100_000;

my $node = new_payments_node('ledger_attack', conf => "max_connections = 50\npayments.poll_interval = '200 ms'");
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE acct (i int PRIMARY KEY, id bigint NOT NULL, type text NOT NULL);
INSERT INTO acct SELECT i, payments.create_account('attacked ' || i, 'EUR', CASE WHEN i % 3 = 0 THEN 'asset' ELSE 'liability' END,
		min_balance => CASE WHEN i = 1 THEN -500 ELSE 0 END, max_balance => CASE WHEN i IN (2, 3) THEN 150000 END, history => i = 4),
	CASE WHEN i % 3 = 0 THEN 'asset' ELSE 'liability' END
FROM generate_series(1, 10) i;
INSERT INTO acct SELECT i, payments.create_account('attacked ' || i, 'EUR', type, hot => true, parts => 4, min_balance => 0, max_balance => 200000), type
FROM (VALUES (11, 'liability'), (12, 'asset')) v(i, type);
INSERT INTO acct VALUES (0, payments.create_account('attack bank', 'EUR', 'asset'), 'bank'),
	(-1, payments.create_account('attack fees', 'EUR', 'income', hot => true), 'hot');
-- What is taken from an account goes to the bank, from assets by a credit.
CREATE FUNCTION debit(a acct, b acct) RETURNS bigint IMMUTABLE LANGUAGE sql AS \$\$ SELECT CASE WHEN a.type = 'asset' THEN b.id ELSE a.id END \$\$;
CREATE FUNCTION credit(a acct, b acct) RETURNS bigint IMMUTABLE LANGUAGE sql AS \$\$ SELECT CASE WHEN a.type = 'asset' THEN a.id ELSE b.id END \$\$;
SELECT payments.post(credit(a, b), debit(a, b), $FUNDS) FROM acct a, acct b WHERE a.i > 0 AND b.i = 0;

CREATE UNLOGGED TABLE outcome (what text, level text, code text);
CREATE UNLOGGED TABLE seen (watcher text, accounts bigint, beyond bigint, unbalanced bigint, sample text);

-- One operation, chosen at random, on accounts that are nearly empty: a tenth brings money in, the rest takes it out.
CREATE FUNCTION attack() RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
	a acct; b acct; other acct;
	what text := (ARRAY['hold', 'hold', 'hold', 'post', 'post', 'sweep', 'batch', 'post_hold', 'post_hold', 'void_hold', 'reverse', 'fund'])
		[1 + floor(random() * 12)];
	i_a int := 1 + floor(random() * 12);
	i_b int := CASE WHEN random() < 0.1 THEN -1 WHEN random() < 0.2 THEN 1 + floor(random() * 12) ELSE 0 END;
	amount bigint := CASE WHEN random() < 0.5 THEN 1 + floor(random() * 100) ELSE 1 + floor(random() * $FUNDS / 2) END;
	code text := 'ok';
	near bigint := floor(random() * 100);		-- how many ago
BEGIN
	IF what = 'hold' AND greatest(i_a, i_b) > 10 OR i_a = i_b THEN
		i_a := i_a % 10 + 1;
		i_b := 0;
	END IF;
	SELECT * INTO STRICT a FROM acct WHERE i = i_a;
	SELECT * INTO STRICT b FROM acct WHERE i = i_b;
	SELECT * INTO STRICT other FROM acct WHERE i = i_a % 10 + 1;
	BEGIN
		CASE what
			WHEN 'hold' THEN PERFORM payments.hold(debit(a, b), credit(a, b), amount, balancing => random() < 0.3,
				expires_at => CASE WHEN random() < 0.3 THEN clock_timestamp() + random() * interval '300 ms' + interval '1 ms' END);
			WHEN 'post' THEN PERFORM payments.post(debit(a, b), credit(a, b), amount);
			WHEN 'sweep' THEN PERFORM payments.post(debit(a, b), credit(a, b), 10 * $FUNDS, balancing => true);
			WHEN 'batch' THEN
				SELECT min(r.error) INTO code FROM payments.post_batch(
					ARRAY[debit(a, b), credit(other, b), debit(a, b)], ARRAY[credit(a, b), debit(other, b), credit(a, b)],
					ARRAY[amount, amount, 10 * $FUNDS], groups => ARRAY[1, 1, NULL], balancing => ARRAY[false, false, true]) r;
				code := coalesce(code, 'ok');
			WHEN 'post_hold' THEN PERFORM payments.post_hold((SELECT last_value FROM payments.ledger_hold_hold_id_seq) - near,
				CASE WHEN random() < 0.5 THEN amount END, final => random() < 0.5);
			WHEN 'void_hold' THEN PERFORM payments.void_hold((SELECT last_value FROM payments.ledger_hold_hold_id_seq) - near);
			WHEN 'reverse' THEN PERFORM payments.reverse_posting((SELECT last_value FROM payments.posting_posting_id_seq) - near, 'attack');
			WHEN 'fund' THEN PERFORM payments.post(credit(a, b), debit(a, b), amount);
		END CASE;
	EXCEPTION WHEN OTHERS THEN
		-- The ledger's own refusals; 22023: a hold on a hot account, or from an account to itself.
		IF SQLSTATE NOT LIKE 'PY2%' AND SQLSTATE <> '22023' THEN
			RAISE;
		END IF;
		code := SQLSTATE;
	END;
	INSERT INTO outcome VALUES (what, current_setting('transaction_isolation'), code);
END \$\$;

-- One look at everything.  slack: how far from its limits each account must stay.
CREATE FUNCTION look(slack bigint DEFAULT 0, OUT accounts bigint, OUT beyond bigint, OUT unbalanced bigint, OUT sample text)
LANGUAGE sql STABLE AS \$\$
	SELECT count(*), count(*) FILTER (WHERE s.bad), (SELECT count(*) FROM payments.trial_balance t WHERE t.code = 'TOTAL' AND t.balance <> 0),
		min(format('account %s: balance %s, held debits %s, held credits %s', s.id, s.balance, s.held_debits, s.held_credits)) FILTER (WHERE s.bad)
	FROM (SELECT x.id, b.*, least(b.held_debits, b.held_credits) < 0
			OR b.balance - CASE WHEN x.type = 'asset' THEN b.held_credits ELSE b.held_debits END < p.min_balance + slack
			OR b.balance + CASE WHEN x.type = 'asset' THEN b.held_debits ELSE b.held_credits END > p.max_balance - slack AS bad
		  FROM acct x JOIN payments.account p ON p.account_id = x.id CROSS JOIN LATERAL payments.balance(x.id) b) s
\$\$;
SQL

# ---------- the attack
my $folder = PostgreSQL::Test::Utils::tempdir();

sub script
{
	my ($name, $text) = @_;
	PostgreSQL::Test::Utils::append_to_file("$folder/$name.sql", $text);
	return "$folder/$name.sql";
}

sub pgbench
{
	my ($out, $clients, @files) = @_;
	return IPC::Run::start(
		[
			$node->installed_command('pgbench'), '-n', '-M', 'prepared', '-c', $clients, '-T', $SECONDS, '--failures-detailed',
			(map { ('-f', $_) } @files), $node->connstr('postgres')
		],
		'<', \undef, '>', $out, '2>&1', IPC::Run::timeout($SECONDS + $PostgreSQL::Test::Utils::timeout_default));
}

my @attack = (
	script('committed', 'SELECT attack();') . '@4',
	script('repeatable', "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT attack();\nCOMMIT;") . '@2',
	script('serializable', "BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT attack();\nCOMMIT;") . '@2');
# One snapshot of several statements, and single statements.
my @watch = (
	script('watch', "BEGIN ISOLATION LEVEL REPEATABLE READ;\nINSERT INTO seen SELECT 'repeatable', l.* FROM look() l;\n"
		  . "INSERT INTO seen SELECT 'again', l.* FROM look() l;\nCOMMIT;"),
	script('glance', "INSERT INTO seen SELECT 'statement', l.* FROM look() l;"));
# Has it been an attack?  What is asked for at the end, in one query.
my $ENOUGH = q{SELECT (SELECT count(*) > 10 * } . $SECONDS . q{ FROM seen) AND count(DISTINCT level) FILTER (WHERE code = 'ok') = 3
	AND count(DISTINCT what) FILTER (WHERE code = 'ok') = 8
	AND count(DISTINCT what) FILTER (WHERE code = 'PY204' AND what IN ('hold', 'post', 'sweep', 'batch', 'reverse')) = 5
	AND (SELECT count(*) > 0 FROM payments.ledger_hold_resolution WHERE kind = 'expire') FROM outcome};
my ($attacked, $watched) = ('', '');
foreach my $round (1 .. 10)
{
	my $attack = pgbench(\$attacked, $CLIENTS, @attack);
	my $watch = pgbench(\$watched, 2, @watch);
	ok($attack->finish, "$CLIENTS clients attacked for $SECONDS s") or diag($attacked);
	ok($watch->finish, 'while others watched') or diag($watched);
	last if value($node, $ENOUGH) eq 't';
}
unlike($attacked, qr/aborted/, 'no client met an error that is not a refusal') or diag($attacked);

# ---------- what was seen
my ($snapshots, $beyond, $unbalanced) = split /\|/, value($node, 'SELECT count(*), coalesce(sum(beyond), 0), coalesce(sum(unbalanced), 0) FROM seen WHERE accounts = 14');
cmp_ok($snapshots, '>', 10 * $SECONDS, 'they looked often');
is($beyond, 0, "in $snapshots looks no account was beyond a limit, holds included") or diag(value($node, 'SELECT min(sample) FROM seen'));
is($unbalanced, 0, 'and debits equalled credits');
is(value($node, 'SELECT count(*) FROM seen WHERE accounts <> 14'), 0, 'all accounts were there');
is(value($node, 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()'), 0, 'the server counted no deadlock');
log_lacks_deadlocks($node);

# ---------- that it was an attack
my %count;
$count{ (split /\|/)[0] }{ (split /\|/)[1] } = (split /\|/)[2] foreach split /\n/, value($node, 'SELECT what, code, count(*) FROM outcome GROUP BY 1, 2 ORDER BY 1, 2');
note(join "\n", map { my $what = $_; "$what: " . join ', ', map { "$_ $count{$what}{$_}" } sort keys %{ $count{$what} } } sort keys %count);
note($attacked);
is_deeply([ grep { !$count{$_}{ok} } qw(hold post sweep batch post_hold void_hold reverse fund) ], [], 'all kinds of operations went through');
is_deeply([ grep { !$count{$_}{PY204} } qw(hold post sweep batch reverse) ], [], 'and all that can were refused by limits');
is(value($node, q{SELECT count(DISTINCT level) FROM outcome WHERE code = 'ok'}), 3, 'at all isolation levels');
my ($released, $rounds) = split /\|/, value($node, q{SELECT count(*), count(DISTINCT resolved_at) FROM payments.ledger_hold_resolution WHERE kind = 'expire'});
cmp_ok($rounds, '>', 0, "the worker released $released expired holds beside them, in $rounds rounds");
# Emptied accounts are at their limit, and a watcher that asks for one unit more says so.
$node->safe_psql('postgres', 'SELECT payments.post(debit(a, b), credit(a, b), 1000 * 1000 * 1000, balancing => true) FROM acct a, acct b WHERE a.i = 5 AND b.i = 0')
  if value($node, 'SELECT beyond FROM look(1)') eq '0';
cmp_ok(value($node, 'SELECT beyond FROM look(1)'), '>', 0, 'the watchers would have noticed one unit');

# ---------- what is left
is( value($node, q{SELECT sum(CASE WHEN t.type IN ('asset', 'expense') THEN t.balance ELSE - t.balance END) FROM payments.trial_balance t WHERE t.code <> 'TOTAL'}),
	0, 'no unit was made or lost');
ok(wait_until($node, 'SELECT count(*) FROM payments.account_delta', 0), 'the hot account is folded');
check_clean($node, 'check() is clean');
$node->stop;
done_testing();
