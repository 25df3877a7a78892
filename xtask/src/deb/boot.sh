#!/bin/bash
# Runs in the machine that `cargo xtask deb --boot` starts, as root. What holds and what does not is said by lines that
# begin with "ok" and "FAILED"; the last line is "DONE".
exec > /dev/ttyS1 2>&1
cd /root
export HOME=/root TERM=dumb

step() {
    printf '\n=== %s\n' "$*"
}

holds() {
    local what="$1"
    shift
    if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; fi
}

has() {
    grep -q -e "$1" "$2"
}

# Waits for a server that answers.
up() {
    for turn in $(seq 120); do
        if staunch status > /dev/null 2>&1; then return 0; fi
        sleep 1
    done
    return 1
}

# Waits until the kernel blocks the address of the guide, or does not.
blocked() {
    for turn in $(seq 60); do
        if nft list set inet staunch block4 2> /dev/null | grep -q 203.0.113.45; then return 0; fi
        sleep 1
    done
    return 1
}

free() {
    for turn in $(seq 60); do
        if ! nft list set inet staunch block4 2> /dev/null | grep -q 203.0.113.45; then return 0; fi
        sleep 1
    done
    return 1
}

# Says nothing of a sandbox that is not whole, but has started.
sandboxed() {
    grep -q 'recovered' "$1" && ! grep -E 'Landlock|system call' "$1"
}

# Every block of a section of the guide, word for word.
guide() {
    for block in /root/hour/"$1".*; do
        step "$block"
        cat "$block"
        echo "---"
        . "$block"
        echo "--- $?"
        if [ "$1" -gt 3 ]; then up; fi
    done > /tmp/said."$1" 2>&1
    cat /tmp/said."$1"
}

mkdir -p /var/log/suricata
cp /root/eve.json /var/log/suricata/eve.json
install -m 755 /root/staunch /usr/local/bin/staunch

guide 3
holds "doctor finds nothing broken" has '^0 problems' /tmp/said.3
guide 4
holds "an alert is planned" has 'INC-1' /tmp/said.4
holds "nothing is blocked while it observes" free
guide 5
holds "what was released is free" free

step "an attack once more, and everything is lifted with the server dead"
printf '%s' "$(alert)" | sed 's/203.0.113.45/203.0.113.46/' | curl -sS --data-binary @- http://127.0.0.1:7450/v1/events/suricata
kill -9 %1
wait %1
staunch release --all --yes --reason "the server is dead"
holds "all is released without a server, which ends with 10" test $? = 10
holds "nothing is blocked without one" sh -c '! nft list set inet staunch block4 2>/dev/null | grep -q 203.0.113'

step "the service that init wrote"
chattr -R -i /var/lib/staunch/evidence
TOKEN=$(staunch token create sensor --role sender | grep -o 'stn_[A-Za-z0-9_.-]*' | head -1)
send() {
    alert | curl -sS -H "Authorization: Bearer $TOKEN" --data-binary @- http://127.0.0.1:7450/v1/events/suricata
    echo
}
systemctl daemon-reload
holds "the service of init starts" systemctl enable --now staunch
holds "it answers" up
systemctl status staunch --no-pager --lines 5
staunch protect list
staunch status
journalctl -u staunch --no-pager -o cat > /tmp/said.sandbox
holds "the sandbox of the service of init is whole" sandboxed /tmp/said.sandbox
step "stop"
holds "it stops" systemctl stop staunch
systemctl show staunch -p Result -p ExecMainStatus
journalctl -u staunch --no-pager -o cat | tail -20

step "the package takes its place"
systemctl disable staunch
rm /etc/systemd/system/staunch.service /usr/local/bin/staunch
hash -r
holds "the package installs" env DEBIAN_FRONTEND=noninteractive apt-get install -y -o Dpkg::Options::=--force-confold /root/staunch.deb
systemctl daemon-reload
holds "the service of the package starts" systemctl enable --now staunch
holds "it answers" up
systemctl status staunch --no-pager --lines 10
staunch doctor
step "its user and what it may"
PID=$(systemctl show -p MainPID --value staunch)
holds "it runs as its user" test "$(stat -c %U /proc/"$PID")" = staunch
grep -E 'Cap|NoNew|Seccomp|Uid' /proc/"$PID"/status
journalctl _PID="$PID" --no-pager -o cat > /tmp/said.sandbox
holds "its sandbox is whole, in the unit's own" sandboxed /tmp/said.sandbox
cat /proc/"$PID"/cgroup

step "contained by the service"
alert > /tmp/fresh.json
sed -i 's/203.0.113.45/203.0.113.47/' /tmp/fresh.json
staunch mode enforce --yes --reason "the first hour is over"
curl -sS -H "Authorization: Bearer $TOKEN" --data-binary @/tmp/fresh.json http://127.0.0.1:7450/v1/events/suricata
echo
sleep 3
staunch containment list
nft list set inet staunch block4
holds "the kernel blocks it" sh -c 'nft list set inet staunch block4 | grep -q 203.0.113.47'
step "killed, and started again by systemd"
kill -9 "$PID"
sleep 8
holds "systemd has started it again" up
holds "another process" test "$(systemctl show -p MainPID --value staunch)" != "$PID"
holds "the block stands" sh -c 'nft list set inet staunch block4 | grep -q 203.0.113.47'
holds "it reloads" systemctl reload staunch
holds "it stops" systemctl stop staunch
holds "the block outlives the service" sh -c 'nft list set inet staunch block4 | grep -q 203.0.113.47'
staunch release --all --yes --reason "staunch is removed"
holds "all is released, which ends with 10" test $? = 10
holds "nothing is blocked" sh -c '! nft list set inet staunch block4 2>/dev/null | grep -q 203.0.113'
journalctl -u staunch --no-pager -o cat | tail -30
holds "it is removed" apt-get remove -y staunch
echo DONE
systemctl poweroff --force
