#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Writes a database as e-smith's own library does (esmith::config), with its faults: no fsync, and a
# lock file that is unlinked after the lock on it is gone.
#
# usage: original.pl loop FILE PREFIX    adds records PREFIX1, PREFIX2, ... until stdin ends
#        original.pl step FILE KEY...    adds one record a KEY; tells each step and waits for a line
#        original.pl hold FILE           locks FILE itself, which may be a directory, and stops
use strict;
use warnings;
use Fcntl qw(:flock);
use IO::Handle;

my ($mode, $file, @rest) = @ARGV;
STDOUT->autoflush(1);

sub step {
    return unless $mode eq 'step';
    print "$_[0]\n";
    defined(my $line = <STDIN>) or exit 0;
}

sub add {
    my ($key) = @_;
    open(my $lock, '>>', "$file.lock") or die "$file.lock: $!\n";
    step('opened');
    flock($lock, LOCK_EX) or die "$file.lock: $!\n";
    my %records;
    if (open(my $old, '<', $file)) {
        while (my $line = <$old>) {
            next if $line =~ /^\s*(#|$)/;
            chomp $line;
            my ($name, $value) = split(/=/, $line, 2);
            $records{$name} = $value;
        }
    }
    step('read');
    $records{$key} = 'service';
    open(my $new, '>', "$file.$$") or die "$file.$$: $!\n";
    print $new "# DO NOT MODIFY THIS FILE.\n";
    print $new "$_=" . (defined $records{$_} ? $records{$_} : '') . "\n" for sort keys %records;
    close($new) or die "$file.$$: $!\n";
    rename("$file.$$", $file) or die "$file: $!\n";
    flock($lock, LOCK_UN);
    close($lock);
    step('unlocked');
    unlink("$file.lock");
}

if ($mode eq 'hold') {
    open(my $lock, '<', $file) or die "$file: $!\n";
    flock($lock, LOCK_EX) or die "$file: $!\n";
    print "locked\n";
    kill('STOP', $$);
} elsif ($mode eq 'step') {
    add($_) for @rest;
    print "done\n";
} else {
    my $count = 0;
    STDIN->blocking(0);
    for (;;) {
        add($rest[0] . ++$count);
        my $ended = sysread(STDIN, my $bytes, 1);
        last if defined $ended && $ended == 0;
        # As a command that is started anew.
        select(undef, undef, undef, 0.001);
    }
    print "$count\n";
}
