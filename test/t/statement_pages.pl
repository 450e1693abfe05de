# If this fails, a merchant's statement has amounts that are cut off, pages
# without heads, or rows torn in two; a month is left out because somebody's
# transaction was open at its end, or what he committed late is in no
# statement; or a statement comes out differently after a restore, or wrong
# once its postings are retired.
#
# The server's clock is moved, so that months are months.  The page is printed
# by Chromium, and read back.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
set_clock('2024-01-05');
my $node = with_clock(sub {
	new_payments_node('statements', conf => "payments.poll_interval = '1s'\npayments.seal_interval = 0\ntimezone = 'America/New_York'\nautovacuum = off") });

# ---------- January: payments through the worker, and what a marketplace posts itself
value($node, q{
	CREATE ROLE jobs IN ROLE payments_admin;
	SELECT payments.create_merchant('books', psp => 'sandbox'), payments.create_merchant('late', psp => 'sandbox');
	SELECT payments.set_statement_party('issuer', 'Shop Payments GmbH', ARRAY['Lange Straße 1', '10117 Berlin', 'VAT id DE123456789']);
	SELECT payments.set_statement_party('recipient', 'Books & More Ltd', ARRAY['1 Main Street', 'Dublin D02'], merchant => 'books');
	INSERT INTO payments.vat_rule (kind, percent, included) VALUES ('fee', 19, true), ('commission', 19, true);
	INSERT INTO payments.job (job, schedule, command, catch_up, period, delay, builtin) SELECT job, schedule, command, catch_up, period, delay, false FROM payments.job WHERE job = 'issue_statements';
});
value($node, sprintf q{SELECT payment_id FROM payments.create_payment('k-%1$s', %2$d, 'EUR', merchant => 'books', payment_method => 'sandbox_ok', order_ref => 'ORDER-%1$s')}, $_, 1000 + 7 * $_)
  foreach 1001 .. 1030;
