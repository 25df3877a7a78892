#!/bin/bash
# Runs in the machine that `cargo xtask deb --boot` starts, as root. What holds and what does not is said by lines that
# begin with "ok" and "FAILED"; the last line is "DONE".
exec > /dev/ttyS1 2>&1
cd /srv
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

# Asks until it is so, for two minutes: the processor is emulated.
eventually() {
    for turn in $(seq 120); do
        if "$@" > /dev/null 2>&1; then return 0; fi
        sleep 1
    done
    return 1
}

# A server answers.
up() {
    eventually staunch status
}

# The kernel blocks an address, or answers and does not.
blocked() {
    nft list ruleset | grep -q -F "$1"
}

free() {
    nft list ruleset > /tmp/ruleset && ! grep -q -F "$1" /tmp/ruleset
}

# A process is frozen by cgroup v2 (1), or is there and is not (0).
frozen() {
    grep -q "^frozen $2" /sys/fs/cgroup"$(sed 's/^0:://' /proc/"$1"/cgroup)"/cgroup.events
}

# A server has all of its sandbox.
sandboxed() {
    staunch status --json | grep -q '"sandbox_gaps": \[\]'
}

# Posts what is on the standard input to the source that is named.
post() {
    curl -sS -H "Authorization: Bearer $TOKEN" --data-binary @- http://127.0.0.1:7450/v1/events/"$1"
    echo
}

# The alert of the guide, about another address.
alert_of() {
    alert | sed "s/203.0.113.45/$1/"
}

