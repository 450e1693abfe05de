# If this fails, making a busy account hot, or ordinary again, loses or doubles
# postings, refuses them, or ends in deadlocks, and the books are wrong from a
# moment that nobody wrote down.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PaymentsTest;
use Test::More;

my $SECONDS = 3;
my $node = new_payments_node('switch', conf => "deadlock_timeout = 1s");

$node->safe_psql('postgres', q{
	CREATE TABLE acct AS SELECT payments.create_account('busy', 'EUR', 'asset') AS busy,
		payments.create_account('sink', 'EUR', 'liability', hot => true) AS sink,
		payments.create_account('other', 'EUR', 'liability') AS other;
	CREATE TABLE done (who text, posted bigint, again bigint);
});

# Posts 1 at a time for some seconds, one transaction each; a lost race is no posting.
sub poster
{
	my ($who, $level, $other) = @_;
	return qq{
		SET default_transaction_isolation = '$level';
		DO \$\$
		DECLARE
			until timestamptz := clock_timestamp() + interval '$SECONDS s';
			a record;
			posted bigint := 0;
			again bigint := 0;
		BEGIN
			WHILE clock_timestamp() < until LOOP
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
	my ($who, $statement) = @_;
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
			WHILE clock_timestamp() < until LOOP
				$statement;
				n := n + changed::int;
				COMMIT;
				PERFORM pg_sleep(random() * 0.01);
				COMMIT;
			END LOOP;
			INSERT INTO done VALUES ('$who', 0, n);
		END \$\$;};
}

my @results = many_sessions($node, 6, sub {
	return (poster('one', 'read committed', 'sink'), poster('two', 'read committed', 'other'),
		poster('three', 'repeatable read', 'sink'), poster('four', 'repeatable read', 'sink'),
		repeat('toggle', 'changed := payments.set_account_hot(a.busy, n % 2 = 0)'),
		repeat('fold', 'changed := payments.fold_hot_accounts() > 0'))[ $_[0] ];
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
log_lacks_deadlocks($node);

done_testing();
