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

# The same within four minutes: the watchdog waits for two.
later() {
    eventually "$@" || eventually "$@"
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

# A process has ended, and whoever started it has been told.
ended() {
    test ! -e /proc/"$1"
}

# A server has all of its sandbox.
sandboxed() {
    staunch status --json | grep -q '"sandbox_gaps": \[\]'
}

# Systemd has said something of the service.
said_by_systemd() {
    journalctl -b -u staunch --no-pager -o cat | grep -q -i -e "$1"
}

# Posts what is on the standard input to the source that is named.
post() {
    curl -sS -H "Authorization: Bearer $TOKEN" --data-binary @- http://127.0.0.1:7450/v1/events/"$1"
    echo
}

now() {
    date -u +%Y-%m-%dT%H:%M:%S.%NZ
}

# Falco has seen something of a process.
falco() {
    printf '{"hostname":"%s","priority":"Critical","rule":"%s","source":"syscall","time":"%s","output":"it happened","output_fields":{"proc.pid":%s,"proc.name":"sleep"}}' \
        "$(uname -n)" "$1" "$(now)" "$2" | post falco
}

# Somebody has got into an account. It is no rule that a playbook of ours waits for.
wazuh() {
    printf '{"timestamp":"%s","rule":{"id":"100100","level":12,"description":"A login from nowhere.","groups":["syslog"]},"agent":{"id":"001","name":"%s"},"id":"1764064800.1","decoder":{"name":"sshd"},"data":{"srcip":"203.0.113.70","dstuser":"%s"}}' \
        "$(now)" "$(uname -n)" "$1" | post wazuh
}

# Suricata has seen the question for a name.
question() {
    printf '{"timestamp":"%s","event_type":"alert","src_ip":"10.0.0.5","src_port":40112,"dest_ip":"10.0.0.2","dest_port":53,"proto":"UDP","app_proto":"dns","direction":"to_server","alert":{"action":"allowed","gid":1,"signature_id":1,"rev":1,"signature":"ET MALWARE Observed DNS Query to Known C2 Domain","category":"Domain Observed Used for C2 Detected","severity":1},"dns":{"version":2,"query":[{"type":"query","id":1,"rrname":"%s","rrtype":"A","tx_id":0,"opcode":0}]}}' \
        "$(date -u +%Y-%m-%dT%H:%M:%S.000000+0000)" "$1" | post suricata
}

# The field of the password file that says when an account expires is this.
expires() {
    test "$(getent shadow "$1" | cut -d: -f8)" = "$2"
}

# Unbound denies a name, or answers and does not.
denied() {
    unbound-control list_local_zones | grep -q "^$1"
}

asked() {
    unbound-control list_local_zones > /tmp/zones && ! grep -q "^$1" /tmp/zones
}

# The machine is off the network, or nftables answers and it is not.
isolated() {
    nft list set inet staunch_isolation isolated | grep -q elements
}

connected() {
    nft list set inet staunch_isolation isolated > /tmp/isolated && ! grep -q elements /tmp/isolated
}

# All nine pieces of evidence of an incident have come to their end, and none was missed for another reason than the
# time that an emulated processor takes.
sealed() {
    staunch evidence list "$1" --json > /tmp/evidence &&
        test "$(grep -c '"evidence": "EV-' /tmp/evidence)" = 9 &&
        ! grep '"what": "' /tmp/evidence | grep -v -q 'no time is left'
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

# What comes after a real start of the machine.
after_the_start() {
    step "after the start"
    holds "it answers" up
    holds "what was in force is put back" eventually blocked 203.0.113.49
    staunch incident list
    staunch containment list
    journalctl -b -u staunch --no-pager -o cat > /tmp/since
    cat /tmp/since
    holds "nobody is told that somebody else removed it" test "$(grep -c -F 'somebody else' /tmp/since)" = 0
    holds "the journal is whole" staunch journal verify
    holds "the evidence is proved" staunch evidence verify

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
}

if test -e /srv/rebooted; then
    . /srv/rebooted
    after_the_start
    exit
fi

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
holds "it may change the firewall, and nothing else" grep -q '^CapEff:.0*1000$' /proc/"$PID"/status
holds "its sandbox is whole, in the unit's own" sandboxed
cat /proc/"$PID"/cgroup

step "contained by the service that follows the log"
listed() {
    staunch incident list | grep -q -F "$1"
}
staunch mode observe --yes --reason "the first look at the log"
alert_of 203.0.113.44 >> /var/log/suricata/eve.json
holds "an alert in the log is planned" eventually listed 203.0.113.44
holds "nothing is blocked while it observes" free 203.0.113.44
staunch mode enforce --yes --reason "the first hour is over"
alert_of 203.0.113.47 >> /var/log/suricata/eve.json
holds "the kernel blocks what the log says" eventually blocked 203.0.113.47
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
step "hung, and ended by the watchdog of systemd"
PID=$(systemctl show -p MainPID --value staunch)
systemctl show staunch -p Type -p WatchdogUSec
kill -STOP "$PID"
holds "systemd has ended it and started it again" later again
holds "it answers" up
holds "that was the watchdog" eventually said_by_systemd 'watchdog'
holds "the block stands" blocked 203.0.113.47
step "a process that is frozen, and a job, under the unit with a drop-in"
install -D -m 755 /srv/keep.sh /usr/local/lib/staunch/keep.sh
install -d -o staunch -g staunch /var/lib/staunch/kept
install -D -m 0644 /usr/share/doc/staunch/examples/drop-ins/processes.conf /etc/systemd/system/staunch.service.d/processes.conf
cat >> /etc/staunch/staunch.toml << 'END'

[processes]
enabled = true
kill = true

[jobs.keep]
program = "/usr/local/lib/staunch/keep.sh"
observe = ["observe", "{subject}"]
execute = ["execute", "{subject}", "{label}"]
undo = ["undo", "{subject}"]
write = ["/var/lib/staunch/kept"]
environment = { STATE = "/var/lib/staunch/kept" }

[[sources.journald]]
source = "suricata"
units = ["sensor.service"]
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
alert_of 203.0.113.51 > /srv/sensor.json
systemd-run --unit=sensor --wait cat /srv/sensor.json
holds "the kernel blocks what a service writes to the journal" eventually blocked 203.0.113.51
sleep 1000 &
SLEEP=$!
falco "Detect crypto miners using the Stratum protocol" "$SLEEP"
wazuh ada
holds "the process is frozen, by cgroup v2" eventually frozen "$SLEEP" 1
holds "the job has run in its sandbox" eventually test -s /var/lib/staunch/kept/ada
staunch containment list
cat /proc/"$SLEEP"/cgroup
staunch release --all --yes --reason "that was a test"
holds "the job is undone" eventually test ! -e /var/lib/staunch/kept/ada
holds "the process goes on" eventually frozen "$SLEEP" 0
kill "$SLEEP"

step "whatever else a host contains and keeps, under the unit with every drop-in"
for name in accounts evidence isolation domains; do
    install -D -m 0644 /usr/share/doc/staunch/examples/drop-ins/"$name".conf /etc/systemd/system/staunch.service.d/"$name".conf
done
systemctl enable --now unbound
holds "the resolver answers" eventually unbound-control status
systemctl status unbound --no-pager --lines 20
useradd -m -s /bin/bash eve
install -m 600 -o eve -g eve /dev/null /home/eve/kept.log
echo "only eve may read this" > /home/eve/kept.log
cat >> /etc/staunch/staunch.toml << 'END'

[accounts]
enabled = true

[isolation]
enabled = true
management = ["192.0.2.0/24"]
keep_sessions = true

[domains]
enabled = true
control = "/run/unbound.ctl"
resolver = "127.0.0.1:53"
END
mode="mode: { low: enforce, medium: enforce, high: enforce }"
cat > /etc/staunch/playbooks/lock.yaml << END
playbook: lock
summary: Locks an account, and keeps before it whatever can be kept.
attack: [T1078]
trigger: { sources: [wazuh], when: event.user == "eve", incident: event.user }
preserve:
  - network
  - sockets
  - processes
  - logins
  - modules
  - ruleset
  - journal
  - capture: { target: event.source.ip, window: 2s }
  - files: { paths: [/home/eve/kept.log] }
contain:
  - lock-account: { target: event.user, lease: 1h }
$mode
END
cat > /etc/staunch/playbooks/kill.yaml << END
playbook: kill
summary: Ends a process.
attack: [T1059]
trigger: { sources: [falco], when: event.signature == "Something to end", incident: event.host }
contain:
  - kill-process: { target: 'event.raw.output_fields["proc.pid"]', lease: 1h, irreversible: yes }
$mode
END
cat > /etc/staunch/playbooks/isolate.yaml << END
playbook: isolate
summary: Takes the machine off the network.
attack: [T1547.006]
trigger: { sources: [falco], when: event.signature == "Something in the kernel", incident: event.host }
contain:
  - isolate-host: { target: event.host, lease: 1h }
$mode
END
cat > /etc/staunch/playbooks/deny.yaml << END
playbook: deny
summary: Denies a name.
attack: [T1071.004]
trigger: { sources: [suricata], when: 'event.signature.contains("DNS Query")', incident: event.source.ip }
contain:
  - sinkhole-domain: { target: 'event.raw.dns.query[0].rrname', lease: 1h }
$mode
END
staunch check
systemctl daemon-reload
holds "it starts with every drop-in" systemctl restart staunch
holds "it answers" up
staunch doctor > /tmp/doctor
cat /tmp/doctor
holds "doctor finds nothing broken" has '^0 problems' /tmp/doctor
holds "its sandbox is whole with every drop-in" sandboxed
sleep 1000 &
SLEEP=$!
wazuh eve
falco "Something to end" "$SLEEP"
falco "Something in the kernel" 1
question c2.evil.example
holds "the account is locked" eventually expires eve 2
su eve -c 'echo in' > /tmp/su 2>&1
cat /tmp/su
holds "nobody gets in as it" has 'expired' /tmp/su
holds "the process is ended" eventually ended "$SLEEP"
holds "the machine is off the network" eventually isolated
holds "the name is denied" eventually denied c2.evil.example
staunch incident list
staunch containment list
EVE="$(staunch evidence list | awk '$3 == "files" { print $2; exit }')"
holds "all that can be kept is kept" eventually sealed "$EVE"
staunch evidence list "$EVE"
FILE="$(staunch evidence list "$EVE" | awk '$3 == "files" { print $1 }')"
staunch evidence get "$FILE" file-001-kept.log --output /tmp/kept.log
holds "so is the file that only its owner may read" has "only eve may read this" /tmp/kept.log
lsattr -R /var/lib/staunch/evidence/vault > /tmp/attributes
holds "what is kept is immutable" has '----i' /tmp/attributes
holds "the evidence is proved" eventually staunch evidence verify
staunch release --all --yes --reason "that was a test"
holds "the account is open" eventually expires eve ""
holds "the machine is on the network" eventually connected
holds "the name is asked for" eventually asked c2.evil.example
staunch containment list

step "the machine is started anew, with a block in force"
alert_of 203.0.113.49 | post suricata
holds "a block is in force" eventually blocked 203.0.113.49
(echo "TOKEN=$TOKEN"; declare -f alert) > /srv/rebooted
sync
systemctl reboot
