"""What commands print, for the reference; a test compares the fixed parts with what they print in truth."""

from collections.abc import Mapping

SAMPLES: Mapping[str, str] = {
    "access": """\
USER  ROLE
ann   deployer
bob   owner""",
    "apps": """\
NAME  RELEASE  CREATED
shop  v3       2026/11/25 09:28:52 +0000 (~ 5s ago)""",
    "apps:info": """\
=== shop

name:          shop
url:           http://shop.apps.example.com/
release:       3
locked_by:     -
created_at:    2026/11/25 09:28:52 +0000 (~ 5s ago)
commit:        8b30f61724b946406a479a5357e29aca0a698d9c
deploy_branch: main
formation:     web=2 worker=1
health_path:   /up
owners:        bob""",
    "builds": """\
BUILD  STATUS     COMMIT   TIME   BY   CREATED                               CAUSE
2      failed     0c2d9aa  3.1s   ann  2026/11/25 09:31:02 +0000 (~ 1m ago)  a step failed: exit code 1
1      succeeded  8b30f61  12.4s  bob  2026/11/25 09:28:52 +0000 (~ 3m ago)""",
    "config": """\
=== shop Config Vars

LOG: info
TZ:  UTC""",
    "config:set": """\
Setting LOG, TZ and restarting shop... done, v2      (standard error)
LOG: info
TZ:  UTC""",
    "doctor": """\
CHECK          STATE    WHAT
engine         ok       the container engine answers
disk           ok       57992 MiB free, 1024 MiB must stay
server admins  warning  one key of a server admin: if it is lost, only the server's own shell helps""",
    "events": """\
WHEN                                  WHO  ACTION      APP   RESULT   FROM          ABOUT
2026/11/25 09:28:55 +0000 (~ 2s ago)  bob  rollback    shop  done     198.51.100.7  to v1
2026/11/25 09:28:53 +0000 (~ 4s ago)  eve  config      -     refused  203.0.113.9   shop""",
    "health": """\
=== shop Health

path:          /up
boot-timeout:  60 s
probe-timeout: 5 s""",
    "keys": """\
USER  NAME    FINGERPRINT  ADDED       LAST USED
bob   laptop  SHA256:G6D…  2026/08/04  2026/11/25 09:28:53 +0000 (~ 4s ago)""",
    "limits": """\
TYPE    MEMORY  CPUS
web     1G      0.5
worker  512M    -""",
    "logs": """\
2026-11-25T09:28:52.811622+00:00 app[web.1]: listening on 5000
2026-11-25T09:28:53.558760+00:00 cygni[platform]: Release v2 created by bob: Set LOG, TZ
2026-11-25T09:28:56.735618+00:00 cygni[router]: at=info method=GET path="/" … status=200 bytes=15342""",
    "ps": """\
=== web: python3 server.py (1)

web.1: up 2026/11/25 09:28:53 +0000 (~ 2s ago) v2, memory 41.5M of 512M, CPU 3%

=== worker: python3 worker.py (1)

worker.1: up 2026/11/25 09:30:54 +0000 (~ 1s ago) v2, memory 12M of 64M, CPU 80%, 2 restarts, last out of memory
""",
    "ps:scale": """\
Scaling shop... done, now running web at 2, worker at 1      (standard error)""",
    "releases": """\
=== shop Releases - Current: v3

VERSION  STATUS   REASON          BY   CREATED
v3       live     Rollback to v1  bob  2026/11/25 09:28:55 +0000 (~ 1s ago)
v2       retired  Set LOG, TZ     bob  2026/11/25 09:28:53 +0000 (~ 3s ago)
v1       retired  Deploy 8b30f61  bob  2026/11/25 09:28:52 +0000 (~ 4s ago)""",
    "releases:diff": """\
=== shop v1 to v3

commit:          8b30f61724b9 to 0c2d9aa51e03
image:           05791289e431 to 7be1f06cc1d5
processes_added: worker
config_changed:  LOG""",
    "rollback": """\
Rolling back shop to v1... done, v3      (standard error)
Rollback changes code and config vars, not the formation, limits or databases.
To undo it: rollback -a shop v2""",
    "status": """\
=== Server

version:   0.1.0
domain:    apps.example.com
engine:    ok
disk_free: 57992 MiB
apps:      1
live:      1
building:  -
deploying: shop""",
    "users": """\
USER  SERVER        KEYS  LAST USED
ann   -             1     2026/08/04
bob   server admin  2     2026/11/25 09:28:53 +0000 (~ 4s ago)""",
}
