# What the guards look at.  A guard that sees nothing passes for ever, so each
# list is taken from the whole tree, at any depth, and dies when it is shorter
# than the project has been.
package Sources;
use strict;
use warnings;
use Exporter 'import';
use File::Find;
our @EXPORT_OK = qw(c_files sql_files slurp complain finish);

my %least = ('src' => 130, 'sql' => 55);
my $bad = 0;

sub files
{
	my ($folder, $pattern) = @_;
	my @found;
	find({ no_chdir => 1, wanted => sub { push @found, $_ if -f $_ && /$pattern/ } }, $folder);
	die "$folder: " . @found . " files, fewer than $least{$folder}: is this the project's root?\n" if @found < $least{$folder};
	return sort @found;
}

# All of src/, headers too; of sql/, the parts and the upgrade scripts, not what make puts together.
sub c_files { return files('src', qr/\.[ch]$/) }
sub sql_files { return grep { !m{^sql/payments--[^-]*\.sql$} } files('sql', qr/\.(sql|head|tail)$/) }
sub slurp { open my $in, '<', $_[0] or die "$_[0]: $!\n"; local $/; return scalar <$in> }

sub complain { print "$_[0]\n"; $bad = 1; return 1 }
# Says what was seen, when there is nothing to complain of, and ends.
sub finish { print "$_[0]\n" if defined $_[0] && !$bad; exit $bad }
1;