at_rest($node);
my $refunded = value($node, q{SELECT payment_id FROM payments.payment WHERE order_ref = 'ORDER-1007'});
value($node, "SELECT payments.refund_payment('$refunded', 'back', amount => 500)");
at_rest($node);
sub account { return "(SELECT account_id FROM payments.account WHERE merchant = '$_[0]' AND code = '$_[1]' AND currency = 'EUR')" }
sub post { my ($debit, $credit, $amount, $more) = @_; return sprintf 'SELECT payments.post(%s, %s, %d%s)', $debit, $credit, $amount, $more // '' }
my ($balance, $receivable, $fees, $reserve, $bank, $commission) = map { account('books', $_) } qw(merchant_balance psp_receivable:sandbox psp_fees dispute_reserve bank commission);
my ($late, $late_bank) = map { account('late', $_) } qw(merchant_balance bank);
value($node, q{SELECT payments.create_account('psp_fees', 'EUR', 'expense', 'books', hot => true), payments.create_account('dispute_reserve', 'EUR', 'asset', 'books', hot => true),
	payments.create_account('bank', 'EUR', 'asset', 'books'), payments.create_account('commission', 'EUR', 'income', 'books', hot => true),
	payments.create_account('merchant_balance', 'EUR', 'liability', 'late', hot => true), payments.create_account('bank', 'EUR', 'asset', 'late', hot => true)});
value($node, qq{
	SELECT count(*) FROM (SELECT array_agg($receivable) AS d, array_agg($balance) AS c, array_agg((100000000 + n * 1234567)::bigint) AS a, array_agg('parcel ' || n || ' sent') AS t, array_agg('capture'::text) AS k
		FROM generate_series(1, 110) n) x, payments.post_batch(x.d, x.c, x.a, descriptions => x.t, kinds => x.k);
	SELECT count(*) FROM (SELECT array_agg($fees) AS d, array_agg($receivable) AS c, array_agg((n * 31)::bigint) AS a, array_agg('fee of the PSP'::text) AS t, array_agg('fee'::text) AS k
		FROM generate_series(1, 45) n) x, payments.post_batch(x.d, x.c, x.a, descriptions => x.t, kinds => x.k)});
value($node, post($balance, $commission, 119_00, q{, kind => 'commission', description => 'commission for January'}));
value($node, post($reserve, $receivable, 2500, q{, kind => 'dispute', description => 'disputed, taken back by the PSP'}));
my $hostile = q{<script>document.title = 1</script><img src=x onerror=alert(1)> "double" 'single' &amp; };
value($node, post($balance, $bank, 50_000_00, ", kind => 'payout', reference => 'po-" . ('x' x 200) . "-end', description => " . PaymentsTest::sql_literal($hostile . ('W' x 300) . ' tail')));
value($node, post($late_bank, $late, 1000));

# ---------- its end: somebody is in the middle of something
set_clock('2024-01-31', 23);
# A session that makes a posting and does not commit.
sub begin_with
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN');
	$session->query_safe($_[0]);
	return $session;
}
sub finish { $_[0]->query_safe('COMMIT'); $_[0]->quit; return }
my $open = begin_with(post($receivable, $balance, 1, q{, description => 'in the last hour'}));
value($node, post($receivable, $balance, 2, q{, description => 'after it, and committed before'}));
sub run_job { return sqlstate($node, q{SET ROLE jobs; CALL payments.run_job('issue_statements')}) }
sub job { return value($node, q{SELECT concat_ws('|', last_result, last_steps, watermark) FROM payments.schedule_status WHERE job = 'issue_statements'}) }
set_clock('2024-02-01', 5);
is(run_job() . job(), 'done|0', 'the job leaves the month alone for some hours');
set_clock('2024-02-01', 8);
is(run_job() . ' ' . job(), 'PY620 failed|0', 'a transaction of January is open: refused');
is(value($node, 'SELECT count(*), coalesce(sum(last_number), 0) FROM payments.issued_statement LEFT JOIN payments.statement_counter USING (merchant)'), '0|0', 'for all, and no number is used');
like(value($node, q{SELECT problem FROM payments.schedule_status WHERE job = 'issue_statements'}), qr/still open.*merchant "books"/, 'which the status says');
finish($open);
is(run_job() . job(), 'done|1|2024-02-01 00:00:00+00', 'the next run issues, and does not leave the month out');
is(run_job() . job(), 'done|0|2024-02-01 00:00:00+00', 'once');
is(value($node, q{SELECT merchant, number, lines, from_time AT TIME ZONE 'UTC', to_time AT TIME ZONE 'UTC' FROM payments.issued_statement ORDER BY merchant}),
	"books|1|221|2024-01-01 00:00:00|2024-02-01 00:00:00\nlate|1|1|2024-01-01 00:00:00|2024-02-01 00:00:00", 'a statement of January for each merchant with postings');
my $january = value($node, q{SELECT statement_id FROM payments.issued_statement WHERE merchant = 'books'});
is(value($node, "SELECT sum(amount), (SELECT closing_balance FROM payments.issued_statement WHERE statement_id = $january) FROM payments.statement_lines($january) WHERE section = 'balance'"),
	join('|', (value($node, "SELECT payments.balance_at($balance, '2024-02-01+00')")) x 2), 'whose closing balance is that of the account');

