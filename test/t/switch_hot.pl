# If this fails, making a busy account hot, or ordinary again, loses or doubles
# postings, refuses them, or ends in deadlocks, and the books are wrong from a
# moment that nobody wrote down; or an account that many pay from at once is
# overdrawn.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

# So long, and until those who switch or watch have done it often enough: nobody ends before.
my $SECONDS = 3;
my $node = new_payments_node('switch', conf => "deadlock_timeout = 1s");

$node->safe_psql('postgres', q{
	CREATE TABLE acct AS SELECT payments.create_account('busy', 'EUR', 'asset') AS busy,
		payments.create_account('sink', 'EUR', 'liability', hot => true) AS sink,
		payments.create_account('other', 'EUR', 'liability') AS other;
	CREATE TABLE done (who text, posted bigint, again bigint);
	CREATE TABLE enough (who text);
});

# Posts 1 at a time for some seconds, one transaction each; a lost race is no posting.
sub poster
{
	my ($who, $level, $other) = @_;
	return qq{
		SET default_transaction_isolation = '$level';
		DO \$\$
		DECLARE
			a record;
			posted bigint := 0;
			again bigint := 0;
		BEGIN
			WHILE posted = 0 OR NOT EXISTS (SELECT FROM enough WHERE who = 'toggle') LOOP
				COMMIT;
				BEGIN
					SELECT * INTO a FROM acct;
					IF '$level' <> 'read committed' THEN
						PERFORM pg_sleep(random() * 0.004);
					END IF;
					PERFORM payments.post(a.busy, a.$other, 1);
					posted := posted + 1;
				EXCEPTION WHEN serialization_failure THEN
					again := again + 1;
				END;
				COMMIT;
			END LOOP;
			INSERT INTO done VALUES ('$who', posted, again);
		END \$\$;};
}

sub repeat
{
	my ($who, $times, $statement) = @_;
	return qq{
		DO \$\$
		DECLARE
			until timestamptz := clock_timestamp() + interval '$SECONDS s';
			n bigint := 0;
			a record;
			changed boolean;
		BEGIN
			SELECT * INTO a FROM acct;
			COMMIT;
			WHILE clock_timestamp() < until OR n < $times LOOP
				$statement;
				n := n + changed::int;
				COMMIT;
				PERFORM pg_sleep(random() * 0.01);
				COMMIT;
			END LOOP;
			INSERT INTO done VALUES ('$who', 0, n);
			INSERT INTO enough VALUES ('$who');
		END \$\$;};
}

my @results = many_sessions($node, 6, sub {
	return (poster('one', 'read committed', 'sink'), poster('two', 'read committed', 'other'),
		poster('three', 'repeatable read', 'sink'), poster('four', 'repeatable read', 'sink'),
		repeat('toggle', 11, 'changed := payments.set_account_hot(a.busy, n % 2 = 0)'),
		repeat('fold', 0, 'changed := payments.fold_hot_accounts() > 0'))[ $_[0] ];
});

is(join('', map { $_->{stderr} } @results), '', 'nothing was refused');
note(value($node, q{SELECT string_agg(format('%s: %s posted, %s', who, posted, again), '; ' ORDER BY who) FROM done}));
is(value($node, q{SELECT count(*) FROM done WHERE posted > 0}), '4', 'everybody has posted');
cmp_ok(value($node, q{SELECT again FROM done WHERE who = 'toggle'}), '>', 10, 'while the account was switched again and again');
my $posted = value($node, 'SELECT sum(posted) FROM done');
is(value($node, 'SELECT balance FROM acct, payments.balance(busy)'), $posted, 'the balance is what was posted');
check_clean($node);
is(value($node, 'SELECT payments.set_account_hot(busy, false) IS NOT NULL AND payments.fold_hot_accounts() >= 0 FROM acct'), 't', 'all is folded');
is(value($node, 'SELECT debits - credits FROM acct JOIN payments.account ON account_id = busy'), $posted, 'and in the row');
check_clean($node, 'check() is clean then, too');