# Every block of a section of the guide, word for word.
guide() {
    for block in /srv/hour/"$1".*; do
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
cp /srv/eve.json /var/log/suricata/eve.json
install -m 755 /srv/staunch /usr/local/bin/staunch

guide 3
holds "doctor finds nothing broken" has '^0 problems' /tmp/said.3
guide 4
holds "an alert is planned" has 'INC-1' /tmp/said.4
holds "nothing is blocked while it observes" free 203.0.113.45
guide 5
holds "what was released is free" eventually free 203.0.113.45

step "an attack once more, and everything is lifted with the server dead"
alert_of 203.0.113.46 | curl -sS --data-binary @- http://127.0.0.1:7450/v1/events/suricata
holds "the kernel blocks it" eventually blocked 203.0.113.46
kill -9 %1
wait %1
staunch release --all --yes --reason "the server is dead"
holds "all is released without a server, which ends with 10" test $? = 10
holds "nothing is blocked without one" free 203.0.113

step "the service that init wrote"
chattr -R -i /var/lib/staunch/evidence
TOKEN=$(staunch token create sensor --role sender | grep -o 'stn_[A-Za-z0-9_.-]*' | head -1)
systemctl daemon-reload
holds "the service of init starts" systemctl enable --now staunch
holds "it answers" up
systemctl status staunch --no-pager --lines 5
staunch protect list
staunch status
holds "its sandbox is whole" sandboxed
step "stop"
holds "it stops" systemctl stop staunch
systemctl show staunch -p Result -p ExecMainStatus
journalctl -u staunch --no-pager -o cat | tail -20

step "the package takes its place"
systemctl disable staunch
rm /etc/systemd/system/staunch.service /usr/local/bin/staunch
hash -r
holds "the package installs" env DEBIAN_FRONTEND=noninteractive apt-get install -y -o Dpkg::Options::=--force-confold /srv/staunch.deb
systemctl daemon-reload
holds "the service of the package starts" systemctl enable --now staunch
holds "it answers" up
systemctl status staunch --no-pager --lines 10
staunch doctor
step "its user and what it may"
PID=$(systemctl show -p MainPID --value staunch)
holds "it runs as its user" test "$(stat -c %U /proc/"$PID")" = staunch
grep -E 'Cap|NoNew|Seccomp|Uid' /proc/"$PID"/status
holds "its sandbox is whole, in the unit's own" sandboxed
cat /proc/"$PID"/cgroup

step "contained by the service"
staunch mode enforce --yes --reason "the first hour is over"
alert_of 203.0.113.47 | post suricata
holds "the kernel blocks it" eventually blocked 203.0.113.47
staunch containment list
nft list set inet staunch block4
step "killed, and started again by systemd"
kill -9 "$PID"
again() {
    local now="$(systemctl show -p MainPID --value staunch)"
    test "$now" != 0 && test "$now" != "$PID"
}
holds "systemd has started it again" eventually again
holds "it answers" up
holds "the block stands" blocked 203.0.113.47
holds "it reloads" systemctl reload staunch
step "a process that is frozen, and a job, under the unit with a drop-in"
install -D -m 755 /srv/keep.sh /usr/local/lib/staunch/keep.sh
install -d -o staunch -g staunch /var/lib/staunch/kept
install -D -m 0644 /usr/share/doc/staunch/examples/drop-ins/processes.conf /etc/systemd/system/staunch.service.d/processes.conf
cat >> /etc/staunch/staunch.toml << 'END'

[processes]
enabled = true

[jobs.keep]
program = "/usr/local/lib/staunch/keep.sh"
observe = ["observe", "{subject}"]
execute = ["execute", "{subject}", "{label}"]
undo = ["undo", "{subject}"]
write = ["/var/lib/staunch/kept"]
environment = { STATE = "/var/lib/staunch/kept" }
END
cat > /etc/staunch/playbooks/keep.yaml << 'END'
playbook: keep
summary: Keeps a file for an account that was taken over.
attack: [T1078]
trigger:
  sources: [wazuh]
  when: event.severity >= low
  incident: event.user
contain:
  - exec-job: { job: keep, target: event.user, lease: 1h }
mode: { low: enforce, medium: enforce, high: enforce }
END
staunch check
systemctl daemon-reload
holds "it starts with the drop-in" systemctl restart staunch
holds "it answers" up
staunch doctor
holds "its sandbox is whole with the drop-in" sandboxed
sleep 1000 &
SLEEP=$!
now() {
    date -u +%Y-%m-%dT%H:%M:%S.%NZ
}
printf '{"hostname":"%s","priority":"Critical","rule":"Detect crypto miners using the Stratum protocol","source":"syscall","time":"%s","output":"it mines","output_fields":{"proc.pid":%s,"proc.name":"sleep"}}' \
    "$(uname -n)" "$(now)" "$SLEEP" | post falco
printf '{"timestamp":"%s","rule":{"id":"40112","level":12,"description":"A login after many failures.","groups":["syslog"]},"agent":{"id":"001","name":"mail-1"},"id":"1764064800.1","decoder":{"name":"sshd"},"data":{"srcip":"203.0.113.70","dstuser":"ada"}}' \
    "$(now)" | post wazuh
holds "the process is frozen, by cgroup v2" eventually frozen "$SLEEP" 1
holds "the job has run in its sandbox" eventually test -s /var/lib/staunch/kept/ada
staunch containment list
cat /proc/"$SLEEP"/cgroup
staunch release --all --yes --reason "that was a test"
holds "the job is undone" eventually test ! -e /var/lib/staunch/kept/ada
holds "the process goes on" eventually frozen "$SLEEP" 0
kill "$SLEEP"

step "stopped, with a block in force"
alert_of 203.0.113.48 | post suricata
holds "a block is in force" eventually blocked 203.0.113.48
holds "it stops" systemctl stop staunch
holds "the block outlives the service" blocked 203.0.113.48
staunch release --all --yes --reason "staunch is removed"
holds "all is released, which ends with 10" test $? = 10
holds "nothing is blocked" free 203.0.113
step "what the service has said"
journalctl -u staunch --no-pager -o cat | tail -30
holds "it is removed" apt-get remove -y staunch
echo DONE
systemctl poweroff --force
