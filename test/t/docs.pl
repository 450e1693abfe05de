# If this fails, a newcomer who copies an example from the README or the docs
# gets an error, or something else than the page says; the first thing that
# people learn about this extension is then wrong.
#
# Every ```sql block of README.md and docs/*.md is run, those of one file in
# order, in one psql session on a database of their own, with the worker
# serving it.  A ```text block right behind one is its output, compared with
# ids and times masked and column widths squeezed.  A comment in front of a
# block says what is different about it:
#
#	<!-- no-run -->		a snippet that is not for psql
#	<!-- error SQLSTATE -->	every statement of the block ends with this error
#	<!-- stripe -->		create_psp() is given the scripted peer's base_url
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run ();
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my $root = "$FindBin::RealBin/../..";
my @files = ('README.md', map { "docs/$_" } sort map { s{.*/}{}r } glob "$root/docs/*.md");
my $mark = '-- block';

sub slurp { open my $in, '<:encoding(UTF-8)', $_[0] or die "$_[0]: $!"; local $/; return <$in> }
sub database { return 'docs_' . ($_[0] =~ s{.*/}{}r =~ s/\.md$//r =~ s/\W/_/gr =~ tr/A-Z/a-z/r) }

# The sql blocks of a page: {line, text, error, stripe, expected}.
sub blocks
{
	my ($file) = @_;
	my (@blocks, $note, $fence, $open, $after);

	my $n = 0;
	foreach my $line (split /\n/, slurp("$root/$file"))
	{
		$n++;
		if (defined $fence)
		{
			if ($line eq '```')
			{
				if ($fence eq 'sql' && ($note // '') ne 'no-run')
				{
					push @blocks, { line => $open, text => $after, note => $note // '' };
				}
				elsif ($fence eq 'text' && @blocks && !defined $note)
				{
					$blocks[-1]{expected} = $after;
				}
				undef $_ foreach $fence, $note;
			}
			else { $after .= "$line\n" }
		}
		elsif ($line =~ /^```(\w*)$/) { ($fence, $open, $after) = ($1, $n, '') }
		elsif ($line =~ /^<!-- (no-run|stripe|error \w{5}) -->$/) { $note = $1 }
		elsif ($line =~ /\S/) { undef $note }
	}
	die "$file: a block is not closed\n" if defined $fence;
	return @blocks;
}

sub squeezed
{
	my ($text) = @_;

	$text =~ s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/<uuid>/g;
	$text =~ s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?([+-]\d\d)?/<time>/g;
	return join "\n", grep { $_ ne '' } map { s/--+/-/gr =~ s/\s+/ /gr =~ s/^ | $//gr } split /\n/, $text;
}

my $peer = start_peer();
# No worker where blocks are counted: its first transaction holds the horizon, or it seals by itself.
my $node = new_payments_node('docs',
	databases => join(',', map { database($_) } grep { !/sealing/ } @files),
	conf      => "max_worker_processes = 32\ntimezone = 'UTC'");

# Set up once, but for what keeps two databases apart.
my $SALT = q{INSERT INTO payments.installation_salt (salt) SELECT sha256(gen_random_uuid()::text::bytea)};
$node->safe_psql('postgres', 'CREATE DATABASE prepared');
$node->safe_psql('prepared', 'CREATE EXTENSION payments; SELECT payments.setup(); DELETE FROM payments.installation_salt');

foreach my $file (@files)
{
	my $db     = database($file);
	my @blocks = blocks($file);
	my $input  = "\\set VERBOSITY verbose\n";
	my ($stdout, $stderr, %url) = ('', '');

	next unless @blocks;
	my $sets_up = $blocks[0]{text} =~ /CREATE EXTENSION payments;/;
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE " . ($sets_up ? 'template1' : 'prepared'));
	$node->safe_psql($db, $SALT) unless $sets_up;
	wait_until($node, 'SELECT running FROM payments.worker_status', 't', undef, dbname => $db) unless $sets_up || $file =~ /sealing/;
	foreach my $i (0 .. $#blocks)
	{
		my $block = $blocks[$i];
		my $text  = $block->{text};

		# The real Stripe must never hear of this; a sandbox calls nobody.
		my $made = $text =~ s{(payments\.create_psp\((?![^;]*adapter => 'sandbox')[^;]*?)\)}{"$1, base_url => '" . $peer->url . "')"}ge;
		die "$file:$block->{line}: create_psp() without <!-- stripe -->\n" if $made && $block->{note} ne 'stripe';
		$input .= "\\echo $mark $i\n";
		$input .=
		  $block->{note} =~ /^error/
		  ? "\\set ON_ERROR_STOP off\n" . ($text =~ s/;\n/;\n\\echo :LAST_ERROR_SQLSTATE\n/gr) . "\\set ON_ERROR_STOP on\n"
		  : $text;
	}
	my $run = IPC::Run::start(
		[ $node->installed_command('psql'), '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', '-' ],
		'<', \$input, '>', \$stdout, '2>', \$stderr,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	my $ok = $run->finish;
	my %output;
	my $current = -1;
	foreach my $line (split /\n/, $stdout)
	{
		if ($line =~ /^\Q$mark\E (\d+)$/) { $current = $1; $output{$current} = '' }
		else { $output{$current} .= "$line\n" }
	}
	ok($ok, sprintf '%s: %d blocks run', $file, scalar @blocks)
	  or diag("the block at $file:$blocks[$current]{line} failed:\n$stderr");
	foreach my $i (0 .. $#blocks)
	{
		my $block = $blocks[$i];

		next unless defined $output{$i};
		if ($block->{note} =~ /^error (\w+)/)
		{
			my $code   = $1;
			my @wanted = ($code) x (() = $block->{text} =~ /;\n/g);

			is_deeply([ grep { /^\w{5}$/ } split /\n/, $output{$i} ], \@wanted, "$file:$block->{line}: ends with $code");
		}
		is(squeezed($output{$i}), squeezed($block->{expected}), "$file:$block->{line}: shows what the page says")
		  if defined $block->{expected} && ($ok || $i < $current);
	}
	check_clean($node, "$file: check() finds nothing wrong afterwards", dbname => $db);
}

# What nobody shows, nobody finds: each public function is explained and called, and its arguments are those that it has.
my $reference  = slurp("$root/docs/reference.md");
my $called     = join '', map { $_->{text} } blocks('docs/reference.md');
my %signatures = map { /^`(\w+)\(/ => $_ } split /\n/, $node->safe_psql(database('reference'), q{
	SELECT format('`%s(%s)` | %s', p.proname,
		(SELECT string_agg(concat_ws(' = ', a.name || ' ' || a.type, a.fallback), ', ' ORDER BY n) FROM (
			SELECT t.n, p.proargnames[t.n] AS name, format_type(t.type, NULL) AS type,
				regexp_replace(pg_get_function_arg_default(p.oid, t.n::int), '::[a-z ]+(\[\])?$', '') AS fallback
			FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY t (type, n)
			WHERE coalesce(p.proargmodes[t.n], 'i') IN ('i', 'b', 'v')) a),
		CASE WHEN p.prokind = 'p' THEN 'procedure, for `CALL`'
			WHEN p.proargmodes IS NOT NULL THEN CASE WHEN p.proretset THEN 'rows: ' ELSE 'one row: ' END ||
				(SELECT string_agg(p.proargnames[m.n], ', ' ORDER BY n) FROM unnest(p.proargmodes) WITH ORDINALITY m (mode, n)
				 WHERE m.mode IN ('o', 't'))
			WHEN p.prorettype = 'void'::regtype THEN ''
			ELSE CASE WHEN p.proretset THEN 'rows of ' ELSE '' END || format_type(p.prorettype, NULL) END)
	FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace AND p.proname !~ '^_' AND p.prorettype <> 'trigger'::regtype});

cmp_ok(scalar keys %signatures, '>', 70, 'public functions are found');
foreach my $name (sort keys %signatures)
{
	my $line = "| $signatures{$name} |" =~ s/timestamp with time zone/timestamptz/gr =~ s/ +/ /gr;

	ok($called =~ /payments\.\Q$name\E\(/ && $reference =~ /^(?!\|).*`\Q$name\E\(/m, "docs/reference.md explains and calls $name()");
	ok($reference =~ /^\Q$line\E$/m, "docs/reference.md has the arguments of $name()") or diag("wanted: $line");
}
foreach my $name ($reference =~ /^\| `(\w+)\(/mg)
{
	ok($signatures{$name}, "docs/reference.md: $name() exists");
}
is(join("\n", $reference =~ /^\| `(\w+)` \|/mg),
	$node->safe_psql(database('reference'), q{
		SELECT relname FROM pg_class WHERE relnamespace = 'payments'::regnamespace AND relkind = 'v' AND relname !~ '^_' ORDER BY relname COLLATE "C"}),
	'docs/reference.md lists the public views');

# The invariants that guarantees.md names; ci/doc_paths looks for its tests, ci/doc_links at links.
my ($table) = slurp("$root/docs/guarantees.md") =~ /^(\| promise.*?\n)\n/ms;
my %invariant = map { $_ => 1 } split /\n/, $node->safe_psql(database('README.md'), 'SELECT invariant FROM payments.check()');
foreach my $row (split /\n/, $table)
{
	my @cell = split /\s*\|\s*/, $row;

	next if $row =~ /^\|(---| promise)/ || !defined $cell[2];
	ok($invariant{$_}, "docs/guarantees.md: invariant \"$_\" is one of check()") foreach split /; /, $cell[2];
}
log_lacks_deadlocks($node);
$node->stop;
done_testing();
