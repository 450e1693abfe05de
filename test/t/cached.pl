# What sessions cache of small tables, while somebody grants and revokes on these
# without end.  If this fails, a GRANT crashes the server or stops clients: the
# server tells of it at any moment, also while a session fills its cache.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $clients = 3;
my $each    = 40;
my $node    = new_payments_node('cached');
value($node, q{
	CREATE ROLE nobody;
	CREATE TABLE ended (client int);
	SELECT payments.create_account('a', 'EUR', 'asset'), payments.create_account('b', 'EUR', 'liability');
	CREATE PROCEDURE grants() LANGUAGE plpgsql AS $$
	DECLARE
		t text;
	BEGIN
		WHILE (SELECT count(*) FROM ended) < 3 LOOP
			FOREACH t IN ARRAY '{merchant,psp,currency,psp_currency,seal_epoch,posting_rule}'::text[] LOOP
				EXECUTE format('GRANT SELECT ON payments.%I TO nobody', t);
				COMMIT;
				EXECUTE format('REVOKE SELECT ON payments.%I FROM nobody', t);
				COMMIT;
			END LOOP;
		END LOOP;
	END $$;
});

# A new session has nothing cached; an old one has to read it again.
sub client
{
	my ($i) = @_;
	return join '', (map {
			($_ % 2 ? "\\c\n" : '') . "SELECT payments.create_payment('$i-$_', 100, 'EUR', payment_method => 'sandbox_ok', psp => 'sandbox');\n" . "SELECT payments.post(1, 2, 1);\n"
	} 1 .. $each), "INSERT INTO ended VALUES ($i);\n";
}
my @sessions = many_sessions($node, $clients + 1, sub { $_[0] < $clients ? client($_[0]) : 'CALL grants();' });
is(join('', map { $_->{stderr} } @sessions), '', 'nobody notices that somebody grants');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/was terminated by signal/, 'least of all the server');
is(value($node, q{SELECT count(*) FROM payments.payment}), $clients * $each, 'each payment was accepted');
is(value($node, q{SELECT count(*) FROM payments.posting WHERE payment_id IS NULL}), $clients * $each, 'each posting was made');
at_rest($node);
check_clean($node);
done_testing();
