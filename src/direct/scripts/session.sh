# Begins every command: where a session's files are, and who works on them.
umask 077
deletes=''
hidden=$root/.cloud-agent
base=$root/$session
state=$base/state
repo=$base/repo
home=$base/home

# When a process started, which tells it from a later one with its number; nothing for one that has ended.
start_of() {
  set -- $(sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null)
  [ "${1:-Z}" = Z ] || echo "${20}"
}

# Whether the process that a file names runs, which is then $pid.
runs() {
  pid='' started=''
  read -r pid started 2>/dev/null <"$1"
  [ -n "$started" ] && [ "$(start_of "$pid")" = "$started" ]
}

# Ends everything that carries the session's mark or works in its folders, in whatever group it hides.
end_strays() {
  for file in $(
    grep -lszFx -e "SESSION_ID=$session" /proc/[0-9]*/environ
    cd / && find /proc/[0-9]*/cwd -maxdepth 0 \( -lname "*/$session/repo*" -o -lname "*/$session/home*" \) 2>/dev/null
  ); do
    file=${file#/proc/}
    [ "${file%/*}" = "$$" ] || kill -s KILL "${file%/*}" 2>/dev/null
  done
}

# Ends a run's driver and what it waits for.
end_run() {
  if runs "$1/driver"; then
    group=$(cat "$1/group" 2>/dev/null)
    kill -s KILL "$pid" 2>/dev/null
    [ -z "$group" ] || kill -s KILL -- "-$group" 2>/dev/null
  fi
}

# Ends the group of a process that a file names.
end_group() {
  runs "$1" && kill -s KILL -- "-$pid" 2>/dev/null
}

# Ends the trials of pushed credentials.
end_trials() {
  end_group "$state/waiting"
  end_group "$state/trial"
  rm -f -- "$state"/candidate.[0-9]* "$state"/trial.[0-9]*
}

# Length of a file, as far as it is read: the number must fit into half of a position.
size() {
  bytes=$(wc -c 2>/dev/null <"$1") || bytes=0
  [ "$bytes" -le 4294000000 ] || bytes=4294000000
  echo "$bytes"
}