# ---------- on paper
my $chromium = (grep { -x } map { "$_/chromium" } split /:/, $ENV{PATH})[0];
ok(defined $chromium, 'there is a Chromium') or BAIL_OUT('install chromium and poppler-utils');
sub html { my ($id) = @_; return value($node, "SELECT payments.statement_html($id)") }
sub print_page
{
	my ($name, $html) = @_;

	open my $out, '>:raw', "$dir/$name.html" or die $!;
	print $out $html;
	close $out;
	my $log = `timeout $PostgreSQL::Test::Utils::timeout_default "$chromium" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage --user-data-dir="$dir/profile-$name" --no-pdf-header-footer --print-to-pdf="$dir/$name.pdf" "file://$dir/$name.html" 2>&1 < /dev/null`;
	ok(-s "$dir/$name.pdf", "$name: printed") or diag($log);
	my @pages = split /\f/, `pdftotext -layout "$dir/$name.pdf" -`;
	utf8::decode($_) foreach @pages;
	s/\x{202f}/ /g, s/\x{2212}/-/g, s/\x{a0}/ /g foreach @pages;
	return @pages;
}
# Pages, words over the edge of the paper or its margins, and words that lie upon another.
sub edges
{
	my ($name) = @_;
	my ($page, $beyond, $over, @words) = (0, 0, 0);
	foreach my $line (split /\n/, `pdftotext -bbox "$dir/$name.pdf" -`)
	{
		if ($line =~ /<page /) { $page++; @words = () }
		next unless $line =~ /<word xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)"/;
		my ($x1, $y1, $x2, $y2) = ($1, $2, $3, $4);
		$beyond++ if $x1 < 44 || $x2 > 595 - 44 || $y1 < 40 || $y2 > 842 - 20;
		$over += grep { $x1 < $_->[2] - 1 && $x2 > $_->[0] + 1 && $y1 < $_->[3] - 4 && $y2 > $_->[1] + 4 } @words;
		push @words, [ $x1, $y1, $x2, $y2 ];
	}
	return "$page $beyond $over";
}
my $html = html($january);
unlike($html, qr/<script|<img|<link|<iframe|href=|url\(|\@import|https?:/i, 'nothing of a description is markup, nothing comes from outside');
my @pages = print_page('january', $html);
cmp_ok(scalar @pages, '>=', 4, 'several pages: ' . @pages);
like(`pdfinfo "$dir/january.pdf"`, qr/Page size:\s+59[45][\d.]* x 84[12][\d.]* pts \(A4\)/, 'of A4');
my $all = join "\n", @pages;
foreach my $n (1 .. @pages)
{
	like($pages[$n - 1], qr/Statement 1, 2024-01-01 to 2024-01-31\s+Page $n of ${\ scalar @pages}/, "page $n says what it is of");
	like($pages[$n - 1], qr/^\s*Date, UTC\s+Description\s+Reference/m, "page $n has a head over its rows");
}
like($pages[0], $_, "the first page: $_")
  foreach qr/Shop Payments GmbH/, qr/VAT id DE123456789/, qr/Lange Stra\x{df}e 1/, qr/Books & More Ltd/, qr/Statement 1\b/, qr/Period\s+2024-01-01 to 2024-01-31 \(UTC\)/, qr/OPENING BALANCE\s+ADDED\s+TAKEN\s+CLOSING BALANCE EUR/i;
like($all, $_, "on the pages: $_")
  foreach qr/Opening balance\s+0\.00/, qr/Commission\s+1\s+-119\.00\s+19\s+-100\.00\s+-19\.00\s+-119\.00/, qr/net -100\.00, VAT 19 % -19\.00/, qr/Disputes/, qr/<script>document\.title/, qr/&amp;/,
  qr/tail/, qr/-end/, qr/Content SHA-256 ([0-9a-f]{64})/;
# Every line, whole: its amounts stand in one row of text.
my @lines = map { [ split /\|/ ] } split /\n/, value($node, "SELECT line, section, coalesce(order_ref, description), amount_text, balance_text, net, vat FROM payments.statement_lines($january) WHERE kind IN ('capture', 'fee') AND booked_at < '2024-01-06'");
sub major { my ($text) = @_; $text =~ s/ EUR//; 1 while $text =~ s/^(-?\d+)(\d{3})/$1 $2/; return quotemeta $text }
is(scalar @lines, 30 + 110 + 75, 'the lines that are looked for');
my @torn = grep
{
	my ($n, $section, $what, $amount, $total, $net, $vat) = @$_;
	my $row = $section eq 'balance' ? major($amount) . '\s+' . major($total) : major(sprintf '%.2f', $net / 100) . '\s+19\s+' . major(sprintf '%.2f', $vat / 100) . '\s+' . major($amount);
	my $tied = $what =~ /^ORDER|^parcel/ ? "\Q$what\E.*" : '';
	$all !~ /^\s*2024-01-05 \d\d:\d\d\s.*$tied\s$row\s*$/m;
} @lines;
is(scalar @torn, 0, 'every line is there, date and amounts side by side') or diag(join ', ', map { $_->[0] } @torn);
foreach my $word (['closing', qr/Closing balance\s+([\d -]+\.\d\d)/, "SELECT closing_balance FROM payments.issued_statement WHERE statement_id = $january"],
	['fees', qr/^\s*Fee\s+75\s+([\d ]*\d\.\d\d)/m, "SELECT sum(amount) FROM payments.statement_lines($january) WHERE section = 'fees'"])
{
	my ($name, $pattern, $sql) = @$word;
	my ($shown) = $all =~ $pattern;
	is(($shown // '') =~ s/[ .]//gr, value($node, $sql), "the total of $name is on the page");
}
# No word is over the edge of the paper, nor does one lie upon another.
is(edges('january'), scalar(@pages) . ' 0 0', 'no word is beyond the margins, none upon another');

# ---------- February: made in it, committed after its statement
set_clock('2024-02-29', 23);
value($node, post($receivable, $balance, 4, q{, description => 'in February'}));
my @bytes = map { value($node, "SELECT md5(payments.statement_${_}($january)::text)") } qw(json html);
$open = begin_with(post($receivable, $balance, 8, q{, description => 'begun in February'}));
set_clock('2024-03-01', 8);
is(run_job() . job(), 'done|1|2024-03-01 00:00:00+00', 'February is issued without what is not committed');
finish($open);
set_clock('2024-04-01', 8);
is(run_job() . job(), 'done|1|2024-04-01 00:00:00+00', 'and March with it');
is(value($node, q{SELECT number, opening_balance % 1000, closing_balance % 1000, lines FROM payments.issued_statement WHERE merchant = 'books' AND number > 1 ORDER BY number}) =~ s/\d+\|(\d+)\|(\d+)\|/($2 - $1) . '|'/ger,
	"4|1\n8|1", 'once, in one of them');
is(value($node, q{SELECT string_agg(l.description || ' ' || l.late, ', ' ORDER BY s.number) FROM payments.issued_statement s, payments.statement_lines(s.statement_id) l WHERE s.merchant = 'books' AND s.number > 1 AND l.posting_id IS NOT NULL}),
	'in February false, begun in February true', 'and marked as late');
my $march = value($node, q{SELECT statement_id FROM payments.issued_statement WHERE merchant = 'books' AND number = 3});
my @short = print_page('march', html($march));
like("@short", qr/2024-02-2[89] \d\d:\d\d \*.*begun in February.*\* Booked before the period, by a transaction that was completed after/s, 'the page says why');
is(scalar @short, 1, 'a short statement is one page');
is(join(' ', map { value($node, "SELECT md5(payments.statement_${_}($january)::text)") } qw(json html)), "@bytes", 'January is the same, to the byte');

# As much as there can be, in the currency with the most decimals.
value($node, q{INSERT INTO payments.currency (currency, exponent, name, builtin) VALUES ('XMX', 4, 'much', false);
	INSERT INTO payments.account_template (code, type) VALUES ('merchant_balance', 'liability');
	SELECT payments.create_account('merchant_balance', 'XMX', 'liability', 'late'), payments.create_account('bank', 'XMX', 'asset', 'late');
	DELETE FROM payments.account_template WHERE NOT builtin});
my ($much, $much_bank) = map { s/EUR/XMX/r } $late, $late_bank;
value($node, post($much_bank, $much, 0) =~ s/, 0\)/, 9223372036854775807, kind => 'capture')/r);
value($node, q{SELECT payments.issue_statement('late', 'XMX', '2024-04-01+00', '2024-04-01 10:00+00')}) if set_clock('2024-04-01', 11) || 1;
my @much = print_page('much', html(value($node, q{SELECT statement_id FROM payments.issued_statement WHERE currency = 'XMX'})));
is((() = "@much" =~ /922 337 203 685 477\.5807/g), 6, 'the largest amount is whole wherever it is');
is(edges('much'), '1 0 0', 'and nowhere over an edge');

# ---------- numbers under a rush: many accounts of one merchant, a third taken back
value($node, q{SELECT count(payments.create_account('wallet:' || n, 'EUR', 'liability', 'books')) FROM generate_series(1, 60) n});
my @rush = many_sessions($node, 6, sub {
	my ($i) = @_;
	return join "\n", map { sprintf(q{BEGIN; SELECT payments.issue_statement('books', 'EUR', '2024-01-01+00', '2024-02-01+00', account => 'wallet:%d'); %s;}, $_, $_ % 3 == 0 ? 'ROLLBACK' : 'COMMIT') } $i * 8 + 1 .. $i * 8 + 20 });
is(join('', map { $_->{stderr} } @rush), '', 'nobody fails');
is(value($node, q{SELECT count(*), max(number), count(DISTINCT number), count(DISTINCT account) FROM payments.issued_statement WHERE merchant = 'books'}), '43|43|43|41', 'no number is missing, none is used twice');
check_clean($node, 'check() is clean');

# ---------- elsewhere
$node->safe_psql('postgres', 'CREATE DATABASE copy');
PostgreSQL::Test::Utils::system_or_bail('sh', '-c', sprintf(q{pg_dump -d '%s' | psql -XAtq -v ON_ERROR_STOP=1 -o /dev/null -d '%s'}, $node->connstr('postgres'), $node->connstr('copy')));
is(join(' ', map { value($node, "SELECT md5(payments.statement_${_}($january)::text)", dbname => 'copy') } qw(json html)), "@bytes", 'restored from a dump, January is the same');
is(value($node, "SELECT ok FROM payments.verify_statement($march)", dbname => 'copy'), 't', 'and March');
is(value($node, q{SELECT number FROM payments.issue_statement('books', 'EUR', '2024-04-01+00', '2024-04-01 01:00+00')}, dbname => 'copy'), '44', 'and the numbers go on');
check_clean($node, 'check() is clean there', dbname => 'copy');

# ---------- retired
$open = begin_with(post($late_bank, $late, 16, q{, description => 'begun in April'}));
set_clock('2024-05-01', 8);
is(run_job() . job(), 'done|1|2024-05-01 00:00:00+00', 'April');
finish($open);
set_clock('2024-07-02');
value($node, 'SELECT payments.seal_blocks()');
my $RETIRE = q{SELECT string_agg(concat_ws(' ', partition, refused), ', ') FROM payments.retire_partitions('posting', older_than => '1 month')};
is(value($node, $RETIRE), 'posting_2024_01, posting_2024_02, posting_2024_03, '
	. 'posting_2024_04 it has postings that were committed after their statement, and are in none yet: issue the next one of merchant "late", account "merchant_balance"', 'postings are retired, but what is in no statement yet');
is(value($node, q{SELECT opening_balance, closing_balance, lines FROM payments.issue_statement('late', 'EUR', '2024-05-01+00', '2024-06-01+00')}), '1000|1016|1', 'the next statement has it');
is(sqlstate($node, "SELECT payments.$_($january)"), 'PY623', "$_() says so") foreach qw(statement_lines statement_json statement_html verify_statement);
is(value($node, "SELECT closing_balance > 0 AND totals <> '[]' FROM payments.issued_statement WHERE statement_id = $january"), 't', 'its head is there');
value($node, 'SELECT payments.seal_blocks()');
is(value($node, $RETIRE), 'posting_2024_04, posting_2024_05', 'and its month can go');
is(sqlstate($node, q{SELECT payments.issue_statement('books', 'EUR', '2024-05-01+00', '2024-06-01+00')}), 'PY216', 'one that was not issued before cannot be any more');
check_clean($node, 'check() is clean on what is left');
is(sqlstate($node, q{SELECT payments.issue_statement('books', 'EUR', '2024-01-01+00', '2024-07-01+00', account => 'wallet:60')}), 'PY216', 'nor does a first statement begin there');
is(value($node, q{SELECT opening_balance, lines FROM payments.issue_statement('books', 'EUR', '2024-06-01+00', '2024-07-01+00', account => 'bank')}), '-5000000|0', 'one that begins later opens with what was retired');
log_lacks_deadlocks($node);
$node->stop;
done_testing();
