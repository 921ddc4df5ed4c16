#!/bin/sh
# Joins git's pre-receive hook to the server: 7 asks, 8 shows, 9 gives the verdict. See gitserver/hook.py.
printf 'q %s\ns %s\n' "$GIT_QUARANTINE_PATH" "$GIT_SHALLOW_FILE" >&7 || exit 1
cat >&7 || exit 1
# receive-pack holds 7 as well, so the server never sees its end: this line is the end of the question.
echo . >&7 || exit 1
cat <&8 >&2
# The server died: its end of 9 is closed, nothing is read, the push is refused.
read -r verdict <&9 || exit 1
exit "$verdict"
