#!/usr/bin/perl
# Tries what a job is not to be able to do, and says of each whether it was.
use strict;
use warnings;
use Socket;

# So that a second process has nothing left to write.
$| = 1;

my ($elsewhere, $secret) = @ARGV;
sub said { my ($what, $worked) = @_; print "$what ", ($worked ? "allowed" : "refused"), "\n"; }

said('write', open(my $file, '>', "$elsewhere/written"));
said('read', open(my $other, '<', $secret));
said('inet', socket(my $inet, PF_INET, SOCK_STREAM, 0));
said('unix', socket(my $unix, PF_UNIX, SOCK_STREAM, 0));
# unshare(2) with CLONE_NEWUTS; prctl(2) with PR_GET_NO_NEW_PRIVS; clone(2) with CLONE_NEWUSER and SIGCHLD. Of x86-64.
said('unshare', syscall(272, 0x04000000) == 0);
said('new-privileges', syscall(157, 39, 0, 0, 0, 0) == 0);
my $child = syscall(56, 0x10000000 | 17, 0, 0, 0, 0);
if (defined $child && $child == 0) { exec('/bin/true') or exit 1; }
waitpid($child, 0) if $child > 0;
said('clone', $child > 0);
# Root without capabilities may not do this, and neither may anybody else.
said('chown', chown(12345, 12345, $0 eq '-' ? $0 : $ENV{MINE}));
said('signal', kill(0, $ENV{OTHER}) == 1);
print "uid $<\n";