# ---------- limits, under those who pay in, out and across, and one who switches
$node->safe_psql('postgres', q{
	DELETE FROM done;
	DELETE FROM enough;
	DROP TABLE acct;
	CREATE TABLE acct AS SELECT payments.create_account('bank', 'EUR', 'asset', hot => true) AS bank,
		payments.create_account('one', 'EUR', 'liability', hot => true, min_balance => 0, parts => 4) AS one,
		payments.create_account('two', 'EUR', 'liability', hot => true, min_balance => -50, max_balance => 400, parts => 3) AS two,
		payments.create_account('three', 'EUR', 'liability', min_balance => 0) AS three;
	CREATE TABLE paid (debit bigint, credit bigint, amount bigint);
	CREATE TABLE seen (n bigint, least_one numeric, least_two numeric, most_two numeric);
});

# Moves 1 to 100 at random between the four, alone or in batches of three; what a limit forbids is no posting.
sub mover
{
	my ($level) = @_;
	return qq{
		SET default_transaction_isolation = '$level';
		DO \$\$
		DECLARE
			ids bigint[] := (SELECT ARRAY[bank, one, two, three] FROM acct);
			d bigint[];
			c bigint[];
			n bigint[];
			posted bigint := 0;
			again bigint := 0;
			moved bigint;
		BEGIN
			COMMIT;
			WHILE (SELECT count(*) < 2 FROM enough) LOOP
				COMMIT;
				SELECT array_agg(ids[1 + x]), array_agg(ids[1 + (x + 1 + floor(random() * 3)::int) % 4]), array_agg(ceil(random() * 100)::bigint)
				INTO d, c, n FROM (SELECT floor(random() * 4)::int AS x FROM generate_series(1, 1 + 2 * (random() < 0.3)::int)) r;
				BEGIN
					INSERT INTO paid SELECT d[b.index], c[b.index], n[b.index] FROM payments.post_batch(d, c, n) b WHERE b.error IS NULL;
					GET DIAGNOSTICS moved = ROW_COUNT;
					posted := posted + moved;
				EXCEPTION WHEN serialization_failure THEN
					again := again + 1;
				END;
				COMMIT;
			END LOOP;
			INSERT INTO done VALUES ('$level', posted, again);
		END \$\$;};
}

@results = many_sessions($node, 6, sub {
	return (mover('read committed'), mover('read committed'), mover('read committed'), mover('repeatable read'),
		repeat('toggle', 11, 'changed := payments.set_account_hot(a.one, n % 2 = 1, CASE WHEN n % 2 = 1 THEN 2 + n % 7 END::int)'),
		qq{
			DO \$\$
			DECLARE
				until timestamptz := clock_timestamp() + interval '$SECONDS s';
				n bigint := 0;
				s record;
				least_one bigint := 0;
				least_two bigint := 0;
				most_two bigint := 0;
			BEGIN
				WHILE clock_timestamp() < until OR n <= 100 LOOP
					SELECT x.balance AS one, y.balance AS two INTO s FROM acct, payments.balance(one) x, payments.balance(two) y;
					COMMIT;
					n := n + 1;
					least_one := least(least_one, s.one);
					least_two := least(least_two, s.two);
					most_two := greatest(most_two, s.two);
				END LOOP;
				INSERT INTO seen VALUES (n, least_one, least_two, most_two);
				INSERT INTO enough VALUES ('watcher');
			END \$\$;})[ $_[0] ];
});
is(join('', map { $_->{stderr} } @results), '', 'nothing but limits refused anything');
note(value($node, q{SELECT string_agg(format('%s: %s posted, %s', who, posted, again), '; ' ORDER BY who) FROM done}));
note(value($node, q{SELECT format('%s looks: at least %s and %s, at most %s', n, least_one, least_two, most_two) FROM seen}));
cmp_ok(value($node, q{SELECT again FROM done WHERE who = 'toggle'}), '>', 10, 'one was split and put together again and again');
is(value($node, q{SELECT least_one >= 0 AND least_two >= -50 AND most_two <= 400 AND n > 100 FROM seen}), 't', 'no snapshot shows a limit broken');
is(value($node, q{
	SELECT count(*) FROM acct, LATERAL (VALUES (bank, 1), (one, -1), (two, -1), (three, -1)) v(id, sign), payments.balance(id) b
	WHERE b.balance <> sign * (SELECT coalesce(sum(CASE id WHEN debit THEN amount WHEN credit THEN - amount END), 0) FROM paid)}),
	'0', 'the balances are what was posted');
check_clean($node);
log_lacks_deadlocks($node);

done_testing();
