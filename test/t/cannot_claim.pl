# If this fails, one operation that cannot even be taken from the queue stops
# all others of its PSP for ever, or goes round and round with them, unseen.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP ();
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

# Not preloaded, so that no hook of ours forbids the trigger that is in the way.
my $node = new_payments_node('cannot_claim', worker => 0);
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node);

$node->safe_psql('postgres', q{
	CREATE TABLE public.poison (amount bigint, on_table text);
	GRANT ALL ON public.poison TO PUBLIC;
	GRANT CREATE ON SCHEMA public TO payments_owner;
	SET ROLE payments_owner;
	CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM public.poison x JOIN payments.payment p USING (amount) JOIN payments.operation o USING (payment_id)
			WHERE o.operation_id = NEW.operation_id AND x.on_table = TG_TABLE_NAME) THEN
			RAISE EXCEPTION 'refused by %', TG_TABLE_NAME;
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER refuse BEFORE INSERT ON payments.attempt FOR EACH ROW EXECUTE FUNCTION public.refuse();
	CREATE TRIGGER refuse BEFORE INSERT ON payments.attempt_answer FOR EACH ROW EXECUTE FUNCTION public.refuse();
	CREATE TRIGGER refuse BEFORE INSERT ON payments.dead_letter FOR EACH ROW EXECUTE FUNCTION public.refuse();});

sub poison { return value($node, "INSERT INTO public.poison VALUES ($_[0], '$_[1]')") }
sub dead { return value($node, "SELECT d.reason || ': ' || d.detail FROM payments.dead_letter d WHERE d.payment_id = '$_[0]' AND d.decision IS NULL") }
sub status_of { return value($node, "SELECT p.status || ', ' || o.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.payment_id = '$_[0]'") }
sub redrive { return value($node, "SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE payment_id = '$_[0]' AND decision IS NULL") }

# ---------- never sent: in a batch with others, and the first of them
poison(6666, 'attempt');
my $unsent = create_payment($node, idempotency_key => 'unsent', amount => 6666);
my @healthy = map { create_payment($node, idempotency_key => "healthy-$_", amount => 1000 + $_) } 1 .. 10;
value($node, 'SELECT payments.start_worker()');
is(outcome($node, $_), 'succeeded', 'another goes through') foreach @healthy;
ok(wait_until($node, "SELECT count(*) FROM payments.dead_letter WHERE payment_id = '$unsent'", 1), 'what cannot be claimed becomes a dead letter');
like(dead($unsent), qr/^cannot_claim: refused by attempt/, 'which says why');
is(status_of($unsent), 'initiated, initiated', 'nothing was sent, and nothing says so');
is(scalar(grep { $_->{amount} == 6666 } $peer->charges), 0, 'and nothing is at the PSP');

# ---------- sent, and not to be claimed for the question what became of it
$peer->faults({ fault => 'lose_answer', method => 'POST', count => 1 });
my $asked = create_payment($node, idempotency_key => 'asked', amount => 7777, payment_method => 'pm_test_processing');
ok(wait_until($node, "SELECT status FROM payments.operation WHERE payment_id = '$asked'", 'processing'), 'accepted by the PSP, and not done yet');
poison(7777, 'attempt');
ok(wait_until($node, "SELECT count(*) FROM payments.dead_letter WHERE payment_id = '$asked'", 1), 'it cannot be asked for any more');
like(dead($asked), qr/^cannot_claim: refused by attempt/, 'and is a dead letter');
is(status_of($asked), 'in_doubt, in_doubt', 'nobody knows what became of it');

# ---------- that cannot even become a dead letter: left alone for a while
poison(8888, 'attempt');
poison(8888, 'dead_letter');
my $left = create_payment($node, idempotency_key => 'left', amount => 8888);
is(outcome($node, create_payment($node, idempotency_key => "beside-$_", amount => 2000 + $_)), 'succeeded', 'another goes through beside it') foreach 1 .. 3;
is(status_of($left), 'initiated, initiated', 'it waits');

# ---------- answered by hand meanwhile, and then the worker's own answer cannot be written down
$peer->faults({ fault => 'hold', method => 'POST', count => 1 });
poison(5555, 'attempt_answer');
my $twice = create_payment($node, idempotency_key => 'twice', amount => 5555);
ok($peer->wait_held(1), 'the answer is kept back');
my $charged = JSON::PP::encode_json({ id => 'pi_by_hand', object => 'payment_intent', amount => 5555, amount_received => 5555, amount_capturable => 0, currency => 'eur', status => 'succeeded' });
value($node, 'BEGIN; ALTER TABLE payments.attempt_answer DISABLE TRIGGER refuse; '
	. "SELECT payments.complete(a.operation_id, a.attempt, 200, '{}', convert_to('$charged', 'UTF8')) FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$twice'; "
	. 'ALTER TABLE payments.attempt_answer ENABLE TRIGGER refuse; COMMIT');
$peer->release;
is(outcome($node, create_payment($node, idempotency_key => 'behind', amount => 3000)), 'succeeded', 'others go on');
ok(wait_until($node, sprintf(q{SELECT pg_read_file(%s) ~ 'refused by attempt_answer'}, sql_literal($node->logfile))), 'it is not written down');
is(status_of($twice) . dead($twice), 'succeeded, succeeded', 'nothing comes of it: what is over is no dead letter');

# ---------- when the reason is gone
value($node, 'DELETE FROM public.poison');
is(outcome($node, $left), 'succeeded', 'what was left alone is done by itself');
redrive($unsent);
is(outcome($node, $unsent), 'succeeded', 'what was never sent is sent');
$peer->control({ finish => {} });
redrive($asked);
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$asked'", 'succeeded'), 'what was sent is asked for, and found');
at_rest($node);
is_deeply($peer->book->{double_charged}, [], 'nobody was charged twice');
is(scalar($peer->charges), 18, 'all once');
like(value($node, "SELECT sample FROM payments.check() WHERE invariant = 'the guards are armed'"), qr/attempt\.refuse is another's/, 'a trigger of others is named');
value($node, 'DROP FUNCTION public.refuse() CASCADE');
check_clean($node);
$node->stop;
done_testing();
